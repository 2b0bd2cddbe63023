//! `keystead plugin upgrade`

use std::fs;
use std::path::{Path, PathBuf};

use keystead_cluster::owned_file::OwnedFile;
use keystead_cluster::plugin_pod::{ImagePull, InstalledPod};
use keystead_cluster::yaml::MAX_LEN;
use keystead_runtime::{Failure, print_result};

use super::image::ImageArgs;
use super::on_host::{ConsentArgs, Form, HostArgs};
use super::socket::{self, SocketFile};
use super::{program, settings_of_service, systemctl};
use crate::output::say;

/// Give the KMS plugin on this host a new image or program, with the settings that it has
///
/// A static pod's manifest keeps all that a person has changed in it: the name of the image changes, in one step, and the kubelet starts it
/// anew. Under systemd the program is replaced, and the socket stays open meanwhile; all plugins of the host have that program, and each takes it
/// with its next start. It prints its plan and does nothing without --yes.
///
/// Exit codes: 0 upgraded or nothing to do, 1 failed or refused, 2 usage.
#[derive(Debug, clap::Args)]
pub(crate) struct UpgradeArgs {
    /// In which way the plugin runs [default: the one that is found]
    #[arg(long = "as", value_name = "FORM")]
    form: Option<Form>,
    #[command(flatten)]
    image: ImageArgs,
    /// The plugin's new program, under systemd
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    #[command(flatten)]
    host: HostArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

pub(super) fn run(args: &UpgradeArgs) -> Result<(), Failure> {
    match args.form.map_or_else(|| args.host.form(), Ok)? {
        Form::StaticPod => args.static_pod(),
        Form::Systemd => args.systemd(),
    }
}

impl UpgradeArgs {
    fn static_pod(&self) -> Result<(), Failure> {
        if self.program.is_some() {
            return Err(Failure::new("--program is for a plugin under systemd")
                .usage()
                .hint("a static pod has its program in the image: --image FILE".to_owned()));
        }
        let path = self.host.plugin_manifest();
        let file = OwnedFile::read(&path, MAX_LEN).map_err(|error| Failure::from_error(&error))?;
        let pod = InstalledPod::read(file.bytes()).map_err(|error| failed(&file.located(error)))?;
        let pod =
            pod.ok_or_else(|| Failure::new(format!("{} is not the pod of keystead-plugin", path.display())))?;
        let image = self.image.find(true)?;
        // The policy stays, so what is named must be there.
        if pod.is_never_pulled() && image.pull == ImagePull::IfNotPresent && !self.image.has(&image.name)? {
            return Err(Failure::new(format!("containerd does not have the image {}", image.name)).hint(
                format!("load it first, or set `imagePullPolicy: IfNotPresent` in {}", path.display()),
            ));
        }
        let digest = image.file.as_ref().map(|(_, digest)| digest.as_str());
        let new = pod.with_image(&image.name, digest).map_err(|error| failed(&file.located(error)))?;
        let socket = pod.socket().unwrap_or_else(|| PathBuf::from(socket::IN_RUN));
        if new.text().as_bytes() == file.bytes() {
            say(&format!("{} has this image already: nothing to do", path.display()));
            // It may have been removed since.
            return if self.consent.yes { self.image.load(&image) } else { Ok(()) };
        }
        if let Some((from, _)) = &image.file {
            say(&format!("plan: load {} from {} into containerd", image.name, from.display()));
        }
        say(&format!(
            "plan: in {}, change the image from {} to {}",
            path.display(),
            pod.image().unwrap_or("none"),
            image.name
        ));
        if self.consent.dry_run {
            return print_result(new.text());
        }
        if !self.consent.given()? {
            return Ok(());
        }
        let before = SocketFile::at(&socket);
        self.image.load(&image)?;
        let kept = file.replace(new.text().as_bytes(), &self.host.places()?);
        if let Some(kept) = kept.map_err(|error| Failure::from_error(&error))? {
            say(&format!("the manifest before is kept in {}", kept.display()));
        }
        self.wait(
            &socket,
            before,
            "`keystead plugin upgrade --image-name` with the image before goes back to it",
        )?;
        self.unpin_unused(&path);
        Ok(())
    }

    /// Images of earlier versions stay where they are, and the kubelet may remove them again when it needs room. Where nobody waited for the
    /// new plugin, the one before may still be wanted.
    fn unpin_unused(&self, manifest: &Path) {
        if self.consent.no_wait {
            return;
        }
        let directory = manifest.parent().unwrap_or(Path::new("."));
        for unpinned in self.image.unpin_all_but(|name| is_named(directory, name)) {
            say(&match unpinned {
                Ok(name) => {
                    format!("{name} is no longer pinned: the kubelet may remove it when it needs room")
                }
                Err(error) => format!("containerd did not unpin {error}"),
            });
        }
    }

    fn systemd(&self) -> Result<(), Failure> {
        let given = self.program.as_deref().filter(|_| !self.image.is_given()).ok_or_else(|| {
            Failure::new("the plugin runs under systemd: its new program is missing")
                .usage()
                .hint("give it with --program FILE; --image and --image-name are for a static pod".to_owned())
        })?;
        let given = &program::named(given)?;
        systemctl::must_run()?;
        let (new, to) = (program::version(given)?, self.host.program());
        let service = &*self.host.service_name();
        say(&format!("plan: copy {}, which is {new}, to {}", given.display(), to.display()));
        say(&format!("plan: systemctl restart {service}"));
        if self.consent.dry_run || !self.consent.given()? {
            return Ok(());
        }
        program::install(given, &to, &self.host.places()?)?;
        // Its type is `notify`: it ends when the new one serves.
        systemctl::run(&["restart", service])?;
        let socket = settings_of_service::socket(&self.host);
        self.wait(&socket, None, &format!("`journalctl --unit {service}` says more"))
    }

    fn wait(&self, socket: &Path, before: Option<SocketFile>, hint: &str) -> Result<(), Failure> {
        if self.consent.no_wait {
            return Ok(());
        }
        say(&format!("waiting until the new plugin answers at {}", socket.display()));
        let patience = self.consent.patience.get();
        let answered = crate::runtime()?.block_on(socket::until_it_answers(socket, before, patience));
        let key_id = answered.map_err(|failure| failure.hint(hint.to_owned()))?;
        say(&format!("the new plugin answers, and encrypts with {key_id}"));
        Ok(())
    }
}

/// Whether a file in the directory of static pods names an image.
fn is_named(directory: &Path, image: &str) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return true };
    let names = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let is_end = |it: char| !(it.is_ascii_alphanumeric() || "._-".contains(it));
        text.match_indices(image).any(|(at, _)| {
            let rest = text.split_at(at + image.len()).1;
            rest.is_empty() || rest.starts_with(is_end)
        })
    };
    let files = entries.flatten().filter(|it| !it.path().is_dir());
    // Of one that cannot be read nobody knows.
    files.map(|it| fs::read(it.path())).any(|it| it.is_err() || it.is_ok_and(|bytes| names(&bytes)))
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::from_error(error)
}
