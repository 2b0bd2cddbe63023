//! What is refused before anything is changed.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use super::host::Host;

/// Runs `install --as static-pod --yes` with more arguments, which must fail and leave nothing behind.
fn refused(host: &Host, more: &[&str], code: i32, words: &[&str]) {
    let before = host.manifests();
    let told = host.plugin(&[&["install", "--as", "static-pod", "--yes"], more].concat());
    assert_eq!(told.code, Some(code), "{more:?}: {told}");
    for word in words {
        assert!(told.stderr.contains(word), "{more:?} should say {word:?}: {told}");
    }
    assert_eq!(host.manifests(), before, "{more:?}");
    assert!(!host.path("tmpfiles.d/keystead-plugin.conf").exists(), "{more:?}");
    assert!(!host.path("tmp/keystead").exists() || words.contains(&"answers at"), "{more:?}");
    assert!(!host.ctr_log().contains("import"), "{more:?}: {}", host.ctr_log());
}

#[test]
fn k5_a_second_pod_or_a_second_plugin_on_the_socket_is_refused() {
    let host = Host::new();
    let ours = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n    - {name: x, image: 'example.com/keystead-plugin:1'}\n";
    for name in ["other-kms-plugin-pod.yaml", "keystead-kms-plugin-pod.yaml.bak"] {
        fs::write(host.path("manifests").join(name), ours).expect("writes");
        refused(&host, &[], 1, &[name, "exactly one such pod"]);
        fs::remove_file(host.path("manifests").join(name)).expect("removes");
    }
    let socket = host.socket().display().to_string();
    let directory = host.path("tmp/keystead").display().to_string();
    for (what, text) in [
        (
            "a flag",
            format!(
                "kind: Pod\nspec: {{containers: [{{image: other, args: ['--listen=unix://{socket}']}}]}}\n"
            ),
        ),
        (
            "a mount",
            format!("kind: Pod\nspec: {{volumes: [{{name: s, hostPath: {{path: {directory}/}}}}]}}\n"),
        ),
        ("no YAML that we read", format!("kind: Pod\n---\n# {socket}\n")),
    ] {
        fs::write(host.path("manifests/other.yaml"), text).expect("writes");
        refused(&host, &[], 1, &["other.yaml", &socket]);
        assert!(host.path("manifests/other.yaml").exists(), "{what}");
    }
    // kube-apiserver itself mounts that directory.
    fs::remove_file(host.path("manifests/other.yaml")).expect("removes");
    fs::write(host.path("manifests/kube-apiserver.yaml"), api_server(&host, "")).expect("writes");
    let told = host.succeeds(&["install", "--as", "static-pod", "--dry-run"]);
    assert!(told.stderr.contains(&format!("kube-apiserver mounts {directory} already")), "{told}");
    // One that was edited, or is of other settings.
    fs::write(host.path("manifests/keystead-kms-plugin-pod.yaml"), ours).expect("writes");
    refused(&host, &[], 1, &["is there already, with another content", "keystead plugin upgrade"]);
}

#[test]
fn a_socket_that_somebody_serves_or_could_take_over_is_refused() {
    let host = Host::new();
    refused(&host, &["--socket", "/tmp/kms.sock"], 2, &["directory of its own"]);
    refused(&host, &["--socket", "kms.sock"], 2, &["absolute path"]);
    fs::create_dir(host.path("tmp/keystead")).expect("a directory");
    let _plugin = UnixListener::bind(host.socket()).expect("binds");
    refused(&host, &[], 1, &["answers at", "exactly one plugin"]);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = port.local_addr().map(|it| (it.port(), port)).expect("an address");
    let other = host.path("elsewhere/kms.sock").display().to_string();
    let mut command = host.command(&["install", "--as", "static-pod", "--yes", "--socket", &other]);
    command.env("KEYSTEAD_UNUSED", "").args(["--patience", "1s"]);
    let args: Vec<_> = command.get_args().map(|it| it.to_string_lossy().into_owned()).collect();
    let at = args.iter().position(|it| it == "--admin-port").expect("the flag");
    let mut args = args;
    args[at + 1] = port.0.to_string();
    let output = crate::keystead().args(&args).env("PATH", path_of(&host)).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(crate::stderr(&output).contains("--admin-port"), "{}", crate::stderr(&output));
}

