//! One control-plane host: its files, and its agent from the moment in which it has joined.
//!
//! All hosts of a cluster must have their plugins' sockets at the same path, because one EncryptionConfiguration serves them all. Real hosts have
//! a file system each. Here each process of a host has the host's directory as its working directory, and the path leads through that:
//! `/proc/self/cwd/run` is another directory for each.

use std::path::Path;
use std::time::Duration;

use keystead_runtime::Failure;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::agent_join;
use crate::files;
use crate::kubeconfig;
use crate::launcher::{Launcher, Program};
use crate::layout::{HostLayout, Layout};
use crate::manifests;
use crate::pki;
use crate::ports::Ports;
use crate::report::{Trouble, say};
use crate::service::{GRACE, keep_running};

/// How the API server of a host asks whose a token is.
pub(crate) const TOKEN_REVIEW: &str = "token-review.kubeconfig";
/// The sockets of each host, for each process of it.
pub(crate) const SOCKETS: &str = "/proc/self/cwd/run";
/// When something is tried again that a full disk, say, has kept from being done.
const AGAIN: Duration = Duration::from_secs(5);

/// What a host is made of.
pub(crate) struct Host {
    pub(crate) index: usize,
    pub(crate) layout: Layout,
    pub(crate) ports: Ports,
    pub(crate) launcher: Launcher,
    /// Of the programs, such as `v1.37.2`.
    pub(crate) version: String,
}

impl Host {
    pub(crate) fn place(&self) -> HostLayout {
        self.layout.host(self.index)
    }

