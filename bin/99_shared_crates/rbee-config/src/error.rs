use std::{io, net::IpAddr, path::PathBuf};

use crate::origin::Origin;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot read the configuration `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the configuration `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path}:{line}:{column}: {message}", path = path.display())]
    Syntax { path: PathBuf, line: usize, column: usize, message: String },
    #[error("{path}:{line}: unknown key `{key}`{}", did_you_mean(nearest.as_deref()), path = path.display())]
    UnknownKey { path: PathBuf, line: usize, key: String, nearest: Option<String> },
    #[error("`{key}` must be {expected}, not {found} ({origin})")]
    Invalid { key: String, expected: String, found: String, origin: Origin },
    #[error(
        "hive `{alias}` is on `{host}` and has no port: it is reached over SSH, whose port is set in \
         `~/.ssh/config` ({origin})"
    )]
    PortElsewhere { alias: String, host: String, origin: Origin },
    #[error("two hives are called `{alias}` ({origin})")]
    DuplicateHive { alias: String, origin: Origin },
    #[error("`{first}` and `{second}` are both {port} ({origin})")]
    SharedPort { first: String, second: String, port: u16, origin: Origin },
    #[error(
        "`queen.bind` is {bind}, which other machines reach, and keys and answers would go there in the \
         clear: name a certificate and its key as `queen.tls.cert` and `queen.tls.key`, or set \
         `queen.tls.proxy = true` where something in front of the queen sees to that ({origin})"
    )]
    InTheClear { bind: IpAddr, origin: Origin },
    #[error(
        "`queen.tls` needs both `cert` and `key`, or `proxy = true` and neither of them ({origin})"
    )]
    HalfTls { origin: Origin },
    #[error("no hive is called `{alias}`{}; configured: {}", did_you_mean(nearest.as_deref()), list(known))]
    UnknownHive { alias: String, known: Vec<String>, nearest: Option<String> },
    #[error("the environment variable `{name}` is not valid UTF-8")]
    NotUnicode { name: String },
    #[error("the environment variable `{name}` must be an absolute path, not `{path}`", path = path.display())]
    RelativePath { name: String, path: PathBuf },
    #[error("neither `RBEE_HOME` nor `HOME` is set, so there is no place for files")]
    NoHome,
    #[error("`{path}` holds no sources of rbee ({origin})", path = path.display())]
    NoSources { path: PathBuf, origin: Origin },
    #[error("cannot create the folder `{path}`", path = path.display())]
    CreateFolder { path: PathBuf, source: io::Error },
    #[error(
        "`{path}` can be written by others (mode {mode:04o}), who could so have anything executed: `chmod {mend} {path}`",
        path = path.display()
    )]
    Writable { path: PathBuf, mode: u32, mend: &'static str },
    #[error(
        "`{path}` belongs to another user (uid {owner}), who could so have anything executed: `chown -R {user} {path}`",
        path = path.display()
    )]
    Foreign { path: PathBuf, owner: u32, user: u32 },
    #[error("the folder `{path}` belongs to another user (uid {owner})", path = path.display())]
    ForeignFolder { path: PathBuf, owner: u32 },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
