//! Packages of Debian.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{run_quietly, succeeds};

/// Installs Debian packages as root; otherwise says which are wanted.
pub fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    let apt = succeeds(Command::new("apt-get").arg("--version"));
    if !apt || !succeeds(Command::new("sh").args(["-c", "test \"$(id -u)\" = 0"])) {
        bail!("please install {names} (names as in Debian)");
    }
    eprintln!("installing {names}");
    run_quietly(Command::new("apt-get").args(["--quiet", "update"]))?;
    run_quietly(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["--quiet", "install", "--yes", "--no-install-recommends"])
            .args(packages),
    )
}
