//! Project commands: `cargo xtask --help`. One module per command; start with `command.rs`.

mod apt;
mod bench;
mod ci;
mod command;
mod control_plane;
mod crash;
mod date;
mod deny;
mod documents;
mod go;
mod image;
mod layers;
mod libtest;
mod node;
mod packages;
mod parts;
mod process;
mod release;
mod sources;
mod static_build;
mod test;
mod tidy;
mod tools;
mod wheels;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    <command::Command as clap::Parser>::parse().run()
}
