use std::{io, path::PathBuf, time::Duration};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot run `ssh`, OpenSSH's client")]
    NoSsh(#[source] io::Error),
    #[error("cannot reach `{host}` over SSH: {said}; {}", to_try(host, said))]
    Connect { host: String, said: String },
    #[error(
        "`{host}` did not let anybody in within {} s; try `ssh {host}`, which says more with `-v`",
        limit.as_secs()
    )]
    Slow { host: String, limit: Duration },
    #[error(
        "`{host}` lets this user in, and then runs something else than what it is asked to, which \
         wrote: {wrote}; the account's login shell or a `ForceCommand` of its sshd is why, and \
         `ssh {host} echo works` has to write `works` by itself"
    )]
    Other { host: String, wrote: String },
    #[error("the connection to `{host}` is lost: {said}")]
    Lost { host: String, said: String },
    #[error("`{host}` has not answered within {} s", limit.as_secs())]
    Silent { host: String, limit: Duration },
    #[error("{what} failed on `{host}`: {said}{}", remedy(host, said))]
    Failed { host: String, what: String, said: String },
    #[error("cannot open `{path}`", path = path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("no socket can be made in `{path}` for the connection to `{host}`", path = path.display())]
    Folder { host: String, path: PathBuf, source: io::Error },
    #[error(
        "`{path}` is too long a path for a socket, whose limit is {limit} bytes",
        path = path.display()
    )]
    LongPath { path: PathBuf, limit: usize },
}

/// What a person does next about a connection that was not made.
fn to_try(host: &str, said: &str) -> String {
    if said.contains("has changed") {
        return format!(
            "its key is another one than before: find out why, and only then `ssh-keygen -R` its name \
             and `ssh {host}`"
        );
    }
    match said.contains("Host key verification failed") {
        true => format!("try `ssh {host}`, which shows you its key and asks whether you trust it"),
        false => format!("try `ssh -o BatchMode=yes {host} true`, which has to work by itself"),
    }
}

/// What a person does about a machine on which something failed, where that is known.
fn remedy(host: &str, said: &str) -> String {
    let has = |words: &[&str]| words.iter().any(|words| said.contains(words));
    if has(&["No space left", "Disk quota"]) {
        return format!("; make room there: `ssh {host} df -h .` shows how much there is");
    }
    if has(&["Permission denied", "Read-only file system", "Operation not permitted"]) {
        return format!(
            "; that user has to be able to write there: `ssh {host} id` says who it is"
        );
    }
    String::new()
}

/// What is worth telling of what ssh wrote: no empty lines, no frames of `@`, nothing of single
/// connections that nobody accepted, nor that it makes another one for what a host allows one connection
/// only one of (`MaxSessions 1`); the last of them.
pub(crate) fn said(stderr: &str) -> String {
    const LAST: usize = 4;
    const NOTHING: [&str; 3] = ["@", "channel ", "mux_client_"];
    let lines = stderr.lines().map(str::trim);
    let is_something =
        |line: &&str| !line.is_empty() && !NOTHING.iter().any(|nothing| line.starts_with(nothing));
    let lines: Vec<&str> = lines.filter(is_something).collect();
    match lines.len() {
        0 => "ssh gave no reason".to_owned(),
        count => lines[count.saturating_sub(LAST)..].join(" / "),
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, said};

    #[test]
    fn a_changed_key_is_told_without_its_frame() {
        let stderr = "@@@@@@@@\n@ WARNING @\n@@@@@@@@\nSomeone could be listening\n\n\
                      Add correct host key in /h to get rid of this message.\n\
                      Offending ED25519 key in /h:1\n\
                      Host key for box has changed and you have requested strict checking.\n\
                      Host key verification failed.\n";
        let error = Error::Connect { host: "me@box".to_owned(), said: said(stderr) }.to_string();
        assert!(error.contains("Host key for box has changed"), "{error}");
        assert!(
            error.contains("ssh-keygen -R") && !error.contains('@'.to_string().repeat(2).as_str())
        );
    }

    #[test]
    fn what_fails_there_says_what_to_do_where_that_is_known() {
        let failed = |said: &str| {
            let (host, what) = ("me@box".to_owned(), "writing `/h/f`".to_owned());
            Error::Failed { host, what, said: said.to_owned() }.to_string()
        };
        let full = failed("cat: write error: No space left on device");
        assert!(full.starts_with("writing `/h/f` failed on `me@box`: cat: write error"), "{full}");
        assert!(full.contains("`ssh me@box df -h .`"), "{full}");
        assert!(failed("mkdir: /h: Read-only file system").contains("has to be able to write"));
        assert_eq!(failed("odd"), "writing `/h/f` failed on `me@box`: odd");
    }

    #[test]
    fn each_refusal_says_what_to_try() {
        let error = |said: &str| {
            Error::Connect { host: "me@box".to_owned(), said: said.to_owned() }.to_string()
        };
        assert!(
            error("Host key verification failed.")
                .contains("`ssh me@box`, which shows you its key")
        );
        assert!(
            error("Permission denied (publickey).").contains("`ssh -o BatchMode=yes me@box true`")
        );
        assert_eq!(said(" \n"), "ssh gave no reason");
        let single = "mux_client_request_session: session request failed: Session open refused by \
                      peer\nchannel 3: open failed: connect failed: open failed\nno room\n";
        assert_eq!(said(single), "no room");
    }
}
