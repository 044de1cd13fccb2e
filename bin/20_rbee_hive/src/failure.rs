use model_store::Error;
use rbee_api::{ErrorBody, ErrorCode, causes};
use rbee_config::for_here;

/// The client's view of a worker that could not be brought up.
pub(crate) fn worker(error: &worker_lifecycle::Error) -> ErrorBody {
    let code = if error.is_build_failure() {
        ErrorCode::BuildFailed
    } else {
        ErrorCode::WorkerUnavailable
    };
    ErrorBody::new(code, for_here(&causes(error)))
}

/// The client's view of a model that is not to be had.
pub(crate) fn model(error: &Error) -> ErrorBody {
    let code = match error {
        Error::UnknownModel { .. }
        | Error::NoSuchFile { .. }
        | Error::UnusableFile { .. }
        | Error::NotInStore { .. } => ErrorCode::ModelNotFound,
        Error::InvalidName { .. } | Error::Ambiguous { .. } | Error::OutsideOfStore { .. } => {
            ErrorCode::InvalidModel
        }
        Error::Gguf { .. } | Error::Folder { .. } => ErrorCode::UnusableModel,
        Error::Busy { .. } => ErrorCode::ModelBusy,
        _ => ErrorCode::ModelUnavailable,
    };
    ErrorBody::new(code, for_here(&causes(error)))
}

/// The one answer to whoever names what is beyond their reach, whatever is there.
pub(crate) fn unreachable(name: &str) -> ErrorBody {
    let message = format!(
        "no model that this request may name is called `{}`: `./rbee model list` has those that it \
         may; paths, URLs and `hf:` names that are not in the store are for who may manage",
        model_store::shown(name)
    );
    ErrorBody::new(ErrorCode::ModelNotFound, for_here(&message))
}
