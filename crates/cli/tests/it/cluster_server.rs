//! A real server that runs clusters itself, with real programs of Kubernetes, as a process of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use keystead_testkit::process::Process;

use crate::{keystead, stderr, stdout};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_keystead");
/// Far more than anything takes: test machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// A server that runs clusters, which end with this value.
pub(crate) struct ClusterServer {
    process: Option<Process>,
    directory: tempfile::TempDir,
    port: u16,
}

impl Drop for ClusterServer {
    fn drop(&mut self) {
        // A server that runs starts its clusters.
        drop(self.process.take());
        drop(keystead().args(["local-clusters", "stop"]).arg(self.clusters()).output());
    }
}

impl ClusterServer {
    pub(crate) async fn start() -> Self {
        // Agents and plugins keep the address.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        // Paths of sockets are short.
        let directory = tempfile::Builder::new().prefix("ks").tempdir_in("/tmp").expect("a directory");
        let mut server = Self { process: None, directory, port };
        server.run().await;
        for project in ["key-project", "cluster-project"] {
            server.works(&["projects", "create", project]);
            for api in ["cloudkms.googleapis.com", "container.googleapis.com"] {
                server.works(&["services", "enable", api, "--project", project]);
            }
        }
        server
    }

    /// Starts it, after whichever ran before was killed.
    pub(crate) async fn run(&mut self) {
        drop(self.process.take());
        let programs =
            std::env::var("KEYSTEAD_KUBERNETES_PROGRAMS").expect("set by cargo xtask test --tools");
        let args = [
            "server".to_owned(),
            "run".to_owned(),
            format!("--data-dir={}", self.data().display()),
            format!("--listen=127.0.0.1:{}", self.port),
            format!("--local-clusters={}", self.clusters().display()),
            format!("--kubernetes-programs={programs}"),
        ];
        let args: Vec<_> = args.into_iter().map(Into::into).collect();
        let log = self.directory.path().join("server.log");
        let process = Process::spawn(Path::new(PROGRAM), &args, &log).await.expect("a server");
        self.process = Some(process);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.shell("exec \"$0\" projects list", &[]).status.success() {
            assert!(tokio::time::Instant::now() < deadline, "{}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The first administrator's.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.data().join("admin-token")
    }

    pub(crate) fn clusters(&self) -> PathBuf {
        self.directory.path().join("c")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default()
    }

    /// Runs a line in a shell that `keystead env` has pointed at the server.
    pub(crate) fn shell(&self, line: &str, variables: &[(&str, &str)]) -> Output {
        let line = format!("eval \"$(\"$0\" env --data-dir {})\" && {line}", self.data().display());
        let mut command = Command::new("sh");
        command.args(["-c", &line, PROGRAM]).envs(variables.iter().copied());
        if let Some(kubectl) = std::env::var_os("KEYSTEAD_KUBECTL") {
            let directory = Path::new(&kubectl).parent().expect("an absolute path").display().to_string();
            command.env("PATH", format!("{directory}:{}", std::env::var("PATH").expect("a path")));
        }
        command.env("CLOUDSDK_CONFIG", self.directory.path().join("gcloud"));
        command.env("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "1").current_dir(self.directory.path());
        command.env("KUBECONFIG", self.directory.path().join("kubeconfig")).output().expect("runs")
    }

    pub(crate) fn works(&self, words: &[&str]) -> String {
        let line = format!("exec \"$0\" {}", words.join(" "));
        let output = self.shell(&line, &[]);
        assert!(output.status.success(), "{words:?}: {}\n{}", stderr(&output), self.log());
        stdout(&output)
    }

    /// Until a line in a shell succeeds: what it printed.
    pub(crate) async fn until(&self, line: &str) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let output = tokio::task::block_in_place(|| self.shell(line, &[]));
            if output.status.success() {
                return stdout(&output);
            }
            let said = stderr(&output);
            assert!(tokio::time::Instant::now() < deadline, "never: {line}: {said}\n{}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }
}
