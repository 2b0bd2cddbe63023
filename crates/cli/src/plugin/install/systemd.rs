//! The plugin as a service of systemd's.

use std::path::{Path, PathBuf};

use keystead_runtime::{Failure, print_result};

use super::{InstallArgs, status_version};
use crate::output::say;
use crate::plugin::new_files::{Made, NewFile, Way, all_there, printed};
use crate::plugin::on_host::{Form, PROGRAM};
use crate::plugin::settings::Settings;
use crate::plugin::{admin_port, program, socket, systemctl};

/// Of the plugin without a name, and of named instances.
const SERVICE_UNITS: [&str; 2] = [
    include_str!("../../../../../deploy/systemd/keystead-plugin.service"),
    include_str!("../../../../../deploy/systemd/keystead-plugin@.service"),
];
const SOCKET_UNITS: [&str; 2] = [
    include_str!("../../../../../deploy/systemd/keystead-plugin.socket"),
    include_str!("../../../../../deploy/systemd/keystead-plugin@.socket"),
];

pub(super) fn run(args: &InstallArgs) -> Result<(), Failure> {
    if args.image.is_given() {
        return Err(Failure::new("--image and --image-name are for --as static-pod")
            .usage()
            .hint("under systemd the program is given with --program FILE".to_owned()));
    }
    let default_socket = args.host.default_socket(Form::Systemd);
    let socket = args.socket.clone().unwrap_or_else(|| default_socket.clone());
    if socket.starts_with("/tmp") || socket.starts_with("/var/tmp") {
        return Err(Failure::new(
            "under systemd the socket cannot be below /tmp or /var/tmp, of which the service has its own",
        )
        .usage()
        .hint(format!(
            "leave --socket out for {}, and name that to kube-apiserver",
            default_socket.display()
        )));
    }
    let given = args.systemd.program.as_deref().map(program::named).transpose()?;
    let program = given.clone().or_else(|| installed_program(args)).ok_or_else(|| {
        Failure::new(format!("{PROGRAM} is neither in {} nor in /usr/bin", args.host.program().display()))
            .hint("give the program of the release with --program FILE".to_owned())
    })?;
    let admin_port = admin_port::choose(args.settings.admin_port, Form::Systemd, &args.host)?;
    let mut settings = args.settings.read(admin_port)?;
    status_version::add(args, &mut settings)?;
    let files = files(args, &settings, &socket)?;
    if !args.consent.dry_run {
        systemctl::must_run()?;
    }
    let there = all_there(&files)?;
    if !there {
        socket::refuse_taken(&socket)?;
        socket::check_directory(&socket, args.host.instance().is_some())?;
        if let Some(unchecked) = args.settings.check(&settings, &socket, Some(&program))? {
            say(&unchecked);
        }
    }
    let (service, socket_unit) = (&*args.host.service_name(), &*args.host.socket_name());
    if let Some(given) = &given {
        say(&format!("plan: copy {} to {}", given.display(), args.host.program().display()));
    }
    files.iter().for_each(|file| say(&format!("plan: write {}", file.path.display())));
    say(&format!("plan: systemctl daemon-reload, systemctl enable --now {socket_unit} {service}"));
    if settings.is_remote && args.systemd.allow_addresses.is_empty() {
        say(
            "the service may call any address: --allow-address narrows that to the key service and the name servers",
        );
    }
    args.say_what_comes_next(&socket);
    if args.consent.dry_run {
        return print_result(&printed(&files));
    }
    if !args.consent.given()? {
        return Ok(());
    }
    if let Some(given) = &given {
        program::install(given, &args.host.program(), &args.host.places()?)?;
    }
    let mut made = Made::default();
    made.write(&files, &args.host.places()?)?;
    if let Err(failure) = systemctl::run(&["daemon-reload"])
        .and_then(|()| systemctl::run(&["enable", "--now", socket_unit, service]))
    {
        // What was made goes away with `made`, and systemd is to forget it too.
        if !there {
            drop(systemctl::run(&["disable", "--now", socket_unit, service]));
            drop(made);
            drop(systemctl::run(&["daemon-reload"]));
        }
        return Err(failure
            .hint(format!("`journalctl --unit {service}` says why; what was written is taken away again")));
    }
    made.keep();
    if args.consent.no_wait {
        return Ok(());
    }
    say(&format!("waiting until the plugin answers at {}", socket.display()));
    let patience = args.consent.patience.get();
    let key_id =
        crate::runtime()?.block_on(socket::until_it_answers(&socket, None, patience)).map_err(|failure| {
            failure.hint(format!(
                "it stays installed: `systemctl status {service}` and `journalctl --unit {service}` say more"
            ))
        })?;
    say(&format!("the plugin answers, and encrypts with {key_id}"));
    Ok(())
}

