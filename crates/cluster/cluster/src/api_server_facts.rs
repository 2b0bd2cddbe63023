//! What is known of a kube-apiserver that starts: what its flags say, and what it sees of its host.

use std::collections::BTreeMap;

use crate::api_server_flags::{BadGate, CONFIG, FEATURE_GATES, RELOAD, gates, truth};
use crate::api_server_manifest::Mount;
use crate::api_server_unit::View;

/// Flags, image and mounts. Paths are those that kube-apiserver sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The image, as it is written.
    pub image: Option<String>,
    /// Major, minor and patch version, from the image's tag.
    pub version: Option<(u32, u32, u32)>,
    /// `--encryption-provider-config`.
    pub encryption_provider_config: Option<String>,
    /// `--encryption-provider-config-automatic-reload`.
    pub automatic_reload: bool,
    /// `--feature-gates`.
    pub feature_gates: BTreeMap<String, bool>,
    /// How it reaches etcd.
    pub etcd: EtcdFlags,
    /// `--advertise-address`.
    pub advertise_address: Option<String>,
    /// `--secure-port`, 6443 where nothing is written.
    pub secure_port: u16,
    /// Where it sees directories of the host.
    pub mounts: Vec<Mount>,
    /// What of them it does not see all the same.
    pub view: View,
}

/// Flags about etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdFlags {
    /// `--etcd-servers`.
    pub servers: Vec<String>,
    /// `--etcd-cafile`.
    pub ca_file: Option<String>,
    /// `--etcd-certfile`.
    pub certificate_file: Option<String>,
    /// `--etcd-keyfile`.
    pub key_file: Option<String>,
    /// `--etcd-prefix`, `/registry` where nothing is written.
    pub prefix: String,
}

/// kube-apiserver's own default.
const SECURE_PORT: u16 = 6443;
const PORT: &str = "secure-port";

/// A flag that kube-apiserver does not start with.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFlag {
    /// Its value.
    #[error("--{name} must be {wanted}")]
    Value {
        /// The flag.
        name: &'static str,
        /// What it may be.
        wanted: &'static str,
    },
    /// A feature gate.
    #[error(transparent)]
    Gate(#[from] BadGate),
}

impl Facts {
    /// What these flags say, each with its name and value, in the order in which they are read. Image, version and mounts stand elsewhere.
    ///
    /// # Errors
    ///
    /// A number or a truth value that is none: kube-apiserver does not start with it.
    pub(crate) fn of_flags<'f>(
        flags: impl Iterator<Item = (&'f str, Option<&'f str>)> + Clone,
    ) -> Result<Self, BadFlag> {
        let all = |name: &'static str| flags.clone().filter(move |(it, _)| *it == name);
        // The last one counts, and one that stands there alone means true.
        let last = |name| all(name).last().map(|(_, value)| value.unwrap_or("true").to_owned());
        let mut feature_gates = BTreeMap::new();
        // Unlike other flags they add up.
        for (_, value) in all(FEATURE_GATES) {
            let given = gates(value.unwrap_or_default())?;
            feature_gates.extend(given.into_iter().map(|(name, on)| (name.to_owned(), on)));
        }
        let servers = all("etcd-servers").filter_map(|(_, value)| value);
        let servers = servers.flat_map(|value| value.split(',')).map(str::to_owned).collect();
        Ok(Self {
            image: None,
            version: None,
            encryption_provider_config: last(CONFIG).filter(|file| !file.is_empty()),
            automatic_reload: parsed(RELOAD, last(RELOAD), "true or false", truth)?.unwrap_or_default(),
            feature_gates,
            etcd: EtcdFlags {
                servers,
                ca_file: last("etcd-cafile"),
                certificate_file: last("etcd-certfile"),
                key_file: last("etcd-keyfile"),
                prefix: last("etcd-prefix").unwrap_or_else(|| "/registry".to_owned()),
            },
            advertise_address: last("advertise-address"),
            secure_port: parsed(PORT, last(PORT), "a port, from 1 to 65535", |port| {
                port.parse().ok().filter(|it| *it > 0)
            })?
            .unwrap_or(SECURE_PORT),
            mounts: Vec::new(),
            view: View::default(),
        })
    }

    /// The version of an image, or none.
    pub(crate) fn of_image(self, image: Option<String>) -> Self {
        Self { version: image.as_deref().and_then(version), image, ..self }
    }
}

fn parsed<T>(
    name: &'static str,
    value: Option<String>,
    wanted: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, BadFlag> {
    value.map(|it| parse(&it).ok_or(BadFlag::Value { name, wanted })).transpose()
}

impl Facts {
    /// The path on the host of a path that it is given: the deepest mount that holds it. None: it is inside the image, or hidden.
    pub fn host_path(&self, path: &str) -> Option<String> {
        if self.view.hides(path).is_some() {
            return None;
        }
        let holds = |mount: &&Mount| below(path, &mount.mount_path).is_some();
        let mount = self.mounts.iter().filter(holds).max_by_key(|mount| mount.mount_path.len())?;
        let rest = below(path, &mount.mount_path)?;
        let host = mount.host_path.trim_end_matches('/');
        Some(if rest.is_empty() { mount.host_path.clone() } else { format!("{host}/{rest}") })
    }
}

/// The rest of a path below a directory; empty for the directory itself.
fn below<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(directory.trim_end_matches('/'))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// `registry.k8s.io/kube-apiserver:v1.36.3`, also with more behind it.
fn version(image: &str) -> Option<(u32, u32, u32)> {
    let image = image.split('@').next()?;
    let (_, tag) = image.rsplit('/').next()?.split_once(':')?;
    version_of(tag)
}

/// `v1.36.3`, also with more behind it.
pub(crate) fn version_of(tag: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = tag.strip_prefix('v').unwrap_or(tag).splitn(3, '.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    let patch = numbers.next()?;
    let end = patch.find(|it: char| !it.is_ascii_digit()).unwrap_or(patch.len());
    Some((major, minor, patch.get(..end)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_version_is_that_of_the_tag() {
        assert_eq!(version("registry.k8s.io/kube-apiserver:v1.36.3"), Some((1, 36, 3)));
        assert_eq!(version("localhost:5000/kube-apiserver-amd64:v1.31.0-rke2r1@sha256:00"), Some((1, 31, 0)));
        assert_eq!(version("localhost:5000/kube-apiserver"), None);
        assert_eq!(version("kube-apiserver:latest"), None);
    }
}
