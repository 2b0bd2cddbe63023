//! Text of an EncryptionConfiguration.

/// One entry of the provider list; the first one encrypts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncryptionProvider {
    /// A plugin that speaks KMS v1.
    KmsV1 {
        /// Part of each stored value.
        name: String,
        /// `unix://` and the socket's path.
        endpoint: String,
        /// How many DEKs the API server remembers.
        cache_size: Option<i32>,
        /// Such as `3s`.
        timeout: Option<String>,
        /// Whether `apiVersion: v1` is written; without it Kubernetes reads v1 too.
        explicit_version: bool,
    },
    /// A plugin that speaks KMS v2.
    KmsV2 {
        /// Part of each stored value.
        name: String,
        /// `unix://` and the socket's path.
        endpoint: String,
        /// Such as `3s`.
        timeout: Option<String>,
    },
    /// No encryption.
    Identity,
}

/// The text of a configuration with one entry: these resources by these providers.
pub fn encryption_config(resources: &[&str], providers: &[EncryptionProvider]) -> String {
    let mut text = String::from(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources:\n",
    );
    for resource in resources {
        line(&mut text, 6, "- ", &quoted(resource));
    }
    line(&mut text, 4, "providers:", "");
    for provider in providers {
        write_provider(&mut text, provider);
    }
    text
}

fn write_provider(text: &mut String, provider: &EncryptionProvider) {
    let (version, name, endpoint, cache_size, timeout) = match provider {
        EncryptionProvider::Identity => return line(text, 6, "- identity: ", "{}"),
        EncryptionProvider::KmsV1 { name, endpoint, cache_size, timeout, explicit_version } => {
            (explicit_version.then_some("v1"), name, endpoint, *cache_size, timeout)
        }
        EncryptionProvider::KmsV2 { name, endpoint, timeout } => (Some("v2"), name, endpoint, None, timeout),
    };
    line(text, 6, "- kms:", "");
    if let Some(version) = version {
        line(text, 10, "apiVersion: ", version);
    }
    line(text, 10, "name: ", &quoted(name));
    line(text, 10, "endpoint: ", &quoted(endpoint));
    if let Some(size) = cache_size {
        line(text, 10, "cachesize: ", &size.to_string());
    }
    if let Some(timeout) = timeout {
        line(text, 10, "timeout: ", &quoted(timeout));
    }
}

/// A string of JSON is a string of YAML: `*.*` and `a: b` keep their meaning.
fn quoted(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

fn line(text: &mut String, indent: usize, key: &str, value: &str) {
    text.push_str(&format!("{:indent$}{key}{value}\n", ""));
}
