//! Several plugins on one host, each with a name: what a move from one key to another needs.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use super::host::{Host, Told, unused_port, yaml};
use super::refusals::api_server;
use super::systemd::{log, play};

const NEW: &str = "manifests/keystead-kms-plugin-new-pod.yaml";
const PLAIN: &str = "manifests/keystead-kms-plugin-pod.yaml";

/// `install --as static-pod` of an instance.
fn install(host: &Host, instance: &str, more: &[&str]) -> Told {
    host.plugin(&[&["install", "--as", "static-pod", "--instance", instance], more].concat())
}

fn succeeds(host: &Host, instance: &str, more: &[&str]) -> Told {
    let told = install(host, instance, more);
    assert_eq!(told.code, Some(0), "{instance} {more:?}: {told}");
    told
}

/// The port of the probes in a manifest.
fn port(manifest: &str) -> u16 {
    let pod = yaml(manifest);
    let port = pod.pointer("/spec/containers/0/livenessProbe/httpGet/port").and_then(|it| it.as_u64());
    port.and_then(|it| it.try_into().ok()).expect("a port")
}

#[test]
fn two_pods_run_side_by_side_and_one_of_them_goes() {
    let host = Host::new();
    let kubelet = host.play_kubelet();
    host.install_static_pod();
    let plain = host.read(PLAIN);
    fs::create_dir(host.path("etc/keystead/new")).expect("a directory");
    let key = host.path("etc/keystead/new/key").display().to_string();
    let made =
        crate::keystead().args(["plugin", "key", "create", "--key-file", &key]).output().expect("runs");
    assert!(made.status.success());
    let port = unused_port().to_string();
    let args = ["--key-file", &key, "--admin-port", &port];
    let told = succeeds(&host, "new", &[&args[..], &["--yes"]].concat());
    let socket = host.socket_of("new").display().to_string();
    assert!(told.stderr.contains("the plugin answers, and encrypts with"), "{told}");
    assert!(
        told.stderr.contains(&format!("keystead cluster migrate --to kms:v2:new --endpoint unix://{socket}")),
        "{told}"
    );
    assert_eq!(host.manifests(), ["keystead-kms-plugin-new-pod.yaml", "keystead-kms-plugin-pod.yaml"]);
    assert_eq!((kubelet.starts(), kubelet.running()), (2, 2));
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!((mode(host.path("tmp/keystead/new")), mode(host.path(NEW))), (0o700, 0o600));
    let boot = format!("d {} 0700 root root -\n", host.path("tmp/keystead/new").display());
    assert_eq!(host.read("tmpfiles.d/keystead-plugin-new.conf"), boot);
    // Both are what is asked for: their keys differ.
    let key_id = |told: &Told| told.stderr.rsplit("encrypts with ").next().map(str::to_owned);
    let first = host.succeeds(&["install", "--as", "static-pod", "--yes"]);
    let again = succeeds(&host, "new", &[&args[..], &["--yes"]].concat());
    assert!(first.stderr.contains("there already") && again.stderr.contains("there already"), "{again}");
    assert_ne!(key_id(&first), key_id(&again));

    // The pod differs in its names, its socket's directory, its port and its key, and in nothing else.
    let old_port = self::port(&plain).to_string();
    let expected = plain
        .replace(&old_port, &port)
        .replace("name: keystead-kms-plugin\n", "name: keystead-kms-plugin-new\n")
        .replace("tmp/keystead", "tmp/keystead/new")
        .replace(
            &format!("--key-file={}", host.path("etc/keystead/key").display()),
            &format!("--key-file={key}"),
        )
        .replace(
            &host.path("etc/keystead\n").display().to_string(),
            &host.path("etc/keystead/new\n").display().to_string(),
        );
    assert_eq!(host.read(NEW), expected);

    // A new image for one of them; what the other runs stays pinned.
    let image = host.image_file("keystead.io/keystead-plugin:9.9.9", "1").display().to_string();
    host.succeeds(&["upgrade", "--instance", "new", "--image", &image, "--yes"]);
    assert_eq!(
        yaml(&host.read(NEW)).pointer("/spec/containers/0/image").and_then(|it| it.as_str()),
        Some("keystead.io/keystead-plugin:9.9.9")
    );
    assert_eq!(host.read(PLAIN), plain);
    assert!(host.read("pinned").contains(&format!("keystead-plugin:{}\n", env!("CARGO_PKG_VERSION"))));

    // What the API server names stays, and the other one may go.
    let configuration = host.path("etc/encryption.yaml");
    let flag = format!("    - --encryption-provider-config={}\n", configuration.display());
    fs::write(host.path("manifests/kube-apiserver.yaml"), api_server(&host, &flag)).expect("writes");
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources: [configmaps]\n    providers:\n      - identity: {{}}\n      - kms: {{apiVersion: v2, name: new, endpoint: 'unix://{socket}'}}\n"
    );
    fs::write(&configuration, text).expect("writes");
    let refused = host.plugin(&["uninstall", "--instance", "new", "--nothing-is-encrypted", "--yes"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains(&socket) && host.path(NEW).exists(), "{refused}");
    let told = host.succeeds(&["uninstall", "--nothing-is-encrypted", "--yes"]);
    assert!(told.stderr.contains("the plugin has ended"), "{told}");
    assert!(host.path(NEW).exists() && !host.path(PLAIN).exists());
    assert!(host.path("tmpfiles.d/keystead-plugin-new.conf").exists());
    assert_eq!(kubelet.running(), 1);
    // Whoever forgets the name is told which there are.
    let which = host.plugin(&["upgrade", "--image", &image, "--yes"]);
    assert_eq!(which.code, Some(1), "{which}");
    assert!(which.stderr.contains("--instance: new"), "{which}");
    fs::remove_file(host.path("manifests/kube-apiserver.yaml")).expect("removes");
    host.succeeds(&["uninstall", "--instance", "new", "--nothing-is-encrypted", "--yes"]);
    assert_eq!((host.manifests(), kubelet.running()), (Vec::new(), 0));
    assert!(host.path("etc/keystead/new/key").exists());
}

