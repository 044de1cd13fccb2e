//! Packs what `./rbee dist` has built: an archive that `tar` and `rbee self-update` install, and a
//! Debian package.

#![expect(clippy::print_stdout, reason = "this is a command line")]

mod contents; // what goes into both
mod debian; // the package
mod licences; // of what is linked into the programs

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use cargo_metadata::{Metadata, MetadataCommand};
use clap::{Parser, ValueEnum};
use release_archive::{pack, this_platform};

use contents::Program;

#[derive(Debug, Parser)]
#[command(name = "chain-dist", bin_name = "./rbee dist")]
struct Args {
    /// Where the files are written; without it `dist` in cargo's target directory
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// What is made; without it all of them, but a package only where `dpkg-shlibdeps` is
    #[arg(long, value_enum)]
    format: Vec<Format>,
    /// How hard to compress, from 0 to 9
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=9))]
    level: u32,
    /// A program and where it is; one of them is `rbee`
    #[arg(value_name = "NAME=PATH", required = true)]
    programs: Vec<Program>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An archive for `tar` and for `rbee self-update`
    Tar,
    /// A package of Debian and its like
    Deb,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let metadata = metadata(&root)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => metadata.target_directory.join("dist").into_std_path_buf(),
    };
    fs::create_dir_all(&out).with_context(|| format!("cannot make `{}`", out.display()))?;
    let Some(keeper) = args.programs.iter().find(|program| program.name == "rbee") else {
        bail!("none of the programs is `rbee`");
    };
    let made = contents::collect(&root, &metadata, &args.programs, keeper)?;
    let version = contents::version(&metadata)?;
    let wants = |format| args.format.is_empty() || args.format.contains(&format);
    if wants(Format::Tar) {
        let path = out.join(format!("rbee-{version}-{}.tar.gz", this_platform()));
        let file =
            File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
        let release = pack(&made.release, version.clone(), BufWriter::new(file), args.level)?;
        told(&path)?;
        println!("  release {}, {} files", release.id(), release.files.len());
    }
    if args.format.contains(&Format::Deb) || (wants(Format::Deb) && debian::can_be_made()) {
        told(&debian::write(&out, &version, &made, args.level)?)?;
    } else if wants(Format::Deb) {
        println!(
            "no .deb: `dpkg-shlibdeps`, which says what it depends on, is not here (dpkg-dev)"
        );
    }
    Ok(())
}

fn told(path: &Path) -> anyhow::Result<()> {
    let bytes =
        fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?.len();
    println!("{}  {:.1} MB", path.display(), bytes as f64 / 1e6);
    Ok(())
}

/// Of the platform that this runs on: what is only for others is in no program.
fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    let rustc = std::process::Command::new("rustc").arg("-vV").output();
    let rustc = rustc.context("cannot run `rustc -vV`")?.stdout;
    let rustc = String::from_utf8(rustc).context("`rustc -vV` did not write text")?;
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` names no host")?;
    MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .current_dir(root)
        .other_options(["--filter-platform", host].map(str::to_owned))
        .exec()
        .context("cargo does not understand the manifests")
}
