//! The package for Debian and its like: everything below `/usr`, under the control of `dpkg`.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use ar::{Builder, Header};
use cargo_metadata::semver::Version;
use release_archive::{Archive, Content, Contents};

use crate::contents::{DOCUMENTS, Made};

/// Programs that find one another beside themselves, and which only `rbee` is for people.
const PROGRAMS: &str = "usr/lib/rbee/bin";

pub(crate) fn can_be_made() -> bool {
    Command::new("dpkg-shlibdeps").arg("--version").output().is_ok_and(|out| out.status.success())
}

/// Writes the package into `out`.
pub(crate) fn write(
    out: &Path,
    version: &Version,
    made: &Made,
    level: u32,
) -> anyhow::Result<PathBuf> {
    let architecture = said("dpkg", &["--print-architecture"], Path::new("."))?;
    let depends = depends(&made.release)?;
    let files = placed(made);
    let control = control(version, &architecture, &depends, kilobytes(&files)?);
    let control = Contents::from([("control".to_owned(), Content::Text(control))]);

    let path = out.join(format!("rbee_{version}_{architecture}.deb"));
    let file = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
    let mut package = Builder::new(BufWriter::new(file));
    let mut add = |name: &str, bytes: &[u8]| -> anyhow::Result<()> {
        let mut header = Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
        header.set_mode(0o100_644);
        package.append(&header, bytes).with_context(|| format!("cannot write `{}`", path.display()))
    };
    // In this order, which the format asks for.
    add("debian-binary", b"2.0\n")?;
    add("control.tar.gz", &packed(&control, None, level)?)?;
    add("data.tar.gz", &packed(&files, Some(("usr/bin/rbee", "../lib/rbee/bin/rbee")), level)?)?;
    package
        .into_inner()
        .context("cannot write the package")?
        .into_inner()
        .context("cannot write the package")?;
    Ok(path)
}

/// Where the files of a release are on a system.
fn placed(made: &Made) -> Contents {
    let place = |path: &str| match path.strip_prefix("bin/") {
        Some(program) => format!("{PROGRAMS}/{program}"),
        None => format!("usr/{path}"),
    };
    let mut files: Contents =
        made.release.iter().map(|(path, content)| (place(path), content.clone())).collect();
    let text = |text: &str| Content::Text(text.to_owned());
    files.insert("usr/lib/systemd/user/rbee.service".to_owned(), text(&made.unit));
    let copyright = "rbee is licensed under MIT or Apache-2.0, at your choice: LICENSE-MIT and\n\
                     LICENSE-APACHE beside this. LICENSES-OF-DEPENDENCIES.txt has those of what its\n\
                     programs are linked with.\n";
    files.insert(format!("usr/{DOCUMENTS}/copyright"), text(copyright));
    files
}

fn control(version: &Version, architecture: &str, depends: &str, kilobytes: u64) -> String {
    format!(
        "Package: rbee\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: the authors of rbee <rbee@localhost>\n\
         Installed-Size: {kilobytes}\n\
         Depends: {depends}\n\
         Section: net\n\
         Priority: optional\n\
         Description: serves language models from your own machine\n \
         A server with OpenAI's, Anthropic's and Ollama's API on llama.cpp, whose processes\n \
         are replaced by newer ones without losing a request.\n"
    )
}

fn kilobytes(files: &Contents) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for content in files.values() {
        bytes += content.open()?.0;
    }
    Ok(bytes.div_ceil(1024))
}

/// The system's packages that the programs need, as Debian's own tool finds them.
fn depends(release: &Contents) -> anyhow::Result<String> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let debian = folder.path().join("debian");
    fs::create_dir(&debian)
        .and_then(|()| {
            // It asks for a source package, of which it only wants to know that it is there.
            fs::write(debian.join("control"), "Source: rbee\n\nPackage: rbee\nArchitecture: any\n")
        })
        .context("cannot make a folder")?;
    let mut args = vec!["-O".to_owned()];
    for content in release.values() {
        if let Content::Program(path) = content {
            let path = fs::canonicalize(path)
                .with_context(|| format!("cannot find `{}`", path.display()))?;
            args.push(format!("-e{}", path.display()));
        }
    }
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let said = said("dpkg-shlibdeps", &args, folder.path())?;
    let depends = said.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(depends.context("`dpkg-shlibdeps` named no dependencies")?.to_owned())
}

/// A compressed tar of the files, with their folders, and one link.
fn packed(files: &Contents, link: Option<(&str, &str)>, level: u32) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::new(Vec::new(), level);
    archive.folder("./")?;
    let paths = files.keys().map(String::as_str).chain(link.map(|(path, _)| path));
    let above = |path: &'_ str| -> Vec<String> {
        let folders = Path::new(path).ancestors().skip(1);
        folders.map(|folder| folder.display().to_string()).filter(|name| !name.is_empty()).collect()
    };
    let folders: std::collections::BTreeSet<String> = paths.flat_map(above).collect();
    for folder in folders {
        archive.folder(&format!("./{folder}/"))?;
    }
    for (path, content) in files {
        archive.file(&format!("./{path}"), content)?;
    }
    if let Some((path, target)) = link {
        archive.link(&format!("./{path}"), target)?;
    }
    Ok(archive.finish()?)
}

/// What a program prints that must succeed.
fn said(program: &str, args: &[&str], folder: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).args(args).current_dir(folder).output();
    let output = output.with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        bail!("`{program}` failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8(output.stdout)
        .with_context(|| format!("`{program}` wrote no text"))?
        .trim_end()
        .to_owned())
}
