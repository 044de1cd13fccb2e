//! The processes of the program: each from its start to its end, and what comes of it.

use std::{io, process::ExitStatus, sync::Arc, time::Duration};

use auto_update::{Artifact, ArtifactHash};
use rustix::process::Signal;
use tokio::{
    sync::mpsc::Sender,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    launch::{Launcher, Run},
    options::WatchArgs,
    ready::{self, Sign},
    sockets::Socket,
    tell::milliseconds,
};

/// What has come of a process.
#[derive(Debug)]
pub(super) enum Outcome {
    Ready {
        number: u32,
        sign: Sign,
    },
    NotReady {
        number: u32,
    },
    Ended {
        number: u32,
        status: ExitStatus,
    },
    /// The process `before` accepts nothing more, and `pid` does.
    LetGo {
        before: u32,
        pid: u32,
        hash: ArtifactHash,
        sign: Sign,
        after_ms: u64,
    },
    /// The one that was told to go has gone.
    Gone {
        number: u32,
    },
}

/// The process that runs, or the one that is to take over.
pub(super) struct Lead {
    pub(super) run: Arc<Run>,
    pub(super) is_ready: bool,
    /// Waits for the process to be ready.
    waits: JoinHandle<()>,
}

pub(super) struct Processes {
    launcher: Launcher,
    pub(super) args: WatchArgs,
    outcomes: Sender<Outcome>,
    count: u32,
    /// Told to go, and not gone yet.
    leaving: Vec<Arc<Run>>,
    /// Some process has said that it is ready, so the next ones are waited for to say so.
    pub(super) says_so: bool,
}

impl Processes {
    pub(super) fn new(launcher: Launcher, args: WatchArgs, outcomes: Sender<Outcome>) -> Self {
        Self { launcher, args, outcomes, count: 0, leaving: Vec::new(), says_so: false }
    }

    pub(super) fn sockets(&self) -> &[Socket] {
        self.launcher.sockets.all()
    }

    /// Whether the process accepts on the sockets that are held for it.
    pub(super) fn uses_sockets(&self, lead: &Lead) -> bool {
        ready::uses(&lead.run, self.sockets())
    }

    /// Starts the program, beside the process `before` where there is one.
    pub(super) fn start(&mut self, artifact: Artifact, before: Option<u32>) -> io::Result<Lead> {
        self.count += 1;
        let number = self.count;
        let (run, said) = self.launcher.start(artifact, number)?;
        let run = Arc::new(run);
        let (outcomes, ending) = (self.outcomes.clone(), run.clone());
        drop(tokio::spawn(async move {
            let status = ending.ended().await;
            // Nobody is there to be told only when all is over.
            drop(outcomes.send(Outcome::Ended { number, status }).await);
        }));
        let (outcomes, pid) = (self.outcomes.clone(), run.pid);
        let sockets = self.sockets().to_vec();
        let (url, only_said) = (self.args.ready_url.clone(), self.says_so);
        let limit = before.map(|_| self.args.ready_timeout());
        let waits = tokio::spawn(async move {
            let ready = ready::ready(pid, &said, url.as_ref(), &sockets, only_said, before);
            let sign = match limit {
                Some(limit) => timeout(limit, ready).await.ok(),
                None => Some(ready.await),
            };
            let outcome = match sign {
                Some(sign) => Outcome::Ready { number, sign },
                None => Outcome::NotReady { number },
            };
            drop(outcomes.send(outcome).await);
            // A program that accepts may say later that it was not ready before.
            if sign.is_some_and(|sign| sign != Sign::Said) {
                ready::says_so(&said).await;
                drop(outcomes.send(Outcome::Ready { number, sign: Sign::Said }).await);
            }
        });
        Ok(Lead { run, is_ready: false, waits })
    }

    /// Lets the process go now that `new` accepts.
    pub(super) fn let_go(&mut self, old: Lead, new: &Lead, sign: Sign) {
        old.waits.abort();
        let (pid, hash) = (new.run.pid, new.run.artifact.hash);
        let after_ms = milliseconds(new.run.began.elapsed());
        let before = old.run.pid;
        self.leaving.push(old.run.clone());
        let (sockets, limit) = (self.sockets().to_vec(), self.args.stop_timeout());
        let outcomes = self.outcomes.clone();
        drop(tokio::spawn(async move {
            old.run.let_go(&sockets, limit).await;
            // Nobody is there to be told only when all is over.
            drop(outcomes.send(Outcome::LetGo { before, pid, hash, sign, after_ms }).await);
            old.run.gone(limit).await;
            drop(outcomes.send(Outcome::Gone { number: old.run.number }).await);
        }));
    }

    /// Ends a process that is not to take over.
    pub(super) fn give_up(&mut self, lead: Lead) {
        lead.waits.abort();
        let (run, limit) = (lead.run, self.args.stop_timeout());
        self.leaving.push(run.clone());
        let outcomes = self.outcomes.clone();
        drop(tokio::spawn(async move {
            run.end(Signal::TERM, limit).await;
            drop(outcomes.send(Outcome::Gone { number: run.number }).await);
        }));
    }

    /// Tells the process that runs to end.
    pub(super) fn stop(&self, lead: &Lead) {
        let (run, limit) = (lead.run.clone(), self.args.stop_timeout());
        drop(tokio::spawn(async move { run.end(Signal::TERM, limit).await }));
    }

    /// Ends what a process that has ended has left of its group.
    pub(super) fn clear_away(&self, lead: &Lead) {
        lead.waits.abort();
        let run = lead.run.clone();
        drop(tokio::spawn(async move { run.end(Signal::TERM, Duration::ZERO).await }));
    }

    pub(super) fn gone(&mut self, number: u32) {
        self.leaving.retain(|run| run.number != number);
    }

    /// Ends `leads` and all that is leaving.
    pub(super) async fn end(&mut self, leads: impl IntoIterator<Item = Lead>, signal: Signal) {
        let mut runs: Vec<Arc<Run>> = self.leaving.drain(..).collect();
        for lead in leads {
            lead.waits.abort();
            runs.push(lead.run);
        }
        let limit = self.args.stop_timeout();
        let ends: Vec<_> = runs
            .into_iter()
            .map(|run| tokio::spawn(async move { run.end(signal, limit).await }))
            .collect();
        for end in ends {
            // It ends even if its task could not be asked.
            drop(end.await);
        }
        sleep(Duration::ZERO).await;
    }

    /// Ends `leads` and all that is leaving at once.
    pub(super) fn kill<'a>(&self, leads: impl IntoIterator<Item = &'a Lead>) {
        for run in leads.into_iter().map(|lead| &lead.run).chain(&self.leaving) {
            run.signal(Signal::KILL);
        }
    }
}
