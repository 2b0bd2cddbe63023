//! Programs that are published as Python wheels: they need no root and no newer distribution.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process;

/// Installs the wheels of `requirements`, in pip's words, into `folder`, unless it is there. An interrupted
/// installation leaves no `folder`, and a second one waits for the first. `advice` says what to do where pip fails.
pub fn install(folder: &Path, what: &str, size: &str, requirements: &str, advice: &str) -> Result<()> {
    let parent = folder.parent().context("a folder of the cache")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    if folder.exists() {
        return Ok(());
    }
    eprintln!("installing {what} into {} ({size})", folder.display());
    if !succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
        install_pip(advice)?;
    }
    let unfinished = folder.with_extension("part");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let list = tempfile::NamedTempFile::new()?;
    fs::write(list.path(), requirements)?;
    process::run(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(["--root-user-action=ignore", "--target"])
            .arg(&unfinished)
            .arg("--requirement")
            .arg(list.path()),
    )
    .with_context(|| advice.to_owned())?;
    Ok(fs::rename(&unfinished, folder)?)
}

fn install_pip(advice: &str) -> Result<()> {
    ensure!(succeeds(Command::new("apt-get").arg("--version")), "Python has no pip here: {advice}");
    eprintln!("installing python3-pip with apt-get");
    process::run(Command::new("apt-get").args(["--quiet", "update"])).with_context(|| advice.to_owned())?;
    process::run(
        Command::new("apt-get")
            .args(["--quiet", "install", "--yes", "--no-install-recommends", "python3-pip"])
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .with_context(|| advice.to_owned())
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
}
