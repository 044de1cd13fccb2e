//! Values to text; nothing here reads or writes.

mod log;
mod narration;
mod progress;
mod table;
mod units;

pub use self::narration::Paint;
pub(crate) use self::{
    log::{LogLine, log_lines},
    narration::{narration_line, status_line, step_of},
    progress::{ProgressSteps, bar_style, progress_json},
    table::Table,
    units::{age, bytes, fit_path, minutes, short_hash},
};
