use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{
    Request, Response,
    body::{Body as _, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};

use crate::world::SOON;

/// One connection, kept for as long as the server lets it. Nothing is ever sent twice.
pub(crate) struct Client {
    address: String,
    connection: Option<SendRequest<String>>,
    driver: Option<JoinHandle<hyper::Result<()>>>,
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), connection: None, driver: None }
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        tokio::time::timeout(SOON, self.whole(path)).await.map_err(io::Error::from)?
    }

    async fn whole(&mut self, path: &str) -> io::Result<(u16, String)> {
        let mut response = self.begin(path).await?;
        let status = response.status().as_u16();
        let mut body = String::new();
        while let Some(chunk) = chunk(&mut response).await? {
            body.push_str(&chunk);
        }
        Ok((status, body))
    }

    pub(crate) async fn begin(&mut self, path: &str) -> io::Result<Response<Incoming>> {
        let usable = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            if self.address.starts_with('/') {
                self.speak_on(UnixStream::connect(&self.address).await?).await?;
            } else {
                self.speak_on(TcpStream::connect(&self.address).await?).await?;
            }
        }
        let request = Request::get(path).header("host", "localhost").body(String::new());
        let sender = self.connection.as_mut().expect("just connected");
        sender.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)
    }

    async fn speak_on<S>(&mut self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (connection, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        self.driver = Some(tokio::spawn(driver));
        self.connection = Some(connection);
        Ok(())
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(self) {
        let driver = self.driver.expect("a connection was opened");
        tokio::time::timeout(SOON, driver).await.expect("it is closed soon").unwrap().unwrap();
    }
}

/// The next piece of a body.
pub(crate) async fn chunk(response: &mut Response<Incoming>) -> io::Result<Option<String>> {
    loop {
        let frame = poll_fn(|context| Pin::new(response.body_mut()).poll_frame(context)).await;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(io::Error::other(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(String::from_utf8_lossy(&data).into_owned()));
                }
            }
        }
    }
}

/// The version and pid of whoever answers.
pub(crate) async fn who(address: &str) -> (String, u32) {
    let (status, body) = Client::new(address).get("/who").await.unwrap();
    assert_eq!(status, 200);
    let (version, pid) = body.trim().split_once(' ').unwrap();
    (version.to_owned(), pid.parse().unwrap())
}

/// A client that asks again and again, each time on a connection of its own.
pub(crate) struct Asking {
    over: Arc<AtomicBool>,
    task: JoinHandle<Seen>,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) refused: Vec<String>,
    pub(crate) lost: Vec<String>,
}

impl Asking {
    pub(crate) fn begin(address: String) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let over = Arc::clone(&over);
            async move {
                let mut seen = Seen::default();
                let mut pace = tokio::time::interval(Duration::from_millis(5));
                while !over.load(Ordering::Relaxed) {
                    pace.tick().await;
                    match Client::new(&address).get("/who").await {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                            seen.refused.push(error.to_string());
                        }
                        Err(error) => seen.lost.push(format!("{error:?}")),
                    }
                }
                seen
            }
        });
        Self { over, task }
    }

    pub(crate) async fn end(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        tokio::time::timeout(SOON, self.task).await.expect("its last answer comes").unwrap()
    }
}
