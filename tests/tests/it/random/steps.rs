use std::{fs, process::Command, thread, time::Duration};

use chain_tests::pause;

use super::{Random, Scene};

/// An edit is followed by itself, or when somebody asks at some moment.
const SOON: Duration = Duration::from_secs(3);
/// A process is still for so long, which nobody takes for hanging.
const MOMENT: Duration = Duration::from_millis(500);

/// How many sources there are of each kind; what was built of them once comes from the store.
const SOURCES: usize = 4;

/// Behind this line of a daemon's `main.rs` an edit is made.
const PLACE: &str = "let args = Args::parse();\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Level {
    Queen,
    Hive,
    Worker,
}

/// Something that happens, whatever happened before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Edit(Level, Edit),
    Signal(Level, Signal),
    Remove(Removed),
    Stop {
        now: bool,
    },
    Restart,
    /// Several people at once, after an edit.
    AskTogether(Level),
    /// An edit, and a person who leaves before the answer.
    KillAsker(Level),
}

/// What the newest sources make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    Good,
    SlowToStart,
    DoesNotCompile,
    ExitsAtStart,
    DiesLater,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Kill,
    Hang,
    HangForAMoment,
    HangUp,
    Quit,
    User,
}

/// Of the files that processes find each other by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    All,
    OfOne(Level),
}

impl Level {
    pub(super) const ALL: [Self; 3] = [Self::Queen, Self::Hive, Self::Worker];

    fn binary(self) -> &'static str {
        match self {
            Self::Queen => "queen-rbee",
            Self::Hive => "rbee-hive",
            Self::Worker => "llamacpp-worker",
        }
    }

    fn main(self) -> &'static str {
        match self {
            Self::Queen => "bin/10_queen_rbee/src/main.rs",
            Self::Hive => "bin/20_rbee_hive/src/main.rs",
            Self::Worker => "bin/30_llm_worker_rbee/src/main.rs",
        }
    }
}

impl Step {
    pub(super) fn any(random: &mut Random) -> Self {
        let level = Level::ALL[random.below(3)];
        match random.below(20) {
            0..4 => Self::Edit(level, Edit::Good),
            4 => Self::Edit(level, Edit::SlowToStart),
            5 => Self::Edit(level, Edit::DoesNotCompile),
            6 => Self::Edit(level, Edit::ExitsAtStart),
            7 => Self::Edit(level, Edit::DiesLater),
            8 => Self::Signal(level, Signal::Kill),
            9 => Self::Signal(level, Signal::Hang),
            10 => Self::Signal(level, Signal::HangForAMoment),
            11 => Self::Signal(level, Signal::HangUp),
            12 => Self::Signal(level, Signal::Quit),
            13 => Self::Signal(level, Signal::User),
            14 => Self::Remove(Removed::All),
            15 => Self::Remove(Removed::OfOne(level)),
            16 => Self::Stop { now: random.below(2) == 0 },
            17 => Self::Restart,
            18 => Self::AskTogether(level),
            _ => Self::KillAsker(level),
        }
    }

    /// Whether a client may be told that something went wrong: nobody was to serve, the queen that it
    /// spoke to was killed or told to end, or a process was bad and had not shown it yet.
    pub(super) fn may_break(self) -> bool {
        match self {
            Self::Edit(_, edit) => edit == Edit::DiesLater,
            Self::Signal(level, signal) => {
                level == Level::Queen
                    && matches!(signal, Signal::Kill | Signal::Hang | Signal::Quit)
            }
            Self::Stop { .. } => true,
            Self::Remove(_) | Self::Restart | Self::AskTogether(_) | Self::KillAsker(_) => false,
        }
    }

