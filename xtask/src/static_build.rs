//! Programs without shared libraries, for the image and the release: musl targets of Rust, and Zig as C compiler and linker.
//!
//! Why Zig: AWS-LC and SQLite are C. Zig brings musl for both architectures in one pinned download that needs no root, so that
//! everybody's builds use the same compiler and the same libc; distributions' cross compilers are those of the day.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{go, process, wheels, workspace};

mod elf;

/// Zig and cargo-zigbuild, which hands it to cargo: versions with digests.
const REQUIREMENTS: &str = include_str!("static_build/requirements.txt");

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    pub fn of_this_machine() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => anyhow::bail!("there is no image for {other}"),
        }
    }

    /// As images and Debian call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As Rust calls it.
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }
}

/// What is built: a package, whose program has the same name.
#[derive(Clone, Copy)]
pub struct Program {
    pub name: &'static str,
    pub default_features: bool,
}

pub const PLUGIN: Program = Program { name: "keystead-plugin", default_features: true };

/// Builds `program` alone, so that what else is built does not change its features, and returns its path. No path of this
/// machine is in it: the same sources give the same bytes in any folder.
pub fn build(program: Program, architecture: Architecture, profile: &str) -> Result<PathBuf> {
    let zig = zig()?;
    let places = Places::find()?;
    let target = architecture.target();
    add_target(&places.sysroot, target)?;
    println!("building {} for {target}, profile {profile} (fat LTO takes minutes)", program.name);
    let caches = go::cache()?.join("zig-cache");
    // Not `cargo zigbuild`: that would look for it on PATH.
    let mut build = Command::new(zig.join("bin/cargo-zigbuild"));
    build
        .current_dir(workspace::root())
        .args(["zigbuild", "--locked", "--message-format=json-render-diagnostics", "--target", target])
        .args(["--profile", profile, "--package", program.name, "--bin", program.name])
        .env("CARGO", process::cargo().get_program())
        .env("CARGO_ZIGBUILD_ZIG_PATH", zig.join("ziglang/zig"))
        .env("CARGO_ZIGBUILD_CACHE_DIR", caches.join("zigbuild"))
        .env("ZIG_GLOBAL_CACHE_DIR", &caches)
        .env("ZIG_LOCAL_CACHE_DIR", &caches)
        .env("CARGO_ENCODED_RUSTFLAGS", places.rust_flags())
        .env(format!("CFLAGS_{}", target.replace('-', "_")), places.c_flags())
        // Units of incremental compilation depend on what was compiled before. The caller's flags would change what is built.
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("RUSTFLAGS")
        .env_remove("CFLAGS");
    if !program.default_features {
        build.arg("--no-default-features");
    }
    let path = executable(&process::output(&mut build)?, program.name)?;
    check(&fs::read(&path)?, architecture, &places).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The folder with Zig and cargo-zigbuild.
fn zig() -> Result<PathBuf> {
    let digest = crate::image::sha256(REQUIREMENTS.as_bytes());
    let folder = go::cache()?.join(format!("zig-{}", digest.get(..16).unwrap_or(&digest)));
    let advice = "static programs need Zig, which Python's pip downloads: see that it is there and reaches what it downloads from";
    wheels::install(&folder, "Zig, for static programs", "100 MB", REQUIREMENTS, advice)?;
    Ok(folder)
}

fn add_target(sysroot: &Path, target: &str) -> Result<()> {
    if sysroot.join("lib/rustlib").join(target).is_dir() {
        return Ok(());
    }
    println!("installing Rust's standard library for {target} (30 MB)");
    process::run(Command::new("rustup").args(["target", "add", target]).current_dir(workspace::root()))
        .with_context(|| format!("this Rust has no {target}; rustup could not add it"))
}

/// The executable in the messages of a build.
fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line)?;
        if message["reason"] == "compiler-artifact"
            && message["target"]["name"] == name
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    anyhow::bail!("cargo has built no program {name}")
}

/// How far back from a path its beginning is looked for: Linux's PATH_MAX.
const MAX_PATH_LEN: usize = 4_096;
/// How the names of files end that compilers put into a program, and those of folders do not.
const SOURCES: [&[u8]; 6] = [b".rs", b".c", b".h", b".S", b".s", b".inc"];

/// Folders of this machine that a compiler would write into a program, and what it writes instead.
struct Places {
    sysroot: PathBuf,
    renamed: Vec<(PathBuf, String)>,
}

