use serde::Serialize;

/// Medians for one workspace, in seconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// What the receipt lists, absences included.
    pub(crate) inputs: usize,
    pub(crate) check: f64,
    pub(crate) bare_loop: f64,
    pub(crate) watched: f64,
    pub(crate) cargo_build: f64,
    pub(crate) git_status: f64,
}
