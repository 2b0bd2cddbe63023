//! What serves the sockets of plugins: static pods of whatever make, and processes of our plugin.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keystead_crypto::sha256;
use keystead_model::{KeyReference, KeyVersion, Material};
use keystead_runtime::whole_file::{self, Readers};
use zeroize::Zeroizing;

use super::directory::{Directory, Pod};
use crate::doctor::facts::{PluginFacts, PluginProgram, Seen};
use crate::plugin_pod::{InstalledPod, uses_socket};
use crate::yaml::{Document, Node};

/// Bytes of the longest command line or file looked at.
const TEXT_MAX: usize = 1 << 20;
/// Where our plugin looks for credentials when nobody says.
const CREDENTIALS: &str = "/etc/keystead/credentials.json";

/// One program, with what of it other parts look at.
pub(super) struct Program {
    pub(super) facts: PluginProgram,
    pub(super) credentials: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
}

/// Command line, variables and configuration of a program.
struct Text {
    from: String,
    words: Vec<Zeroizing<String>>,
    environment: Vec<(String, Zeroizing<String>)>,
    /// The file of `--config`.
    file: Option<Document>,
    is_ours: bool,
}

pub(super) fn find(directory: Option<&Directory>, plugins: &[PluginFacts]) -> Vec<Program> {
    let mut programs = Vec::new();
    for pod in directory.into_iter().flat_map(|it| &it.pods) {
        let ours = InstalledPod::read(&pod.bytes).ok().flatten();
        let uses = |socket: &str| uses_socket(&pod.bytes, Path::new(socket)) == Some(true);
        let own = ours.as_ref().and_then(InstalledPod::socket);
        let used: Vec<String> = plugins
            .iter()
            .map(|it| &it.socket)
            // A pod of ours says which; of another, the mount of the directory is all there is.
            .filter(|socket| own.as_ref().map_or_else(|| uses(socket), |own| own == Path::new(socket)))
            .cloned()
            .collect();
        if !used.is_empty() {
            programs.push(Text::of_pod(pod, ours.is_some()).program(used, true));
        }
    }
    for text in processes() {
        let Some(socket) = text.setting("socket") else { continue };
        let socket = socket.strip_prefix("unix://").unwrap_or(&socket);
        let used: Vec<String> =
            plugins.iter().map(|it| &it.socket).filter(|it| *it == socket).cloned().collect();
        if !used.is_empty() {
            programs.push(text.program(used, false));
        }
    }
    programs
}

fn processes() -> Vec<Text> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let text = |pid: u32| {
        let command = Zeroizing::new(fs::read(format!("/proc/{pid}/cmdline")).ok()?);
        if command.len() > TEXT_MAX {
            return None;
        }
        let words: Vec<Zeroizing<String>> = command
            .split(|it| *it == 0)
            .filter_map(|it| Some(Zeroizing::new(str::from_utf8(it).ok()?.to_owned())))
            .collect();
        let program = words.first()?.rsplit('/').next()?.to_owned();
        let is = |at: usize, word: &str| words.get(at).is_some_and(|it| **it == word);
        let is_plugin =
            program == "keystead-plugin" || (program == "keystead" && is(1, "plugin") && is(2, "run"));
        is_plugin.then(|| Text::new(format!("process {pid}"), words, Vec::new(), true))
    };
    pids.filter_map(text).collect()
}

impl Text {
    fn of_pod(pod: &Pod, is_ours: bool) -> Self {
        let environment = pod.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Self::new(pod.path.display().to_string(), pod.words.clone(), environment, is_ours)
    }

    fn new(
        from: String,
        words: Vec<Zeroizing<String>>,
        environment: Vec<(String, Zeroizing<String>)>,
        is_ours: bool,
    ) -> Self {
        let mut text = Self { from, words, environment, file: None, is_ours };
        let config = text.setting("config").filter(|_| is_ours);
        text.file = config.and_then(|it| {
            let (bytes, _) = whole_file::read(Path::new(&*it), Readers::Everybody, TEXT_MAX).ok()?;
            Document::parse(&bytes).ok()
        });
        text
    }

    /// What a setting is, in the plugin's own order: flag, variable, file.
    fn setting(&self, name: &str) -> Option<Zeroizing<String>> {
        let flag = format!("--{name}");
        let mut words = self.words.iter();
        while let Some(word) = words.next() {
            if **word == flag {
                return words.next().cloned();
            }
            if let Some(value) = word.strip_prefix(&flag).and_then(|it| it.strip_prefix('=')) {
                return Some(Zeroizing::new(value.to_owned()));
            }
        }
        let variable = format!("KEYSTEAD_{}", name.replace('-', "_").to_uppercase());
        if let Some((_, value)) = self.environment.iter().find(|(name, _)| *name == variable) {
            return Some(value.clone());
        }
        let field = camel_case(name);
        let found = self.file.as_ref().and_then(|it| it.root().get(&field)).and_then(Node::as_str);
        found.map(|it| Zeroizing::new(it.to_owned()))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.setting(name).map(|it| PathBuf::from(&*it))
    }

