use completion_relay::causes;
use model_store::Error;
use rbee_api::ErrorBody;

/// The client's view of a worker that could not be brought up.
pub(crate) fn worker(error: &worker_lifecycle::Error) -> ErrorBody {
    let code = if error.is_build_failure() { "build_failed" } else { "worker_unavailable" };
    ErrorBody::new(503, "server_error", code, causes(error))
}

/// The client's view of a model that is not to be had.
pub(crate) fn model(error: &Error) -> ErrorBody {
    let (status, kind, code) = match error {
        Error::UnknownModel { .. } | Error::NoSuchFile { .. } | Error::NotInStore { .. } => {
            (404, "not_found_error", "model_not_found")
        }
        Error::InvalidName { .. } | Error::Ambiguous { .. } | Error::OutsideOfStore { .. } => {
            (400, "invalid_request_error", "invalid_model")
        }
        Error::Gguf { .. } => (422, "invalid_request_error", "unusable_model"),
        Error::Busy { .. } => (409, "invalid_request_error", "model_busy"),
        _ => (502, "server_error", "model_unavailable"),
    };
    ErrorBody::new(status, kind, code, causes(error))
}
