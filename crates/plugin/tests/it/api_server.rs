//! The plugin under the real kube-apiserver and etcd.
//!
//! Most tests run the library in this process (`host`), around a backend that counts calls and fails on command; where
//! a process must die they run the binary (`supervisor`).

mod convergence;
mod deadline;
mod host;
mod stored;
mod supervisor;

mod key_service;
mod kills;
mod older_versions;
mod outages;
mod revocation;
mod rotation;
mod start_order;
mod three_hosts;
mod timeout;
mod v1;
mod v2;
