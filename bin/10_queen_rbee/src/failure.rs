use completion_relay::causes;
use rbee_api::ErrorBody;

/// The client's view of a hive that could not be brought up, found or stopped.
pub(crate) fn hive(error: &hive_lifecycle::Error) -> ErrorBody {
    match error {
        hive_lifecycle::Error::UnknownHive(_) => {
            ErrorBody::new(404, "not_found_error", "hive_not_found", causes(error))
        }
        error if error.is_build_failure() => {
            ErrorBody::new(503, "server_error", "build_failed", causes(error))
        }
        error => ErrorBody::new(503, "server_error", "hive_unavailable", causes(error)),
    }
}

/// The client's view of a hive that did not answer.
pub(crate) fn unreachable(alias: &str, error: &reqwest::Error) -> ErrorBody {
    let message = format!("the hive `{alias}` does not answer: {}", causes(error));
    ErrorBody::new(502, "server_error", "hive_unavailable", message)
}