#[test]
fn key_files_that_are_open_or_missing_or_wrong_are_refused() {
    let host = Host::new();
    let key = host.path("etc/keystead/key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("a mode");
    refused(&host, &[], 1, &["chmod 0600"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
    refused(&host, &["--key-file", "/nowhere/key"], 1, &["/nowhere/key", "key create"]);
    host.private("etc/keystead/broken", "nothing\n");
    let broken = host.path("etc/keystead/broken").display().to_string();
    refused(&host, &["--key-file", &broken], 1, &["the plugin cannot use these settings", "broken"]);
    // The whole of the directory would be in the pod.
    let loose = std::env::temp_dir().join(format!("keystead-loose-{}", std::process::id()));
    fs::copy(&key, &loose).expect("copies");
    if loose.parent() == Some(std::path::Path::new("/tmp")) {
        refused(&host, &["--key-file", &loose.display().to_string()], 2, &["a directory of its own"]);
    }
    fs::remove_file(loose).expect("removes");
}

#[test]
fn k4_a_whole_token_is_refused_and_not_repeated() {
    let host = Host::new();
    host.private("etc/keystead/credentials.json", "{}");
    let credentials = host.path("etc/keystead/credentials.json").display().to_string();
    let key = "projects/my-project/locations/global/keyRings/ring/cryptoKeys/key";
    let args =
        ["install", "--as", "static-pod", "--yes", "--kms-key", key, "--credentials-file", &credentials];
    let mut command = host.command(&args);
    command.env("KMS_USER_ID", "ks_4f3a2b0c_canarycanarycanarycanarycanarycanarycanaryA");
    let told = super::host::Told::of(command);
    assert_eq!(told.code, Some(2), "{told}");
    assert!(told.stderr.contains("only the id belongs there"), "{told}");
    assert!(!told.stderr.contains("canary") && !told.stdout.contains("canary"), "{told}");
    assert_eq!(host.manifests(), [""; 0]);
    // And a key service that does not answer.
    let content = r#"{"endpoint": "http://127.0.0.1:1", "tokens": ["ks_4f3a2b0c_canarycanarycanarycanarycanarycanarycanaryA"]}"#;
    host.private("etc/keystead/credentials.json", content);
    let told = host.plugin(&args);
    assert_eq!(told.code, Some(4), "{told}");
    assert!(told.stderr.contains("cannot use these settings"), "{told}");
    assert!(told.stderr.contains("the provider cannot be used"), "{told}");
    assert!(!told.stderr.contains("canary") && !told.stdout.contains("canary"), "{told}");
    assert_eq!(host.manifests(), [""; 0]);
}

#[test]
fn k11_images_that_are_none_and_a_host_without_containerd_are_refused() {
    let host = Host::new();
    let key = host.path("etc/keystead/key").display().to_string();
    refused(&host, &["--image", &key], 1, &["is no image of keystead-plugin", "SHA256SUMS"]);
    refused(&host, &["--image", "/nowhere.tar"], 1, &["/nowhere.tar"]);
    let other = host.image_file("example.com/other:1", "3").display().to_string();
    refused(&host, &["--image", &other], 1, &["example.com/other:1"]);
    let image = host.image_file("keystead.io/keystead-plugin:9.9.9", "1").display().to_string();
    let command = format!("/nowhere/ctr --namespace k8s.io images import {image}");
    refused(
        &host,
        &["--image", &image, "--ctr", "/nowhere/ctr"],
        1,
        &[&command, "keystead.io/keystead-plugin:9.9.9"],
    );
    // Not there, and nobody serves it.
    fs::write(host.path("images"), "").expect("writes");
    refused(&host, &[], 1, &["containerd does not have the image", "--image FILE"]);
    // A registry is somebody's choice.
    let named = host.succeeds(&[
        "install",
        "--as",
        "static-pod",
        "--image-name",
        "registry.example.com/keystead-plugin:1",
        "--dry-run",
    ]);
    assert!(named.stdout.contains("imagePullPolicy: IfNotPresent"), "{named}");
}

#[test]
fn uninstalling_what_kube_apiserver_names_is_refused() {
    let host = Host::new();
    let _kubelet = host.play_kubelet();
    host.install_static_pod();
    let configuration = host.path("etc/encryption.yaml");
    fs::write(
        host.path("manifests/kube-apiserver.yaml"),
        api_server(&host, &format!("    - --encryption-provider-config={}\n", configuration.display())),
    )
    .expect("writes");
    let refused = |words: &[&str]| {
        for args in [&["uninstall", "--yes"][..], &["uninstall", "--yes", "--nothing-is-encrypted"]] {
            let told = host.plugin(args);
            assert_eq!(told.code, Some(1), "{told}");
            words.iter().for_each(|it| assert!(told.stderr.contains(it), "{it}: {told}"));
            assert!(host.path("manifests/keystead-kms-plugin-pod.yaml").exists());
        }
    };
    // Named, and missing: who knows.
    refused(&["cannot be found out"]);
    let text = |socket: &str| {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources: [configmaps]\n    providers:\n      - identity: {{}}\n      - kms: {{apiVersion: v2, name: keystead, endpoint: 'unix://{socket}'}}\n"
        )
    };
    fs::write(&configuration, text(&host.socket().display().to_string())).expect("writes");
    refused(&["kms:v2:keystead", "keystead cluster disable"]);
    // Another plugin's entry does not hold ours; but nobody asked etcd.
    fs::write(&configuration, text("/run/other/kms.sock")).expect("writes");
    let told = host.plugin(&["uninstall", "--yes"]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stderr.contains("--nothing-is-encrypted"), "{told}");
    host.succeeds(&["uninstall", "--yes", "--nothing-is-encrypted"]);
}

pub(super) fn api_server(host: &Host, flags: &str) -> String {
    let root = host.path("").display().to_string();
    let root = root.trim_end_matches('/');
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\nspec:\n  containers:\n  - name: kube-apiserver\n    image: registry.k8s.io/kube-apiserver:v1.37.2\n    command:\n    - kube-apiserver\n    - --etcd-servers=http://127.0.0.1:1\n    - --secure-port=1\n{flags}    volumeMounts:\n    - mountPath: {root}/tmp/keystead\n      name: s\n    - mountPath: {root}/etc\n      name: e\n  volumes:\n  - hostPath:\n      path: {root}/tmp/keystead\n    name: s\n  - hostPath:\n      path: {root}/etc\n    name: e\n"
    )
}

fn path_of(host: &Host) -> String {
    format!("{}:{}", host.path("bin").display(), std::env::var("PATH").unwrap_or_default())
}