    /// Makes what does not depend on the server. What is there stays: an administrator may have changed the agent's configuration.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        let host = self.place();
        host.make()?;
        pki::copy_to(&self.layout, &host)?;
        let port = self.ports.api_server(self.index)?;
        let mut clients = vec![("kubeconfig", "administrator")];
        if self.index == 0 {
            clients.push(("controller-manager.kubeconfig", "controller-manager"));
            clients.push(("scheduler.kubeconfig", "scheduler"));
        }
        for (file, client) in clients {
            files::write(&host.path(file), &kubeconfig::of_client(&self.layout, port, client)?)?;
        }
        files::write_once(&host.path("agent.yaml"), &agent_configuration(&host))
    }

    /// Joins, has the API server run, and once the cluster is ready the agent, until `stop`.
    pub(crate) async fn run(
        self,
        mut server: watch::Receiver<String>,
        mut ready: watch::Receiver<bool>,
        stop: CancellationToken,
    ) {
        let host = self.place();
        let address = || server.borrow().clone();
        tokio::select! {
            () = agent_join::join(&self.layout, &host, &self.launcher, address) => {}
            () = stop.cancelled() => return,
        }
        while !stop.is_cancelled() {
            let address = server.borrow_and_update().clone();
            tokio::select! {
                () = self.follow(&host, &address) => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                _ = ready.wait_for(|is_ready| *is_ready) => {}
                _ = server.changed() => continue,
                () = stop.cancelled() => return,
            }
            let stop_agent = stop.child_token();
            let mut agent = JoinSet::new();
            let name = format!("{}: agent", host.name);
            agent.spawn(keep_running(name, self.launcher.clone(), self.agent(&host), stop_agent.clone()));
            tokio::select! {
                _ = server.changed() => say(&format!("{}: the server is at another address", host.name)),
                // It has a fault, and is started again.
                _ = agent.join_next() => {}
                () = stop.cancelled() => {}
            }
            stop_agent.cancel();
            // It has no result, and one that panicked has said so.
            drop(agent.join_next().await);
        }
    }

    /// Has the host's programs ask the server at this address. The kubelet starts the API server with that, and anew when it changes.
    async fn follow(&self, host: &HostLayout, server: &str) {
        let mut trouble = Trouble::default();
        let done = || {
            move_agent(host, server)?;
            files::write(&host.path(TOKEN_REVIEW), &kubeconfig::of_token_review(host, server))?;
            manifests::write(&self.layout, host, self.index, &self.ports, &self.version)
        };
        while let Err(failure) = done() {
            trouble.say(&format!("{}: {failure}", host.name));
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn agent(&self, host: &HostLayout) -> Program {
        let config = format!("--config={}", host.text("agent.yaml"));
        Program {
            path: self.launcher.keystead().to_owned(),
            args: vec!["agent".to_owned(), "run".to_owned(), config],
            environment: Vec::new(),
            directory: host.directory.clone(),
            log: host.log("agent"),
            grace: GRACE,
        }
    }
}

/// Tells the agent, which does not run now, and its plugins, which read their file again, that the server is at another address. They verify it
/// as before.
fn move_agent(host: &HostLayout, server: &str) -> Result<(), Failure> {
    set(&host.path("agent/joined.json"), "server", server)?;
    let credentials = host.path("credentials/credentials.json");
    match credentials.exists() {
        true => set(&credentials, "endpoint", server),
        false => Ok(()),
    }
}

/// Changes one text in a file of JSON.
fn set(path: &Path, field: &str, to: &str) -> Result<(), Failure> {
    let text =
        std::fs::read(path).map(Zeroizing::new).map_err(|error| files::failed("read", path, &error))?;
    let wrong = |reason: String| Failure::new(format!("{}: {reason}", path.display()));
    let mut value: Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    match value.get_mut(field) {
        Some(Value::String(known)) if known.trim_end_matches('/') == to => Ok(()),
        Some(known) => {
            *known = Value::from(to);
            files::write(path, &Zeroizing::new(value.to_string()))
        }
        None => Err(wrong(format!("it names no {field}"))),
    }
}

fn agent_configuration(host: &HostLayout) -> String {
    // A string of JSON is one of YAML.
    let quoted = |text: String| Value::from(text).to_string();
    let list = |options: &[(&str, String)]| -> String {
        let line = |(name, value): &(&str, String)| format!("  - {}\n", quoted(format!("--{name}={value}")));
        options.iter().map(line).collect()
    };
    let cluster = list(&[
        ("kubeconfig", host.text("kubeconfig")),
        ("manifest", host.text("manifests/kube-apiserver.yaml")),
        ("configuration", host.text("pki/encryption-configuration.yaml")),
        ("staging", host.text("staging")),
        ("state", host.text("state")),
        ("node", host.name.clone()),
    ]);
    let plugin = list(&[
        ("as", "static-pod".to_owned()),
        // No image is used: the supervisor runs the plugin that is in `keystead`.
        ("image-name", "local".to_owned()),
        ("manifests", host.text("manifests")),
        ("staging", host.text("staging")),
        ("state", host.text("state")),
        // A directory that is not there: nothing of a cluster in one directory is made when the machine boots.
        ("tmpfiles", host.text("none")),
    ]);
    format!(
        "clusterOptions:\n{cluster}  - --no-reload\npluginOptions:\n{plugin}sockets: {SOCKETS}\nstate: {}\ncredentials: {}\n",
        quoted(host.text("agent")),
        quoted(host.text("credentials/credentials.json"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_follows_the_server_to_another_address_and_keeps_the_rest() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = Layout::of(directory.path()).expect("short").host(0);
        host.make().expect("made");
        let path = host.path("agent/joined.json");
        std::fs::write(&path, r#"{"server":"https://127.0.0.1:1","host":"h","later":2}"#).expect("written");
        move_agent(&host, "https://127.0.0.1:2").expect("moved");
        let text = std::fs::read(&path).expect("read");
        let joined: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(joined, serde_json::json!({ "server": "https://127.0.0.1:2", "host": "h", "later": 2 }));
        let credentials = host.path("credentials/credentials.json");
        std::fs::write(&credentials, r#"{"endpoint":"https://127.0.0.1:2","tokens":["t"]}"#)
            .expect("written");
        move_agent(&host, "https://127.0.0.1:3").expect("moved");
        let text = std::fs::read_to_string(&credentials).expect("read");
        assert_eq!(text, r#"{"endpoint":"https://127.0.0.1:3","tokens":["t"]}"#);
    }
}
