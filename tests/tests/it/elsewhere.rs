use std::{
    fs,
    io::Read as _,
    process::Stdio,
    sync::mpsc,
    time::{Duration, Instant},
};

use chain_tests::{Chain, Elsewhere, Machines, Run, get};
use rbee_api::{Health, HiveList};

use crate::engines::wait_at_most;

/// From an edit that nobody announces to a process from it there, builds and their way included.
const FOLLOWS: Duration = Duration::from_secs(240);

/// Within which a cut connection is noticed: 15 s, on a busy machine.
const NOTICED: Duration = Duration::from_secs(60);

/// So many words, at fifty a second, outlast an edit of the hive.
const STREAMED: usize = 2500;

#[expect(clippy::print_stdout, reason = "what was skipped is to be seen")]
fn there() -> Option<Elsewhere> {
    let there = Machines::near().map(|machines| machines.add("box"));
    if there.is_none() {
        println!(
            "SKIPPED: no sshd (`apt-get install openssh-server`), so no other machine was tried"
        );
    }
    there
}

/// A chain whose only hive is there.
/// For what `far.rs` tries too, over lines of packets, where there can be such.
#[expect(clippy::print_stdout, reason = "what was skipped is to be seen")]
fn there_where_nothing_is_far() -> Option<Elsewhere> {
    if Machines::far().is_ok() {
        println!("SKIPPED: far.rs tries it over a line that delays and loses packets");
        return None;
    }
    there()
}

fn chain(there: &Elsewhere) -> Chain {
    let chain = Chain::new().with_programs(&there.programs());
    let config =
        format!("[models]\ndefault = {:?}\n[queen]\nport = 0\n{}", Chain::model(), there.hive());
    fs::write(chain.home().join("config.toml"), config).unwrap();
    chain
}

pub(crate) fn words(count: usize) -> String {
    (0..count).map(|nth| format!("w{nth} ")).collect::<String>().trim_end().to_owned()
}

/// An `infer` that has begun to stream.
pub(crate) struct Streaming(std::thread::JoinHandle<Run>);

