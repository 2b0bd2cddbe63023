//! kubeadm's ClusterConfiguration of both versions.

use keystead_cluster::api_server_manifest::EncryptionSettings;
use keystead_cluster::kubeadm_configuration::{ClusterConfiguration, KubeadmError};

use crate::manifests::settings;

pub(crate) const V1BETA4: &str = "apiServer: {}
apiVersion: kubeadm.k8s.io/v1beta4
# renewed by hand
certificatesDir: /etc/kubernetes/pki
kind: ClusterConfiguration
networking:
  dnsDomain: cluster.local
";
pub(crate) const V1BETA3: &str = "apiServer:
    certSANs: [api.example.com]
    extraArgs:
        authorization-mode: Node,RBAC   # as ever
        feature-gates: \"A=true\"
    timeoutForControlPlane: 4m0s
apiVersion: kubeadm.k8s.io/v1beta3
kind: ClusterConfiguration
";

fn read(text: &str) -> ClusterConfiguration {
    ClusterConfiguration::read(text.as_bytes()).expect("good")
}

#[test]
fn v1beta4_has_lists() {
    let enabled = read(V1BETA4).with_encryption(&settings()).expect("edited");
    let lines = "apiServer:
  extraArgs:
    - name: encryption-provider-config
      value: /etc/kubernetes/encryption/config.yaml
    - name: encryption-provider-config-automatic-reload
      value: \"true\"
    - name: feature-gates
      value: KMSv1=true
  extraVolumes:
    - name: encryption-config
      hostPath: /etc/kubernetes/encryption
      mountPath: /etc/kubernetes/encryption
      readOnly: true
      pathType: DirectoryOrCreate
    - name: kms-plugin-socket
      hostPath: /run/keystead
      mountPath: /run/keystead
      pathType: DirectoryOrCreate
";
    assert_eq!(enabled.text(), V1BETA4.replace("apiServer: {}\n", lines));
    assert_eq!(enabled.with_encryption(&settings()).expect("again").text(), enabled.text());
    let disabled = enabled.without_encryption(&settings()).expect("removed");
    assert_eq!(disabled.text(), V1BETA4.replace("apiServer: {}\n", ""));
}

#[test]
fn directories_that_kubeadm_mounts_itself_are_not_mounted_twice() {
    let mut settings = settings();
    settings.directories[0].path = "/etc/kubernetes/pki".into();
    let enabled = read(V1BETA4).with_encryption(&settings).expect("edited");
    assert_eq!(enabled.text().matches("mountPath").count(), 1, "{}", enabled.text());
    let elsewhere = V1BETA4.replace("certificatesDir: /etc/kubernetes/pki", "certificatesDir: /opt/pki");
    let enabled = read(&elsewhere).with_encryption(&settings).expect("edited");
    assert_eq!(enabled.text().matches("mountPath").count(), 2, "{}", enabled.text());
}

#[test]
fn v1beta3_has_a_mapping() {
    let enabled = read(V1BETA3).with_encryption(&settings()).expect("edited");
    let flags = "        feature-gates: \"A=true,KMSv1=true\"
        encryption-provider-config: /etc/kubernetes/encryption/config.yaml
        encryption-provider-config-automatic-reload: \"true\"\n";
    assert!(enabled.text().contains(flags), "{}", enabled.text());
    let volume = "    extraVolumes:
        - name: encryption-config
          hostPath: /etc/kubernetes/encryption
";
    assert!(enabled.text().contains(volume), "{}", enabled.text());
    assert_eq!(enabled.flag("feature-gates").expect("once"), Some("A=true,KMSv1=true"));
    assert_eq!(enabled.with_encryption(&settings()).expect("again").text(), enabled.text());
    assert_eq!(enabled.without_encryption(&settings()).expect("removed").text(), V1BETA3);
}

