//! Manifests of the control plane, in the form in which kubeadm writes them. Each is written once: from then on it belongs to the host, whose agent
//! edits it.

use keystead_runtime::Failure;

use crate::etcd;
use crate::files;
use crate::host::{SOCKETS, TOKEN_REVIEW};
use crate::layout::{HostLayout, Layout};
use crate::ports::Ports;

/// Of Services, in no other network than the cluster's own; the first address is in the API server's certificate.
const SERVICES: &str = "10.96.0.0/16";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Writes what this host does not have yet. `version` is that of the programs, such as `v1.37.2`.
pub(crate) fn write(
    layout: &Layout,
    host: &HostLayout,
    index: usize,
    ports: &Ports,
    version: &str,
) -> Result<(), Failure> {
    let mut wanted = vec![("kube-apiserver", api_server(host, ports.api_server(index)?, &etcd::url(ports)))];
    if index == 0 {
        wanted.push(("kube-controller-manager", controller_manager(layout, host)));
        wanted.push(("kube-scheduler", scheduler(host)));
    }
    for (name, flags) in wanted {
        let path = host.path("manifests").join(format!("{name}.yaml"));
        let mounts = match name {
            // Sockets of plugins that come later are in it, too.
            "kube-apiserver" => vec![("k8s-certs", host.text("pki")), ("kms-plugins", SOCKETS.to_owned())],
            _ => vec![("k8s-certs", host.text("pki"))],
        };
        files::write_once(&path, &pod(name, version, &flags, &mounts))?;
    }
    Ok(())
}

fn api_server(host: &HostLayout, port: u16, etcd: &str) -> Vec<String> {
    let pki = |name: &str| host.path("pki").join(name).display().to_string();
    vec![
        "--advertise-address=127.0.0.1".to_owned(),
        "--allow-privileged=true".to_owned(),
        // Whose a token is that is no service account's: the key server knows, and forgets at once whom it removed.
        format!("--authentication-token-webhook-config-file={}", host.text(TOKEN_REVIEW)),
        "--authentication-token-webhook-version=v1".to_owned(),
        "--authentication-token-webhook-cache-ttl=10s".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--client-ca-file={}", pki("authority.pem")),
        // Nobody looks for API servers in the `kubernetes` Service here, and 127.0.0.1 is refused in it.
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--etcd-cafile={}", pki("etcd-authority.pem")),
        format!("--etcd-certfile={}", pki("etcd-client.pem")),
        format!("--etcd-keyfile={}", pki("etcd-client.key")),
        format!("--etcd-servers={etcd}"),
        format!("--secure-port={port}"),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={}", pki("service-accounts.pem")),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        format!("--service-cluster-ip-range={SERVICES}"),
        // Otherwise it waits a minute for watches that nobody ends.
        "--shutdown-watch-termination-grace-period=2s".to_owned(),
        format!("--tls-cert-file={}", pki("api-server.pem")),
        format!("--tls-private-key-file={}", pki("api-server.key")),
    ]
}

/// Without the controller that marks Nodes whose kubelet is silent: here no kubelet speaks.
fn controller_manager(layout: &Layout, host: &HostLayout) -> Vec<String> {
    let pki = |name: &str| layout.pki(name).display().to_string();
    let mut flags = connection(&host.text("controller-manager.kubeconfig"));
    flags.extend([
        format!("--cluster-signing-cert-file={}", pki("authority.pem")),
        format!("--cluster-signing-key-file={}", pki("authority.key")),
        "--controllers=*,-node-lifecycle-controller".to_owned(),
        format!("--root-ca-file={}", pki("authority.pem")),
        format!("--service-account-private-key-file={}", pki("service-accounts.key")),
        "--use-service-account-credentials=true".to_owned(),
    ]);
    flags
}

fn scheduler(host: &HostLayout) -> Vec<String> {
    connection(&host.text("scheduler.kubeconfig"))
}

/// There is one of each, and nobody asks them anything.
fn connection(kubeconfig: &str) -> Vec<String> {
    vec![
        format!("--kubeconfig={kubeconfig}"),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ]
}

fn pod(name: &str, version: &str, flags: &[String], mounts: &[(&str, String)]) -> String {
    let flags: String = flags.iter().map(|flag| format!("    - {}\n", scalar(flag))).collect();
    let mounted = |(volume, path): &(&str, String)| {
        let path = scalar(path);
        format!("    - mountPath: {path}\n      name: {volume}\n      readOnly: true\n")
    };
    let of_host = |(volume, path): &(&str, String)| {
        let path = scalar(path);
        format!("  - hostPath:\n      path: {path}\n      type: DirectoryOrCreate\n    name: {volume}\n")
    };
    let volume_mounts: String = mounts.iter().map(mounted).collect();
    let volumes: String = mounts.iter().map(of_host).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  labels:\n    component: {name}\n    tier: control-plane\n  name: {name}\n  namespace: kube-system\n\
         spec:\n  containers:\n  - command:\n    - {name}\n{flags}    image: registry.k8s.io/{name}:{version}\n    imagePullPolicy: IfNotPresent\n    \
         name: {name}\n    volumeMounts:\n{volume_mounts}  hostNetwork: true\n  priorityClassName: system-node-critical\n  volumes:\n{volumes}"
    )
}

/// A word as kubeadm writes it, or in quotes where YAML could take it for something else.
fn scalar(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/-_.=:,*+@".contains(it);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        // A string of JSON is one of YAML.
        false => serde_json::Value::from(word).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::PodProgram;

    #[test]
    fn what_is_written_is_what_is_run_also_in_a_directory_with_an_odd_name() {
        for name in ["plain", "with a blank, and: # more \"quotes\""] {
            let parent = tempfile::tempdir().expect("a directory");
            let directory = parent.path().join(name);
            std::fs::create_dir(&directory).expect("made");
            let layout = Layout::of(&directory).expect("short");
            let host = layout.host(0);
            host.make().expect("made");
            let ports = Ports::of(&layout, 1).expect("ports");
            write(&layout, &host, 0, &ports, "v1.37.2").expect("written");
            let read = |file: &str| {
                let text = std::fs::read_to_string(host.path("manifests").join(file)).expect("a manifest");
                PodProgram::read(file, &text).expect("a pod")
            };
            let expected = api_server(&host, ports.api_server(0).expect("a port"), &etcd::url(&ports));
            let run = read("kube-apiserver.yaml");
            assert_eq!(run, PodProgram::ControlPlane { program: "kube-apiserver", args: expected });
            let expected = controller_manager(&layout, &host);
            let run = read("kube-controller-manager.yaml");
            assert_eq!(run, PodProgram::ControlPlane { program: "kube-controller-manager", args: expected });
            read("kube-scheduler.yaml");
            // From then on it is the host's own.
            std::fs::write(host.path("manifests/kube-apiserver.yaml"), "edited").expect("written");
            write(&layout, &host, 0, &ports, "v1.38.0").expect("written");
            let text =
                std::fs::read_to_string(host.path("manifests/kube-apiserver.yaml")).expect("a manifest");
            assert_eq!(text, "edited");
        }
    }
}
