//! Project commands: `cargo xtask --help`. One module per command; start with `test.rs`.

mod bench;
mod ci;
mod control_plane;
mod crash;
mod date;
mod deny;
mod documents;
mod go;
mod image;
mod layers;
mod libtest;
mod packages;
mod parts;
mod process;
mod sources;
mod static_build;
mod test;
mod tidy;
mod wheels;
mod workspace;

use std::process::ExitCode;

/// Project commands of Keystead.
#[derive(clap::Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Run the tests. The last line reads `N passed, N failed, N skipped`.
    Test(test::Args),
    /// Format, lints, size of files, names, layers, links, licences.
    Tidy(tidy::Args),
    /// Check which crate depends on which.
    Layers,
    /// What `.ci/run` runs: tidy, test, quickstart.
    Ci,
    /// Build kube-apiserver and etcd for the tests.
    ControlPlane(control_plane::Args),
    /// Make the plugin's OCI image, without a daemon and without a registry.
    Image(image::Args),
    /// Kill the key service with SIGKILL under load, again and again, and look what is left.
    Crash(crash::Args),
    /// Measure, and write docs/benchmarks.md.
    #[command(subcommand)]
    Bench(bench::Command),
}

fn main() -> ExitCode {
    let done = match <Command as clap::Parser>::parse() {
        // These two end with the tests' summary, so they report their own failures before it.
        Command::Test(args) => return test::run(&args),
        Command::Ci => return ci::run(),
        Command::Tidy(args) => tidy::run(&args),
        Command::Layers => layers::run(),
        Command::ControlPlane(args) => control_plane::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Crash(args) => crash::run(&args),
        Command::Bench(command) => bench::run(&command),
    };
    if let Err(error) = done {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
