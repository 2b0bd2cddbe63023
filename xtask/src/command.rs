//! Which commands there are, and the module of each.

use std::process::ExitCode;

use crate::{bench, ci, control_plane, crash, image, layers, release, test, tidy};

/// Project commands of Keystead.
#[derive(clap::Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub enum Command {
    /// Run the tests. The last line reads `N passed, N failed, N skipped`.
    Test(test::Args),
    /// Format, lints, size of files, names, layers, links, licences.
    Tidy(tidy::Args),
    /// Check which crate depends on which.
    Layers,
    /// What `.ci/run` runs: tidy, test, the quick tests on 29 February, quickstart, and that fuzz targets compile.
    Ci,
    /// Build kube-apiserver and etcd for the tests.
    ControlPlane(control_plane::Args),
    /// Make the plugin's OCI image, without a daemon and without a registry.
    Image(image::Args),
    /// Make everything that a download page offers: image, programs, packages, checksums, signature.
    Release(release::Args),
    /// Kill the key service with SIGKILL under load, again and again, and look what is left.
    Crash(crash::Args),
    /// Measure, and write docs/benchmarks.md.
    #[command(subcommand)]
    Bench(bench::Command),
}

impl Command {
    /// Runs the command; what fails is said on stderr.
    pub fn run(self) -> ExitCode {
        let done = match self {
            // These two end with the tests' summary, so they report their own failures before it.
            Self::Test(args) => return test::run(&args),
            Self::Ci => return ci::run(),
            Self::Tidy(args) => tidy::run(&args),
            Self::Layers => layers::run(),
            Self::ControlPlane(args) => control_plane::run(&args),
            Self::Image(args) => image::run(&args),
            Self::Release(args) => release::run(&args),
            Self::Crash(args) => crash::run(&args),
            Self::Bench(command) => bench::run(&command),
        };
        if let Err(error) = done {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}
