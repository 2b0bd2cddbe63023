//! The etcd of the cluster: one member, on this machine alone, for whoever has the API servers' certificate.

use keystead_runtime::Failure;

use crate::cluster_file::ClusterFile;
use crate::files;
use crate::launcher::Program;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::service;

/// How it is started. It waits for the disk before it answers, as it does by default.
pub(crate) fn program(layout: &Layout, cluster: &ClusterFile, ports: &Ports) -> Result<Program, Failure> {
    let data = layout.path("etcd");
    files::make_directory(&data)?;
    files::make_directory(&layout.logs())?;
    let url = url(ports);
    let peers = format!("https://127.0.0.1:{}", ports.etcd_peers);
    let pki = |name: &str| layout.pki(name).display().to_string();
    let mut args = vec![
        "--name=default".to_owned(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
    ];
    for of in ["", "peer-"] {
        args.extend([
            format!("--{of}client-cert-auth=true"),
            format!("--{of}trusted-ca-file={}", pki("etcd-authority.pem")),
            format!("--{of}cert-file={}", pki("etcd-server.pem")),
            format!("--{of}key-file={}", pki("etcd-server.key")),
        ]);
    }
    Ok(Program {
        path: cluster.program("etcd"),
        args,
        environment: Vec::new(),
        directory: layout.directory().to_owned(),
        log: layout.logs().join("etcd.log"),
        grace: service::GRACE,
    })
}

/// Where clients find it.
pub(crate) fn url(ports: &Ports) -> String {
    format!("https://127.0.0.1:{}", ports.etcd)
}
