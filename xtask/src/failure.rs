use std::process::ExitCode;

/// What was asked for makes no sense.
pub(crate) const USAGE: u8 = 2;

const FAILED: u8 = 1;
const BUILD_FAILED: u8 = 3;
/// Plus the number of the signal, as shells say it.
const ENDED_BY_SIGNAL: i32 = 128;

/// A binary is stale, or not there, and could not be built; cargo has said why.
#[derive(Debug, thiserror::Error)]
#[error("`{binary}` was not rebuilt: {error}; what was running goes on")]
pub(crate) struct BuildFailed {
    pub(crate) binary: String,
    /// Part of the sentence, so no source.
    pub(crate) error: auto_update::Error,
}

/// Prints `error`, then what caused it, and gives the exit code for it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<BuildFailed>() {
        BUILD_FAILED
    } else if let Some(auto_update::Error::Interrupted { signal, .. }) = error.downcast_ref() {
        u8::try_from(ENDED_BY_SIGNAL + signal).unwrap_or(FAILED)
    } else if error.is::<rbee_config::Error>() || error.is::<std::sync::Arc<rbee_config::Error>>() {
        USAGE
    } else {
        FAILED
    }
}
