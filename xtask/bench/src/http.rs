use std::{future::poll_fn, pin::Pin};

use anyhow::Context as _;
use hyper::{
    Request, Response,
    body::{Body as _, Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::endpoint::Endpoint;

/// A connection that is kept for as long as the server lets it. Nothing is ever sent twice.
#[derive(Debug)]
pub(crate) struct Connection(SendRequest<String>);

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    pub(crate) async fn open_at(endpoint: &Endpoint) -> anyhow::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => Self::open(address).await,
            Endpoint::Unix(path) => {
                Self::over(UnixStream::connect(path).await.context("cannot connect")?).await
            }
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(Self(sender))
    }

    /// Whether it takes another request, as far as this side knows.
    pub(crate) async fn is_usable(&mut self) -> bool {
        self.0.ready().await.is_ok()
    }

    pub(crate) async fn get(
        &mut self,
        address: &str,
        path: &str,
    ) -> anyhow::Result<Response<Incoming>> {
        let request = Request::get(path).header("host", address).body(String::new())?;
        Ok(self.0.send_request(request).await?)
    }

    pub(crate) async fn post(
        &mut self,
        address: &str,
        path: &str,
        json: String,
    ) -> anyhow::Result<Response<Incoming>> {
        let request = Request::post(path)
            .header("host", address)
            .header("content-type", "application/json")
            .body(json)?;
        Ok(self.0.send_request(request).await?)
    }
}

/// The next piece of a body; `None` at its orderly end.
pub(crate) async fn piece(response: &mut Response<Incoming>) -> anyhow::Result<Option<Bytes>> {
    loop {
        let frame = poll_fn(|context| Pin::new(response.body_mut()).poll_frame(context)).await;
        match frame.transpose()? {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The whole body.
pub(crate) async fn text(response: &mut Response<Incoming>) -> anyhow::Result<String> {
    let mut body = Vec::new();
    while let Some(piece) = piece(response).await? {
        body.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(body)?)
}
