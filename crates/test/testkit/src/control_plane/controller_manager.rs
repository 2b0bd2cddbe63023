//! kube-controller-manager beside a control plane of plain processes.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::ControlPlane;
use crate::process::Process;

/// A running kube-controller-manager of the node's programs: `KEYSTEAD_NODE`, which `cargo xtask test --tools` sets.
#[derive(Debug)]
pub struct ControllerManager {
    process: Process,
}

impl ControllerManager {
    /// Starts it for the first API server, as administrator and with these controllers alone. Does not wait: what it does shows in the API.
    pub async fn start(control_plane: &ControlPlane, controllers: &[&str]) -> Result<Self> {
        let programs = std::env::var_os("KEYSTEAD_NODE").map(PathBuf::from);
        let programs = programs.context("KEYSTEAD_NODE is not set: cargo xtask test --tools sets it")?;
        let server = control_plane.api_servers.first().context("an API server")?;
        let kubeconfig = control_plane.directory().join("kube-controller-manager.conf");
        std::fs::write(&kubeconfig, server.kubeconfig(server.token()))?;
        let mut args: Vec<_> = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
            .map(|flag| format!("--{flag}={}", kubeconfig.display()))
            .into();
        args.push(format!("--controllers={}", controllers.join(",")));
        args.extend(["--leader-elect=false", "--secure-port=0"].map(str::to_owned));
        let args: Vec<_> = args.into_iter().map(Into::into).collect();
        let log = control_plane.directory().join("kube-controller-manager.log");
        let process = Process::spawn(&programs.join("kube-controller-manager"), &args, &log).await?;
        Ok(Self { process })
    }

    /// The last lines that it printed.
    pub fn log(&self) -> String {
        self.process.tail()
    }
}
