use std::{error::Error, io};

use anyhow::anyhow;
use rbee_api::{ErrorCode, ErrorDetail};

use crate::failure::{Failure, Kind};

/// Why the queen did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot prepare an HTTP client")]
    Build(#[source] reqwest::Error),
    #[error("no queen answers at `{url}`: {cause}")]
    Unreachable {
        url: String,
        /// The one thing that went wrong; what lies between is the HTTP client's.
        cause: String,
        /// Nobody listens there.
        is_refused: bool,
    },
    #[error("what answers at `{url}` is not rbee's queen: {answer}")]
    Stranger { url: String, answer: String },
    #[error("{}", detail.message)]
    Refused { status: u16, detail: Box<ErrorDetail>, retry_after_s: Option<u64> },
    #[error("cannot read the queen's answer to `{path}`")]
    Decode { path: String, source: serde_json::Error },
}

impl ClientError {
    pub(super) fn unreachable(url: &str, source: &reqwest::Error) -> Self {
        let mut root: &dyn Error = source;
        while let Some(cause) = root.source() {
            root = cause;
        }
        let cause = match (source.is_timeout(), root.downcast_ref::<io::Error>()) {
            (true, _) => "it took too long".to_owned(),
            (_, Some(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "nobody listens there".to_owned()
            }
            _ => root.to_string(),
        };
        Self::Unreachable { url: url.to_owned(), cause, is_refused: source.is_connect() }
    }

    /// Whether another try may find a queen that answers: one was being replaced, or died.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { status, detail, retry_after_s } => {
                let failure = from_detail(*detail, Some(status));
                match retry_after_s {
                    Some(seconds) => failure.hint(format!("try again in {seconds} s")),
                    None => failure,
                }
            }
            ClientError::Unreachable { .. } => {
                Self::new(Kind::Unreachable, error).hint("`./rbee status` shows what runs")
            }
            ClientError::Stranger { .. } => Self::new(Kind::Unreachable, error)
                .hint("`./rbee doctor` shows who holds the ports; `queen.port` changes rbee's"),
            ClientError::Build(_) => Self::new(Kind::Failed, error),
            ClientError::Decode { .. } => Self::new(Kind::Failed, error)
                .hint("keeper and queen may be of different builds: `./rbee update`"),
        }
    }
}

/// The failure that an error of the queen, or of a level below it, stands for.
pub(crate) fn from_detail(detail: ErrorDetail, status: Option<u16>) -> Failure {
    let status = status.or(detail.status);
    let kind = match (&detail.code, status) {
        (ErrorCode::BuildFailed, _) => Kind::Build,
        (ErrorCode::HiveUnavailable | ErrorCode::WorkerUnavailable, _) => Kind::Unreachable,
        (_, Some(400 | 404)) => Kind::Usage,
        _ => Kind::Failed,
    };
    let failure = Failure {
        code: Some(detail.code.clone()),
        ..Failure::new(kind, anyhow!("{}", detail.message))
    };
    match (&detail.code, status) {
        (ErrorCode::ModelNotFound | ErrorCode::InvalidModel, _) => {
            failure.hint("`./rbee model list` shows the models")
        }
        (ErrorCode::ModelUnavailable, _) => failure.hint(
            "`./rbee doctor` looks at the hub and the disk; a file that is here needs no hub: \
             `-m /path/to/model.gguf`. Variables such as `HF_ENDPOINT` are for a chain that is started with \
             them (`./rbee stop`), `models.hf_endpoint` is for one that runs",
        ),
        (ErrorCode::KeyNotFound, _) => failure.hint("`./rbee key list` shows the keys"),
        (ErrorCode::HiveNotFound, _) => failure.hint("`./rbee hive list` shows the hives"),
        (ErrorCode::HiveUnavailable, _) => failure.hint(
            "`./rbee logs hive` shows what it said and `./rbee doctor` who has its port; docs/remote.md is \
             about hives on other machines",
        ),
        (ErrorCode::WorkerUnavailable, _) => {
            failure.hint("`./rbee logs worker` shows what it said")
        }
        (_, Some(401)) => failure.hint("the token of this `RBEE_HOME` is not that queen's"),
        _ => failure,
    }
}
