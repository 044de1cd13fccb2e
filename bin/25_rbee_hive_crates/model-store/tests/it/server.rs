use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// An HTTP server on loopback that answers by a function and remembers what it was asked.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Path and query.
    pub(crate) target: String,
    headers: BTreeMap<String, String>,
    /// How many requests there were before this one.
    pub(crate) number: usize,
}

pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    end: End,
}

enum End {
    Whole,
    /// The connection is closed after that many bytes of the body.
    Cut(usize),
    /// Nothing comes after that many bytes of the body, until the client leaves.
    Stall(usize),
    Silence,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (log, stop, answer) = (Arc::clone(&requests), Arc::clone(&stopped), Arc::new(answer));
        let listening = thread::spawn(move || {
            for connection in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                thread::spawn(move || serve(&connection.unwrap(), &log, &*answer));
            }
        });
        Self { address, requests, stopped, listening: Some(listening) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
        self.listening.take().unwrap().join().unwrap();
    }
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte of a `Range`.
    pub(crate) fn start(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), end: End::Whole }
    }

    /// `content` as a good server sends it: with an entity tag, and the range that is asked for.
    pub(crate) fn file(request: &Request, content: &[u8], etag: &str) -> Self {
        let is_same = request.header("if-range").is_none_or(|tag| tag == etag);
        match request.start().filter(|_| is_same) {
            Some(start) if start < content.len() => {
                let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
                Self::new(206, &content[start..]).with("content-range", &range).with("etag", etag)
            }
            Some(_) => {
                let range = format!("bytes */{}", content.len());
                Self::new(416, "").with("content-range", &range)
            }
            None => Self::new(200, content).with("etag", etag),
        }
    }

    /// Nothing, not even a status, until the client leaves.
    pub(crate) fn silence() -> Self {
        Self { end: End::Silence, ..Self::new(200, "") }
    }

    pub(crate) fn redirect(target: &str) -> Self {
        Self::new(302, "").with("location", target)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.end = End::Cut(bytes);
        self
    }

    pub(crate) fn stall_after(mut self, bytes: usize) -> Self {
        self.end = End::Stall(bytes);
        self
    }
}

fn serve(
    connection: &TcpStream,
    log: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request) -> Answer + Send + Sync),
) {
    let mut lines = BufReader::new(connection).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let target = first.split(' ').nth(1).unwrap().to_owned();
    let headers = lines.by_ref().take_while(|line| !line.is_empty());
    let pairs = headers.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let headers = pairs.collect();
    let request = {
        let mut log = log.lock().unwrap();
        let request = Request { target, headers, number: log.len() };
        log.push(request.clone());
        request
    };
    let answer = answer(&request);
    let length = ("content-length".to_owned(), answer.body.len().to_string());
    let has_own = |name: &str| answer.headers.iter().any(|(other, _)| other == name);
    let has_length = has_own("content-length") || has_own("transfer-encoding");
    let headers = answer.headers.iter().chain((!has_length).then_some(&length));
    let headers: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n{headers}\r\n", answer.status);
    let mut connection = connection;
    let sent = match answer.end {
        End::Silence => {
            drop(connection.read(&mut [0]));
            return;
        }
        End::Whole => &answer.body[..],
        End::Cut(bytes) | End::Stall(bytes) => &answer.body[..bytes.min(answer.body.len())],
    };
    // A client that leaves in the middle is part of some tests.
    if connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(sent)).is_ok()
        && matches!(answer.end, End::Stall(_))
    {
        drop(connection.read(&mut [0]));
    }
}
