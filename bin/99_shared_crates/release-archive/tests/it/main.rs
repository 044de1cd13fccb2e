//! An archive as it is made, and as it may come.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use rbee_config::Installation;
use release_archive::{Archive, Content, Contents, Error, Landed, Rule, land, pack, prune, switch};
use tempfile::TempDir;

/// What is installed, and archives beside it.
struct World(TempDir);

impl World {
    /// With a release of that version, installed as a person would.
    fn new(version: &str) -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        let archive = world.archive(version, &world.contents("one"));
        let unpacked =
            Command::new("tar").arg("xzf").arg(archive).current_dir(world.path()).status();
        assert!(unpacked.unwrap().success());
        world
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn contents(&self, program: &str) -> Contents {
        let path = self.path().join(format!("program-{program}"));
        fs::write(&path, format!("#!/bin/sh\necho {program}\n")).unwrap();
        Contents::from([
            ("bin/rbee".to_owned(), Content::Program(path)),
            ("share/doc/rbee/README.md".to_owned(), Content::Text("# rbee\n".to_owned())),
        ])
    }

    fn archive(&self, version: &str, contents: &Contents) -> PathBuf {
        let path = self.path().join(format!("rbee-{version}.tar.gz"));
        let out = fs::File::create(&path).unwrap();
        pack(contents, version.parse().unwrap(), out, 1).unwrap();
        path
    }

    fn installation(&self) -> Installation {
        let program = fs::canonicalize(self.path().join("rbee/bin/rbee")).unwrap();
        Installation::around(&program).unwrap()
    }

    fn land(&self, archive: &Path) -> Result<Landed, Error> {
        let before = self.releases();
        let landed = land(&self.installation(), archive, Rule::NoOlder);
        if landed.is_err() {
            assert_eq!(self.releases(), before, "something of what was refused is left");
        }
        landed
    }

