//! `keystead plugin uninstall`

use std::fs;
use std::path::{Path, PathBuf};

use keystead_cluster::host::{Answer, LocalHost, Report, Task};
use keystead_cluster::owned_file::OwnedFile;
use keystead_cluster::plugin_pod::InstalledPod;
use keystead_cluster::yaml::MAX_LEN;
use keystead_etcd::{Encryption, Etcd, inventory};
use keystead_runtime::{Failure, print_result};

use super::on_host::{ConsentArgs, Form, HostArgs};
use super::{settings_of_service, socket, systemctl};
use crate::output::say;

/// Take the KMS plugin off this control-plane host
///
/// Refused while kube-apiserver's EncryptionConfiguration names the plugin's socket, while the kube-apiserver that runs may still use it, and
/// while etcd holds values that only a KMS plugin opens and no entry of the configuration is for: `keystead cluster disable` comes first.
/// --yes does not change that. Key files and credentials stay, because backups need them, and are named.
///
/// Exit codes: 0 gone, 1 failed or refused, 2 usage.
#[derive(Debug, clap::Args)]
pub(crate) struct UninstallArgs {
    /// In which way the plugin runs [default: the one that is found]
    #[arg(long = "as", value_name = "FORM")]
    form: Option<Form>,
    /// Where this host does not tell what etcd holds, you do: nothing in it is under this plugin's key
    #[arg(long)]
    nothing_is_encrypted: bool,
    #[command(flatten)]
    host: HostArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

pub(super) fn run(args: &UninstallArgs) -> Result<(), Failure> {
    let form = args.form.map_or_else(|| args.host.form(), Ok)?;
    let (service, socket_unit) = (&*args.host.service_name(), &*args.host.socket_name());
    let installed = Installed::find(&args.host, form)?;
    crate::runtime()?.block_on(args.refuse_if_needed(&installed.socket))?;
    if form == Form::Systemd {
        say(&format!("plan: systemctl disable --now {socket_unit} {service}"));
    }
    installed.files.iter().for_each(|file| say(&format!("plan: remove {}", file.display())));
    installed.kept.iter().for_each(|file| say(&format!("stays, because backups need it: {file}")));
    if args.consent.dry_run {
        let files: Vec<String> = installed.files.iter().map(|it| format!("{}\n", it.display())).collect();
        return print_result(&files.concat());
    }
    if !args.consent.given()? {
        return Ok(());
    }
    if form == Form::Systemd {
        systemctl::must_run()?;
        systemctl::run(&["disable", "--now", socket_unit, service])?;
    }
    let places = args.host.places()?;
    for path in &installed.files {
        let file = OwnedFile::read(path, MAX_LEN).map_err(|error| Failure::from_error(&error))?;
        let kept = file.remove(&places).map_err(|error| Failure::from_error(&error))?;
        say(&format!("removed {}; its text is kept in {}", path.display(), kept.display()));
    }
    if form == Form::Systemd {
        systemctl::run(&["daemon-reload"])?;
    }
    if args.consent.no_wait {
        return Ok(());
    }
    say("waiting until the plugin has ended");
    crate::runtime()?.block_on(socket::until_it_is_silent(&installed.socket, args.consent.patience.get()))?;
    say("the plugin has ended");
    Ok(())
}

/// What is there.
struct Installed {
    socket: PathBuf,
    /// What is removed, in this order.
    files: Vec<PathBuf>,
    /// Key files and credentials, as the settings name them.
    kept: Vec<String>,
}

impl Installed {
    fn find(host: &HostArgs, form: Form) -> Result<Self, Failure> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
        };
        let (socket, mut files, kept) = match form {
            Form::StaticPod => {
                let manifest = host.plugin_manifest();
                let bytes = read(&manifest)?;
                let in_file = |error| {
                    Failure::new(format!("{} cannot be read", manifest.display()))
                        .caused_by(keystead_model::ErrorChain(&error).to_string())
                };
                let pod = InstalledPod::read(&bytes).map_err(in_file)?;
                let pod = pod.ok_or_else(|| {
                    Failure::new(format!("{} is not the pod of keystead-plugin", manifest.display()))
                })?;
                let socket = pod.socket().unwrap_or_else(|| PathBuf::from(socket::IN_RUN));
                (socket, vec![manifest], pod.files().into_iter().map(str::to_owned).collect())
            }
            Form::Systemd => {
                read(&host.service())?;
                let units = vec![
                    host.service(),
                    host.socket_unit(),
                    host.service_drop_in(),
                    host.socket_drop_in(),
                    host.environment_file(),
                ];
                (settings_of_service::socket(host), units, settings_of_service::secret_files(host))
            }
        };
        files.push(host.tmpfiles());
        files.retain(|it| it.exists());
        Ok(Self { socket, files, kept })
    }
}

