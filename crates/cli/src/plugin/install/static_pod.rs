//! The plugin as a static pod.

use std::fs;
use std::path::Path;

use keystead_cluster::plugin_pod::{InstalledPod, PluginPod, uses_socket};
use keystead_runtime::{Failure, print_result};

use super::{InstallArgs, status_version};
use crate::output::say;
use crate::plugin::image::Image;
use crate::plugin::new_files::{Made, NewFile, Way, all_there, printed};
use crate::plugin::on_host::{Form, HostArgs};
use crate::plugin::{admin_port, socket};

pub(super) fn run(args: &InstallArgs) -> Result<(), Failure> {
    if args.systemd.program.is_some() || !args.systemd.allow_addresses.is_empty() {
        return Err(Failure::new("--program and --allow-address are for --as systemd")
            .usage()
            .hint("a static pod has its program in the image: --image FILE".to_owned()));
    }
    let host = &args.host;
    let socket = args.socket.clone().unwrap_or_else(|| host.default_socket(Form::StaticPod));
    if !host.manifests().is_dir() {
        return Err(Failure::new(format!("{} is no directory", host.manifests().display())).hint(
            "name the kubelet's staticPodPath with --manifests; where there is no kubelet use --as systemd"
                .to_owned(),
        ));
    }
    let admin_port = admin_port::choose(args.settings.admin_port, Form::StaticPod, host)?;
    refuse_neighbours(host, &socket, admin_port)?;
    let mut settings = args.settings.read(admin_port)?;
    status_version::add(args, &mut settings)?;
    let image = args.image.find(!args.consent.dry_run)?;
    let pod = PluginPod {
        name: host.pod_name(),
        image: image.name.clone(),
        pull: image.pull,
        flags: settings.flags(),
        environment: settings.ids.clone(),
        socket: socket.clone(),
        read_only: settings.mounted(),
        admin_port,
    };
    let manifest = pod.manifest().map_err(|error| Failure::from_error(&error).usage())?;
    let files = files(host, &socket, manifest.text().to_owned());
    if all_there(&files)? {
        say(&format!("{} is there already, as it would be written", host.plugin_manifest().display()));
        // The image may have been removed since.
        if args.consent.yes {
            args.image.load(&image)?;
            wait(args, &socket, admin_port)?;
        }
        return Ok(());
    }
    socket::refuse_taken(&socket)?;
    socket::check_directory(&socket, host.instance().is_some())?;
    let unchecked = args.settings.check(&settings, &socket, None)?;
    say_plan(&files, &image, &socket, unchecked);
    args.say_what_comes_next(&socket);
    if args.consent.dry_run {
        return print_result(&printed(&files));
    }
    if !args.consent.given()? {
        return Ok(());
    }
    args.image.load(&image)?;
    socket::make_directory(&socket)?;
    let mut made = Made::default();
    made.write(&files, &host.places()?)?;
    made.keep();
    wait(args, &socket, admin_port)
}

/// The manifest last: with it the kubelet starts the pod.
fn files(host: &HostArgs, socket: &Path, manifest: String) -> Vec<NewFile> {
    let mut files = Vec::new();
    if let Some(text) = socket::tmpfiles(socket).filter(|_| host.has_tmpfiles()) {
        files.push(NewFile { path: host.tmpfiles(), text, way: Way::Public });
    }
    files.push(NewFile { path: host.plugin_manifest(), text: manifest, way: Way::Manifest });
    files
}

fn say_plan(files: &[NewFile], image: &Image, socket: &Path, unchecked: Option<String>) {
    let directory = socket.parent().unwrap_or(Path::new("/")).display();
    match &image.file {
        Some((file, _)) => say(&format!("plan: load {} from {} into containerd", image.name, file.display())),
        None => say(&format!("plan: use the image {}", image.name)),
    }
    say(&format!("plan: make {directory}, mode 0700, for the socket {}", socket.display()));
    for file in files {
        say(&format!("plan: write {}", file.path.display()));
    }
    if files.len() == 1 && socket::tmpfiles(socket).is_some() {
        say(&format!(
            "there is no directory for systemd-tmpfiles: after a boot the kubelet makes {directory} with mode 0755, and only root may use the socket in it"
        ));
    }
    if let Some(unchecked) = unchecked {
        say(&unchecked);
    }
}

fn wait(args: &InstallArgs, socket: &Path, admin_port: u16) -> Result<(), Failure> {
    if args.consent.no_wait {
        return Ok(());
    }
    say(&format!("waiting until the plugin answers at {}", socket.display()));
    let patience = args.consent.patience.get();
    let answered = crate::runtime()?.block_on(socket::until_it_answers(socket, None, patience));
    let key_id = answered.map_err(|failure| {
        failure.hint(format!(
            "the pod stays installed: `crictl ps -a --name {}` and the kubelet's log say why it does not run; http://127.0.0.1:{admin_port}/readyz is the plugin's own word; `keystead plugin uninstall{}` takes it away",
            args.host.pod_name(),
            args.host.more_words()
        ))
    })?;
    say(&format!("the plugin answers, and encrypts with {key_id}"));
    Ok(())
}

/// Exactly one pod for each instance, for a socket's directory and for an admin port.
fn refuse_neighbours(host: &HostArgs, socket: &Path, admin_port: u16) -> Result<(), Failure> {
    let own = host.plugin_manifest();
    let unreadable =
        |error: std::io::Error| Failure::new(format!("cannot read {}: {error}", host.manifests().display()));
    for entry in fs::read_dir(host.manifests()).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The kubelet reads every file but those that begin with a dot.
        if path == own || name.starts_with('.') || !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).map_err(unreadable)?;
        let pod = InstalledPod::read(&bytes).ok().flatten();
        let is_another = |it: &InstalledPod| it.is_in_its_place(&name) && it.name() != Some(&host.pod_name());
        let text = String::from_utf8_lossy(&bytes);
        // What the kubelet may read and we do not is judged by its text.
        let same_socket =
            uses_socket(&bytes, socket).unwrap_or_else(|| text.contains(&*socket.display().to_string()));
        let what = match &pod {
            Some(pod) if !is_another(pod) => {
                "runs keystead-plugin already, and there must be exactly one such pod of each instance"
                    .to_owned()
            }
            _ if same_socket => format!("has to do with the socket {} or its directory", socket.display()),
            Some(pod) if pod.admin_port() == Some(admin_port) => {
                format!("has the admin port {admin_port} too")
            }
            _ => continue,
        };
        return Err(Failure::new(format!("{} {what}", path.display())).hint(
            "the kubelet starts a pod for every file of that directory, backups too: move it out, or choose another --socket for another plugin"
                .to_owned(),
        ));
    }
    Ok(())
}