#[test]
fn what_is_not_ours_is_refused_with_its_place() {
    let error = |text: &str| match ClusterConfiguration::read(text.as_bytes()) {
        Ok(configuration) => configuration.with_encryption(&settings()).err().expect("refused"),
        Err(error) => error,
    };
    assert!(matches!(error("kind: ClusterConfiguration\n"), KubeadmError::Kind(_)));
    assert!(
        matches!(error(&V1BETA3.replace("v1beta3", "v1beta4")), KubeadmError::Shape(place) if place.line == 4)
    );
    assert!(matches!(error(&V1BETA3.replace("Node,RBAC", "1")), KubeadmError::Shape(_)));
    let other =
        V1BETA3.replace("authorization-mode: Node,RBAC", "encryption-provider-config: /etc/other.yaml");
    assert!(matches!(error(&other), KubeadmError::OtherConfiguration { .. }));
    let taken =
        "    extraVolumes:\n    - {name: kms-plugin-socket, hostPath: /x, mountPath: /x}\n    timeout";
    let taken = V1BETA3.replace("    timeout", taken);
    assert!(matches!(error(&taken), KubeadmError::VolumeTaken(place) if place.line == 7));
    let gates = V1BETA3.replace("A=true", "A");
    assert!(matches!(error(&gates), KubeadmError::FeatureGates(_)));
    let two = format!("{V1BETA3}---\nkind: InitConfiguration\n");
    assert!(error(&two).to_string().starts_with("line 9, column 1: a second document"));
}

#[test]
fn a_flag_that_is_edited_and_stands_twice_is_refused_with_its_place() {
    for (name, first, second) in [
        ("feature-gates", "A=true", "KMSv1=true"),
        ("encryption-provider-config", "/etc/other.yaml", "/etc/kubernetes/encryption/config.yaml"),
        ("encryption-provider-config-automatic-reload", "true", "true"),
    ] {
        let args = format!(
            "apiServer:\n  extraArgs:\n  - {{name: {name}, value: '{first}'}}\n  - name: {name}\n    value: '{second}'\n"
        );
        let text = V1BETA4.replace("apiServer: {}\n", &args);
        let edits = [
            read(&text).with_encryption(&settings()).err().expect("refused"),
            read(&text).without_encryption(&settings()).err().expect("refused"),
        ];
        for error in edits {
            let expected =
                format!("line 4, column 5: {name} stands here for the second time: keep one of the two");
            assert_eq!(error.to_string(), expected);
        }
    }
    // Gates that are not edited are nobody's business.
    let gates = "apiServer:\n  extraArgs:\n  - {name: feature-gates, value: A=true}\n  - {name: feature-gates, value: B=true}\n";
    let text = V1BETA4.replace("apiServer: {}\n", gates);
    let without_v1 = EncryptionSettings { kms_v1: false, ..settings() };
    let enabled = read(&text).with_encryption(&without_v1).expect("edited");
    assert_eq!(enabled.without_encryption(&without_v1).expect("removed").text(), text);
}

#[test]
fn the_last_setting_of_a_gate_counts() {
    let text = V1BETA3.replace("A=true", "KMSv1=true,A=true,KMSv1=false");
    let enabled = read(&text).with_encryption(&settings()).expect("edited");
    assert_eq!(enabled.flag("feature-gates").expect("once"), Some("A=true,KMSv1=true"));
}

#[test]
fn a_volume_of_somebody_else_stays() {
    for (name, host, path) in [
        ("kms-plugin-socket", "/srv/theirs", "/run/keystead"),
        ("kms-plugin-socket", "/run/keystead", "/srv/theirs"),
        ("theirs", "/run/keystead", "/run/keystead"),
    ] {
        let volume = format!(
            "apiServer:\n  extraVolumes:\n  - {{name: {name}, hostPath: {host}, mountPath: {path}}}\n"
        );
        let text = V1BETA4.replace("apiServer: {}\n", &volume);
        assert_eq!(read(&text).without_encryption(&settings()).expect("nothing to remove").text(), text);
    }
}

#[test]
fn what_stands_in_braces_is_added_and_removed_too() {
    let ways = [
        (V1BETA4, "apiServer: {}", "apiServer: {timeoutForControlPlane: 4m0s}"),
        (V1BETA4, "apiServer: {}", "apiServer: { \"certSANs\": [a, b] , }"),
        (
            V1BETA3,
            "\n        authorization-mode: Node,RBAC   # as ever\n        feature-gates: \"A=true\"",
            " {feature-gates: \"A=true\"}",
        ),
    ];
    for (text, from, to) in ways {
        let text = text.replace(from, to);
        let enabled = read(&text).with_encryption(&settings()).expect("edited");
        assert_eq!(
            enabled.flag("encryption-provider-config").expect("a flag"),
            Some("/etc/kubernetes/encryption/config.yaml")
        );
        assert_eq!(enabled.without_encryption(&settings()).expect("removed").text(), text);
    }
}