impl Streaming {
    pub(crate) fn begin(chain: &Chain, prompt: &str) -> Self {
        let mut command = chain.command(&["infer", prompt]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut words = child.stdout.take().unwrap();
        let (tells, begins) = mpsc::channel();
        let streaming = std::thread::spawn(move || {
            let mut first = [0];
            let mut text = Vec::new();
            if words.read_exact(&mut first).is_ok() {
                text.extend(first);
                tells.send(()).unwrap();
                words.read_to_end(&mut text).unwrap();
            }
            let output = child.wait_with_output().unwrap();
            Run {
                code: output.status.code(),
                stdout: String::from_utf8_lossy(&text).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        });
        // One that ends without a word says so at its end.
        begins.recv().unwrap_or(());
        Self(streaming)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    pub(crate) fn end(self) -> Run {
        self.0.join().unwrap()
    }
}

/// What the hive says of itself.
fn hive_there(url: &str) -> Option<Health> {
    let list: HiveList = get(&format!("{url}/v1/hives"));
    list.hives.into_iter().next()?.health
}

/// What the hive and its worker say that they run.
fn hashes(chain: &Chain) -> [String; 2] {
    let [_, hive, worker] = chain.healths();
    [hive.exe_hash, worker.exe_hash]
}

#[test]
fn a_hive_is_installed_on_another_machine_used_there_and_removed() {
    let Some(there) = there() else { return };
    let chain = chain(&there);
    let installed = chain.succeed(&["hive", "install", "box"]);
    assert!(installed.stdout.contains("`box` is on `box`"), "{}", installed.stdout);
    assert!(installed.stdout.contains("brought there"), "{}", installed.stdout);
    assert_eq!(there.processes(), [], "it is only installed");

    let run = chain.succeed(&["infer", "one two"]);
    assert_eq!(run.stdout.trim_end(), "one two", "{}", run.stderr);
    let (hive, worker) = (there.pid("rbee-hive"), there.pid("llamacpp-worker"));
    assert!(chain.processes().iter().all(|process| process.name != "rbee-hive"), "none is here");
    let again = chain.succeed(&["hive", "install", "box"]);
    assert!(again.stdout.contains("all of it was there"), "{}", again.stdout);
    let status = chain.succeed(&["hive", "status", "box"]).stdout;
    assert!(status.contains("ssh://box") && status.contains("ready"), "{status}");

    // Another queen finds it as it is.
    chain.succeed(&["queen", "stop"]);
    assert_eq!((there.pid("rbee-hive"), there.pid("llamacpp-worker")), (hive, worker));
    assert_eq!(chain.succeed(&["infer", "three"]).stdout.trim_end(), "three");
    assert_eq!((there.pid("rbee-hive"), there.pid("llamacpp-worker")), (hive, worker));

    chain.succeed(&["hive", "stop", "box"]);
    assert_eq!(there.processes(), []);
    chain.succeed(&["hive", "uninstall", "box", "--models"]);
    assert!(!there.hive_home().exists());
}

#[test]
fn a_machine_whose_key_is_not_the_known_one_is_told_nothing() {
    let Some(there) = there() else { return };
    let chain = chain(&there);
    for (change, said, hint) in [
        (Elsewhere::is_unknown as fn(&Elsewhere), "Host key verification failed", "try `ssh box`"),
        (Elsewhere::has_changed, "has changed", "`ssh-keygen -R` its name"),
    ] {
        change(&there);
        let refused = chain.rbee(&["infer", "one"]);
        assert_ne!(refused.code, Some(0), "{}", refused.stdout);
        for words in ["`box`", said, hint] {
            assert!(refused.stderr.contains(words), "`{words}` is not in\n{}", refused.stderr);
        }
        let list = chain.succeed(&["hive", "list"]).stdout;
        assert!(list.contains("failed"), "{list}");
    }
    assert!(!there.log().contains("Accepted publickey"), "{}", there.log());
    assert!(!there.hive_home().exists());
}

#[test]
fn an_edit_here_is_followed_there_and_no_stream_is_cut() {
    let Some(there) = there_where_nothing_is_far() else { return };
    let chain = chain(&there);
    chain.succeed(&["infer", "one"]);
    let (url, before) = (chain.queen(), hashes(&chain));
    let streaming = Streaming::begin(&chain, &words(STREAMED));

    chain.checkout().edit(
        "bin/20_rbee_hive/src/devices.rs",
        r#"map_or("CPU""#,
        r#"map_or("a CPU""#,
    );
    wait_at_most(FOLLOWS, "the hive there does not follow by itself", || {
        hive_there(&url).is_some_and(|hive| hive.exe_hash != before[0])
    });
    assert!(!streaming.is_over(), "it was to be answered meanwhile");
    let streamed = streaming.end();
    let text = streamed.stdout.trim_end();
    assert_eq!((streamed.code, text), (Some(0), &*words(STREAMED)), "{}", streamed.stderr);

    chain.checkout().edit_to_something_new();
    let run = chain.succeed(&["infer", "two"]);
    assert_eq!(run.stdout.trim_end(), "two");
    let after = hashes(&chain);
    assert!(after[0] != before[0] && after[1] != before[1], "{before:?} {after:?}");
    chain.succeed(&["hive", "stop", "box"]);
}

#[test]
fn a_hive_that_fails_there_is_rolled_back_there() {
    let Some(there) = there_where_nothing_is_far() else { return };
    let chain = chain(&there);
    chain.succeed(&["infer", "one"]);
    let (before, hive) = (hashes(&chain), there.pid("rbee-hive"));

    let main = "bin/20_rbee_hive/src/main.rs";
    chain.checkout().edit(main, "async fn run(args: Args) -> anyhow::Result<()> {", "async fn run(args: Args) -> anyhow::Result<()> {\n    anyhow::ensure!(args.socket.is_none(), \"broken on purpose\");");
    let run = chain.succeed(&["infer", "two"]);
    assert_eq!(run.stdout.trim_end(), "two");
    assert!(run.stderr.contains("was not replaced"), "{}", run.stderr);
    assert_eq!((hashes(&chain)[0].as_str(), there.pid("rbee-hive")), (&*before[0], hive));

    chain.checkout().restore(main);
    assert_eq!(chain.succeed(&["infer", "three"]).stdout.trim_end(), "three");
    assert_eq!(hashes(&chain)[0], before[0]);
    chain.succeed(&["hive", "stop", "box"]);
}

#[test]
fn a_stream_outlasts_a_cut_link_word_for_word() {
    let Some(there) = there() else { return };
    let chain = chain(&there);
    chain.succeed(&["infer", "one"]);
    let (hive, worker) = (there.pid("rbee-hive"), there.pid("llamacpp-worker"));
    let streaming = Streaming::begin(&chain, &words(STREAMED));
    let links = || chain.processes().into_iter().filter(|process| process.name == "ssh");
    wait_at_most(NOTICED, "it is not connected", || links().count() > 0);

    there.cut();
    for link in links().collect::<Vec<_>>() {
        assert!(link.ends_within(NOTICED), "the cut is not noticed");
    }
    assert!(!streaming.is_over(), "it was to be answered meanwhile");
    there.mend();

    let streamed = streaming.end();
    assert_eq!(
        (streamed.code, streamed.stdout.trim_end()),
        (Some(0), &*words(STREAMED)),
        "{}",
        streamed.stderr
    );
    assert_eq!((there.pid("rbee-hive"), there.pid("llamacpp-worker")), (hive, worker));
    chain.succeed(&["hive", "stop", "box"]);
}

#[test]
fn a_machine_that_is_gone_is_left_out_of_the_choice() {
    let Some(there) = there() else { return };
    let chain = chain(&there);
    // Behind the one that is there, so that it is not taken for being the first.
    let path = chain.home().join("config.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{config}[[hive]]\nalias = \"here\"\nport = 0\n")).unwrap();
    chain.succeed(&["infer", "one"]);
    assert!(!there.processes().is_empty());

    there.cut();
    let cut = Instant::now();
    wait_at_most(NOTICED, "the one here does not answer", || {
        chain.rbee(&["infer", "two"]).stdout.trim_end() == "two"
    });
    assert!(cut.elapsed() < NOTICED, "{:?}", cut.elapsed());
    assert!(chain.processes().iter().any(|process| process.name == "rbee-hive"));
    there.mend();
    wait_at_most(NOTICED, "the one there is not found again", || {
        chain.rbee(&["hive", "stop", "box"]).code == Some(0)
    });
    assert_eq!(there.processes(), []);
}
