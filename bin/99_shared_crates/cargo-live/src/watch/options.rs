use std::time::Duration;

use clap::Args;

use super::ready::Url;

/// How the program is watched and replaced.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// Listen here for the program, which gets the socket as systemd gives it (`LISTEN_FDS`):
    /// HOST:PORT, PORT on 127.0.0.1, or unix:PATH; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<String>,
    /// A new process is ready when it answers this `http://` address; otherwise when it accepts
    /// connections, or says so as `sd_notify` does
    #[arg(long, value_name = "URL")]
    pub(crate) ready_url: Option<Url>,
    /// How long a new process may take to be ready, in seconds, before the old one is kept
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    ready_timeout: f32,
    /// How long a process may take to end after SIGTERM, in seconds, before it is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    stop_timeout: f32,
    /// Leave the terminal to the program, for its input, instead of reading keys from it
    #[arg(long)]
    pub(crate) terminal: bool,
    /// Print each event as a JSON object on a line of stdout; what the program prints goes to stderr
    #[arg(long)]
    pub(crate) json: bool,
}

impl WatchArgs {
    pub(super) fn ready_timeout(&self) -> Duration {
        Duration::from_secs_f32(self.ready_timeout)
    }

    pub(super) fn stop_timeout(&self) -> Duration {
        Duration::from_secs_f32(self.stop_timeout)
    }
}

fn seconds(text: &str) -> Result<f32, String> {
    const MOST: f32 = 86_400.0;
    let seconds: f32 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=MOST).contains(&seconds) { Ok(seconds) } else { Err(format!("0 to {MOST}")) }
}
