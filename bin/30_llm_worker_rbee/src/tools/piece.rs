/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// A call of a function begins.
    Call {
        index: usize,
        name: String,
    },
    /// More of the JSON text of a call's arguments.
    Arguments {
        index: usize,
        text: String,
    },
}