fn files(args: &InstallArgs, settings: &Settings, socket: &Path) -> Result<Vec<NewFile>, Failure> {
    let host = &args.host;
    let public = |path, text: String| NewFile { path, text, way: Way::Public };
    let environment_file = host.environment_file();
    let mut service = format!(
        "# Written by `keystead plugin install`. Settings are in the environment file.\n[Service]\nEnvironmentFile={}\nExecStart=\nExecStart={PROGRAM}\n",
        environment_file.display()
    );
    for address in &args.systemd.allow_addresses {
        if !address.chars().all(|it| it.is_ascii_alphanumeric() || ".:/-".contains(it)) {
            return Err(Failure::new(format!("{address:?} is no address or network")).usage());
        }
        service.push_str(&format!("IPAddressAllow={address}\n"));
    }
    if settings.is_remote && args.systemd.allow_addresses.is_empty() {
        service.push_str("IPAddressAllow=any\n");
    }
    let mut environment = String::new();
    for (_, name, value) in &settings.files {
        environment.push_str(&format!("{name}=\"{value}\"\n"));
    }
    for (name, value) in &settings.ids {
        if value.contains(['"', '\\', '\n', '\r']) {
            return Err(Failure::new(format!("{name} has a character that no id has")).usage());
        }
        environment.push_str(&format!("{name}=\"{value}\"\n"));
    }
    environment.push_str(&format!("KEYSTEAD_ADMIN=\"127.0.0.1:{}\"\n", settings.admin_port));
    let [service_unit, socket_unit] =
        [SERVICE_UNITS, SOCKET_UNITS].map(|[plain, template]| match host.instance() {
            None => plain,
            Some(_) => template,
        });
    let mut files = vec![
        NewFile { path: environment_file, text: environment, way: Way::Private },
        public(host.service_drop_in(), service),
        public(host.socket_unit(), socket_unit.to_owned()),
        public(host.service(), service_unit.to_owned()),
    ];
    if socket != host.default_socket(Form::Systemd) {
        let text = format!(
            "# Written by `keystead plugin install`.\n[Socket]\nListenStream=\nListenStream={}\n",
            socket.display()
        );
        files.insert(0, public(host.socket_drop_in(), text));
    }
    Ok(files)
}

fn installed_program(args: &InstallArgs) -> Option<PathBuf> {
    [args.host.program(), Path::new("/usr/bin").join(PROGRAM)].into_iter().find(|it| it.is_file())
}

#[cfg(test)]
mod tests {
    use super::{SERVICE_UNITS, SOCKET_UNITS};

    /// systemd cannot include one unit in another, so the text stands twice.
    #[test]
    fn the_units_of_instances_are_the_plain_ones_with_names_of_their_own() {
        let named = |plain: &str| {
            [
                ("plugin for Kubernetes", "plugin %i for Kubernetes"),
                ("KMS plugin\n", "KMS plugin %i\n"),
                ("=keystead-plugin.socket", "=keystead-plugin@%i.socket"),
                ("/etc/keystead/plugin.yaml", "/etc/keystead/plugin-%i.yaml"),
                ("/run/keystead/kms.sock", "/run/keystead/%i/kms.sock"),
            ]
            .iter()
            .fold(plain.to_owned(), |text, (plain, named)| text.replace(plain, named))
        };
        for [plain, template] in [SERVICE_UNITS, SOCKET_UNITS] {
            assert_eq!(named(plain), template, "change the file in deploy/systemd too");
        }
    }
}
