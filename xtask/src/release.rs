//! Everything that a download page offers, in one folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::image::{self, Choice, Commit};
use crate::static_build::{self, Architecture, PLUGIN, Program};
use crate::workspace;

mod debian;
mod materials;
mod signature;

/// Makes image, static programs, Debian packages, lists of what is linked, checksums and a signature of these.
#[derive(clap::Args)]
pub struct Args {
    /// Where to write: a folder that is empty or not there.
    #[arg(long)]
    output: PathBuf,
    /// SSH key to sign the checksums with: a private key, or the public key of one in an agent or on a token.
    #[arg(long, value_name = "KEYFILE")]
    sign: Option<PathBuf>,
    /// The architecture to release for.
    #[arg(long, value_enum, default_value_t = Choice::All)]
    arch: Choice,
    /// Cargo profile of the programs. `dist` is what is released; `dev` builds quickly.
    #[arg(long, default_value = "dist")]
    profile: String,
}

const SERVER: Program = Program { name: "keystead-server", default_features: true };
/// For hosts: without what is there to try things.
const CLI: Program = Program { name: "keystead", default_features: false };

/// What `sha256sum --check` reads, and what is signed.
const SUMS: &str = "SHA256SUMS";

/// Runs `cargo xtask release`.
pub fn run(args: &Args) -> Result<()> {
    // Now, and not after the builds.
    let commit = Commit::current()?;
    let output = std::path::absolute(&args.output)?;
    if let Some(key) = &args.sign {
        ensure!(key.is_file(), "there is no key {}", key.display());
        ensure!(
            !commit.modified,
            "only a commit is signed: commit or stash the changes in the checkout first"
        );
    }
    fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
    // What else lies there would be signed too.
    ensure!(fs::read_dir(&output)?.next().is_none(), "{} is not empty", output.display());

    let mut programs = Vec::new();
    for &architecture in args.arch.architectures() {
        for program in [PLUGIN, SERVER, CLI] {
            let built = static_build::build(program, architecture, &args.profile)?;
            programs.push((program, architecture, built));
        }
    }
    // Before anything is written: the output may be in the checkout, where git takes it for a change.
    commit.is_still(&Commit::current()?)?;

    let version = workspace::version()?;
    let mut plugins = Vec::new();
    for (program, architecture, built) in programs {
        let name = format!("{}-{version}-linux-{}", program.name, architecture.name());
        copy(&built, &output.join(name))?;
        if program.name == PLUGIN.name {
            plugins.push((architecture, built));
        }
    }
    for &architecture in args.arch.architectures() {
        for program in [PLUGIN, SERVER] {
            debian::package(program, architecture, &args.profile, &commit, &output)?;
        }
    }
    write_image(&plugins, &commit, &output)?;
    for program in [PLUGIN, SERVER, CLI] {
        let path = output.join(format!("{}-{version}.cdx.json", program.name));
        materials::list(program, Architecture::Amd64.target(), &commit, &path)?;
    }
    copy(&workspace::root().join("LICENSE"), &output.join("LICENSE"))?;
    let sums = output.join(SUMS);
    fs::write(&sums, checksums(&output)?)?;
    if let Some(key) = &args.sign {
        signature::sign(&sums, key)?;
    }
    println!("{}", output.display());
    Ok(())
}

/// The tars of the image, and the digests by which runtimes will know them.
fn write_image(plugins: &[(Architecture, PathBuf)], commit: &Commit, output: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let mut digests = String::new();
    for tar in image::write(plugins, commit, work.path())? {
        let name = tar.path.file_name().context("a tar has a name")?;
        copy(&tar.path, &output.join(name))?;
        digests.push_str(&format!("{}  {}\n", tar.image, name.to_string_lossy()));
    }
    Ok(fs::write(output.join("IMAGE-DIGESTS"), digests)?)
}

/// One line for each file in `folder`, in the order of their names.
fn checksums(folder: &Path) -> Result<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("names are ours, in ASCII")?;
        lines.push((name.clone(), format!("{}  {name}\n", image::sha256(&fs::read(entry.path())?))));
    }
    lines.sort();
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_what_sha256sum_prints() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("b"), "abc").expect("written");
        fs::write(folder.path().join("a"), "").expect("written");
        // The examples of FIPS 180-4, and of the empty message.
        assert_eq!(
            checksums(folder.path()).expect("sums"),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n"
        );
    }
}
