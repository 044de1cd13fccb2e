use std::future;

use job_client::Source;
use job_server::JobEmitter;
use rbee_api::{ErrorBody, ErrorCode, Origin};
use serde_json::value::RawValue;

use crate::{Hold, attempt::Attempt, suspect::Suspect, wanted::Completion};

/// The processes that do a level's work: what it puts a request to, and where it reads on.
pub trait NextLevel: Source<Held: Hold, Error = ErrorBody> + Clone + Send + 'static {
    /// Whether another process can go on with an answer whose own has ended.
    const CONTINUES: bool = false;

    /// Tells whoever gave an answer that nothing more of it is needed, if that one keeps it until it knows.
    fn has_read(&self, _upstream: &Origin) -> impl Future<Output = ()> + Send {
        future::ready(())
    }

    /// Has a process that answers nobody but such suspects meanwhile go on with the answer to `completion`
    /// behind what was `delivered` of it.
    ///
    /// # Errors
    ///
    /// No process is to be had.
    fn go_on(
        &self,
        _completion: Completion,
        _delivered: Vec<Box<RawValue>>,
        _suspect: Suspect,
        _job: JobEmitter,
    ) -> impl Future<Output = Result<Attempt<Self::Held>, ErrorBody>> + Send {
        let message = "nobody here goes on with another one's answer";
        future::ready(Err(ErrorBody::new(ErrorCode::NotContinuable, message)))
    }
}
