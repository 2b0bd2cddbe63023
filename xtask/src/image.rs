//! The plugin's image, made without a daemon, a registry or a base image: one layer with the static program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::static_build::{self, Architecture, PLUGIN};
use crate::{process, workspace};

mod archive;
mod layout;
#[cfg(test)]
mod tests;

pub use layout::sha256;

use archive::{File, Files};
use layout::{Description, Image};

/// Makes the OCI image of keystead-plugin: an OCI image layout as folder and tar, and for each architecture a tar that
/// `docker load` and `ctr image import` read. The same commit gives the same bytes in any folder.
#[derive(clap::Args)]
pub struct Args {
    /// The architecture that the program is for.
    #[arg(long, value_enum, default_value_t = Choice::All)]
    arch: Choice,
    /// Cargo profile of the program. `dist` is what is released; `dev` builds quickly.
    #[arg(long, default_value = "dist")]
    profile: String,
    /// Where to write. Files of the same names are replaced, and the folder `oci` where it is an OCI image layout.
    #[arg(long, default_value = "target/image")]
    output: PathBuf,
}

/// What `--arch` takes.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Choice {
    Amd64,
    Arm64,
    All,
}

impl Choice {
    pub fn architectures(self) -> &'static [Architecture] {
        match self {
            Self::Amd64 => &[Architecture::Amd64],
            Self::Arm64 => &[Architecture::Arm64],
            Self::All => &Architecture::ALL,
        }
    }
}

/// Where the program is in the image: where the README installs it on a host, so that a command reads the same in both.
const FOLDER: &str = "usr/local/bin";

/// Runs `cargo xtask image`.
pub fn run(args: &Args) -> Result<()> {
    let commit = Commit::current()?;
    let mut programs = Vec::new();
    for &architecture in args.arch.architectures() {
        programs.push((architecture, static_build::build(PLUGIN, architecture, &args.profile)?));
    }
    commit.is_still(&Commit::current()?)?;
    write(&programs, &commit, &args.output)?;
    Ok(())
}

/// The image of this machine's architecture for the tests, with a plugin that builds quickly.
pub fn for_tests() -> Result<PathBuf> {
    let architecture = Architecture::of_this_machine()?;
    let program = static_build::build(PLUGIN, architecture, "dev")?;
    let output = workspace::root().join("target/image-for-tests");
    let tars = write(&[(architecture, program)], &Commit::current()?, &output)?;
    Ok(tars.into_iter().next().context("no tar was written")?.path)
}

/// A file that `write` has made.
pub struct Tar {
    pub path: PathBuf,
    /// Digest by which a runtime knows what is in it.
    pub image: String,
}

/// Writes the image of `programs`, which are built from `commit`, below `output` and says digests.
pub fn write(programs: &[(Architecture, PathBuf)], commit: &Commit, output: &Path) -> Result<Vec<Tar>> {
    let description = describe(commit)?;
    let mut images = Vec::new();
    for (architecture, program) in programs {
        images.push((architecture.name(), Image::new(&description, architecture.name(), &files(program)?)?));
    }
    fs::create_dir_all(output).with_context(|| format!("cannot create {}", output.display()))?;
    let mut written = Vec::new();
    let mut tar = |name: String, image: &str, files: &Files| -> Result<()> {
        let path = output.join(name);
        let bytes = archive::tar(files, commit.time)?;
        println!("{}  sha256:{}", path.display(), sha256(&bytes));
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(Tar { path, image: image.to_owned() });
        Ok(())
    };
    println!("image {}", description.name);
    for (architecture, image) in &images {
        println!("{architecture}: {}", image.digest());
        let name = format!("keystead-plugin-{}-image-{architecture}.tar", description.version);
        tar(name, image.digest(), &layout::docker_archive(&description, image)?)?;
    }
    let images: Vec<Image> = images.into_iter().map(|(_, image)| image).collect();
    let (files, digest) = layout::layout(&description, &images)?;
    println!("index: {digest}");
    tar(format!("keystead-plugin-{}-image.tar", description.version), &digest, &files)?;
    let folder = output.join("oci");
    replace_layout(&files, &folder)?;
    println!("{}", folder.display());
    Ok(written)
}

/// Puts `files` where an earlier run has put its own. A run that is interrupted leaves `folder` whole or not there, and beside it
/// what the next run removes.
fn replace_layout(files: &Files, folder: &Path) -> Result<()> {
    let aside = folder.with_extension("unfinished");
    if aside.exists() {
        fs::remove_dir_all(&aside).with_context(|| format!("cannot remove {}", aside.display()))?;
    }
    archive::unpacked(files, &aside.join("new"))?;
    if folder.exists() {
        // Only what a run has made is removed.
        ensure!(
            folder.join("oci-layout").is_file(),
            "{} is no OCI image layout: move it away",
            folder.display()
        );
        fs::rename(folder, aside.join("old"))?;
    }
    fs::rename(aside.join("new"), folder)?;
    Ok(fs::remove_dir_all(&aside)?)
}

/// What is in the layer. No CA certificates: they would age with the image. A server with a private CA is reached with the
/// file that its settings name; for Google's, the host's `/etc/ssl/certs` is mounted, as kubeadm does for kube-apiserver.
fn files(program: &Path) -> Result<Files> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(Files::from([
        (format!("{FOLDER}/{}", PLUGIN.name), File { mode: 0o755, content: read(program)? }),
        (
            format!("usr/share/doc/{}/LICENSE", PLUGIN.name),
            File { mode: 0o644, content: read(&workspace::root().join("LICENSE"))? },
        ),
    ]))
}

fn describe(commit: &Commit) -> Result<Description> {
    let version = workspace::version()?;
    Ok(Description {
        name: format!("keystead.io/{}:{version}", PLUGIN.name),
        version,
        revision: commit.revision.clone(),
        time: commit.time,
        created: commit.date.clone(),
        entrypoint: format!("/{FOLDER}/{}", PLUGIN.name),
        search_path: format!("/{FOLDER}"),
    })
}

/// The commit that is built. Its time takes the place of the current time in whatever is made.
#[derive(PartialEq, Eq)]
pub struct Commit {
    /// With `-modified` where the checkout differs from it.
    pub revision: String,
    pub modified: bool,
    /// Seconds since 1970.
    pub time: u64,
    /// The same in RFC 3339.
    pub date: String,
}

impl Commit {
    pub fn current() -> Result<Self> {
        let git = |arguments: &[&str]| {
            process::output(
                Command::new("git").args(arguments).env("TZ", "UTC0").current_dir(workspace::root()),
            )
        };
        let log =
            git(&["log", "--max-count=1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%H %ct %cd"])?;
        let fields: Vec<&str> = log.split_whitespace().collect();
        let [hash, time, date] = fields[..] else { anyhow::bail!("git log prints another form: {log}") };
        let changes = git(&["status", "--porcelain"])?;
        let modified = !changes.is_empty();
        if modified {
            println!("the checkout differs from its commit: nobody else can build the same");
        }
        let suffix = if modified { "-modified" } else { "" };
        Ok(Self { revision: format!("{hash}{suffix}"), modified, time: time.parse()?, date: date.to_owned() })
    }

    /// Fails if the checkout is at another commit `now`, or was changed: what was built meanwhile may be of neither.
    pub fn is_still(&self, now: &Self) -> Result<()> {
        ensure!(
            self == now,
            "the checkout was at {} and is at {} after the build: leave it alone meanwhile, and begin again",
            self.revision,
            now.revision
        );
        Ok(())
    }
}