    fn releases(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().join("rbee/releases")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Why an archive with these entries is not taken.
    #[track_caller]
    fn refusal(&self, entries: &[(&str, &str)]) -> String {
        let path = self.path().join("made.tar.gz");
        let mut archive = Archive::new(fs::File::create(&path).unwrap(), 1);
        for (name, text) in entries {
            archive.file(name, &Content::Text((*text).to_owned())).unwrap();
        }
        archive.finish().unwrap();
        self.land(&path).unwrap_err().to_string()
    }
}

/// Files of an archive with their content, by their whole names.
type Entries = Vec<(String, String)>;

/// Those of the archive; the manifest is the first.
fn entries(archive: &Path) -> Entries {
    let list = |args: &[&str]| {
        let output = Command::new("tar").args(args).arg(archive).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let names = list(&["tzf"]);
    let files = names.lines().filter(|name| name.contains("/releases/"));
    files
        .map(|name| {
            let output = Command::new("tar").arg("xzOf").arg(archive).arg(name).output().unwrap();
            (name.to_owned(), String::from_utf8(output.stdout).unwrap())
        })
        .collect()
}

#[test]
fn what_tar_unpacks_is_an_installation_whose_programs_run() {
    let world = World::new("0.1.0");
    let output = Command::new(world.path().join("rbee/bin/rbee")).output().unwrap();
    assert_eq!(output.stdout, b"one\n");
    let installation = world.installation();
    assert_eq!(installation.root(), fs::canonicalize(world.path().join("rbee")).unwrap());
    assert!(installation.current().unwrap().starts_with("0.1.0-"));
    assert!(world.path().join("rbee/share/doc/rbee/README.md").is_file());
}

#[test]
fn the_same_contents_make_the_same_archive() {
    let world = World::new("0.1.0");
    let first = fs::read(world.archive("0.1.0", &world.contents("one"))).unwrap();
    let second = fs::read(world.archive("0.1.0", &world.contents("one"))).unwrap();
    assert_eq!(first, second);
}

#[test]
fn a_release_lands_beside_the_one_that_is_used_and_is_switched_to_and_back() {
    let world = World::new("0.1.0");
    let installation = world.installation();
    let archive = world.archive("0.2.0", &world.contents("two"));
    let landed = world.land(&archive).unwrap();
    assert_eq!(landed.before, installation.current().unwrap());
    assert!(!landed.was_there && landed.id.starts_with("0.2.0-"));
    let run = || Command::new(installation.program("rbee")).output().unwrap().stdout;
    assert_eq!(run(), b"one\n");
    switch(&installation, &landed.id).unwrap();
    assert_eq!(run(), b"two\n");
    let folder = installation.release(&landed.id);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(world.land(&archive).unwrap().was_there);
    switch(&installation, &landed.before).unwrap();
    assert_eq!(run(), b"one\n");
    assert_eq!(prune(&installation, &[&landed.before]).unwrap(), [landed.id]);
    assert_eq!(world.releases(), [landed.before]);
}

#[test]
fn a_release_that_was_changed_in_its_place_is_landed_anew() {
    let world = World::new("0.1.0");
    let archive = world.archive("0.2.0", &world.contents("two"));
    let landed = world.land(&archive).unwrap();
    let program = world.installation().release(&landed.id).join("bin/rbee");
    fs::write(&program, "changed").unwrap();
    assert!(!world.land(&archive).unwrap().was_there);
    assert!(fs::read_to_string(&program).unwrap().contains("echo two"));
}

#[test]
fn an_older_release_is_taken_only_where_that_is_asked_for() {
    let world = World::new("0.10.0");
    let archive = world.archive("0.9.0", &world.contents("two"));
    let refused = world.land(&archive).unwrap_err().to_string();
    assert_eq!(refused, "the release is 0.9.0, and 0.10.0 is installed");
    land(&world.installation(), &archive, Rule::Any).unwrap();
}

#[test]
fn what_is_no_archive_is_named() {
    let world = World::new("0.1.0");
    let refusal = |bytes: &[u8]| {
        let path = world.path().join("file");
        fs::write(&path, bytes).unwrap();
        let refused = world.land(&path).unwrap_err().to_string();
        refused.replace(&path.display().to_string(), "FILE")
    };
    let no_tar = "`FILE` is no archive of a release: it is not a gzip-compressed tar";
    for bytes in [b"".as_slice(), b"x", b"PK\x03\x04 and so on", b"\x1f\x8b\x08 broken"] {
        assert_eq!(refusal(bytes), no_tar);
    }
    assert!(refusal(b"!<arch>\ndebian-binary").contains("Debian package"));
    let lost = world.path().join("lost");
    let refused = world.land(&lost).unwrap_err().to_string();
    assert_eq!(refused, format!("cannot open `{}`", lost.display()));
}

#[test]
fn an_archive_that_breaks_off_anywhere_is_refused() {
    let world = World::new("0.1.0");
    let archive = world.archive("0.2.0", &world.contents("two"));
    let whole = fs::read(&archive).unwrap();
    let cut = world.path().join("cut.tar.gz");
    // What comes behind the last file, the links and tar's own end, is not needed.
    for length in (0..whole.len() / 2).step_by(7) {
        fs::write(&cut, &whole[..length]).unwrap();
        assert!(world.land(&cut).is_err(), "{length} of {} bytes", whole.len());
    }
}

#[test]
fn nothing_is_believed_that_the_manifest_does_not_say() {
    let world = World::new("0.1.0");
    let archive = world.archive("0.2.0", &world.contents("two"));
    let good = entries(&archive);
    let made = |change: &dyn Fn(&mut Entries)| {
        let mut entries = good.clone();
        change(&mut entries);
        let entries: Vec<_> = entries.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        world.refusal(&entries)
    };
    let program = good.iter().position(|(name, _)| name.ends_with("bin/rbee")).unwrap();
    let changed =
        "the archive's `bin/rbee` is not what its manifest says: it was changed or damaged";
    let longer = made(&|entries| entries[program].1.push_str("rm -r x\n"));
    assert_eq!(longer, changed);
    assert_eq!(made(&|entries| entries[program].1 = "x".to_owned()), changed);
    let missing = made(&|entries| drop(entries.remove(program)));
    assert_eq!(missing, "the archive lacks `bin/rbee`, which its manifest names");
    let twice = made(&|entries| entries.push(entries[program].clone()));
    assert_eq!(twice, "the archive has `bin/rbee`, which its manifest does not name");
    let more =
        made(&|entries| entries.push(("rbee/releases/x/bin/more".to_owned(), String::new())));
    assert_eq!(more, "the archive has `bin/more`, which its manifest does not name");
    let other = made(&|entries| entries.push(("etc/passwd".to_owned(), String::new())));
    assert_eq!(other, "the archive has `etc/passwd`, which is of no release");
    let late = made(&|entries| entries.rotate_left(1));
    assert!(late.contains("`release.json` is not the first file in it"), "{late}");
    let edited = made(&|entries| entries[0].1 = entries[0].1.replace("bin/rbee", "bin/bee"));
    assert!(edited.starts_with("the archive's `release.json` is not what"), "{edited}");
    let garbled = made(&|entries| entries[0].1 = "{".to_owned());
    assert_eq!(garbled, "the archive's `release.json` cannot be understood");
    let foreign = made(&|entries| {
        let ours = release_archive::this_platform();
        entries[0].1 = entries[0].1.replace(&ours, "riscv64-haiku");
    });
    assert!(foreign.starts_with("the release is for riscv64-haiku"), "{foreign}");
}

/// Tar's own programs refuse to write such names, and strangers do not.
#[test]
fn no_name_and_no_link_leads_out_of_the_release() {
    let world = World::new("0.1.0");
    let archive = world.archive("0.2.0", &world.contents("two"));
    let (manifest, text) = entries(&archive).swap_remove(0);
    let folder = manifest.strip_suffix("release.json").unwrap();
    for name in [format!("{folder}../../x"), "/etc/x".to_owned(), "rbee/../../x".to_owned()] {
        let mut header = tar::Header::new_old();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(0);
        header.set_cksum();
        let refused = with_header(&world, (&manifest, &text), &header);
        assert!(refused.contains("which leads out of it"), "{name}: {refused}");
    }
    let mut link = tar::Header::new_gnu();
    link.set_path(format!("{folder}bin/rbee")).unwrap();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_link_name("/bin/sh").unwrap();
    link.set_size(0);
    link.set_cksum();
    let refused = with_header(&world, (&manifest, &text), &link);
    assert_eq!(refused, "the archive has `bin/rbee`, which its manifest does not name");
}

fn with_header(world: &World, manifest: (&str, &str), header: &tar::Header) -> String {
    let path = world.path().join("made.tar.gz");
    let out = flate2::write::GzEncoder::new(
        fs::File::create(&path).unwrap(),
        flate2::Compression::fast(),
    );
    let mut archive = tar::Builder::new(out);
    let mut first = tar::Header::new_gnu();
    first.set_size(manifest.1.len() as u64);
    archive.append_data(&mut first, manifest.0, manifest.1.as_bytes()).unwrap();
    archive.append(header, std::io::empty()).unwrap();
    archive.into_inner().unwrap().finish().unwrap().flush().unwrap();
    world.land(&path).unwrap_err().to_string()
}

#[test]
fn a_link_that_leads_to_no_release_is_mended_by_nothing_here() {
    let world = World::new("0.1.0");
    let (installation, link) = (world.installation(), world.path().join("rbee/current"));
    let archive = world.archive("0.2.0", &world.contents("two"));
    fs::remove_file(&link).unwrap();
    symlink("/elsewhere", &link).unwrap();
    let refused = land(&installation, &archive, Rule::Any).unwrap_err();
    assert!(refused.to_string().starts_with("cannot follow"), "{refused}");
}
