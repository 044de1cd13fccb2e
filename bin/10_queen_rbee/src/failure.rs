use rbee_api::{ErrorBody, ErrorCode, causes};
use rbee_config::for_here;

/// The client's view of a hive that could not be brought up, found or stopped.
pub(crate) fn hive(error: &hive_lifecycle::Error) -> ErrorBody {
    let code = match error {
        hive_lifecycle::Error::UnknownHive(_) | hive_lifecycle::Error::NotElsewhere { .. } => {
            ErrorCode::HiveNotFound
        }
        error if error.is_build_failure() => ErrorCode::BuildFailed,
        _ => ErrorCode::HiveUnavailable,
    };
    ErrorBody::new(code, for_here(&causes(error)))
}

/// The client's view of a job that is not accepted.
pub(crate) fn journal(error: &job_journal::Error) -> ErrorBody {
    ErrorBody::new(ErrorCode::TooManyJobs, causes(error))
}

/// The client's view of a hive that did not answer.
pub(crate) fn unreachable(alias: &str, error: &reqwest::Error) -> ErrorBody {
    let message = format!("the hive `{alias}` does not answer: {}", causes(error));
    ErrorBody::new(ErrorCode::HiveUnavailable, message)
}
