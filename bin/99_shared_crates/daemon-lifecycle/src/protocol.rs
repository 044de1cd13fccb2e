//! What starters and daemons say to each other: one JSON object a line.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

use crate::{Identity, descriptor::is_own, spec::Spec, state::State};

/// Of everything but the hand-over, whose messages stay as they are: what is added to them is
/// optional and announced in [`Hello`] and [`Terms`], so that a generation of any version takes over
/// from one of any other.
pub(crate) const PROTOCOL: u32 = 1;

/// Longer lines are a fault of the other side.
const MAX_LINE_BYTES: u64 = 256 * 1024;

/// The first line that a starter writes into the channel, which is the daemon's stdin.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// How this daemon was started, so that it can start its own replacement.
    #[serde(rename = "manager")]
    pub(crate) spec: Spec,
    pub(crate) generation: u64,
    pub(crate) args_hash: String,
    pub(crate) source_root: Option<PathBuf>,
    /// The generation whose listeners are to be taken over.
    pub(crate) predecessor: Option<u64>,
}

/// From the daemon to its starter, through the channel.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromDaemon {
    /// Start-up goes on; the starter's deadline begins anew.
    Progress {
        what: String,
    },
    Ready {
        identity: Identity,
    },
    /// The hand-over took place: this generation accepts connections now.
    Serving,
    Failed {
        reason: String,
        fault: Fault,
    },
}

/// Whose fault it is that a daemon did not start.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    Own,
    /// Somebody else listens on this address.
    AddressInUse(String),
    /// The generation before did not hand over, or the machine is out of something.
    Other,
}

/// From the starter to its daemon, through the channel.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToDaemon {
    Attach(Box<Attachment>),
    /// The new generation answered well: take over from the old one.
    Take,
}

/// To a daemon, through its control socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    Hello,
    /// Stop accepting, let what runs end until the deadline, exit.
    Stop {
        drain_ms: u64,
    },
    /// What follows on this connection is HTTP, answered as if it had come to the listener.
    Http,
    /// Opens a hand-over; the connection is its life line.
    Prepare {
        identity: Box<Identity>,
        terms: Terms,
    },
    /// Asks for the listener that was bound for `address`. Only within a hand-over.
    Listener {
        address: String,
    },
    /// Asks for the descriptor of the listener just found; one byte carries it.
    Descriptor {
        address: String,
    },
    /// Pause accepting. Only within a hand-over.
    Take,
    /// The new generation accepts. Only within a hand-over.
    Accepting,
    /// Cut the probation short: said by a generation that cannot hand on whoever stands by for it.
    /// Only within a hand-over.
    Settle,
    /// Accepts nothing any more, as it was told to: [`Reply::Retire`]. Only within a hand-over.
    Retired,
    /// The new generation was told to stop: do not take over from it.
    Leaving,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Hello(Hello),
    Stopping,
    Http,
    Prepared,
    Listener {
        found: bool,
    },
    Yours,
    /// To one that takes over from a generation which is on probation itself: this one stands by,
    /// take over from it.
    StandsBy {
        generation: u64,
    },
    Commit,
    /// To a generation on probation: a newer one takes its place.
    Retire,
    Refused {
        why: String,
    },
}

/// What the old generation does once the new one accepts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) drain_ms: u64,
    pub(crate) probation_ms: u64,
    /// What the new generation is asked for during its probation.
    pub(crate) health_path: Option<String>,
    /// Whether the new generation understands [`Reply::StandsBy`].
    #[serde(default)]
    pub(crate) hands_on: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    pub(crate) identity: Identity,
    pub(crate) state: State,
    /// Whether it has listeners that it can hand over.
    #[serde(default)]
    pub(crate) hands_over: bool,
    /// Whether it goes on standing by when a newer one replaces the one on probation.
    #[serde(default)]
    pub(crate) hands_on: bool,
    /// Whether it was ready once: a next generation then takes over, or ends by itself, as its starter
    /// has said or has died.
    #[serde(default)]
    pub(crate) is_ready: bool,
    /// Whether its threads that serve have come to nothing since they were asked for several times.
    #[serde(default)]
    pub(crate) is_stuck: bool,
}

pub(crate) fn to_line<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("a message holds only strings and numbers");
    line.push(b'\n');
    line
}

/// A Unix socket on which messages come and go.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
    /// What has come of the next line; kept here so that a cancelled `next` loses nothing.
    line: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream), line: Vec::new() }
    }

    /// Connects to the control socket of a daemon of the same user.
    pub(crate) async fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        if !is_own(&stream) {
            return Err(io::Error::other("the control socket belongs to another user"));
        }
        Ok(Self::new(stream))
    }

    pub(crate) async fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.stream.write_all(&to_line(message)).await
    }

    /// The next message, `None` when the other side has closed.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let room = MAX_LINE_BYTES.saturating_sub(self.line.len() as u64);
        (&mut self.stream).take(room).read_until(b'\n', &mut self.line).await?;
        if self.line.last() != Some(&b'\n') {
            return Ok(None);
        }
        let message = serde_json::from_slice(&self.line);
        self.line.clear();
        Ok(Some(message?))
    }

    /// Sends `request` and reads its reply.
    pub(crate) async fn ask(&mut self, request: &Request, limit: Duration) -> io::Result<Reply> {
        let exchange = async {
            self.send(request).await?;
            self.next().await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        tokio::time::timeout(limit, exchange).await.map_err(io::Error::from)?
    }

    pub(crate) fn get_ref(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    pub(crate) fn into_inner(self) -> UnixStream {
        self.stream.into_inner()
    }
}
