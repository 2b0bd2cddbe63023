//! A control-plane host that is a directory, with a real plugin and no API server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use keystead_testkit::process::Process;

use super::Told;
use crate::keystead;
use crate::rollout::fleet::{make_key, start_plugin};

/// Far more than a start takes: test machines are busy.
const START: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// In the manifest, where the plugin is told what it must not be.
pub(super) const TOKEN: &str = "ks_doctor-1_canary7890123456789012345678901234567890123";
/// A key of aescbc.
pub(super) const STATIC_KEY: &str = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTAwMDA=";

pub(super) struct Host {
    directory: tempfile::TempDir,
    _plugin: Process,
}

impl Host {
    pub(super) async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("ks").tempdir().expect("a directory");
        for name in ["manifests", "pki", "staging", "state", "plugin"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        make_key(&directory.path().join("plugin/key"));
        fs::copy(directory.path().join("plugin/key"), directory.path().join("key-of-before"))
            .expect("copied");
        let plugin = start_plugin(directory.path()).await;
        let host = Self { directory, _plugin: plugin };
        let deadline = tokio::time::Instant::now() + START;
        while !host.socket().exists() {
            assert!(tokio::time::Instant::now() < deadline, "the plugin does not listen");
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        host.reset();
        while host.doctor().state("plugin-unhealthy") != "ok" {
            assert!(tokio::time::Instant::now() < deadline, "the plugin is not well");
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        host
    }

    /// Everything as it is to be.
    pub(super) fn reset(&self) {
        for entry in fs::read_dir(self.path("manifests")).expect("a directory") {
            fs::remove_file(entry.expect("an entry").path()).expect("removed");
        }
        for name in ["", "manifests", "pki", "plugin"] {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o700)).expect("a mode");
        }
        fs::set_permissions(self.socket(), fs::Permissions::from_mode(0o600)).expect("a mode");
        self.write("manifests/kube-apiserver.yaml", &self.manifest());
        self.write("pki/encryption.yaml", &self.configuration());
        self.write_certificate(365);
        self.write_kubeconfig(None);
        let key = fs::read(self.path("key-of-before")).expect("the key");
        fs::write(self.path("plugin/new"), key).expect("writes");
        fs::set_permissions(self.path("plugin/new"), fs::Permissions::from_mode(0o600)).expect("a mode");
        fs::rename(self.path("plugin/new"), self.path("plugin/key")).expect("renamed");
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path("plugin/kms.sock")
    }

    /// For its owner alone.
    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("writes");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    pub(super) fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("a mode");
    }

    /// As kubeadm and `cluster enable` leave it. Nobody listens on its ports.
    pub(super) fn manifest(&self) -> String {
        let at = self.directory.path().display();
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\n  namespace: kube-system\nspec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --advertise-address=127.0.0.1\n    - --encryption-provider-config={at}/pki/encryption.yaml\n    - --etcd-servers=http://127.0.0.1:1\n    - --secure-port=1\n    - --service-cluster-ip-range=10.96.0.0/12\n    - --tls-cert-file={at}/pki/apiserver.crt\n    - --tls-private-key-file={at}/pki/apiserver.key\n    image: registry.k8s.io/kube-apiserver:v1.36.3\n    name: kube-apiserver\n    volumeMounts:\n    - mountPath: {at}/pki\n      name: pki\n    - mountPath: {at}/plugin\n      name: kms-plugin-socket\n  hostNetwork: true\n  volumes:\n  - hostPath:\n      path: {at}/pki\n    name: pki\n  - hostPath:\n      path: {at}/plugin\n    name: kms-plugin-socket\n"
        )
    }

    pub(super) fn configuration(&self) -> String {
        self.providers(&format!("      - kms: {{apiVersion: v2, name: keystead, endpoint: 'unix://{}'}}\n      - aescbc: {{keys: [{{name: k1, secret: {STATIC_KEY}}}]}}\n", self.socket().display()))
    }

    /// An EncryptionConfiguration for Secrets with these lines.
    pub(super) fn providers(&self, lines: &str) -> String {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources: [secrets]\n    providers:\n{lines}"
        )
    }

    /// A static pod of the plugin with these lines in its container.
    pub(super) fn write_pod(&self, name: &str, lines: &str) {
        let at = self.directory.path().display();
        self.write(
            &format!("manifests/{name}"),
            &format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: plugin, namespace: kube-system}}\nspec:\n  containers:\n  - name: plugin\n    image: keystead.io/keystead-plugin:1\n    args:\n    - --socket={at}/plugin/kms.sock\n{lines}  volumes:\n  - hostPath: {{path: {at}/plugin}}\n    name: kms-plugin-socket\n"
            ),
        );
    }

    /// That ends in so many days.
    pub(super) fn write_certificate(&self, days: i64) {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let end = jiff::Timestamp::now().as_second() + days * 24 * 3600;
        let end = std::time::UNIX_EPOCH + std::time::Duration::from_secs(end.try_into().expect("after 1970"));
        params.not_after = end.into();
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        self.write("pki/apiserver.crt", &certificate.pem());
        self.write("pki/apiserver.key", &key.serialize_pem());
    }

    /// With a signed token that ends in so many days.
    pub(super) fn write_kubeconfig(&self, days: Option<i64>) {
        use base64::Engine;
        let part = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let end = days.map(|days| jiff::Timestamp::now().as_second() + days * 24 * 3600);
        let token = match end {
            Some(end) => {
                format!("{}.{}.c2ln", part("{\"alg\":\"RS256\"}".into()), part(format!("{{\"exp\":{end}}}")))
            }
            None => "opaque-canary".to_owned(),
        };
        self.write(
            "kubeconfig",
            &format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: a, cluster: {{server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true}}}}]\nusers: [{{name: a, user: {{token: {token}}}}}]\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n"
            ),
        );
    }

    pub(super) fn command(&self) -> Command {
        let mut command = keystead();
        command.env_remove("KUBECONFIG").arg("doctor");
        command.arg("--manifest").arg(self.path("manifests/kube-apiserver.yaml"));
        command.arg("--kubeconfig").arg(self.path("kubeconfig"));
        command.arg("--staging").arg(self.path("staging")).arg("--state").arg(self.path("state"));
        command
    }

    pub(super) fn doctor(&self) -> Told {
        Told::of(self.command())
    }
}
