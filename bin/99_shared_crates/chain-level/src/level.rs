use std::{fmt, future, sync::Arc, time::Duration};

use daemon_lifecycle::{Identity, Outcome};
use rbee_api::ErrorBody;
use reqwest::{Method, RequestBuilder};
use tracing::Instrument as _;

use crate::{
    Metrics,
    held::Held,
    places::Places,
    slot::{Busy, Lapse, Renewed, Running, Slot},
    wanted::{Completion, Wanted},
};

/// What one level of the chain knows of the next: how its processes are told apart, brought up and
/// spoken to. [`crate::Pool`] keeps them, [`crate::Relays`] has them answer.
pub trait Level: Clone + Send + Sync + 'static {
    /// A process that answers, for whoever speaks to it.
    type Handle: Clone + Send + Sync + 'static;
    /// What is told of one.
    type Description: Send;

    /// Who narrates of it: `queen`.
    const NARRATOR: &'static str;
    /// What one is called: `hive`.
    const PROCESS: &'static str;
    /// Whether a request can be why a process ends: one that was under way then is tried again only in
    /// a process of its own.
    const CAN_BE_ENDED_BY_REQUESTS: bool = false;
    /// Whether such a process can go on with a stream that another one has begun.
    const CAN_CONTINUE: bool = false;
    /// Whether a request may be put to one of several, so that another one is asked where one has too
    /// little memory.
    const CHOOSES: bool = false;

    /// The process's own name, by which it is found again when its stream broke.
    fn id(handle: &Self::Handle) -> &str;

    fn identity(handle: &Self::Handle) -> &Identity;

    /// Whether exactly this process is alive: by the kernel's word, where it is on this machine. One
    /// that cannot be reached counts as dead until it is brought up, or found, again.
    fn is_alive(_handle: &Self::Handle, process: &Identity) -> bool {
        process.is_alive()
    }

    /// Where requests and processes are counted.
    fn metrics(&self) -> &Metrics;

    /// How the process came to answer that was brought up.
    fn outcome(handle: &Self::Handle) -> &Outcome;

    /// For requests that name no model.
    fn default_model(&self) -> String;

    /// Whether the process runs what its sources and its configuration say now. Any doubt is `false`.
    fn is_current(&self, handle: &Self::Handle) -> impl Future<Output = bool> + Send;

    /// Brings up a process for the place, or replaces the stale one that is in it; one caller at a time
    /// for each place.
    fn bring_up(
        &self,
        place: Place<'_, Self>,
        wanted: &Wanted,
    ) -> impl Future<Output = Result<Self::Handle, ErrorBody>> + Send;

    /// A request to the process, with the right to change its state.
    fn request(&self, handle: &Self::Handle, method: Method, path: &str) -> RequestBuilder;

    fn describe(
        &self,
        running: &Running<Self::Handle>,
    ) -> impl Future<Output = Self::Description> + Send;

    /// A request for a completion, yet without its body.
    fn completion(&self, handle: &Self::Handle, completion: &Completion) -> RequestBuilder {
        self.request(handle, completion.method.clone(), &completion.path)
    }

    /// The process as a request holds it that it answers; `None` is one that no pool has.
    fn hold(busy: impl Into<Option<Busy<Self::Handle>>>) -> Held<Self::Handle> {
        Held::new(busy.into(), Self::CAN_BE_ENDED_BY_REQUESTS)
    }

    /// The place that is to answer for a model: the one that is called like it. `None` where no other is
    /// left than those that it is to do `without`.
    fn choose(
        &self,
        _places: &Places<Self::Handle>,
        model: &str,
        without: &[String],
    ) -> impl Future<Output = Option<String>> + Send {
        future::ready(without.is_empty().then(|| model.to_owned()))
    }

    /// How many processes the machine of such processes has ended so far because it had no memory left. The
    /// end of one while that grows is not taken for a request's doing.
    fn memory_kills(&self) -> u64 {
        0
    }

    /// What a new process could use there now, in bytes; `None` where it does not tell.
    fn available_memory(&self) -> Option<u64> {
        None
    }

    /// The places whose processes are to be there besides before the chosen one can answer for the model.
    fn beside(&self, _model: &str) -> Vec<String> {
        Vec::new()
    }

    /// Has the chosen process, and those [beside](Self::beside) it, make ready for the model. Not asked
    /// where there are none beside it.
    fn prepare(
        &self,
        _model: &str,
        _chosen: &Self::Handle,
        _beside: &[Self::Handle],
        _wanted: &Wanted,
    ) -> impl Future<Output = Result<(), ErrorBody>> + Send {
        future::ready(Ok(()))
    }

    /// The one spelling of a place's name; refused where there is to be no such place. Asked before
    /// anything is kept under the name.
    fn admit(
        &self,
        _places: &Places<Self::Handle>,
        name: &str,
        _wanted: &Wanted,
    ) -> impl Future<Output = Result<String, ErrorBody>> + Send {
        future::ready(Ok(name.to_owned()))
    }

    /// Whether a process that is remembered can be taken before it is looked at any closer; not if
    /// it has failed a request and is `distrusted`.
    fn answers(
        &self,
        handle: &Self::Handle,
        distrusted: bool,
    ) -> impl Future<Output = bool> + Send {
        future::ready(!distrusted && Self::is_alive(handle, Self::identity(handle)))
    }

    /// Processes that are alive and none of the `known` ids, each with the name of its place.
    fn others(
        &self,
        _known: Vec<String>,
    ) -> impl Future<Output = Vec<(String, Self::Handle)>> + Send {
        future::ready(Vec::new())
    }

    /// Lets a process that is in no place any more finish what it has, and ends it.
    fn retire(
        &self,
        _running: &Running<Self::Handle>,
        _why: &'static str,
    ) -> impl Future<Output = ()> + Send {
        future::ready(())
    }

    /// Whether nobody has used the process for so long that it is to be ended.
    fn is_unused(&self, _running: &Running<Self::Handle>) -> bool {
        false
    }

    /// How many requests may wait for processes that are not there yet.
    fn most_waiting(&self) -> usize {
        usize::MAX
    }

    /// How many requests the process in that place is given at once, whatever it is by now; others wait,
    /// and come in turns of who sent them.
    fn at_once(&self, _name: &str, _occupant: Option<&Self::Handle>) -> usize {
        usize::MAX
    }

    /// How long a request may wait for its turn.
    fn patience(&self) -> Duration {
        Duration::MAX
    }

    /// Tells the process that it is still wanted. One that does not answer at all is taken to hang.
    ///
    /// # Errors
    ///
    /// It cannot be told, or says itself that it gets nowhere.
    fn renew(&self, _handle: &Self::Handle) -> impl Future<Output = Result<Renewed, Lapse>> + Send {
        future::ready(Ok(Renewed::default()))
    }

    /// Ends a process that hangs, at once; it is the one behind the handle now.
    fn end(&self, _handle: &Self::Handle, process: &Identity) -> impl Future<Output = ()> + Send {
        async {
            daemon_lifecycle::kill(process).await;
        }
    }

    /// Says, for as long as the answer lives, that somebody waits for what is being built for nobody.
    fn hurry(&self) -> impl Send {}

    /// Whether the process of that id keeps its answers until it is told that nothing more of them is needed.
    fn keeps_answers(&self, _places: &Places<Self::Handle>, _id: &str) -> bool {
        false
    }

    /// A request to the process of that id, wherever it is, to go on with what it has; `None` where
    /// whoever is in the place of that name now has it, or fetches it.
    fn reach(
        &self,
        _places: &Places<Self::Handle>,
        _id: &str,
        _method: &Method,
        _path: &str,
    ) -> impl Future<Output = Option<Reached<Self::Handle>>> + Send {
        future::ready(None)
    }
}