impl UninstallArgs {
    /// `--yes` never helps against this: without the plugin, what is under its key cannot be read.
    async fn refuse_if_needed(&self, socket: &Path) -> Result<(), Failure> {
        let host = self.host.as_local_host()?;
        let is_there = host.has_api_server().map_err(|error| {
            Failure::new("whether this host has a kube-apiserver cannot be found out, so the plugin stays")
                .caused_by(error.to_string())
                .because(&error)
        })?;
        if !is_there {
            let manifest = self.host.api_server_manifest();
            return self.unknown(&format!(
                "there is no {}, and no unit of systemd runs kube-apiserver",
                manifest.display()
            ));
        }
        let entries = host.kms_entries().map_err(|error| {
            Failure::new("what kube-apiserver uses cannot be found out, so the plugin stays")
                .caused_by(error.to_string())
                .because(&error)
        })?;
        if let Some((provider, _)) = entries.iter().find(|(_, it)| it == socket) {
            return Err(Failure::new(format!(
                "kube-apiserver's EncryptionConfiguration names the plugin at {} as {provider}: without it no API server starts, and what is encrypted cannot be read",
                socket.display()
            ))
            .hint("run `keystead cluster disable` first, or `keystead cluster migrate` to another provider".to_owned()));
        }
        let report = look(&host).await?;
        if entries.is_empty() && report.process.as_ref().is_some_and(|it| it.has_flag) {
            return Err(Failure::new(
                "the kube-apiserver that runs was started with an EncryptionConfiguration, which its manifest or unit does not name any more",
            )
            .hint("wait until it is started anew, and see with `keystead cluster status`".to_owned()));
        }
        match orphans(&report).await {
            Ok(orphans) if orphans.is_empty() => Ok(()),
            Ok(orphans) => {
                let failure = Failure::new(
                    "etcd holds values that only a KMS plugin opens, and no entry of the EncryptionConfiguration is for them",
                );
                let failure = orphans.into_iter().fold(failure, Failure::caused_by);
                Err(failure.hint(
                    "put the entry back, then run `keystead cluster disable`; `keystead cluster inventory` shows what is stored".to_owned(),
                ))
            }
            Err(why) => self.unknown(&why),
        }
    }

    fn unknown(&self, why: &str) -> Result<(), Failure> {
        if self.nothing_is_encrypted {
            say(&format!("taken from --nothing-is-encrypted, because {why}: etcd needs no plugin"));
            return Ok(());
        }
        Err(Failure::new(format!(
            "whether etcd holds something that only this plugin opens cannot be found out: {why}"
        ))
        .hint(
            "run `keystead cluster disable` and look with `keystead cluster inventory`; then say so with --nothing-is-encrypted"
                .to_owned(),
        ))
    }
}

async fn look(host: &LocalHost) -> Result<Report, Failure> {
    let task = Task::Look { resources: vec!["secrets".to_owned()], plugins: Vec::new() };
    match host.perform(&task).await {
        Ok(Answer::Report(report)) => Ok(*report),
        Ok(_) => Err(Failure::new("this host gave another answer than a report")),
        Err(error) => Err(Failure::from_error(&error)),
    }
}

/// Values of all resources under a KMS entry that is not in the file, in words; or why they could not be counted.
async fn orphans(report: &Report) -> Result<Vec<String>, String> {
    let access = &report.etcd;
    let chain = |error: &dyn std::error::Error| keystead_model::ErrorChain(error).to_string();
    let etcd = Etcd::connect(&access.connection()).await.map_err(|error| chain(&error))?;
    let layout = access.layout();
    let mut scanner = etcd.scan_all(&layout.prefixes(&[]));
    let counts = inventory(&mut scanner, &layout).await.map_err(|error| chain(&error))?;
    let read_by_nobody = counts.groups.iter().filter_map(|group| match &group.encryption {
        Encryption::KmsV1 { provider } | Encryption::KmsV2 { provider, .. }
            if !access.known_names.contains(provider) =>
        {
            Some(format!("{} of {} under {provider}", group.objects, group.resource))
        }
        _ => None,
    });
    Ok(read_by_nobody.collect())
}
