//! kube-apiserver's manifest: what it says, and edits of it.

use std::collections::BTreeMap;

use keystead_cluster::api_server_facts::EtcdFlags;
use keystead_cluster::api_server_manifest::{
    ApiServerManifest, DirectoryMount, EncryptionSettings, ManifestEdit, ManifestError,
};

/// As kubeadm writes it.
pub(crate) const KUBEADM: &str = include_str!("manifests/kubeadm.yaml");

pub(crate) fn settings() -> EncryptionSettings {
    let directory = |volume: &str, path: &str, read_only| DirectoryMount {
        volume: volume.to_owned(),
        path: path.to_owned(),
        read_only,
    };
    EncryptionSettings {
        configuration: "/etc/kubernetes/encryption/config.yaml".to_owned(),
        automatic_reload: Some(true),
        kms_v1: true,
        directories: vec![
            directory("encryption-config", "/etc/kubernetes/encryption", true),
            directory("kms-plugin-socket", "/run/keystead", false),
        ],
    }
}

fn read(text: &str) -> ApiServerManifest {
    ApiServerManifest::read(text.as_bytes()).expect("good")
}

fn enabled(text: &str) -> ApiServerManifest {
    let manifest = read(text);
    manifest.edited(&manifest.plan_encryption(&settings()).expect("planned")).expect("edited")
}

/// Removes what was added: the same bytes again.
fn disabled(manifest: &ApiServerManifest) -> ApiServerManifest {
    manifest.edited(&manifest.plan_removal(&settings()).expect("planned")).expect("edited")
}

#[test]
fn the_facts_of_a_kubeadm_manifest() {
    let facts = read(KUBEADM).facts().expect("facts");
    assert_eq!(facts.version, Some((1, 36, 3)));
    assert_eq!((facts.encryption_provider_config.as_deref(), facts.automatic_reload), (None, false));
    let file = |name: &str| Some(format!("/etc/kubernetes/pki/{name}"));
    assert_eq!(
        facts.etcd,
        EtcdFlags {
            servers: vec!["https://127.0.0.1:2379".to_owned()],
            ca_file: file("etcd/ca.crt"),
            certificate_file: file("apiserver-etcd-client.crt"),
            key_file: file("apiserver-etcd-client.key"),
            prefix: "/registry".to_owned(),
        }
    );
    assert_eq!((facts.advertise_address.as_deref(), facts.secure_port), (Some("192.168.10.11"), 6443));
    assert_eq!(facts.host_path("/etc/kubernetes/pki/etcd/ca.crt"), file("etcd/ca.crt"));
    assert_eq!(facts.host_path("/etc/kubernetes/pkix"), None);
    assert_eq!(facts.feature_gates, BTreeMap::new());
}

#[test]
fn encryption_is_added_where_kubeadm_would_write_it_and_removed_without_a_trace() {
    let manifest = enabled(KUBEADM);
    let expected = KUBEADM
        .replace(
            "    - --etcd-cafile",
            "    - --encryption-provider-config=/etc/kubernetes/encryption/config.yaml
    - --encryption-provider-config-automatic-reload=true
    - --etcd-cafile",
        )
        .replace(
            "    - --kubelet-client-cert",
            "    - --feature-gates=KMSv1=true\n    - --kubelet-client-cert",
        )
        .replace(
            "  hostNetwork: true",
            "    - mountPath: /etc/kubernetes/encryption
      name: encryption-config
      readOnly: true
    - mountPath: /run/keystead
      name: kms-plugin-socket
  hostNetwork: true",
        )
        .replace(
            "status: {}",
            "  - hostPath:
      path: /etc/kubernetes/encryption
      type: DirectoryOrCreate
    name: encryption-config
  - hostPath:
      path: /run/keystead
      type: DirectoryOrCreate
    name: kms-plugin-socket
status: {}",
        );
    assert_eq!(manifest.text(), expected);
    assert_eq!(manifest.plan_encryption(&settings()).expect("planned"), []);
    let facts = manifest.facts().expect("facts");
    assert_eq!(facts.host_path("/run/keystead/kms.sock").as_deref(), Some("/run/keystead/kms.sock"));
    assert!(facts.automatic_reload && facts.feature_gates["KMSv1"]);
    assert_eq!(disabled(&manifest).text(), KUBEADM);
    assert_eq!(disabled(&read(KUBEADM)).text(), KUBEADM);
}

