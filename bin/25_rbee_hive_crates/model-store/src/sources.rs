use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use url::Url;

use crate::error::Error;

/// From where models are downloaded.
#[derive(Clone)]
pub struct Sources {
    pub(crate) hf_endpoint: Url,
    pub(crate) python: PathBuf,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// How long a download waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a name to be resolved, and for a connection.
    pub connect: Duration,
    /// For the next bytes.
    pub stall: Duration,
    /// Between the first failure and the next attempt; it doubles with each failure.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// After the first attempt, and again whenever bytes have arrived.
    pub retries: usize,
}

impl Sources {
    /// Hugging Face at `hf_endpoint`, and the Python that `environment`'s `PATH` leads to.
    ///
    /// Python gets `environment` and nothing else; it should hold `HOME`, `PATH`, and what says
    /// how to download here: `PIP_*`, `SSL_CERT_*`, proxies.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`] when `hf_endpoint` is not an `http` or `https` URL.
    pub fn new(
        hf_endpoint: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Error> {
        let invalid = |why: String| Error::InvalidName { name: hf_endpoint.to_owned(), why };
        let hf_endpoint = Url::parse(hf_endpoint).map_err(|error| invalid(error.to_string()))?;
        if !matches!(hf_endpoint.scheme(), "http" | "https") {
            return Err(invalid("an endpoint is an `http` or `https` URL".into()));
        }
        let environment = environment.into_iter().collect();
        Ok(Self { hf_endpoint, python: "python3".into(), environment })
    }

    /// Another Python than `python3`.
    #[must_use]
    pub fn with_python(mut self, python: impl Into<PathBuf>) -> Self {
        self.python = python.into();
        self
    }
}

/// Without the environment, which may hold passwords of proxies.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("hf_endpoint", &self.hf_endpoint.as_str())
            .field("python", &self.python)
            .finish_non_exhaustive()
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            stall: Duration::from_secs(30),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(5),
            retries: 4,
        }
    }
}