    pub(super) fn make(self, scene: &mut Scene, random: &mut Random) {
        match self {
            Self::Edit(level, edit) => {
                edit.make(level, scene, random);
                pause(random.up_to(SOON));
            }
            Self::Signal(level, signal) => signal.send(level, scene),
            Self::Remove(what) => what.remove(scene),
            Self::Stop { now: true } => drop(scene.chain.succeed(&["queen", "stop", "--now"])),
            Self::Stop { now: false } => drop(scene.chain.succeed(&["queen", "stop"])),
            Self::Restart => drop(scene.chain.succeed(&["queen", "restart"])),
            Self::AskTogether(level) => {
                Edit::Good.make(level, scene, random);
                let asked = (0..3).map(|_| scene.chain.command(&["infer", "together"]));
                let asked: Vec<_> =
                    asked.map(|mut infer| thread::spawn(move || infer.output())).collect();
                for infer in asked {
                    let output = infer.join().unwrap().unwrap();
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success(), "{said}");
                    assert_eq!(String::from_utf8_lossy(&output.stdout), "together\n", "{said}");
                }
            }
            Self::KillAsker(level) => {
                Edit::Good.make(level, scene, random);
                let mut infer = scene.chain.command(&["infer", "nobody hears this"]);
                let null = std::process::Stdio::null;
                let mut infer = infer.stdout(null()).stderr(null()).spawn().unwrap();
                pause(random.up_to(SOON));
                // It may be done already.
                infer.kill().unwrap_or(());
                infer.wait().unwrap();
            }
        }
    }
}

impl Edit {
    fn make(self, level: Level, scene: &mut Scene, random: &mut Random) {
        // Not those that serve: nothing would happen.
        let last = scene.good[level as usize] % SOURCES;
        let number = (last + 1 + random.below(SOURCES - 1)) % SOURCES;
        let source = number + SOURCES * usize::from(self == Self::SlowToStart);
        let line = match self {
            Self::Good => format!("std::hint::black_box(\"sources {source}\");"),
            Self::SlowToStart => format!(
                "std::thread::park_timeout({});",
                "std::time::Duration::from_millis(1500 + NUMBER)"
                    .replace("NUMBER", &number.to_string())
            ),
            Self::DoesNotCompile => format!("no such thing as {number};"),
            Self::ExitsAtStart => {
                format!("if std::hint::black_box(true) {{ std::process::exit({}); }}", 40 + number)
            }
            Self::DiesLater => format!(
                "std::thread::spawn(|| {{ std::thread::park_timeout(std::time::Duration::from_millis(2000 + {number})); std::process::abort(); }});"
            ),
        };
        let path = scene.chain.checkout().path(level.main());
        let text = fs::read_to_string(&path).unwrap();
        let (before, after) = text.split_once(PLACE).expect("a daemon reads its flags");
        // In the place of an earlier edit.
        let after = after.split_once(" // edited\n").map_or(after, |(_, after)| after);
        fs::write(path, format!("{before}{PLACE}    {line} // edited\n{after}")).unwrap();
        if matches!(self, Self::Good | Self::SlowToStart) {
            scene.good[level as usize] = source;
        }
    }
}

impl Signal {
    fn send(self, level: Level, scene: &Scene) {
        let pid = scene.chain.pid(level.binary()).to_string();
        let send = |signal: &str| {
            // Its own doing may have ended it.
            Command::new("kill").args([signal, &pid]).output().unwrap();
        };
        match self {
            Self::Kill => send("-KILL"),
            Self::Hang => send("-STOP"),
            Self::HangForAMoment => {
                send("-STOP");
                pause(MOMENT);
                send("-CONT");
            }
            Self::HangUp => send("-HUP"),
            Self::Quit => send("-QUIT"),
            Self::User => send("-USR1"),
        }
    }
}

impl Removed {
    fn remove(self, scene: &Scene) {
        let run = scene.chain.home().join("run");
        let is_meant = |name: &str| match self {
            Self::All => true,
            Self::OfOne(Level::Queen) => name.starts_with("queen"),
            Self::OfOne(Level::Hive) => name.starts_with("hive"),
            Self::OfOne(Level::Worker) => name.starts_with("worker"),
        };
        for entry in fs::read_dir(&run).unwrap().flatten() {
            if is_meant(&entry.file_name().to_string_lossy()) {
                // Somebody may write into it meanwhile.
                fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_dir_all(entry.path())).ok();
            }
        }
    }
}
