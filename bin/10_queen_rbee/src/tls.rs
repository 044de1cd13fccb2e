//! What goes before HTTP on a connection: TLS for whoever is on another machine, by files that may
//! change while the queen runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use daemon_lifecycle::{Connection, Handshake, Shaking, Stream};
use rbee_api::{ErrorBody, ErrorCode, causes};
use rbee_config::LiveConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

/// The first byte of every TLS connection, and of no HTTP request.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Of a request that is refused, what is read.
const REFUSED_BYTES: u64 = 64 * 1024;

/// By the configuration of the moment: TLS where a client begins with it, and nothing else from
/// other machines unless something in front of the queen has seen to that.
#[derive(Debug)]
pub struct Tls {
    config: LiveConfig,
    known: Mutex<Option<Known>>,
}

/// What was read of the files last.
#[derive(Clone)]
struct Known {
    state: [(PathBuf, Option<SystemTime>); 2],
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Tls {
    pub fn new(config: LiveConfig) -> Self {
        Self { config, known: Mutex::default() }
    }

    async fn begin(&self, stream: TcpStream, from: Connection) -> io::Result<Box<dyn Stream>> {
        let tls = self.config.current().queen.tls.clone();
        let is_local = match from {
            Connection::Tcp { remote, .. } => remote.ip().to_canonical().is_loopback(),
            Connection::Unix => true,
        };
        let (cert, key) = match tls {
            rbee_config::Tls::Proxy => return Ok(Box::new(stream)),
            rbee_config::Tls::None if is_local => return Ok(Box::new(stream)),
            // Of an address that is no longer to be reached.
            rbee_config::Tls::None => return Err(io::ErrorKind::PermissionDenied.into()),
            rbee_config::Tls::Files { cert, key } => (cert, key),
        };
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] == HANDSHAKE_RECORD {
            let acceptor = self.acceptor(&cert, &key).inspect_err(|error| {
                tracing::error!(error = causes(error), "no TLS");
            })?;
            return Ok(Box::new(acceptor.accept(stream).await?));
        }
        if is_local {
            return Ok(Box::new(stream));
        }
        refuse(stream).await
    }

    /// From the files as they are now.
    fn acceptor(&self, cert: &Path, key: &Path) -> io::Result<TlsAcceptor> {
        let state = [cert, key].map(|path| {
            let modified = fs::metadata(path).and_then(|meta| meta.modified());
            (path.to_owned(), modified.ok())
        });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| known.state == state) {
            return Ok(known.acceptor.clone());
        }
        let acceptor = TlsAcceptor::from(Arc::new(read(cert, key)?));
        *known = Some(Known { state, acceptor: acceptor.clone() });
        Ok(acceptor)
    }
}

impl Handshake for Tls {
    fn shake(&self, stream: TcpStream, from: Connection) -> Shaking<'_> {
        Box::pin(self.begin(stream, from))
    }
}

fn read(cert: &Path, key: &Path) -> io::Result<ServerConfig> {
    let unusable = |path: &Path, why: String| {
        io::Error::other(format!("`{}` cannot be used: {why}", path.display()))
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(cert, causes(&error)))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, causes(&error)))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| unusable(cert, causes(&error)))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Says in HTTP that HTTP is not spoken here.
async fn refuse(mut stream: TcpStream) -> io::Result<Box<dyn Stream>> {
    let message = "this server is asked by `https://` from other machines";
    let body = serde_json::to_string(&ErrorBody::new(ErrorCode::TlsRequired, message))?;
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // What is closed with something unread in it is reset, and the answer lost with it.
    tokio::io::copy(&mut stream.take(REFUSED_BYTES), &mut tokio::io::sink()).await?;
    Err(io::Error::other("plain HTTP from another machine"))
}
