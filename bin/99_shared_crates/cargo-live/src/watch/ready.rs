//! When a program that was just started will answer.

use std::{fmt, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixDatagram},
    time::{sleep, timeout},
};

use super::{
    kernel,
    launch::Run,
    sockets::{Place, Socket},
};

/// How often the kernel is asked what the program waits for.
const LOOK: Duration = Duration::from_millis(3);
/// A program of which the kernel shows nothing for this long is tried with a connection.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one attempt with a connection or a request lasts.
const ATTEMPT: Duration = Duration::from_millis(500);
/// Whoever takes a connection does so within this time; else it is nobody that is known here.
const TAKEN: Duration = Duration::from_millis(100);
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(10);

/// By what a program is known to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// It has said so, as `sd_notify` does.
    Said,
    /// It has answered the request of `--ready-url`.
    Answered,
    /// It waits for connections.
    Accepts,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Said => "it says that it is ready",
            Self::Answered => "it answers",
            Self::Accepts => "it accepts connections",
        })
    }
}

/// An address of the form `http://host:port/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Host and port.
    authority: String,
    path: String,
}

impl std::str::FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").ok_or("only `http://` is asked")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err("there is no host in it".to_owned());
        }
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { authority, path: path.to_owned() })
    }
}

/// Resolves when the program is ready, by whichever sign is to count.
///
/// A request counts unless `before`, which may be given it as well, has answered.
pub(super) async fn ready(
    pid: u32,
    said: &UnixDatagram,
    url: Option<&Url>,
    sockets: &[Socket],
    only_said: bool,
    before: Option<u32>,
) -> Sign {
    tokio::select! {
        () = says_so(said) => Sign::Said,
        () = answers(url, pid, before, sockets), if url.is_some() => Sign::Answered,
        () = accepts(pid, sockets), if url.is_none() && !only_said && !sockets.is_empty() => Sign::Accepts,
    }
}

/// Resolves when the program says that it is ready.
pub(super) async fn says_so(said: &UnixDatagram) {
    let mut message = [0; 4096];
    loop {
        match said.recv(&mut message).await {
            Ok(length) => {
                if message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
                    return;
                }
            }
            Err(_) => std::future::pending().await,
        }
    }
}

/// Resolves when the program waits for connections, or has taken one.
async fn accepts(pid: u32, sockets: &[Socket]) {
    let began = tokio::time::Instant::now();
    let mut looks = 0_u32;
    loop {
        // Most programs are one process; those that are several are looked for now and then.
        let pids = if looks % 16 == 15 { kernel::group(pid) } else { vec![pid] };
        looks += 1;
        if pids
            .iter()
            .any(|&pid| kernel::accepts(pid, sockets) || kernel::has_connections(pid, sockets))
        {
            return;
        }
        if began.elapsed() > PATIENCE {
            try_connection(pid, sockets).await;
        }
        sleep(LOOK).await;
    }
}

/// Gives whoever accepts a connection to take; who took it is then to be seen.
async fn try_connection(pid: u32, sockets: &[Socket]) {
    let port = sockets.iter().find_map(|socket| match socket.place {
        Place::Port(_) => Some(&socket.address),
        _ => None,
    });
    let Some(address) = port else { return sleep(LOOK * 10).await };
    let attempt = async {
        let connection = TcpStream::connect(address).await?;
        let local = connection.local_addr()?.port();
        while !kernel::group(pid).iter().any(|&pid| kernel::has_taken(pid, local)) {
            sleep(LOOK * 10).await;
        }
        Ok::<_, std::io::Error>(())
    };
    // Taken by nobody or by another: there is a next attempt.
    drop(timeout(ATTEMPT, attempt).await);
}

/// Resolves when a request is answered well by anybody but `before`.
async fn answers(url: Option<&Url>, pid: u32, before: Option<u32>, sockets: &[Socket]) {
    let Some(url) = url else { return std::future::pending().await };
    while !timeout(ATTEMPT, is_answered(url, pid, before, sockets))
        .await
        .is_ok_and(|answer| answer.unwrap_or(false))
    {
        sleep(PAUSE).await;
    }
}

async fn is_answered(
    url: &Url,
    pid: u32,
    before: Option<u32>,
    sockets: &[Socket],
) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect(&url.authority).await?;
    let local = connection.local_addr()?.port();
    // Who has it is seen before there is anything to answer, and to close it for.
    let has = |pid: u32| kernel::group(pid).iter().any(|&pid| kernel::has_taken(pid, local));
    if let Some(before) = before {
        let began = tokio::time::Instant::now();
        // One of the sockets that are held is taken by one of the two, however long that takes.
        let is_held = |socket: &Socket| {
            let Place::Port(port) = socket.place else { return false };
            url.authority.ends_with(&format!(":{port}"))
        };
        let is_held = sockets.iter().any(is_held);
        while !has(pid) && (is_held || began.elapsed() < TAKEN) {
            if has(before) {
                return Ok(false);
            }
            sleep(LOOK).await;
        }
    }
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", url.path, url.authority);
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') {
        if connection.read_buf(&mut answer).await? == 0 {
            return Ok(false);
        }
    }
    let status = answer.split(|&byte| byte == b' ').nth(1).and_then(|word| word.first());
    Ok(matches!(status, Some(b'2' | b'3')))
}

/// Whether the run uses one of the sockets now.
pub(super) fn uses(run: &Run, sockets: &[Socket]) -> bool {
    run.pids()
        .iter()
        .any(|&pid| kernel::accepts(pid, sockets) || kernel::has_connections(pid, sockets))
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn an_address_has_a_host_a_port_and_a_path() {
        let parsed = |text: &str| text.parse::<Url>().map(|url| (url.authority, url.path));
        let url = |authority: &str, path: &str| Ok((authority.to_owned(), path.to_owned()));
        assert_eq!(parsed("http://127.0.0.1:3000/health"), url("127.0.0.1:3000", "/health"));
        assert_eq!(parsed("http://localhost"), url("localhost:80", "/"));
        assert_eq!(parsed("http://[::1]:80/a/b"), url("[::1]:80", "/a/b"));
        assert!(parsed("https://localhost/").is_err() && parsed("http:///").is_err());
    }
}
