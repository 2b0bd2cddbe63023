//! Debian packages, by cargo-deb. What is in them is said in the `package.metadata.deb` of each crate.

use std::path::Path;

use anyhow::{Context, Result};

use crate::image::Commit;
use crate::static_build::{Architecture, Program};
use crate::tools::Tool;
use crate::{process, workspace};

const DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };

/// Packs `program`, which has been built.
pub fn package(
    program: Program,
    architecture: Architecture,
    profile: &str,
    commit: &Commit,
    output: &Path,
) -> Result<()> {
    let name = format!("{}_{}_{}.deb", program.name, workspace::version()?, architecture.name());
    println!("packing {name}");
    process::run(
        std::process::Command::new(DEB.program()?)
            // Stripped by the profile where it is to be.
            .args(["deb", "--quiet", "--locked", "--no-build", "--no-strip", "--package", program.name])
            .args(["--target", architecture.target(), "--profile", profile, "--output"])
            .arg(output.join(name))
            .env("SOURCE_DATE_EPOCH", commit.time.to_string())
            .current_dir(workspace::root()),
    )
    .with_context(|| format!("no Debian package of {}", program.name))
}
