//! `keystead plugin ...`

mod admin_port;
mod bench;
mod check;
mod image;
mod install;
mod instance;
mod new_files;
mod on_host;
mod program;
mod settings;
mod settings_of_service;
mod socket;
mod systemctl;
mod uninstall;
mod upgrade;

use std::path::PathBuf;

use keystead_runtime::Failure;

pub(crate) use install::InstallArgs;
pub(crate) use on_host::Form;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum PluginCommand {
    /// Serve Kubernetes KMS v1 and v2 on one UNIX socket (the same as keystead-plugin)
    #[cfg(feature = "try")]
    Run(Box<keystead_plugin::RunArgs>),
    /// Make, look at, change and move the key file of the provider `local` (the same as keystead-plugin key)
    #[cfg(feature = "try")]
    Key(keystead_plugin::key_commands::KeyArgs),
    /// Play kube-apiserver against a plugin of any make and judge every answer
    Check(check::CheckArgs),
    Install(Box<InstallArgs>),
    Upgrade(Box<upgrade::UpgradeArgs>),
    Uninstall(Box<uninstall::UninstallArgs>),
    /// Measure how fast plugins of any make answer
    Bench(bench::BenchArgs),
    #[command(hide = true)]
    BareTonic(bench::BareTonicArgs),
}

pub(crate) fn run(command: PluginCommand) -> Result<(), Failure> {
    match command {
        #[cfg(feature = "try")]
        PluginCommand::Run(args) => keystead_plugin::run(*args),
        #[cfg(feature = "try")]
        PluginCommand::Key(args) => {
            keystead_runtime::print_result(&keystead_plugin::key_commands::run(args)?)
        }
        PluginCommand::Check(args) => check::check(&args),
        PluginCommand::Install(args) => install(&args),
        PluginCommand::Upgrade(args) => upgrade::run(&args),
        PluginCommand::Uninstall(args) => uninstall::run(&args),
        PluginCommand::Bench(args) => bench::run(&args),
        PluginCommand::BareTonic(args) => bench::serve_bare_tonic(&args),
    }
}

/// Installs a plugin, as `keystead plugin install` does with the same words. It blocks until the plugin answers, and has a runtime of its own.
pub(crate) fn install(args: &InstallArgs) -> Result<(), Failure> {
    install::run(args)
}

/// A program of PATH.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|it| it.join(program)).find(|it| it.is_file())
}
