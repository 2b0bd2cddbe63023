//! The text of a new manifest.

use std::path::Path;

use super::{COMPONENT, PluginPod, PluginPodError, SOCKET_VOLUME};
use crate::yaml::{Document, Value};

/// Value of the class `system-node-critical`, which kubeadm writes too: the class is not known before the API server runs.
const SYSTEM_NODE_CRITICAL: i64 = 2_000_001_000;
/// Calls under way end within 5 s; the rest is for a host that is busy.
const GRACE_S: i64 = 15;

impl PluginPod {
    /// A manifest that the kubelet takes.
    ///
    /// # Errors
    ///
    /// Text that YAML cannot hold.
    pub fn manifest(&self) -> Result<Document, PluginPodError> {
        let socket_directory = self.socket.parent().unwrap_or(Path::new("/"));
        let mut volumes = vec![host_path(SOCKET_VOLUME, socket_directory, "DirectoryOrCreate")];
        let mut mounts = vec![mount(SOCKET_VOLUME, socket_directory, false)];
        for (index, directory) in self.read_only.iter().enumerate() {
            let name = if index == 0 { "host-files".to_owned() } else { format!("host-files-{}", index + 1) };
            volumes.push(host_path(&name, directory, "Directory"));
            mounts.push(mount(&name, directory, true));
        }
        let mut flags = vec![
            format!("--socket={}", self.socket.display()),
            format!("--admin=127.0.0.1:{}", self.admin_port),
        ];
        flags.extend(self.flags.iter().cloned());
        let variable = |(name, value): &(String, String)| map([("name", text(name)), ("value", text(value))]);
        let mut container = vec![
            ("name", text(&self.name)),
            ("image", text(&self.image)),
            ("imagePullPolicy", text(self.pull.as_str())),
            ("args", Value::List(flags.iter().map(|it| text(it)).collect())),
        ];
        if !self.environment.is_empty() {
            container.push(("env", Value::List(self.environment.iter().map(variable).collect())));
        }
        container.extend([
            ("startupProbe", self.probe("/livez", 1, 60)),
            // Never fails because a key service does not answer: a restart would only lose what the plugin has in memory.
            ("livenessProbe", self.probe("/livez", 10, 6)),
            // Only shown, by `kubectl get pods`: nothing is restarted, and no Service has the pod.
            ("readinessProbe", self.probe("/readyz", 5, 3)),
            ("resources", resources()),
            ("securityContext", security()),
            ("volumeMounts", Value::List(mounts)),
        ]);
        let metadata = map([
            ("name", text(&self.name)),
            ("namespace", text("kube-system")),
            ("labels", map([("component", text(COMPONENT)), ("tier", text("control-plane"))])),
        ]);
        let spec = map([
            ("hostNetwork", Value::Bool(true)),
            ("dnsPolicy", text("Default")),
            ("priorityClassName", text("system-node-critical")),
            ("priority", Value::Integer(SYSTEM_NODE_CRITICAL)),
            ("terminationGracePeriodSeconds", Value::Integer(GRACE_S)),
            ("securityContext", map([("seccompProfile", map([("type", text("RuntimeDefault"))]))])),
            ("containers", Value::List(vec![owned(container)])),
            ("volumes", Value::List(volumes)),
        ]);
        let pod =
            map([("apiVersion", text("v1")), ("kind", text("Pod")), ("metadata", metadata), ("spec", spec)]);
        Ok(Document::write(&pod)?)
    }

    fn probe(&self, path: &str, period: i64, failures: i64) -> Value {
        let get = map([
            ("host", text("127.0.0.1")),
            ("port", Value::Integer(i64::from(self.admin_port))),
            ("path", text(path)),
        ]);
        map([
            ("httpGet", get),
            ("periodSeconds", Value::Integer(period)),
            ("timeoutSeconds", Value::Integer(5)),
            ("failureThreshold", Value::Integer(failures)),
        ])
    }
}

/// As in the systemd unit: ten times what it needs with a few API servers. No limit for the processor: kube-apiserver waits for it.
fn resources() -> Value {
    map([
        ("requests", map([("cpu", text("50m")), ("memory", text("64Mi"))])),
        ("limits", map([("memory", text("512Mi"))])),
    ])
}

/// root by number only, because the socket and the key file are root's. The one power that is left keeps keys out of swap.
fn security() -> Value {
    let capabilities =
        map([("drop", Value::List(vec![text("ALL")])), ("add", Value::List(vec![text("IPC_LOCK")]))]);
    map([
        ("runAsUser", Value::Integer(0)),
        ("runAsGroup", Value::Integer(0)),
        ("allowPrivilegeEscalation", Value::Bool(false)),
        ("readOnlyRootFilesystem", Value::Bool(true)),
        ("capabilities", capabilities),
    ])
}

fn host_path(name: &str, path: &Path, kind: &str) -> Value {
    let path = text(&path.display().to_string());
    map([("name", text(name)), ("hostPath", map([("path", path), ("type", text(kind))]))])
}

fn mount(name: &str, path: &Path, read_only: bool) -> Value {
    let mut entries = vec![("name", text(name)), ("mountPath", text(&path.display().to_string()))];
    if read_only {
        entries.push(("readOnly", Value::Bool(true)));
    }
    owned(entries)
}

fn text(text: &str) -> Value {
    Value::string(text)
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::map(entries)
}

fn owned(entries: Vec<(&str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}
