//! `keystead plugin install`

mod static_pod;
mod status_version;
mod systemd;

use std::path::PathBuf;

use keystead_runtime::Failure;

use super::image::ImageArgs;
use super::on_host::{ConsentArgs, Form, HostArgs};
use super::settings::SettingsArgs;
use super::socket;
use crate::output::say;

/// Install the KMS plugin on this control-plane host, as a static pod or under systemd, and wait until it answers
///
/// Everything is checked first: the files and their modes, whether the key wraps and unwraps, the image, the socket, and that no other
/// plugin is there. Then it prints its plan, and does nothing without --yes; --dry-run prints the exact files. Only ids stand in what is
/// written: key files and credentials stay where they are. kube-apiserver is not touched: that is `keystead cluster enable`.
///
/// Exit codes: 0 installed or there already, 1 failed or refused, 2 usage or settings, 4 the key service cannot be reached, 5 it refuses us.
#[derive(Debug, clap::Args)]
pub(crate) struct InstallArgs {
    /// In which way the plugin runs
    #[arg(long = "as", value_name = "FORM")]
    form: Form,
    /// The socket for kube-apiserver, in a directory of its own [default: /tmp/keystead/kms.sock for a static pod, /run/keystead/kms.sock
    /// under systemd; with --instance NAME, /tmp/keystead/NAME/kms.sock and /run/keystead/NAME/kms.sock]
    #[arg(long, value_name = "PATH", value_parser = socket::parse)]
    socket: Option<PathBuf>,
    /// What the plugin's Status says. It must fit the API server of this host alone: no other one calls this plugin [default: v2beta1 if
    /// that one is 1.27 or 1.28 by its manifest, which take nothing else, and otherwise v2]
    #[arg(long, value_name = "VERSION", value_parser = ["v2", "v2beta1"])]
    status_version: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    systemd: SystemdArgs,
    #[command(flatten)]
    host: HostArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Under systemd")]
struct SystemdArgs {
    /// The plugin's program, which is copied to --programs; without it one must be there, or in /usr/bin
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// An address or network that the plugin may call, for the unit's IPAddressAllow; again for more: those of the key service and of
    /// name servers [default for a key in a Cloud KMS: any]
    #[arg(long = "allow-address", value_name = "ADDRESS")]
    allow_addresses: Vec<String>,
}

pub(super) fn run(args: &InstallArgs) -> Result<(), Failure> {
    match args.form {
        Form::StaticPod => static_pod::run(args),
        Form::Systemd => systemd::run(args),
    }
}

impl InstallArgs {
    /// Says what kube-apiserver needs besides. A host without its manifest has nothing to say about it.
    fn say_what_comes_next(&self, socket: &std::path::Path) {
        let directory = socket.parent().map(|it| it.display().to_string()).unwrap_or_default();
        let host = self.host.as_local_host();
        let sees = host.ok().and_then(|host| host.is_seen_by_api_server(&directory).ok());
        match sees {
            Some(true) => say(&format!("kube-apiserver mounts {directory} already")),
            Some(false) => say(&format!("kube-apiserver does not see {directory} yet")),
            None => say(&format!("no kube-apiserver is found in {}", self.host.manifests().display())),
        }
        let command = match self.host.instance() {
            None => "enable".to_owned(),
            Some(instance) => format!("migrate --to kms:v2:{instance}"),
        };
        say(&format!(
            "next, once the plugin runs on every control-plane host: `keystead cluster {command} --endpoint unix://{}`",
            socket.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// Another part of this program installs by a fixed list of words.
    #[test]
    fn words_make_arguments() {
        #[derive(clap::Parser)]
        #[command(no_binary_name = true)]
        struct Words {
            #[command(flatten)]
            args: InstallArgs,
        }
        let words = |name: &'static str| ["--as", "static-pod", "--instance", name, "--yes"];
        let args = Words::try_parse_from(words("new")).map(|it| it.args).expect("good words");
        assert_eq!(args.form, Form::StaticPod);
        assert_eq!(args.host.default_socket(args.form), PathBuf::from("/tmp/keystead/new/kms.sock"));
        assert!(Words::try_parse_from(words("../new")).is_err());
    }
}
