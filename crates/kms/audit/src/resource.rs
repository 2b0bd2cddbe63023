//! What Cloud Logging calls the monitored resource: a type and labels, read from a resource name.

use serde::Serialize;

/// Type and labels. Labels that a type does not have are left out.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Resource<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    labels: Labels<'a>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Labels<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_ring_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crypto_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crypto_key_version_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
}

impl<'a> Resource<'a> {
    /// Reads a resource name, which may be anything that a caller sent: what is no name of ours is `audited_resource`.
    pub(crate) fn of(name: &'a str, service: &'a str, method: &'a str) -> Self {
        /// A cluster has the longest path after a key version's ten parts; whatever is longer is none of ours.
        const LONGEST: usize = 10;
        let mut parts = [""; LONGEST];
        let mut count = 0;
        for part in name.split('/') {
            match parts.get_mut(count) {
                Some(place) => *place = part,
                None => return Self::other(None, service, method),
            }
            count += 1;
        }
        let parts = parts.get(..count).unwrap_or_default();
        let mut labels = Labels::default();
        let kind = match *parts {
            ["projects", project] => {
                labels.project_id = Some(project);
                "project"
            }
            ["projects", project, "locations", location, "keyRings", ring, ref below @ ..] => {
                labels.project_id = Some(project);
                labels.location = Some(location);
                labels.key_ring_id = Some(ring);
                match *below {
                    [] => "cloudkms_keyring",
                    ["cryptoKeys", key] => {
                        labels.crypto_key_id = Some(key);
                        "cloudkms_cryptokey"
                    }
                    ["cryptoKeys", key, "cryptoKeyVersions", version] => {
                        labels.crypto_key_id = Some(key);
                        labels.crypto_key_version_id = Some(version);
                        "cloudkms_cryptokeyversion"
                    }
                    _ => return Self::other(Some(project), service, method),
                }
            }
            ["projects", project, "locations", location, "clusters", cluster] => {
                labels.project_id = Some(project);
                labels.location = Some(location);
                labels.cluster_name = Some(cluster);
                "gke_cluster"
            }
            ["projects", project, "serviceAccounts", email, ..] => {
                labels.project_id = Some(project);
                labels.email_id = Some(email);
                "service_account"
            }
            ["projects", project, ..] => return Self::other(Some(project), service, method),
            _ => return Self::other(None, service, method),
        };
        Self { kind, labels }
    }

    /// The project in whose log the record stands; `-` where there is none.
    pub(crate) fn project(&self) -> &'a str {
        self.labels.project_id.unwrap_or("-")
    }

    fn other(project: Option<&'a str>, service: &'a str, method: &'a str) -> Self {
        let labels =
            Labels { project_id: project, service: Some(service), method: Some(method), ..Labels::default() };
        Self { kind: "audited_resource", labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_type_and_labels() {
        let version = "projects/p-1/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/3";
        for (name, wanted) in [
            (
                version,
                r#"{"type":"cloudkms_cryptokeyversion","labels":{"project_id":"p-1","location":"global","key_ring_id":"r","crypto_key_id":"k","crypto_key_version_id":"3"}}"#,
            ),
            (
                "projects/p-1/locations/global/keyRings/r/cryptoKeys/k",
                r#"{"type":"cloudkms_cryptokey","labels":{"project_id":"p-1","location":"global","key_ring_id":"r","crypto_key_id":"k"}}"#,
            ),
            (
                "projects/p-1/locations/global/keyRings/r",
                r#"{"type":"cloudkms_keyring","labels":{"project_id":"p-1","location":"global","key_ring_id":"r"}}"#,
            ),
            (
                "projects/p-1/locations/global",
                r#"{"type":"audited_resource","labels":{"project_id":"p-1","service":"s","method":"m"}}"#,
            ),
            (
                "projects/p-1/locations/eu/clusters/c",
                r#"{"type":"gke_cluster","labels":{"project_id":"p-1","location":"eu","cluster_name":"c"}}"#,
            ),
            (
                "projects/p-1/serviceAccounts/a@b/keys/1",
                r#"{"type":"service_account","labels":{"project_id":"p-1","email_id":"a@b"}}"#,
            ),
            ("projects/p-1", r#"{"type":"project","labels":{"project_id":"p-1"}}"#),
            ("../etc", r#"{"type":"audited_resource","labels":{"service":"s","method":"m"}}"#),
            (
                "a/b/c/d/e/f/g/h/i/j/k/l",
                r#"{"type":"audited_resource","labels":{"service":"s","method":"m"}}"#,
            ),
        ] {
            let text = serde_json::to_string(&Resource::of(name, "s", "m")).expect("serialises");
            assert_eq!(text, wanted, "{name}");
        }
    }
}
