//! Which process of the program runs, and what becomes of it when there is a new one.

use std::{
    collections::HashSet, path::PathBuf, process::ExitStatus, sync::mpsc::Sender as OrderSender,
    time::Duration,
};

use auto_update::{Artifact, ArtifactHash, BuildEvent};
use rustix::process::Signal;

use super::{
    follower::{News, Order},
    keys::{HELP, Key},
    processes::{Lead, Outcome, Processes},
    ready::Sign,
    tell::{Event, Teller, how, milliseconds},
};

/// A process that took over and fails within this time gives way to the program before it.
const PROBATION: Duration = Duration::from_secs(10);

pub(super) struct Conductor {
    pub(super) teller: Teller,
    processes: Processes,
    orders: OrderSender<Order>,
    serving: Option<Lead>,
    coming: Option<Lead>,
    /// Starts once the one that runs has gone.
    next: Option<Artifact>,
    /// What ran well before the program that runs.
    before: Option<Artifact>,
    /// What failed when it was started; it is not tried again by itself.
    bad: HashSet<ArtifactHash>,
    is_paused: bool,
    files: Vec<PathBuf>,
}

impl Conductor {
    pub(super) fn new(teller: Teller, processes: Processes, orders: OrderSender<Order>) -> Self {
        Self {
            teller,
            processes,
            orders,
            serving: None,
            coming: None,
            next: None,
            before: None,
            bad: HashSet::new(),
            is_paused: false,
            files: Vec::new(),
        }
    }

    pub(super) fn announce(&self, binary: &str) {
        for socket in self.processes.sockets() {
            self.teller.tell(&Event::Listening { address: &socket.address });
        }
        self.teller.tell(&Event::Watching { binary });
    }

    pub(super) fn news(&mut self, news: News) {
        match news {
            News::Changed { files } => {
                self.teller.tell(&Event::Changed { files: &files });
                self.files = files;
            }
            News::Touched { files } => self.files = files,
            News::Build(BuildEvent::Line(text)) => self.teller.tell(&Event::Line { text: &text }),
            News::Build(BuildEvent::Building { reasons }) => {
                let reasons = reasons.iter().map(ToString::to_string).collect();
                self.teller.tell(&Event::Building { reasons });
            }
            News::Build(BuildEvent::WaitingFor { .. }) => {
                let text = "another process builds it, and is waited for".to_owned();
                self.teller.tell(&Event::Note { text });
            }
            News::Build(_) => {}
            News::Built { artifact } => self.built(artifact),
            News::Failed { error } => {
                let still_running = self.serving.is_some();
                self.teller.tell(&Event::Failed { error: error.to_string(), still_running });
            }
            News::Paused => self.teller.tell(&Event::Paused { has_changes: true }),
        }
    }

    /// There is a program that is what its sources say: it runs already, or is to.
    fn built(&mut self, artifact: Artifact) {
        let files = std::mem::take(&mut self.files);
        let hash = artifact.hash;
        if let Some(coming) = &self.coming {
            if coming.run.artifact.hash == hash {
                return;
            }
            self.drop_coming();
        }
        let runs = self.serving.as_ref().is_some_and(|lead| lead.run.artifact.hash == hash);
        let is_next = self.next.as_ref().is_some_and(|next| next.hash == hash);
        if is_next || (runs && self.next.is_none()) {
            self.teller.tell(&Event::Unchanged { files: &files, hash });
        } else if self.bad.contains(&hash) {
            let text = "this very program has failed before and is not tried again; `s` does";
            self.teller.tell(&Event::Note { text: text.to_owned() });
            self.next = None;
        } else {
            self.run(artifact);
        }
    }

    /// Puts the program into the place of what runs.
    fn run(&mut self, artifact: Artifact) {
        let Some(serving) = &self.serving else { return self.start_alone(artifact) };
        let uses_sockets = !self.processes.sockets().is_empty()
            && (serving.is_ready || self.processes.uses_sockets(serving));
        if self.next.is_none() && uses_sockets {
            self.start_beside(artifact);
        } else if self.next.replace(artifact).is_none() {
            // It holds what the next one needs, so it goes first.
            self.processes.stop(serving);
        }
    }

    fn start_alone(&mut self, artifact: Artifact) {
        if let Some(lead) = self.start(artifact, None) {
            let (pid, hash) = (lead.run.pid, lead.run.artifact.hash);
            self.teller.tell(&Event::Started { pid, hash });
            self.serving = Some(lead);
        }
    }

    fn start_beside(&mut self, artifact: Artifact) {
        let before = self.serving.as_ref().map(|lead| lead.run.pid);
        self.coming = self.start(artifact, before);
    }

    fn start(&mut self, artifact: Artifact, before: Option<u32>) -> Option<Lead> {
        match self.processes.start(artifact, before) {
            Ok(lead) => Some(lead),
            Err(error) => {
                let error = format!("it cannot be started: {error}");
                self.teller.tell(&Event::Failed { error, still_running: before.is_some() });
                None
            }
        }
    }

