use model_store::Error;
use rbee_api::{ErrorBody, ErrorCode, causes};

/// The client's view of a worker that could not be brought up.
pub(crate) fn worker(error: &worker_lifecycle::Error) -> ErrorBody {
    let code = if error.is_build_failure() {
        ErrorCode::BuildFailed
    } else {
        ErrorCode::WorkerUnavailable
    };
    ErrorBody::new(code, causes(error))
}

/// The client's view of a model that is not to be had.
pub(crate) fn model(error: &Error) -> ErrorBody {
    let code = match error {
        Error::UnknownModel { .. } | Error::NoSuchFile { .. } | Error::NotInStore { .. } => {
            ErrorCode::ModelNotFound
        }
        Error::InvalidName { .. } | Error::Ambiguous { .. } | Error::OutsideOfStore { .. } => {
            ErrorCode::InvalidModel
        }
        Error::Gguf { .. } => ErrorCode::UnusableModel,
        Error::Busy { .. } => ErrorCode::ModelBusy,
        _ => ErrorCode::ModelUnavailable,
    };
    ErrorBody::new(code, causes(error))
}
