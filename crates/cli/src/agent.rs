//! `keystead agent ...`: this control-plane host as one of a cluster that a server knows.
//!
//! The server says where to go: a key, or none. How, and when it is safe, this host finds out by itself and from the other hosts, as
//! `keystead cluster migrate --over cluster` does; nothing that the server says names a file, a flag, a path or an image. Read `run.rs` first.

mod approval;
mod configuration;
mod credentials;
mod facts;
mod identity;
mod inventory;
mod run;
mod status;
mod work;

use std::path::{Path, PathBuf};

use keystead_model::cluster_host::HostGoal;
use keystead_runtime::{Failure, print_result};

use crate::plugin::Form;
use configuration::Configuration;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum AgentCommand {
    Join(identity::JoinArgs),
    /// Connect out to the server, report what is on this host, and bring it to where the cluster is to go
    ///
    /// It runs until it is stopped. Without the server, the cluster goes on as it is, and the agent asks again. What it does is what `keystead
    /// cluster migrate|rotate|disable --over cluster` does, on every control-plane host at once.
    Run(ConfigurationArgs),
    /// Which cluster this host belongs to, what was last heard from the server, and what is being done
    Status(ConfigurationArgs),
    Approve(approval::ApproveArgs),
    /// Print what runs the agent: a unit of systemd, or the manifest of a static pod
    ///
    /// Save the unit as /etc/systemd/system/keystead-agent.service, the manifest as keystead-agent-pod.yaml in the kubelet's directory of static
    /// pods. The pod has the host's own /usr/local/bin/keystead in the plugin's image, and asks neither systemd nor containerd: its agent.yaml
    /// names that image in `pluginOptions`, as the manifest's first lines say.
    Unit(UnitArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnitArgs {
    /// In which way the agent runs
    #[arg(long = "as", value_name = "FORM", default_value = "systemd")]
    form: Form,
}

const UNIT: &str = include_str!("../../../deploy/systemd/keystead-agent.service");
const POD: &str = include_str!("../../../deploy/static-pod/keystead-agent-pod.yaml");

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigurationArgs {
    /// What this host allows, and where its files are [default: /etc/keystead/agent.yaml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const CONFIG: &str = "/etc/keystead/agent.yaml";

impl ConfigurationArgs {
    fn read(&self) -> Result<Configuration, Failure> {
        match &self.config {
            Some(path) => Configuration::read(path),
            // A link that leads nowhere is there, and was meant.
            None if std::fs::symlink_metadata(CONFIG).is_ok() => Configuration::read(Path::new(CONFIG)),
            None => Ok(Configuration::default()),
        }
    }
}

/// For the fuzz targets: what a host with this configuration would do of what a server answers, if both can be read: the key and how long it
/// waits.
pub(crate) fn heard(
    configuration: &str,
    answer: &serde_json::Value,
) -> Option<(Option<String>, std::time::Duration)> {
    let configuration = Configuration::parse(Path::new("agent.yaml"), configuration).ok()?;
    let answer = run::Answer::read(answer).ok()?;
    let key = answer.instruction.and_then(|it| match it.goal {
        HostGoal::Encrypt(key) | HostGoal::Reencrypt(key) => Some(key),
        HostGoal::Decrypt => None,
    });
    let allowed = key.filter(|key| configuration.refusal(Some(key)).is_none());
    Some((allowed.map(|key| key.to_string()), answer.pause))
}

pub(crate) fn run(command: AgentCommand) -> Result<(), Failure> {
    match command {
        AgentCommand::Join(args) => identity::join(&args),
        AgentCommand::Run(args) => run::run(&args.read()?),
        AgentCommand::Status(args) => status::show(&args.read()?),
        AgentCommand::Unit(UnitArgs { form: Form::Systemd }) => print_result(UNIT),
        AgentCommand::Unit(UnitArgs { form: Form::StaticPod }) => {
            print_result(&POD.replace("VERSION", env!("CARGO_PKG_VERSION")))
        }
        AgentCommand::Approve(args) => approval::approve(&args),
    }
}