    pub(super) fn outcome(&mut self, outcome: Outcome) {
        let is = |lead: &Option<Lead>, number| {
            lead.as_ref().is_some_and(|lead| lead.run.number == number)
        };
        match outcome {
            Outcome::Ready { number, sign } => {
                self.processes.says_so |= sign == Sign::Said;
                if is(&self.coming, number) {
                    self.take_over(sign);
                } else if is(&self.serving, number) {
                    self.is_ready(sign);
                }
            }
            Outcome::NotReady { number } if is(&self.coming, number) => {
                let limit = self.processes.args.ready_timeout();
                let accepts =
                    self.coming.as_ref().is_some_and(|lead| self.processes.uses_sockets(lead));
                if accepts && self.processes.args.ready_url.is_none() {
                    // It no longer says so, as the one before did.
                    self.processes.says_so = false;
                    return self.take_over(Sign::Accepts);
                }
                self.keep(format!("it was not ready within {} s", limit.as_secs_f32()));
            }
            Outcome::NotReady { .. } => {}
            Outcome::Ended { number, status } if is(&self.coming, number) => {
                self.keep(format!("it {} before it was ready", how(status)));
            }
            Outcome::Ended { number, status } if is(&self.serving, number) => self.lost(status),
            Outcome::Ended { .. } => {}
            Outcome::LetGo { before, pid, hash, sign, after_ms } => {
                let sign = sign.to_string();
                self.teller.tell(&Event::Replaced { pid, hash, before, sign, after_ms });
            }
            Outcome::Gone { number } => self.processes.gone(number),
        }
    }

    /// The process that runs alone is ready.
    fn is_ready(&mut self, sign: Sign) {
        let Some(lead) = &mut self.serving else { return };
        if !std::mem::replace(&mut lead.is_ready, true) {
            let (pid, hash) = (lead.run.pid, lead.run.artifact.hash);
            let after_ms = milliseconds(lead.run.began.elapsed());
            self.teller.tell(&Event::Ready { pid, hash, sign: sign.to_string(), after_ms });
        }
    }

    /// The new one is ready: the old one goes.
    fn take_over(&mut self, sign: Sign) {
        let Some(mut lead) = self.coming.take() else { return };
        lead.is_ready = true;
        if let Some(old) = self.serving.take() {
            self.before = Some(old.run.artifact.clone());
            self.processes.let_go(old, &lead, sign);
        }
        self.serving = Some(lead);
    }

    /// The new one has failed, and the old one goes on.
    fn keep(&mut self, why: String) {
        let Some(coming) = &self.coming else { return };
        self.bad.insert(coming.run.artifact.hash);
        if let Some(serving) = &self.serving {
            self.teller.tell(&Event::Kept { pid: serving.run.pid, why });
        }
        self.drop_coming();
    }

    fn drop_coming(&mut self) {
        if let Some(coming) = self.coming.take() {
            self.processes.give_up(coming);
        }
    }

    /// The process that ran has ended: as it was told to, or by itself.
    fn lost(&mut self, status: ExitStatus) {
        let Some(lost) = self.serving.take() else { return };
        self.processes.clear_away(&lost);
        if let Some(coming) = self.coming.take() {
            // Nothing to wait for: the sockets are held, and the new one is on its way to them.
            let (pid, hash) = (coming.run.pid, coming.run.artifact.hash);
            self.teller.tell(&Event::Ended { pid: lost.run.pid, how: how(status) });
            self.teller.tell(&Event::Started { pid, hash });
            self.serving = Some(coming);
            return;
        }
        if let Some(next) = self.next.take() {
            self.teller.tell(&Event::Stopped { pid: lost.run.pid });
            return self.start_alone(next);
        }
        let is_early = lost.run.began.elapsed() < PROBATION && !self.processes.sockets().is_empty();
        let before = self.before.take().filter(|before| {
            is_early && before.hash != lost.run.artifact.hash && before.path.is_file()
        });
        match before {
            Some(before) => {
                self.bad.insert(lost.run.artifact.hash);
                let why = format!("process {} {}", lost.run.pid, how(status));
                if let Some(lead) = self.start(before, None) {
                    let (pid, hash) = (lead.run.pid, lead.run.artifact.hash);
                    self.teller.tell(&Event::RolledBack { pid, hash, why });
                    self.serving = Some(lead);
                }
            }
            None => self.teller.tell(&Event::Ended { pid: lost.run.pid, how: how(status) }),
        }
    }

    /// Whether to go on after this key.
    pub(super) fn key(&mut self, key: Key) -> bool {
        match key {
            Key::Quit => return false,
            Key::Rebuild => self.order(Order::Build),
            Key::Restart => self.restart(),
            Key::Pause => {
                self.is_paused = !self.is_paused;
                self.order(if self.is_paused { Order::Pause } else { Order::Resume });
                let paused = Event::Paused { has_changes: false };
                self.teller.tell(if self.is_paused { &paused } else { &Event::Resumed });
            }
            Key::Clear => self.teller.write("\u{1b}[2J\u{1b}[3J\u{1b}[H"),
            Key::Help => self.teller.write(HELP),
            Key::Blank => self.teller.write(""),
        }
        true
    }

    fn order(&self, order: Order) {
        // The follower has gone only when all is over.
        self.orders.send(order).unwrap_or(());
    }

    fn restart(&mut self) {
        if self.coming.is_some() || self.next.is_some() {
            return;
        }
        match &self.serving {
            Some(serving) => {
                let artifact = serving.run.artifact.clone();
                self.run(artifact);
            }
            None => {
                self.bad.clear();
                self.order(Order::Build);
            }
        }
    }

    /// Ends everything that runs.
    pub(super) async fn end(&mut self, signal: Signal) {
        let leads = [self.serving.take(), self.coming.take()].into_iter().flatten();
        self.processes.end(leads, signal).await;
    }

    /// Ends everything at once.
    pub(super) fn kill(&self) {
        self.processes.kill([&self.serving, &self.coming].into_iter().flatten());
    }
}
