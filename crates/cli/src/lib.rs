//! `keystead`: the command line. It must never hold a rule of its own: it parses, calls a library and prints.
//!
//! One file a group of commands; read `plugin.rs` first. Results go to standard output, progress and prose to standard
//! error, failures as `error:`, `caused by:`, `hint:` with a documented exit code.

mod agent;
mod audit;
mod cluster;
mod connection;
mod container;
mod doctor;
mod duration;
mod env;
#[doc(hidden)]
pub mod fuzzed;
mod iam;
mod kms;
mod labels;
#[cfg(feature = "try")]
mod local_clusters;
mod output;
mod output_file;
mod plugin;
mod projects;
#[cfg(feature = "try")]
mod quickstart;
mod report_format;
mod server;
mod services;
mod session;
mod xdg;

use std::path::PathBuf;

use keystead_runtime::Failure;
use rustix::process::geteuid;

/// Encrypts the Secrets of any Kubernetes cluster with a key that lives outside the cluster.
///
/// Exit codes: 0 ok, 1 failed or refused, 2 usage or configuration text, 3 partly done, 4 unreachable, 5 denied, 6 a
/// verification found a problem, 70 bug.
#[derive(Debug, clap::Parser)]
#[command(version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// From nothing to proof on this machine: key, plugin, Secrets in etcd, rotation, re-encryption
    #[cfg(feature = "try")]
    Quickstart(quickstart::QuickstartArgs),
    /// Shell lines that point gcloud, keystead and Google's client libraries at a server on this host
    Env(env::EnvArgs),
    /// The key management service: run it, back it up, restore it
    #[command(subcommand)]
    Server(server::ServerCommand),
    /// The KMS plugin: install it on a host, run it, check any plugin, measure it, look after its key file
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// A cluster and its etcd: what is stored under which key, in a backup too, and what is in it; re-encryption
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// This control-plane host as one of a cluster that a server knows: join it, and bring the host where the cluster is to go
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Clusters on this machine that a server made for itself: run one, stop them all
    #[cfg(feature = "try")]
    #[command(subcommand)]
    LocalClusters(local_clusters::LocalClustersCommand),
    Doctor(Box<doctor::DoctorArgs>),
    Kms(Box<kms::KmsArgs>),
    Container(Box<container::ContainerArgs>),
    Projects(Box<projects::ProjectsArgs>),
    Services(Box<services::ServicesArgs>),
    Iam(Box<iam::IamArgs>),
    /// The server's audit log: check it, show it
    #[command(subcommand)]
    Audit(audit::AuditCommand),
}

/// Runs one command.
pub fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        #[cfg(feature = "try")]
        Command::Quickstart(args) => quickstart::run(&args),
        Command::Env(args) => env::run(&args),
        Command::Server(command) => server::run(command),
        Command::Plugin(command) => plugin::run(command),
        Command::Cluster(command) => cluster::run(command),
        Command::Agent(command) => agent::run(command),
        #[cfg(feature = "try")]
        Command::LocalClusters(command) => local_clusters::run(command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Kms(args) => kms::run(&args),
        Command::Container(args) => container::run(&args),
        Command::Projects(args) => projects::run(&args),
        Command::Services(args) => services::run(&args),
        Command::Iam(args) => iam::run(&args),
        Command::Audit(command) => audit::run(&command),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))
}

/// Where the state of a cluster's changes is kept when nobody says.
fn state_directory() -> Result<PathBuf, Failure> {
    if geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/keystead"));
    }
    xdg::directory("XDG_STATE_HOME", ".local/state").ok_or_else(|| {
        Failure::new("there is no place for the state: neither XDG_STATE_HOME nor HOME is set")
            .usage()
            .hint("name one with --state".to_owned())
    })
}
