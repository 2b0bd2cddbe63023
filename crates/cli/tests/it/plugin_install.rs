//! `keystead plugin install`, `upgrade` and `uninstall`: the real program and the real plugin. Played are the kubelet, `ctr` and `systemctl`:
//! each test has directories of its own in the place of the host's.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod documents;
pub(crate) mod host;
mod instances;
mod refusals;
mod systemd;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use host::{Host, yaml};

#[test]
fn k5_k6_k11_a_static_pod_is_installed_from_an_image_file_and_answers() {
    let host = Host::new();
    let image = host.image_file("keystead.io/keystead-plugin:9.9.9", "1");
    let args = ["install", "--as", "static-pod", "--image", image.to_str().expect("UTF-8")];

    // Nothing is done without being told so, and the plan is shown.
    let told = host.plugin(&args);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stderr.contains("--yes") && told.stderr.contains("plan: load"), "{told}");
    assert_eq!(host.manifests(), [""; 0]);
    assert!(!host.ctr_log().contains("import"), "{}", host.ctr_log());

    let kubelet = host.play_kubelet();
    let told = host.succeeds(&[&args[..], &["--yes"]].concat());
    assert!(told.stderr.contains("the plugin answers, and encrypts with"), "{told}");
    assert!(told.stderr.contains("keystead cluster enable --endpoint unix://"), "{told}");
    assert!(
        host.ctr_log().contains(&format!("--namespace k8s.io images import {}", image.display())),
        "{}",
        host.ctr_log()
    );
    // A kubelet that looks for room finds it elsewhere.
    let pinned =
        "--namespace k8s.io images label keystead.io/keystead-plugin:9.9.9 io.cri-containerd.pinned=pinned";
    assert!(host.ctr_log().contains(pinned), "{}", host.ctr_log());
    // Exactly one pod, and nothing else that the kubelet could take for one.
    assert_eq!(host.manifests(), ["keystead-kms-plugin-pod.yaml"]);
    assert_eq!(kubelet.seen(), ["keystead-kms-plugin-pod.yaml"], "names that stood there meanwhile");
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!(mode(host.path("tmp/keystead")), 0o700, "only root can enter");
    assert_eq!(mode(host.path("manifests/keystead-kms-plugin-pod.yaml")), 0o600);
    let pod = yaml(&host.read("manifests/keystead-kms-plugin-pod.yaml"));
    assert_eq!(pod["spec"]["containers"][0]["image"], "keystead.io/keystead-plugin:9.9.9");
    assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Never");
    // At each boot before anybody else can make it.
    let boot = host.read("tmpfiles.d/keystead-plugin.conf");
    assert_eq!(boot, format!("d {} 0700 root root -\n", host.path("tmp/keystead").display()));

    // Twice does no harm.
    let again = host.succeeds(&[&args[..], &["--yes"]].concat());
    assert!(again.stderr.contains("there already"), "{again}");
    assert_eq!(kubelet.starts(), 1);
    let imports = host.ctr_log().matches("import").count();
    host.succeeds(&args);
    host.succeeds(&["upgrade", "--image", image.to_str().expect("UTF-8"), "--dry-run"]);
    assert_eq!(host.ctr_log().matches("import").count(), imports, "nothing is loaded without being told so");
}

#[test]
fn k5_an_upgrade_changes_the_image_and_keeps_what_a_person_changed() {
    let host = Host::new();
    let kubelet = host.play_kubelet();
    host.install_static_pod();
    let edited = host
        .read("manifests/keystead-kms-plugin-pod.yaml")
        .replace("      resources:\n", "      # more, for audit night\n      resources:\n")
        .replace("memory: 512Mi", "memory: 1Gi # ours")
        .replace("        - --socket=", "        - --log-format=json\n        - --socket=");
    host.replace("manifests/keystead-kms-plugin-pod.yaml", &edited);
    kubelet.await_starts(2);

    let image = host.image_file("keystead.io/keystead-plugin:9.9.9", "1");
    let image = image.to_str().expect("UTF-8");
    let dry = host.succeeds(&["upgrade", "--image", image, "--dry-run"]);
    let digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
    let expected = edited.replace(&format!("plugin:{}", env!("CARGO_PKG_VERSION")), "plugin:9.9.9").replace(
        "    tier: control-plane\n",
        &format!("    tier: control-plane\n  annotations:\n    keystead.io/image-digest: {digest}\n"),
    );
    assert_eq!(dry.stdout.trim_end(), expected.trim_end());
    assert_eq!(host.read("manifests/keystead-kms-plugin-pod.yaml"), edited, "nothing was done");

    let told = host.succeeds(&["upgrade", "--image", image, "--yes"]);
    assert!(told.stderr.contains("the new plugin answers"), "{told}");
    assert_eq!(host.read("manifests/keystead-kms-plugin-pod.yaml"), expected);
    assert_eq!(kubelet.starts(), 3);
    assert_eq!(kubelet.seen(), ["keystead-kms-plugin-pod.yaml"], "names that stood there meanwhile");

    // What runs is pinned, and no other image of the plugin.
    let now_pinned =
        || host.read("pinned").lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let own = format!("keystead.io/keystead-plugin:{}", env!("CARGO_PKG_VERSION"));
    assert!(told.stderr.contains(&format!("{own} is no longer pinned")), "{told}");
    assert_eq!(now_pinned(), ["keystead.io/keystead-plugin:9.9.9".to_owned()].into());

    // The same name with another content: the kubelet must see a change.
    let other = host.image_file("keystead.io/keystead-plugin:9.9.9", "2");
    host.succeeds(&["upgrade", "--image", other.to_str().expect("UTF-8"), "--yes"]);
    assert_eq!(kubelet.starts(), 4);
    // The same once more: nothing to do.
    let again = host.succeeds(&["upgrade", "--image", other.to_str().expect("UTF-8"), "--yes"]);
    assert!(again.stderr.contains("nothing to do"), "{again}");
    assert_eq!(kubelet.starts(), 4);

    // Images of others stay pinned, and so does one that another static pod names.
    let pinned = "registry.k8s.io/pause:3\nkeystead.io/keystead-plugin:8\nkeystead.io/keystead-plugin:7\n";
    fs::write(host.path("pinned"), pinned).expect("writes");
    fs::write(host.path("manifests/.other.yaml"), "image: keystead.io/keystead-plugin:8\n").expect("writes");
    let third = host.image_file("keystead.io/keystead-plugin:9.9.10", "3");
    host.succeeds(&["upgrade", "--image", third.to_str().expect("UTF-8"), "--yes"]);
    let kept =
        ["keystead.io/keystead-plugin:8", "keystead.io/keystead-plugin:9.9.10", "registry.k8s.io/pause:3"];
    assert_eq!(now_pinned(), kept.map(str::to_owned).into());
}

