//! The plugin as a service of systemd's.

use std::path::{Path, PathBuf};

use keystead_runtime::{Failure, print_result};

use super::{InstallArgs, status_version};
use crate::output::say;
use crate::plugin::new_files::{Made, NewFile, Way, all_there, printed};
use crate::plugin::on_host::PROGRAM;
use crate::plugin::settings::Settings;
use crate::plugin::systemctl::{self, SERVICE, SOCKET};
use crate::plugin::{program, socket};

const SERVICE_UNIT: &str = include_str!("../../../../../deploy/systemd/keystead-plugin.service");
const SOCKET_UNIT: &str = include_str!("../../../../../deploy/systemd/keystead-plugin.socket");

pub(super) fn run(args: &InstallArgs) -> Result<(), Failure> {
    if args.image.is_given() {
        return Err(Failure::new("--image and --image-name are for --as static-pod")
            .usage()
            .hint("under systemd the program is given with --program FILE".to_owned()));
    }
    let socket = args.socket.clone().unwrap_or_else(|| PathBuf::from(socket::IN_RUN));
    if socket.starts_with("/tmp") || socket.starts_with("/var/tmp") {
        return Err(Failure::new(
            "under systemd the socket cannot be below /tmp or /var/tmp, of which the service has its own",
        )
        .usage()
        .hint(format!("leave --socket out for {}, and name that to kube-apiserver", socket::IN_RUN)));
    }
    let given = args.systemd.program.as_deref().map(program::named).transpose()?;
    let program = given.clone().or_else(|| installed_program(args)).ok_or_else(|| {
        Failure::new(format!("{PROGRAM} is neither in {} nor in /usr/bin", args.host.program().display()))
            .hint("give the program of the release with --program FILE".to_owned())
    })?;
    let mut settings = args.settings.read()?;
    status_version::add(args, &mut settings)?;
    let files = files(args, &settings, &socket)?;
    if !args.consent.dry_run {
        systemctl::must_run()?;
    }
    let there = all_there(&files)?;
    if !there {
        socket::refuse_taken(&socket)?;
        socket::check_directory(&socket)?;
        if let Some(unchecked) = args.settings.check(&settings, &socket, Some(&program))? {
            say(&unchecked);
        }
    }
    if let Some(given) = &given {
        say(&format!("plan: copy {} to {}", given.display(), args.host.program().display()));
    }
    files.iter().for_each(|file| say(&format!("plan: write {}", file.path.display())));
    say(&format!("plan: systemctl daemon-reload, systemctl enable --now {SOCKET} {SERVICE}"));
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
        .and_then(|()| systemctl::run(&["enable", "--now", SOCKET, SERVICE]))
    {
        // What was made goes away with `made`, and systemd is to forget it too.
        if !there {
            drop(systemctl::run(&["disable", "--now", SOCKET, SERVICE]));
            drop(made);
            drop(systemctl::run(&["daemon-reload"]));
        }
        return Err(failure
            .hint(format!("`journalctl --unit {SERVICE}` says why; what was written is taken away again")));
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
                "it stays installed: `systemctl status {SERVICE}` and `journalctl --unit {SERVICE}` say more"
            ))
        })?;
    say(&format!("the plugin answers, and encrypts with {key_id}"));
    Ok(())
}

fn files(args: &InstallArgs, settings: &Settings, socket: &Path) -> Result<Vec<NewFile>, Failure> {
    let host = &args.host;
    let public = |path, text: String| NewFile { path, text, way: Way::Public };
    let environment_file = host.environment_file().display();
    let mut service = format!(
        "# Written by `keystead plugin install`. Settings are in the environment file.\n[Service]\nEnvironmentFile={environment_file}\nExecStart=\nExecStart={PROGRAM}\n"
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
    let mut files = vec![
        NewFile { path: host.environment_file().to_owned(), text: environment, way: Way::Private },
        public(host.service_drop_in(), service),
        public(host.socket_unit(), SOCKET_UNIT.to_owned()),
        public(host.service(), SERVICE_UNIT.to_owned()),
    ];
    if socket != Path::new(socket::IN_RUN) {
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
