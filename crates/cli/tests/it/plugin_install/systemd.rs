//! Under systemd, with a `systemctl` that is played.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::host::Host;

/// A `systemctl` that notes what it is told. With a plugin that it never starts, nobody waits.
pub(super) fn play(host: &Host, state: &str, fails: &str) {
    let log = host.path("systemctl.log").display().to_string();
    host.play(
        "systemctl",
        &format!("[ \"$1\" = is-system-running ] && {{ echo {state}; exit 0; }}\necho \"$*\" >> {log}\ncase \"$*\" in\n{fails}) echo 'Unit is broken' >&2; exit 1 ;;\nesac"),
    );
    host.play(
        "keystead-plugin",
        &format!(
            "[ \"$1\" = --version ] && echo keystead-plugin 9.9.9 || exec {} plugin run \"$@\"",
            env!("CARGO_BIN_EXE_keystead")
        ),
    );
}

pub(super) fn log(host: &Host) -> String {
    fs::read_to_string(host.path("systemctl.log")).unwrap_or_default()
}

/// Below a directory that systemd leaves alone.
fn install(host: &Host, more: &[&str]) -> super::host::Told {
    let program = host.path("bin/keystead-plugin").display().to_string();
    let args = [
        "install",
        "--as",
        "systemd",
        "--no-wait",
        "--program",
        &program,
        "--socket",
        "/run/keystead-of-a-test/kms.sock",
    ];
    host.plugin(&[&args[..], more].concat())
}

#[test]
fn units_are_installed_with_settings_for_root_alone() {
    let host = Host::new();
    play(&host, "running", "nothing");
    let told = install(&host, &["--yes"]);
    assert_eq!(told.code, Some(0), "{told}");
    assert_eq!(log(&host), "daemon-reload\nenable --now keystead-plugin.socket keystead-plugin.service\n");
    assert_eq!(
        host.read("units/keystead-plugin.service"),
        include_str!("../../../../../deploy/systemd/keystead-plugin.service")
    );
    assert_eq!(
        host.read("units/keystead-plugin.socket"),
        include_str!("../../../../../deploy/systemd/keystead-plugin.socket")
    );
    let drop_in = host.read("units/keystead-plugin.service.d/install.conf");
    let environment = host.path("etc/keystead/plugin.env");
    assert!(drop_in.contains(&format!("EnvironmentFile={}\n", environment.display())), "{drop_in}");
    assert!(
        drop_in.ends_with("ExecStart=\nExecStart=keystead-plugin\n"),
        "a key file calls nobody: {drop_in}"
    );
    assert!(
        host.read("units/keystead-plugin.socket.d/install.conf")
            .ends_with("ListenStream=\nListenStream=/run/keystead-of-a-test/kms.sock\n")
    );
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(environment), 0o600);
    assert_eq!(mode(host.path("units/keystead-plugin.service")), 0o644);
    assert_eq!(mode(host.path("programs/keystead-plugin")), 0o755);
    let key = host.path("etc/keystead/key").display().to_string();
    assert!(
        host.read("etc/keystead/plugin.env")
            .starts_with(&format!("KEYSTEAD_KEY_FILE=\"{key}\"\nKEYSTEAD_ADMIN="))
    );

    // A new program, the same settings.
    let other = host.path("bin/new").display().to_string();
    host.play("new", "echo keystead-plugin 10.0.0");
    let told = host.succeeds(&["upgrade", "--program", &other, "--yes", "--no-wait"]);
    assert!(told.stderr.contains("keystead-plugin 10.0.0"), "{told}");
    assert!(log(&host).ends_with("restart keystead-plugin.service\n"), "{}", log(&host));
    assert!(host.read("programs/keystead-plugin").contains("10.0.0"));
    assert!(host.read("state/previous/keystead-plugin.previous").contains("9.9.9"));
    let wrong = host.plugin(&["upgrade", "--program", "/bin/true", "--yes"]);
    assert_eq!(wrong.code, Some(1), "{wrong}");

    let told = host.succeeds(&["uninstall", "--nothing-is-encrypted", "--yes"]);
    assert!(told.stderr.contains(&format!("stays, because backups need it: {key}")), "{told}");
    assert!(
        log(&host).ends_with("disable --now keystead-plugin.socket keystead-plugin.service\ndaemon-reload\n")
    );
    assert!(!host.path("units/keystead-plugin.service").exists());
    assert!(host.path("etc/keystead/key").exists());
}

#[test]
fn nothing_is_left_where_systemd_refuses_or_does_not_run() {
    let host = Host::new();
    play(&host, "offline", "nothing");
    let told = install(&host, &["--yes"]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(
        told.stderr.contains("systemd does not run this host") && told.stderr.contains("static-pod"),
        "{told}"
    );
    assert_eq!(log(&host), "");

    play(&host, "degraded", "enable*");
    let told = install(&host, &["--yes"]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stderr.contains("Unit is broken"), "{told}");
    for name in ["units/keystead-plugin.service", "units/keystead-plugin.socket", "etc/keystead/plugin.env"] {
        assert!(!host.path(name).exists(), "{name}");
    }
    assert!(log(&host).ends_with("daemon-reload\n"), "systemd forgets them too");
    let told = install(&host, &["--yes", "--image-name", "x"]);
    assert_eq!(told.code, Some(2), "{told}");
    let below_tmp =
        host.plugin(&["install", "--as", "systemd", "--yes", "--socket", "/tmp/keystead/kms.sock"]);
    assert_eq!(below_tmp.code, Some(2), "{below_tmp}");
}
