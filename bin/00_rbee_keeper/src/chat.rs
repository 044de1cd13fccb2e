//! What `chat` keeps: the talk, what was typed, and the editor that it was typed in.
//!
//! [`Talk`] and [`Said`] are plain data; the verb moves them between the editor and the queen.

mod editor; // lines, on a thread of their own
mod said; // a line as a command or as words for the model
mod talk; // what the model is told, and what of it still fits

pub(crate) use self::{
    editor::{Echo, Editor},
    said::{COMMANDS, Said},
    talk::Talk,
};