#[test]
fn each_instance_gets_a_port_and_keeps_it() {
    let host = Host::new();
    let install = |instance: &str| {
        succeeds(&host, instance, &["--yes", "--no-wait"]);
        port(&host.read(&format!("manifests/keystead-kms-plugin-{instance}-pod.yaml")))
    };
    // Neither runs, so what is written has to tell.
    let (first, second) = (install("a"), install("b"));
    assert_ne!(first, second);
    // Now something has it: the plugin itself, as a rule.
    let _plugin = TcpListener::bind((Ipv4Addr::LOCALHOST, first));
    assert_eq!(install("a"), first);
    let asked = |instance: &str, port: u16| install_with_port(&host, instance, port);
    let refused = asked("c", second);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains(&format!("has the admin port {second} too")), "{refused}");
    let refused = asked("a", unused_port());
    assert!(refused.stderr.contains("with another content"), "{refused}");

    // What somebody else listens at is not chosen.
    let dry = || port_of_dry_run(&succeeds(&host, "c", &["--dry-run"]));
    let free = dry();
    let _other = TcpListener::bind((Ipv4Addr::LOCALHOST, free));
    assert_ne!(dry(), free);
}

fn install_with_port(host: &Host, instance: &str, port: u16) -> Told {
    install(host, instance, &["--yes", "--no-wait", "--admin-port", &port.to_string()])
}

fn port_of_dry_run(told: &Told) -> u16 {
    let flag = told.stdout.split("--admin=127.0.0.1:").nth(1).and_then(|it| it.lines().next());
    flag.and_then(|it| it.parse().ok()).expect("a port")
}

#[test]
fn names_that_are_none_are_wrong_usage() {
    let host = Host::new();
    let long = "a".repeat(41);
    for name in ["", "New", "a.b", "../a", "a-", "a b", &long] {
        for command in [&["install", "--as", "static-pod"][..], &["upgrade"], &["uninstall"]] {
            let told = host.plugin(&[command, &["--yes", &format!("--instance={name}")]].concat());
            assert_eq!(told.code, Some(2), "{name}: {told}");
            assert!(told.stderr.contains("the name of an instance has 40 characters at most"), "{told}");
        }
    }
    assert_eq!(host.manifests(), [""; 0]);
}