#[test]
fn habits_of_people_stay() {
    let by_hand =
        "# our API server\napiVersion: v1\nkind: Pod\nspec:\n    containers:\n        - name: kube-apiserver
          image: localhost:5000/kube-apiserver:v1.31.0   # pinned
          command: [/usr/local/bin/kube-apiserver]
          args:
              - \"--secure_port\"   # as in the old days
              - \"7443\"
              - --feature-gates=kube:A=true,B=0
              - --v=4
              - -v=2
              - -v
              - \"3\"
              - -v4
              # the last flag
              - --profiling
        - name: log-shipper\n          image: shipper\n    x-unknown: [1, 0x2, yes]\n";
    let manifest = enabled(by_hand);
    let facts = manifest.facts().expect("facts");
    assert_eq!((facts.secure_port, facts.version), (7443, Some((1, 31, 0))));
    let gates = [("A", true), ("B", false), ("KMSv1", true)].map(|(name, on)| (name.to_owned(), on));
    assert_eq!(facts.feature_gates, BTreeMap::from(gates));
    let text = manifest.text();
    for line in [
        "              - --feature-gates=kube:A=true,B=0,KMSv1=true\n",
        "              - --profiling\n              - --encryption-provider-config=/etc/kubernetes/encryption/config.yaml\n",
        "          volumeMounts:\n              - mountPath: /etc/kubernetes/encryption\n                name: encryption-config\n",
        "    x-unknown: [1, 0x2, yes]\n    volumes:\n        - hostPath:\n              path: /etc/kubernetes/encryption\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(disabled(&manifest).text(), by_hand);
}

#[test]
fn what_is_set_already_is_kept_or_refused() {
    let elsewhere =
        KUBEADM.replace("--etcd-cafile", "--encryption-provider-config=/etc/other.yaml\n    - --etcd-cafile");
    let plan = |text: &str| read(text).plan_encryption(&settings());
    let Err(ManifestError::OtherConfiguration { given, .. }) = plan(&elsewhere) else {
        panic!("not refused")
    };
    assert_eq!(given, "/etc/other.yaml");
    assert!(matches!(
        read(&elsewhere).plan_removal(&settings()),
        Err(ManifestError::OtherConfiguration { .. })
    ));

    let gate_off =
        KUBEADM.replace("--etcd-cafile", "--feature-gates=KMSv1=false,X=true\n    - --etcd-cafile");
    assert!(enabled(&gate_off).facts().expect("facts").feature_gates["KMSv1"]);
    assert!(enabled(&gate_off).text().contains("--feature-gates=X=true,KMSv1=true"));

    let twice = gate_off.replace("--etcd-servers", "--feature-gates=Y=true\n    - --etcd-servers");
    let error = plan(&twice).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "line 25, column 7: --feature-gates stands here for the second time: keep one of the two"
    );

    let path_taken = KUBEADM.replace("/etc/ca-certificates\n      name", "/run/keystead/\n      name");
    let error = plan(&path_taken).expect_err("refused").to_string();
    assert_eq!(
        error,
        "line 53, column 7: /run/keystead in the container is the mount of another volume already"
    );
    let name_taken = KUBEADM.replace("name: etc-ca-certificates", "name: kms-plugin-socket");
    let error = plan(&name_taken).expect_err("refused").to_string();
    assert_eq!(
        error,
        "line 70, column 5: the volume kms-plugin-socket is something else already: choose another name"
    );
    // A directory that the host does not see, as a plugin in the same pod has it.
    for (volume, name) in [("emptyDir: {}", "shared"), ("emptyDir: {medium: Memory}", "kms-plugin-socket")] {
        let shared = KUBEADM
            .replace(
                "  hostNetwork",
                &format!("    - mountPath: /run/keystead/\n      name: {name}\n  hostNetwork"),
            )
            .replace("status: {}", &format!("  - {volume}\n    name: {name}\nstatus: {{}}"));
        let error = plan(&shared).expect_err("refused").to_string();
        assert_eq!(
            error,
            "line 59, column 7: /run/keystead in the container is the mount of another volume already"
        );
        let removed = disabled(&read(&shared));
        assert_eq!(removed.text(), shared);
    }
    let unknown = enabled(KUBEADM).text().replace(
        "name: kms-plugin-socket\n  hostNetwork",
        "name: kms-plugin-socket\n      subPathExpr: $(POD_NAME)\n  hostNetwork",
    );
    assert!(matches!(plan(&unknown), Err(ManifestError::MountTaken { .. })));
    // A single file, which would pin the configuration.
    let file = KUBEADM.replace("/etc/ca-certificates\n      name", "/run/keystead\n      name").replace(
        "path: /etc/ca-certificates\n      type: DirectoryOrCreate",
        "path: /run/keystead\n      type: File",
    );
    assert!(matches!(plan(&file), Err(ManifestError::MountTaken { .. })));
    // Somebody's own mount of the same directory.
    let own = file.replace("type: File", "type: Directory");
    let edits = plan(&own).expect("planned");
    assert!(
        !edits
            .iter()
            .any(|it| matches!(it, ManifestEdit::Mount(directory) if directory.path == "/run/keystead"))
    );
}

