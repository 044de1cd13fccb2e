//! Values to text; nothing here reads or writes.

mod narration;
mod progress;
mod table;
mod units;

pub use self::narration::Paint;
pub(crate) use self::{
    narration::narration_line,
    progress::{ProgressSteps, bar_style, progress_json},
    table::Table,
    units::{age, bytes, short_hash},
};
