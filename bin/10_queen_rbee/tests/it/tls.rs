//! What goes before HTTP, on real sockets: who comes from another machine says so itself here.

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use daemon_lifecycle::{Connection, Handshake as _};
use queen_rbee::Tls;
use rbee_config::{Environment, LiveConfig, Overrides, RbeeConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject as _},
    },
};

const DEADLINE: Duration = Duration::from_secs(20);

struct World {
    home: tempfile::TempDir,
    tls: Tls,
    listener: TcpListener,
}

/// A self-signed certificate for `queen.test`, good for a hundred years, and its key, which is no
/// secret.
struct Certificate {
    cert: &'static str,
    key: &'static str,
}

const FIRST: Certificate = Certificate {
    cert: include_str!("certificates/first.pem"),
    key: include_str!("certificates/first.key.pem"),
};

const RENEWED: Certificate = Certificate {
    cert: include_str!("certificates/renewed.pem"),
    key: include_str!("certificates/renewed.key.pem"),
};

/// Puts the certificate where the queen looks; gives what a client has to know of it.
fn certify(home: &Path, Certificate { cert, key }: Certificate) -> CertificateDer<'static> {
    fs::write(home.join("cert.pem"), cert).unwrap();
    fs::write(home.join("key.pem"), key).unwrap();
    CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()
}

impl World {
    async fn new(queen: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let queen = queen.replace("HOME", home.path().to_str().unwrap());
        fs::write(home.path().join("config.toml"), format!("[queen]\n{queen}\n")).unwrap();
        let variable = [("RBEE_HOME", home.path().as_os_str().to_owned())];
        let environment: Environment = variable.into_iter().collect();
        let config = RbeeConfig::resolve(&Overrides::default(), &environment, None).unwrap();
        let tls = Tls::new(LiveConfig::from_now_on(config, Overrides::default()));
        Self { home, tls, listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    async fn with_files() -> Self {
        Self::new("bind = \"0.0.0.0\"\ntls = { cert = \"HOME/cert.pem\", key = \"HOME/key.pem\" }")
            .await
    }

    /// Lets `client` connect, as from `remote`, and answers what it says by the same.
    async fn echo<T>(&self, remote: &str, client: impl AsyncFnOnce(TcpStream) -> T) -> (T, bool) {
        let address = self.listener.local_addr().unwrap();
        let serve = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            let remote: SocketAddr = remote.parse().unwrap();
            let from = Connection::Tcp { local: address, remote };
            let Ok(mut stream) = self.tls.shake(stream, from).await else { return false };
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
            stream.flush().await.unwrap();
            true
        };
        let client = async { client(TcpStream::connect(address).await.unwrap()).await };
        tokio::time::timeout(DEADLINE, async { tokio::join!(client, serve) }).await.unwrap()
    }
}

const AFAR: &str = "192.0.2.7:50000";
const HERE: &str = "127.0.0.1:50000";

async fn plainly(mut stream: TcpStream) -> String {
    stream.write_all(b"word").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn securely(stream: TcpStream, root: CertificateDer<'static>) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("queen.test".try_into().unwrap(), stream).await?;
    stream.write_all(b"word").await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn from_afar_only_tls_is_spoken_and_here_both() {
    let world = World::with_files().await;
    let root = certify(world.home.path(), FIRST);
    for remote in [AFAR, HERE, "[::ffff:127.0.0.1]:50000"] {
        let client = async |stream| securely(stream, root.clone()).await;
        let (answer, begun) = world.echo(remote, client).await;
        assert_eq!((answer.unwrap().as_str(), begun), ("word", true), "{remote}");
    }
    assert_eq!(world.echo(HERE, plainly).await, ("word".to_owned(), true));
    let (refusal, begun) = world.echo(AFAR, plainly).await;
    assert!(refusal.starts_with("HTTP/1.1 400 "), "{refusal}");
    assert!(refusal.contains("\"tls_required\""), "{refusal}");
    assert!(!begun);
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_shown_from_then_on() {
    let world = World::with_files().await;
    let first = certify(world.home.path(), FIRST);
    let client = async |stream| securely(stream, first.clone()).await;
    assert!(world.echo(AFAR, client).await.0.is_ok());
    let renewed = certify(world.home.path(), RENEWED);
    let client = async |stream| securely(stream, renewed.clone()).await;
    assert_eq!(world.echo(AFAR, client).await.0.unwrap(), "word");
    let client = async |stream| securely(stream, first.clone()).await;
    assert!(world.echo(AFAR, client).await.0.is_err());
}

#[tokio::test]
async fn without_its_files_nobody_gets_through_from_afar_and_here_everybody() {
    let world = World::with_files().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let root = certify(elsewhere.path(), FIRST);
    let client = async |stream| securely(stream, root.clone()).await;
    let (answer, begun) = world.echo(AFAR, client).await;
    assert!(answer.is_err() && !begun);
    assert_eq!(world.echo(HERE, plainly).await, ("word".to_owned(), true));
}

#[tokio::test]
async fn behind_a_proxy_plain_http_is_spoken() {
    let world = World::new("bind = \"0.0.0.0\"\ntls = { proxy = true }").await;
    assert_eq!(world.echo(AFAR, plainly).await, ("word".to_owned(), true));
}

#[tokio::test]
async fn without_tls_nobody_from_afar_is_heard() {
    let world = World::new("").await;
    assert_eq!(world.echo(HERE, plainly).await, ("word".to_owned(), true));
    let hears = async |mut stream: TcpStream| stream.read(&mut [0]).await.unwrap_or(0);
    assert_eq!(world.echo(AFAR, hears).await, (0, false));
}
