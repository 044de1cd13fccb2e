/// Why a job is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "the requests of accepted jobs take all of the {max_bytes} bytes that there are for them"
    )]
    Full { max_bytes: u64 },
}
