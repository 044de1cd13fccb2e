use std::{fmt, path::Path, time::Duration};

use hive_lifecycle::HiveElsewhere;
use http_guard::Token;
use reqwest::{Client, Method, RequestBuilder, header::AUTHORIZATION};

/// How long a hive on this host may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a stream may be silent; a hive sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(60);

/// How a hive is spoken to.
#[derive(Clone)]
pub(crate) struct Way {
    http: Client,
    /// For responses that are streams.
    streams: Client,
    base_url: String,
    token: Token,
    pub(super) elsewhere: Option<HiveElsewhere>,
}

impl Way {
    /// To hives on this host, of which none is named yet.
    ///
    /// # Errors
    ///
    /// When the platform's HTTP client cannot be set up.
    pub(super) fn here(token: Token) -> reqwest::Result<Self> {
        let (http, streams) = clients(None)?;
        Ok(Self { http, streams, base_url: String::new(), token, elsewhere: None })
    }

    /// The same to the one at `base_url`.
    pub(super) fn at(&self, base_url: String) -> Self {
        Self { base_url, ..self.clone() }
    }

    /// # Errors
    ///
    /// When the platform's HTTP client cannot be set up.
    pub(super) fn elsewhere(hive: HiveElsewhere, token: Token) -> reqwest::Result<Self> {
        let (http, streams) = clients(Some(&hive.socket))?;
        let base_url = "http://localhost".to_owned();
        Ok(Self { http, streams, base_url, token, elsewhere: Some(hive) })
    }

    /// As a person is told it.
    pub(super) fn shown(&self) -> String {
        match &self.elsewhere {
            Some(hive) => format!("ssh://{}", hive.host()),
            None => self.base_url.clone(),
        }
    }

    /// Whether the machine answers, whatever the hive does; this one always does.
    pub(super) async fn machine_answers(&self, limit: Duration) -> bool {
        match &self.elsewhere {
            Some(hive) => hive.machine_answers(limit).await,
            None => true,
        }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base_url))
    }

    /// The same for an answer that is a stream.
    pub(super) fn stream(&self, method: Method, path: &str) -> RequestBuilder {
        self.streams.request(method, format!("{}{path}", self.base_url))
    }

    /// With the right to change the hive's state.
    pub(super) fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        request.header(AUTHORIZATION, self.token.authorization())
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Way").field(&self.shown()).finish()
    }
}

/// For requests, and for those whose answers are streams.
fn clients(socket: Option<&Path>) -> reqwest::Result<(Client, Client)> {
    // A connection of its own for each request: one that was kept would lead to a hive that has
    // been replaced, and that answers once more before it closes it.
    let client = || {
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
        let client = client.pool_max_idle_per_host(0);
        match socket {
            Some(socket) => client.unix_socket(socket),
            None => client,
        }
    };
    Ok((client().build()?, client().read_timeout(SILENCE).build()?))
}
