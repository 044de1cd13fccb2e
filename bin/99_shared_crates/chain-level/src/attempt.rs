use reqwest::RequestBuilder;

use crate::suspect::Suspect;

/// What one attempt needs: the request, and whatever is to be held while it is answered.
#[derive(Debug)]
pub struct Attempt<G> {
    pub request: RequestBuilder,
    /// Who is asked, as the next level knows them.
    pub at: String,
    /// Such as a count of the process's active requests; dropped when the answer has ended.
    pub guard: G,
    /// Whether another one could be asked in their place.
    pub elsewhere: bool,
}

/// What has become of a request so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Again {
    /// How many attempts have failed; from the first failure on nothing that is remembered of the
    /// process must be trusted.
    pub failed: usize,
    /// Set where the request may be why a process ended.
    pub suspect: Option<Suspect>,
    /// Who has too little memory for it.
    pub without: Vec<String>,
}