impl Places {
    fn find() -> Result<Self> {
        let rustc = |arguments: &[&str]| {
            process::output(Command::new("rustc").args(arguments).current_dir(workspace::root()))
        };
        let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?.trim());
        let version = rustc(&["--version", "--verbose"])?;
        let commit = version.lines().find_map(|it| it.strip_prefix("commit-hash: ")).unwrap_or("unknown");
        let metadata =
            process::output(process::cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let target =
            metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::home_dir().map(|it| it.join(".cargo")));
        let renamed = vec![
            (workspace::root().to_owned(), "/keystead".to_owned()),
            (home.context("no home directory: set CARGO_HOME")?, "/cargo".to_owned()),
            // Zig and the musl that it compiles.
            (go::cache()?, "/cache".to_owned()),
            // What of the standard library is compiled here, as in the rest of it.
            (sysroot.join("lib/rustlib/src/rust"), format!("/rustc/{commit}")),
            // The last that fits is used: this one may be inside the checkout.
            (target.into(), "/keystead/target".to_owned()),
        ];
        for (place, _) in &renamed {
            without_spaces(place)?;
        }
        Ok(Self { sysroot, renamed })
    }

    fn rust_flags(&self) -> String {
        let renamed = self.renamed.iter();
        let mut flags: Vec<String> =
            renamed.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
        // Whatever the profile says: debug information of musl, which Zig compiles when it links, names Zig's folders.
        flags.push("-Cstrip=symbols".to_owned());
        // Cargo's separator, which no path has.
        flags.join("\u{1f}")
    }

    fn c_flags(&self) -> String {
        let flags: Vec<String> = self
            .renamed
            .iter()
            .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
            .collect();
        flags.join(" ")
    }

    /// Whether `program` has the path of `place` or of a file below it. What a renamed path goes on with does not count: a checkout in
    /// `/src` is not what `/keystead/xtask/src/main.rs` names. Nor does a place that has the name which everybody's build gives it.
    fn is_named(&self, place: &Path, program: &[u8]) -> bool {
        if self.renamed.iter().any(|(from, to)| from == place && Path::new(to) == place) {
            return false;
        }
        let name = place.as_os_str().as_encoded_bytes();
        let found = program.windows(name.len()).enumerate().filter(|(_, it)| *it == name);
        found.into_iter().any(|(at, _)| {
            let before = &program[at.saturating_sub(MAX_PATH_LEN)..at];
            let ends = program.get(at + name.len()).is_none_or(|next| !is_of_a_name(*next));
            ends && !self.renamed.iter().any(|(_, to)| goes_on_from(to.as_bytes(), before))
        })
    }
}

/// Whether a byte may stand in the name of a folder of ours or of a dependency.
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte)
}

/// Whether `text` ends with `start`, or with folders below it.
fn goes_on_from(start: &[u8], text: &[u8]) -> bool {
    let Some(at) = text.windows(start.len()).rposition(|it| it == start) else { return false };
    let is_folder = |name: &[u8]| {
        !name.is_empty()
            && name.iter().all(|it| is_of_a_name(*it))
            && !SOURCES.iter().any(|it| name.ends_with(it))
    };
    match &text[at + start.len()..] {
        [] => true,
        [b'/', folders @ ..] => folders.split(|it| *it == b'/').all(is_folder),
        _ => false,
    }
}

/// What the build promises, looked up in its result.
fn check(program: &[u8], architecture: Architecture, places: &Places) -> Result<()> {
    let facts = elf::facts(program).context("no ELF program of 64 bits")?;
    ensure!(!facts.interpreted, "it is linked dynamically");
    let machine = match architecture {
        Architecture::Amd64 => elf::X86_64,
        Architecture::Arm64 => elf::AARCH64,
    };
    ensure!(facts.machine == machine, "it is for another architecture than {}", architecture.name());
    for (place, _) in &places.renamed {
        let found = places.is_named(place, program);
        ensure!(!found, "the path {} of this machine is in it", place.display());
    }
    Ok(())
}

/// The flags of C compilers are divided at spaces.
fn without_spaces(place: &Path) -> Result<()> {
    ensure!(
        !place.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_whitespace),
        "static programs cannot be built with a space in the path {}: move the checkout, or set CARGO_HOME, \
         CARGO_TARGET_DIR or KEYSTEAD_CACHE to a path without one",
        place.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(renamed: &[(&str, &str)]) -> Places {
        let renamed = renamed.iter().map(|(from, to)| (PathBuf::from(from), (*to).to_owned())).collect();
        Places { sysroot: PathBuf::new(), renamed }
    }

    #[test]
    fn a_path_of_this_machine_is_found_and_the_end_of_a_renamed_one_is_not() {
        let places = places(&[("/src", "/keystead"), ("/root/.cargo", "/cargo"), ("/keystead", "/keystead")]);
        let found = |place: &str, program: &str| places.is_named(Path::new(place), program.as_bytes());
        // Texts stand in a program one after the other, without anything between them.
        for program in [
            "/src/main.rs",
            "\0/src/main.rs\0",
            "called `unwrap` on None/src/main.rs",
            "/keystead/crates/plugin/lib.rs/src/main.rs",
            "/keysteads/src/main.rs",
            "the directory that was compiled in: /src\0",
            "/src",
            "/cargo/registry/one/build.rs/keystead/xtask/src/main.rs/src/main.rs",
        ] {
            assert!(found("/src", program), "{program}");
        }
        for program in [
            "/keystead/crates/plugin/src/lib.rs",
            "/keystead/src/lib.rs",
            "/cargo/registry/aws-lc-sys-0.30.0/src/lib.rs/keystead/xtask/src/main.rs",
            "/srcs/main.rs",
            "",
        ] {
            assert!(!found("/src", program), "{program}");
        }
        assert!(found("/root/.cargo", "/cargo/root/.cargo.rs/root/.cargo/registry/lib.rs"));
        // Built where it says that it was built: everybody's path.
        assert!(!found("/keystead", "/keystead/xtask/src/main.rs"));
    }

    #[test]
    fn a_path_that_c_compilers_would_divide_is_refused() {
        assert!(without_spaces(Path::new("/work/keystead")).is_ok());
        let refused = without_spaces(Path::new("/home/some one/keystead")).expect_err("refused");
        assert!(refused.to_string().contains("/home/some one/keystead"), "{refused}");
    }
}
