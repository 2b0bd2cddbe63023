//! One Kubernetes control plane in one directory of this machine, as plain processes without root: etcd, API servers,
//! kube-controller-manager, kube-scheduler, plugins and agents.
//!
//! A `keystead-server` starts it and ends without it: the two share the directory and nothing else. It must never signal a process that it did
//! not start, never write into a manifest that is there, and never touch a file outside the directory.
//!
//! Read `supervisor.rs` first, then `host.rs`, which is what goes on on one control-plane host, and `kubelet.rs`, which runs what the host's
//! manifests say. `cluster_file.rs` is what the server writes, `layout.rs` where everything is.

mod agent_join;
mod cluster_file;
mod etcd;
mod files;
mod host;
mod kubeconfig;
mod kubelet;
mod launcher;
mod layout;
mod lock;
mod log_limit;
mod manifests;
mod objects;
mod pki;
mod pod;
mod ports;
mod ready;
mod report;
mod restart;
mod service;
mod stop;
mod supervisor;

pub use launcher::become_child;
pub use stop::stop_all;
pub use supervisor::run;
