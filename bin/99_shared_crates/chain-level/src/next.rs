use job_client::Source;
use rbee_api::ErrorBody;

use crate::Hold;

/// The processes that do a level's work: what it puts a request to, and where it reads on.
pub trait NextLevel: Source<Held: Hold, Error = ErrorBody> + Clone + Send + 'static {}

impl<S: Source<Held: Hold, Error = ErrorBody> + Clone + Send + 'static> NextLevel for S {}