#[test]
fn what_is_no_such_manifest_is_refused_with_its_place() {
    for (from, to, expected) in [
        ("kind: Pod", "kind: Deployment", "line 1, column 1: this is no pod"),
        ("- kube-apiserver\n", "- sh\n    - -c\n", "line 14, column 7: kube-apiserver is not the program"),
        (
            "- --allow-privileged=true",
            "- --allow-privileged\n    - 1",
            "line 17, column 7: a flag must be text",
        ),
        ("- --allow-privileged=true", "- serve", "line 16, column 7: this word is neither a flag"),
        ("- --allow-privileged=true", "- --", "line 16, column 7: this word is neither a flag"),
        ("- --allow-privileged=true", "- '-'", "line 16, column 7: this word is neither a flag"),
        (
            "- --allow-privileged=true",
            "- --allow\n    - '-1'",
            "line 17, column 7: this word is neither a flag",
        ),
        (
            "    name: kube-apiserver\n    ports",
            "    name: kube-apiserver\n  - name: kube-apiserver\n    ports",
            "exactly one container",
        ),
        ("  volumes:\n", "  volumes: {}\n  x:\n", "line 65, column 12: this must be a list"),
        ("status: {}", "spec: {}", "line 78, column 1: this key stands twice"),
        ("status: {}", "---\nkind: Pod", "line 78, column 1: a second document"),
    ] {
        let text = KUBEADM.replacen(from, to, 1);
        let error = ApiServerManifest::read(text.as_bytes()).err().expect(to).to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn a_mount_of_somebody_else_stays() {
    let enabled = enabled(KUBEADM);
    let mount = "    - mountPath: /run/keystead\n      name: kms-plugin-socket\n";
    let volume = "      path: /run/keystead\n      type: DirectoryOrCreate\n    name: kms-plugin-socket\n";
    let theirs = |text: &str| {
        let removed = disabled(&read(text));
        assert_eq!(removed.facts().expect("facts").encryption_provider_config, None);
        removed.text().to_owned()
    };
    // The name alone is not ours, and neither is the path alone.
    let elsewhere = enabled.text().replace(volume, &volume.replace("/run/keystead", "/srv/theirs"));
    let kept = theirs(&elsewhere);
    assert!(kept.contains(mount) && kept.contains("/srv/theirs"), "{kept}");
    let inside = enabled.text().replace(mount, &mount.replace("/run/keystead", "/srv/theirs"));
    let kept = theirs(&inside);
    assert!(kept.contains("mountPath: /srv/theirs") && kept.contains(volume), "{kept}");
    let named = enabled.text().replace("name: kms-plugin-socket", "name: theirs");
    let kept = theirs(&named);
    assert!(kept.contains("mountPath: /run/keystead\n      name: theirs"), "{kept}");
    // Our directory a second time, for something else: only our mount goes.
    let twice =
        enabled.text().replace(mount, &format!("{mount}{}", mount.replace("/run/keystead", "/srv/theirs")));
    let kept = theirs(&twice);
    assert!(
        !kept.contains(mount) && kept.contains("mountPath: /srv/theirs") && kept.contains(volume),
        "{kept}"
    );
}

#[test]
fn a_list_that_holds_only_our_flags_goes_with_them() {
    let config = &settings().configuration;
    for args in [
        format!("    args:\n    - --encryption-provider-config={config}\n"),
        format!("    args:\n    - --encryption-provider-config\n    - {config}\n"),
        format!(
            "    args:\n    - --encryption-provider-config-automatic-reload\n    - --encryption-provider-config\n    - {config}\n"
        ),
        format!("    args: [--encryption-provider-config={config}, --feature-gates, KMSv1=true]\n"),
    ] {
        let text = KUBEADM.replace("    image: registry", &format!("{args}    image: registry"));
        let manifest = read(&text);
        assert_eq!(
            manifest.flag("encryption-provider-config").expect("read").as_deref(),
            Some(config.as_str())
        );
        assert_eq!(disabled(&manifest).text(), KUBEADM, "{args}");
    }
}

#[test]
fn a_value_that_kube_apiserver_does_not_start_with_is_no_fact() {
    for (flag, expected) in [
        ("--secure-port=https", "line 28, column 7: --secure-port must be a port, from 1 to 65535"),
        ("--secure-port=0", "line 28, column 7: --secure-port must be a port, from 1 to 65535"),
        ("--secure-port", "line 28, column 7: --secure-port must be a port, from 1 to 65535"),
        (
            "--encryption-provider-config-automatic-reload=yes",
            "line 28, column 7: --encryption-provider-config-automatic-reload must be true or false",
        ),
    ] {
        let manifest = read(&KUBEADM.replace("--secure-port=6443", flag));
        assert_eq!(manifest.facts().expect_err(flag).to_string(), expected);
    }
}
