//! Changes of a control plane's encryption: planners without side effects, executors that carry a plan out, and edits of files that a
//! person owns.
//!
//! It must never ask for the data of a Secret: metadata is enough, but for the canaries that it writes itself, and for `restore.rs`, which opens
//! a backup. It keeps comments, order and every field that it
//! does not know, never prints a key, and writes nothing whose meaning it has not read back.
//!
//! Read `rollout.rs` first, the planner, then `executor.rs`, which carries a plan out on `host.rs` and with `reencrypt.rs`. `api.rs` is how
//! kube-apiserver is reached; every edit of a file goes through `yaml.rs`. `doctor.rs` looks at all of it and says what is wrong.

pub mod api;
pub mod api_server_facts;
pub mod api_server_flags;
pub mod api_server_manifest;
pub mod api_server_unit;
pub mod doctor;
pub mod encryption_configuration;
pub mod etcd_path;
pub mod evidence;
pub mod executor;
pub mod host;
pub mod kms_socket;
pub mod kms_way;
pub mod kubeadm_configuration;
pub mod owned_file;
pub mod platform;
pub mod plugin_pod;
pub mod pod_user;
pub mod provider_order;
pub mod reencrypt;
pub mod restore;
pub mod rollout;
pub mod stored_values;
pub mod yaml;