/// A request to a process that is held meanwhile.
pub type Reached<T> = Result<(RequestBuilder, Held<T>), ErrorBody>;

/// Where a process is to be brought up.
pub struct Place<'a, L: Level> {
    pub places: &'a Places<L::Handle>,
    pub slot: &'a Arc<Slot<L::Handle>>,
    /// What answers there and is to be replaced.
    pub stale: Option<&'a Arc<Running<L::Handle>>>,
    pub(crate) retire: &'a Retire<'a, L>,
}

pub(crate) type Retire<'a, L> =
    dyn Fn(Arc<Running<<L as Level>::Handle>>, &'static str) + Send + Sync + 'a;

impl<L: Level> Place<'_, L> {
    /// Lets another process, which is in no place any more, finish what it has and ends it, beside
    /// whatever goes on.
    pub fn retire(&self, old: Arc<Running<L::Handle>>, why: &'static str) {
        (self.retire)(old, why);
    }
}

impl<L: Level> fmt::Debug for Place<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("name", &self.slot.name).finish_non_exhaustive()
    }
}

/// Runs `work` in a task of its own: a client who goes away leaves nothing half done.
///
/// # Errors
///
/// The work's, or that it panicked.
pub async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ErrorBody>> + Send + 'static,
) -> Result<T, ErrorBody> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(error) => Err(http_guard::ApiError::internal(error).into()),
    }
}