#[test]
fn one_pod_for_each_instance_and_each_directory() {
    let host = Host::new();
    succeeds(&host, "a", &["--yes", "--no-wait"]);
    let text = host.read("manifests/keystead-kms-plugin-a-pod.yaml");
    // The plugin without a name has room beside it, and others too.
    host.succeeds(&["install", "--as", "static-pod", "--dry-run"]);
    succeeds(&host, "b", &["--dry-run"]);
    let refused = |instance: Option<&str>, more: &[&str], words: &[&str]| {
        let before = host.manifests();
        let args = ["install", "--as", "static-pod", "--yes", "--no-wait"];
        let instance = instance.map(|it| vec!["--instance", it]).unwrap_or_default();
        let told = host.plugin(&[&args[..], &instance, more].concat());
        assert_eq!(told.code, Some(1), "{told}");
        words.iter().for_each(|it| assert!(told.stderr.contains(it), "{it}: {told}"));
        assert_eq!(host.manifests(), before);
    };
    // Copies, which the kubelet starts too.
    for copy in ["keystead-kms-plugin-b-pod.yaml", "keystead-kms-plugin-a-pod.yaml.bak"] {
        let path = host.path("manifests").join(copy);
        fs::write(&path, &text).expect("writes");
        for instance in [None, Some("a"), Some("c")] {
            refused(instance, &[], &[copy, "exactly one such pod"]);
        }
        fs::remove_file(path).expect("removes");
    }
    fs::write(host.path(PLAIN), &text).expect("writes");
    refused(Some("a"), &[], &["keystead-kms-plugin-pod.yaml", "exactly one such pod"]);
    fs::remove_file(host.path(PLAIN)).expect("removes");
    // Another socket in the directory of one that is there.
    let beside = host.path("tmp/keystead/a/other.sock").display().to_string();
    refused(Some("b"), &["--socket", &beside], &["keystead-kms-plugin-a-pod.yaml", "or its directory"]);
    // Whoever may change the directory above may put another in its place.
    fs::set_permissions(host.path("tmp/keystead"), fs::Permissions::from_mode(0o777)).expect("a mode");
    refused(Some("b"), &[], &["others may write to", "chmod go-w"]);
}

#[test]
fn an_api_server_that_mounts_the_directory_above_sees_the_socket() {
    let host = Host::new();
    fs::write(host.path("manifests/kube-apiserver.yaml"), api_server(&host, "")).expect("writes");
    let told = succeeds(&host, "new", &["--dry-run"]);
    let directory = host.path("tmp/keystead/new").display().to_string();
    assert!(told.stderr.contains(&format!("kube-apiserver mounts {directory} already")), "{told}");
}

#[test]
fn instances_under_systemd_have_units_of_their_own() {
    let host = Host::new();
    play(&host, "running", "nothing");
    let program = host.path("bin/keystead-plugin").display().to_string();
    let args = ["install", "--as", "systemd", "--no-wait", "--yes", "--program", &program];
    let install = |more: &[&str]| host.succeeds(&[&args[..], more].concat());
    install(&["--socket", "/run/keystead-of-a-test/kms.sock"]);
    let new = ["--instance", "new", "--socket", "/run/keystead-of-a-test/new/kms.sock"];
    install(&new);
    assert!(
        log(&host).ends_with("enable --now keystead-plugin@new.socket keystead-plugin@new.service\n"),
        "{}",
        log(&host)
    );
    assert_eq!(
        host.read("units/keystead-plugin@new.service"),
        include_str!("../../../../../deploy/systemd/keystead-plugin@.service")
    );
    assert_eq!(
        host.read("units/keystead-plugin@new.socket"),
        include_str!("../../../../../deploy/systemd/keystead-plugin@.socket")
    );
    let environment = host.path("etc/keystead/plugin-new.env");
    let drop_in = host.read("units/keystead-plugin@new.service.d/install.conf");
    assert!(drop_in.contains(&format!("EnvironmentFile={}\n", environment.display())), "{drop_in}");
    let drop_in = host.read("units/keystead-plugin@new.socket.d/install.conf");
    assert!(
        drop_in.ends_with("ListenStream=\nListenStream=/run/keystead-of-a-test/new/kms.sock\n"),
        "{drop_in}"
    );
    let settings = host.read("etc/keystead/plugin-new.env");
    let other = host.plugin(&["install", "--as", "static-pod", "--instance", "other", "--dry-run"]);
    assert!(!settings.contains(&format!("127.0.0.1:{}\"", port_of_dry_run(&other))), "{settings}");
    // Twice does no harm, and the port stays.
    install(&new);
    assert_eq!(host.read("etc/keystead/plugin-new.env"), settings);

    // One is upgraded, and goes, without the other.
    host.play("newer", "echo keystead-plugin 10.0.0");
    let newer = host.path("bin/newer").display().to_string();
    host.succeeds(&["upgrade", "--instance", "new", "--program", &newer, "--yes", "--no-wait"]);
    assert!(log(&host).ends_with("restart keystead-plugin@new.service\n"), "{}", log(&host));
    host.succeeds(&["uninstall", "--instance", "new", "--nothing-is-encrypted", "--yes"]);
    assert!(
        log(&host).ends_with(
            "disable --now keystead-plugin@new.socket keystead-plugin@new.service\ndaemon-reload\n"
        ),
        "{}",
        log(&host)
    );
    assert!(!host.path("units/keystead-plugin@new.service").exists() && !environment.exists());
    assert!(
        host.path("units/keystead-plugin.service").exists() && host.path("etc/keystead/plugin.env").exists()
    );
}
