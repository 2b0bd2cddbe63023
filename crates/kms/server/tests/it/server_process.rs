//! The real binary as a child process.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use keystead_testkit::process::{Process, clock_environment};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_keystead-server");
/// Far above what anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of its own for one test.
pub(crate) struct Place(TempDir);

/// A server in it that is ready.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) endpoint: serde_json::Value,
}

/// A command that ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// What is in it, at any depth.
    pub(crate) fn names(&self) -> Vec<PathBuf> {
        let (mut folders, mut names) = (vec![self.0.path().to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("listed") {
                let path = entry.expect("an entry").path();
                folders.extend(path.is_dir().then(|| path.clone()));
                names.push(path);
            }
        }
        names.sort();
        names
    }

    /// Runs the binary here, with nothing of the test's environment but its clock.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.run_in(args, &[])
    }

    pub(crate) fn run_in(&self, args: &[&str], environment: &[(&str, &str)]) -> Ended {
        let mut command = Command::new(BINARY);
        command.args(args).env_clear().envs(clock_environment()).envs(environment.iter().copied());
        command.current_dir(self.0.path());
        let output = command.output().expect("run");
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Starts a server with its data in `data`, on any port unless `args` say so, and waits until it is ready.
    pub(crate) async fn start(&self, args: &[&str]) -> Server {
        let (data, log) = (self.path("data"), self.path("log"));
        let endpoint_file = data.join("endpoint.json");
        drop(std::fs::remove_file(&endpoint_file));
        let mut all: Vec<OsString> = ["--data-dir".into(), data.clone().into()].into();
        if !args.contains(&"--listen") {
            all.extend(["--listen".into(), "127.0.0.1:0".into()]);
        }
        all.extend(args.iter().map(Into::into));
        let process = Process::spawn(Path::new(BINARY), &all, &log).await.expect("started");
        let ready = tokio::time::timeout(PATIENCE, async {
            loop {
                let text = std::fs::read_to_string(&endpoint_file).unwrap_or_default();
                if let Ok(endpoint) = serde_json::from_str::<serde_json::Value>(&text) {
                    return endpoint;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let endpoint = ready.await.unwrap_or_else(|_| panic!("not ready: {}", process.tail()));
        let server = Server { process, data, log, endpoint };
        let answered = tokio::time::timeout(PATIENCE, async {
            while server.client().get(server.url("/livez")).send().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        answered.await.unwrap_or_else(|_| panic!("no answer: {}", server.process.tail()));
        server
    }
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint["endpoint"].as_str().expect("a text"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint["addresses"][0].as_str().expect("a text").parse().expect("an address")
    }

    pub(crate) fn ca(&self) -> Vec<u8> {
        std::fs::read(self.data.join("tls/ca.pem")).expect("a bundle")
    }

    /// A client that trusts the server's own authority.
    pub(crate) fn client(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem_bundle(&self.ca()).expect("a bundle");
        let builder = reqwest::Client::builder().tls_certs_only(ca).timeout(Duration::from_secs(20));
        builder.build().expect("a client")
    }

    pub(crate) fn tls_config(&self, alpn: &str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.ca()) {
            roots.add(certificate.expect("a certificate")).expect("added");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        let response = self.client().get(self.url(path)).send().await.expect("answered");
        response.text().await.expect("text")
    }

    /// Resident memory that belongs to the process alone, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        memory_of(self.process.pid())
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    pub(crate) async fn stop(mut self) -> i32 {
        self.process.stop(PATIENCE).await.expect("ended")
    }
}

/// Resident memory that belongs to a process alone, in KiB.
pub(crate) fn memory_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