    fn program(&self, sockets: Vec<String>, is_manifest: bool) -> Program {
        let is_cloud = self.setting("kms-key").is_some()
            || self.environment.iter().any(|(name, _)| name == "KMS_KEY_ID");
        let default = || Some(PathBuf::from(CREDENTIALS)).filter(|_| self.is_ours && is_cloud);
        let credentials = self.path("credentials-file").or_else(default);
        let allows = self.words.iter().any(|it| it.starts_with("--allow-token-in-env"))
            || self.environment.iter().any(|(name, _)| name == "KEYSTEAD_ALLOW_TOKEN_IN_ENV")
            || self.file.as_ref().is_some_and(|it| it.root().get("allowTokenInEnv").is_some());
        let key_file = self.path("key-file").filter(|_| self.is_ours);
        Program {
            facts: PluginProgram {
                from: self.from.clone(),
                is_manifest,
                sockets,
                secrets: self.secrets(),
                allows_token_in_env: allows,
                key_file: key_file.map(|path| {
                    let stands_for = stands_for(&path);
                    (path, stands_for)
                }),
            },
            credentials,
            ca_file: self.path("kms-ca-file"),
        }
    }

    /// Names of variables and flags that hold a secret.
    fn secrets(&self) -> Vec<String> {
        let variables = self.environment.iter();
        let variables = variables
            .filter(|(name, value)| is_secret(name, value))
            .map(|(name, _)| format!("the variable {name}"));
        let mut found: Vec<String> = variables.collect();
        let mut words = self.words.iter().peekable();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, value),
                None => (word.as_str(), words.peek().map_or("", |it| it.as_str())),
            };
            if name.starts_with("--") && is_secret(name.trim_start_matches('-'), value) {
                found.push(format!("the flag {name}"));
            } else if !name.starts_with('-')
                && looks_secret(word)
                && !found.iter().any(|it| it.starts_with("the flag"))
            {
                found.push("a word of its command".to_owned());
            }
        }
        found
    }
}

/// `key-file` is `keyFile` in a configuration.
fn camel_case(name: &str) -> String {
    let mut words = name.split('-');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        text.extend(letters.next().map(|it| it.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}

/// By what it is called, or by how it looks. What ends in a word for a place is a place.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_uppercase().replace('-', "_");
    let is_place =
        ["FILE", "PATH", "DIR", "NAME", "_ID", "URL", "ADDR", "IN_ENV"].iter().any(|it| name.ends_with(it));
    let is_named = ["TOKEN", "PASSWORD", "SECRET", "PIN", "PASSPHRASE", "PRIVATE_KEY", "ACCESS_KEY"]
        .iter()
        .any(|it| name.ends_with(it));
    let is_value = !value.is_empty() && !value.starts_with(['/', '-']) && !["true", "false"].contains(&value);
    looks_secret(value) || (is_named && !is_place && is_value)
}

/// Tokens of our server, of Vault and of AWS, signed tokens, and keys in PEM.
fn looks_secret(value: &str) -> bool {
    let value = value.trim();
    let is_jwt = value.starts_with("eyJ") && value.split('.').count() == 3;
    ["ks_", "ksa_", "hvs.", "hvb.", "AKIA", "ASIA"].iter().any(|it| value.starts_with(it) && value.len() > 12)
        || value.contains("PRIVATE KEY")
        || is_jwt
}

/// The key id of the primary version of a key file (docs/formats/key-file.md): what a plugin that uses it reports.
fn stands_for(path: &Path) -> Seen<String> {
    let read = whole_file::read(path, Readers::Everybody, TEXT_MAX).map_err(|error| error.to_string());
    let (bytes, _) = read?;
    key_id(&bytes).ok_or_else(|| format!("{} is no key file of this version", path.display()))
}

fn key_id(bytes: &[u8]) -> Option<String> {
    let text = str::from_utf8(bytes).ok()?;
    let line = |name: &str| text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
    let (id, primary) = (line("id")?, line("primary")?);
    let activation = line("activation")?.parse().ok()?;
    let version = line(&format!("version {primary}"))?;
    // Time, key, and perhaps a fingerprint.
    let mut fields = version.split(' ').skip(1);
    STANDARD.decode(fields.next()?).ok().map(Zeroizing::new).filter(|it| it.len() == 32)?;
    let material = match fields.next() {
        Some(fingerprint) => {
            Some(Material(u32::from_str_radix(fingerprint.get(..8)?, 16).ok()?.to_be_bytes()))
        }
        None => None,
    };
    let digest = sha256(format!("local\0{id}").as_bytes());
    let digest = digest.get(..8)?.try_into().ok()?;
    let reference =
        KeyReference::new("local", KeyVersion::new(primary).ok()?, Some(activation), material, digest);
    Some(reference.ok()?.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_and_by_look() {
        for (name, value, expected) in [
            ("KMS_USER_ID", "ks_a-1_0123456789012345678901234567890123456789012", true),
            ("KMS_USER_ID", "a-1", false),
            ("VAULT_TOKEN", "anything", true),
            ("VAULT_TOKEN_FILE", "/etc/token", false),
            ("PIN", "1234", true),
            ("allow-token-in-env", "true", false),
            ("ANYTHING", "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjF9.c2ln", true),
            ("KMS_KEY_ID", "projects/p/locations/l/keyRings/r/cryptoKeys/k", false),
        ] {
            assert_eq!(is_secret(name, value), expected, "{name}={value}");
        }
    }

    #[test]
    fn a_setting_is_a_field_in_camel_case() {
        assert_eq!(camel_case("kms-ca-file"), "kmsCaFile");
    }
}
