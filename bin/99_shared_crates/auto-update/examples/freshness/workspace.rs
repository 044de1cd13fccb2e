use std::{fmt::Write as _, fs, io, path::Path};

/// Modules in one folder, and folders in one crate.
const MODULES: usize = 20;
const FOLDERS: usize = 50;

/// Makes a workspace in `root` whose binary `app` is made from about `size` files.
pub(crate) fn make(root: &Path, size: usize) -> io::Result<()> {
    let folders = size.div_ceil(MODULES).max(1);
    let crates = folders.div_ceil(FOLDERS);
    let names: Vec<String> = (0..crates).map(|n| format!("lib{n}")).collect();
    let members: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let manifest = format!(
        "[workspace]\nmembers = [\"app\", {}]\nresolver = \"3\"\n[profile.dev]\ndebug = false\n",
        members.join(", ")
    );
    write(&root.join("Cargo.toml"), &manifest)?;
    write(&root.join(".gitignore"), "target\n")?;
    let mut dependencies = String::from("[dependencies]\n");
    let mut sum = String::from("fn main() { let sum = 0_usize");
    let mut left = folders;
    for name in &names {
        writeln!(dependencies, "{name} = {{ path = \"../{name}\" }}").map_err(io::Error::other)?;
        write!(sum, " + {name}::V").map_err(io::Error::other)?;
        let here = left.min(FOLDERS);
        left -= here;
        package(root, name, "")?;
        let modules: String = (0..here).map(|folder| format!("mod d{folder};\n")).collect();
        let values: Vec<String> = (0..here).map(|folder| format!("d{folder}::V")).collect();
        let source = format!("{modules}pub const V: usize = {};\n", values.join(" + "));
        write(&root.join(name).join("src/lib.rs"), &source)?;
        for folder in 0..here {
            let dir = root.join(name).join(format!("src/d{folder}"));
            let modules: String = (1..MODULES).map(|module| format!("mod m{module};\n")).collect();
            let source = format!("{modules}pub const V: usize = m1::V;\n");
            write(&dir.join("mod.rs"), &source)?;
            for module in 1..MODULES {
                let visible = "#[allow(dead_code)]\npub const V: usize = 1;\n";
                write(&dir.join(format!("m{module}.rs")), visible)?;
            }
        }
    }
    package(root, "app", &dependencies)?;
    write(
        &root.join("app/src/main.rs"),
        &format!("{sum}; std::process::exit((sum == 0).into()); }}\n"),
    )
}

fn package(root: &Path, name: &str, rest: &str) -> io::Result<()> {
    let text =
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}");
    write(&root.join(name).join("Cargo.toml"), &text)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, text)
}