#[test]
fn what_status_says_fits_the_api_server_of_the_host() {
    let host = Host::new();
    let install =
        |form: &str, more: &[&str]| host.plugin(&[&["install", "--dry-run", "--as", form], more].concat());
    let told = install("static-pod", &[]);
    assert!(told.stderr.contains("give --status-version v2beta1"), "{told}");
    assert!(!told.stdout.contains("v2beta1"), "{told}");
    for (version, needs) in [("v1.27.0", true), ("v1.28.15", true), ("v1.29.0", false), ("v1.37.2", false)] {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: kube-apiserver, namespace: kube-system}}\nspec:\n  containers:\n  - name: kube-apiserver\n    image: registry.k8s.io/kube-apiserver:{version}\n    command:\n    - kube-apiserver\n"
        );
        host.replace("manifests/kube-apiserver.yaml", &manifest);
        let told = install("static-pod", &[]);
        assert_eq!(told.stdout.contains("        - --status-version=v2beta1\n"), needs, "{version}: {told}");
        assert_eq!(told.stderr.contains("Status will say v2beta1"), needs, "{version}: {told}");
        let told = install("static-pod", &["--status-version", "v2"]);
        assert_eq!(told.code, Some(if needs { 2 } else { 0 }), "{version}: {told}");
        let told = install("static-pod", &["--status-version", "v2beta1"]);
        assert!(told.stdout.contains("        - --status-version=v2beta1\n"), "{version}: {told}");
    }
    // Under a running API server it never changes, whatever version comes.
    host.succeeds(&["install", "--as", "static-pod", "--status-version", "v2beta1", "--yes", "--no-wait"]);
    let told = install("static-pod", &[]);
    assert!(told.code == Some(0) && told.stderr.contains("there already"), "{told}");
}

#[test]
fn k5_an_uninstall_takes_the_pod_away_and_leaves_the_key() {
    let host = Host::new();
    let kubelet = host.play_kubelet();
    host.install_static_pod();
    let refused = host.plugin(&["uninstall", "--yes"]);
    assert_eq!(refused.code, Some(1), "nobody knows what etcd holds: {refused}");
    assert!(refused.stderr.contains("keystead cluster disable"), "{refused}");
    let told = host.succeeds(&["uninstall", "--nothing-is-encrypted", "--yes"]);
    assert!(
        told.stderr.contains(&format!(
            "stays, because backups need it: {}",
            host.path("etc/keystead/key").display()
        )),
        "{told}"
    );
    assert_eq!(host.manifests(), [""; 0]);
    assert!(host.path("etc/keystead/key").is_file());
    assert!(!host.path("tmpfiles.d/keystead-plugin.conf").exists());
    assert_eq!(kubelet.running(), 0);
    // And it can be installed again.
    host.install_static_pod();
}

#[test]
fn a_plugin_that_does_not_answer_is_said_and_the_pod_stays() {
    let host = Host::new();
    let told = host.plugin(&["install", "--as", "static-pod", "--yes", "--patience", "300ms"]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stderr.contains("no plugin answers at") && told.stderr.contains("crictl"), "{told}");
    assert_eq!(host.manifests(), ["keystead-kms-plugin-pod.yaml"]);
    let without = host.succeeds(&["install", "--as", "static-pod", "--yes", "--no-wait"]);
    assert!(without.stderr.contains("there already"), "{without}");
}
