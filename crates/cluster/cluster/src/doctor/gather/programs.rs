//! What serves the sockets of plugins: static pods of whatever make, and processes of our plugin.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keystead_crypto::sha256;
use keystead_model::{KeyReference, KeyVersion, Material};
use keystead_runtime::whole_file::{self, Readers};
use zeroize::Zeroizing;

use super::directory::{Directory, Pod};
use super::mounts::Mounts;
use super::secrets;
use crate::doctor::facts::{PluginFacts, PluginProgram, Seen};
use crate::host::process_at;
use crate::plugin_pod::{InstalledPod, uses_socket};
use crate::pod_user::{PodUser, users_of_process};
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
    /// Whom it runs as.
    pub(super) users: BTreeSet<PodUser>,
}

/// Command line, variables and configuration of a program.
struct Text {
    from: String,
    words: Vec<Zeroizing<String>>,
    environment: Vec<(String, Zeroizing<String>)>,
    /// The file of `--config`.
    file: Option<Document>,
    is_ours: bool,
    users: BTreeSet<PodUser>,
    place: Place,
}

/// Where its files are.
enum Place {
    /// Where it says.
    Host,
    /// Where mounts of its pod bring them.
    Pod(Mounts),
    /// In a container of which no more is known.
    Container,
}

impl Place {
    /// The path on the host.
    fn host(&self, path: &Path) -> Option<PathBuf> {
        match self {
            Self::Host => Some(path.to_owned()),
            Self::Pod(mounts) => mounts.host(path),
            Self::Container => None,
        }
    }
}

pub(super) async fn find(directory: Option<&Directory>, plugins: &[PluginFacts]) -> Vec<Program> {
    let mut programs = Vec::new();
    for pod in directory.into_iter().flat_map(|it| &it.pods) {
        let ours = InstalledPod::read(&pod.bytes).ok().flatten();
        let uses = |socket: &str| uses_socket(&pod.bytes, Path::new(socket)) == Some(true);
        let own = ours.as_ref().and_then(InstalledPod::socket);
        let own = own.map(|it| pod.mounts.host(&it).unwrap_or(it));
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
    let listeners = listeners(plugins).await;
    for (pid, text) in processes(&listeners) {
        let named = text.setting("socket");
        let named = named.as_ref().map(|it| it.strip_prefix("unix://").unwrap_or(it));
        // systemd may have made the socket, and then it is no setting.
        let serves =
            |it: &String| named == Some(it) || listeners.iter().any(|(who, at)| *who == pid && at == it);
        let used: Vec<String> =
            plugins.iter().map(|it| &it.socket).filter(|it| serves(it)).cloned().collect();
        // Of a process in a container its manifest says more.
        let is_known = |socket: &String| {
            programs.iter().any(|it| it.facts.is_manifest && it.facts.serves.contains(socket))
        };
        let is_told = matches!(text.place, Place::Container) && used.iter().all(is_known);
        if !used.is_empty() && !is_told {
            programs.push(text.program(used, false));
        }
    }
    programs
}

/// Whoever listens at the plugins' sockets, by the kernel's word.
async fn listeners(plugins: &[PluginFacts]) -> Vec<(u32, String)> {
    let mut listeners = Vec::new();
    for plugin in plugins {
        listeners.extend(process_at(&plugin.socket).await.map(|it| (it, plugin.socket.clone())));
    }
    listeners
}

/// Processes of our plugin. Anybody can call a process so: only one of root's, of whoever looks, or one that listens is taken for one.
fn processes(listeners: &[(u32, String)]) -> Vec<(u32, Text)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let looks = rustix::process::geteuid().as_raw();
    let is_taken = |pid: &u32| {
        listeners.iter().any(|(who, _)| who == pid) || is_trusted(&users_of_process(&pid.to_string()), looks)
    };
    pids.filter(is_taken).filter_map(|pid| Some((pid, process(pid)?))).collect()
}

/// All its users count: anybody may start a program that becomes root, under any name.
fn is_trusted(users: &[u32], looks: u32) -> bool {
    !users.is_empty() && users.iter().all(|it| [0, looks].contains(it))
}

fn process(pid: u32) -> Option<Text> {
    let words = words_of(format!("/proc/{pid}/cmdline"))?;
    let program = words.first()?.rsplit('/').next()?.to_owned();
    let is = |at: usize, word: &str| words.get(at).is_some_and(|it| **it == word);
    let is_plugin =
        program == "keystead-plugin" || (program == "keystead" && is(1, "plugin") && is(2, "run"));
    let users = PodUser::of_process(&pid.to_string()).into_iter().collect();
    let mounts = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let is_here = mounts("self").is_some_and(|own| mounts(&pid.to_string()) == Some(own));
    is_plugin.then(|| {
        let place = if is_here { Place::Host } else { Place::Container };
        // Whoever may not read it knows the command at least.
        let environment = words_of(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = environment.iter().filter_map(|it| it.split_once('='));
        let environment =
            environment.map(|(name, value)| (name.to_owned(), Zeroizing::new(value.to_owned())));
        Text::new(format!("process {pid}"), words, environment.collect(), true, users, place)
    })
}

/// Of a command line or an environment. A process may have gigabytes: one that has is none of ours.
fn words_of(path: impl AsRef<Path>) -> Option<Vec<Zeroizing<String>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(path).ok()?.take(TEXT_MAX as u64 + 1).read_to_end(&mut bytes).ok()?;
    let words = bytes.split(|it| *it == 0);
    let words = words.filter_map(|it| Some(Zeroizing::new(str::from_utf8(it).ok()?.to_owned())));
    (bytes.len() <= TEXT_MAX).then(|| words.collect())
}

impl Text {
    fn of_pod(pod: &Pod, is_ours: bool) -> Self {
        let from = pod.path.display().to_string();
        let (words, environment) = (pod.words.clone(), pod.environment.clone());
        Self::new(from, words, environment, is_ours, pod.users.clone(), Place::Pod(pod.mounts.clone()))
    }

    fn new(
        from: String,
        words: Vec<Zeroizing<String>>,
        environment: Vec<(String, Zeroizing<String>)>,
        is_ours: bool,
        users: BTreeSet<PodUser>,
        place: Place,
    ) -> Self {
        let mut text = Self { from, words, environment, file: None, is_ours, users, place };
        let config = text.setting("config").filter(|_| is_ours);
        text.file = config.and_then(|it| {
            let path = text.place.host(Path::new(&*it))?;
            let (bytes, _) = whole_file::read(&path, Readers::Everybody, TEXT_MAX).ok()?;
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

    /// Whether a flag, a variable or a script names a socket.
    fn names(&self, socket: &str) -> bool {
        let words = self.words.iter().chain(self.environment.iter().map(|(_, value)| value));
        let is_end = |it: char| it.is_whitespace() || matches!(it, '=' | '"' | '\'');
        let place = |it: &str| {
            let path = Path::new(it.strip_prefix("unix://").unwrap_or(it));
            self.place.host(path).unwrap_or_else(|| path.to_owned())
        };
        words.flat_map(|it| it.split(is_end)).any(|it| !it.is_empty() && place(it) == Path::new(socket))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.setting(name).map(|it| PathBuf::from(&*it))
    }

    fn program(&self, sockets: Vec<String>, is_manifest: bool) -> Program {
        let is_cloud = self.setting("kms-key").is_some()
            || self.environment.iter().any(|(name, _)| name == "KMS_KEY_ID");
        let default = || Some(PathBuf::from(CREDENTIALS)).filter(|_| self.is_ours && is_cloud);
        let credentials = self.path("credentials-file").or_else(default);
        let host = |path: PathBuf| self.place.host(&path);
        let allows = self.words.iter().any(|it| it.starts_with("--allow-token-in-env"))
            || self.environment.iter().any(|(name, _)| name == "KEYSTEAD_ALLOW_TOKEN_IN_ENV")
            || self.file.as_ref().is_some_and(|it| it.root().get("allowTokenInEnv").is_some());
        let key_file = self.path("key-file").filter(|_| self.is_ours);
        Program {
            facts: PluginProgram {
                from: self.from.clone(),
                is_manifest,
                // What ours serves is known, named or not.
                serves: sockets.iter().filter(|it| self.is_ours || self.names(it)).cloned().collect(),
                sockets,
                secrets: secrets::places(&self.environment, &self.words),
                allows_token_in_env: allows,
                key_file_inside: key_file.clone().filter(|it| host(it.clone()).is_none()),
                key_file: key_file.and_then(host).map(|path| {
                    let stands_for = stands_for(&path);
                    (path, stands_for)
                }),
            },
            credentials: credentials.and_then(host),
            ca_file: self.path("kms-ca-file").and_then(host),
            users: self.users.clone(),
        }
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
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;
    use crate::rollout::Provider;

    #[test]
    fn only_roots_processes_are_believed() {
        for (users, expected) in [
            (&[0, 0, 0, 0][..], true),
            (&[7, 7, 7, 7], true),
            (&[1000, 0, 0, 0], false),
            (&[1000; 4], false),
            (&[], false),
        ] {
            assert_eq!(is_trusted(users, 7), expected, "{users:?}");
        }
        let own = users_of_process("self");
        assert_eq!(own.last(), Some(&rustix::process::geteuid().as_raw()));
    }

    #[test]
    fn a_command_line_has_a_bound() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cmdline");
        for (len, is_taken) in [(TEXT_MAX, true), (TEXT_MAX + 1, false)] {
            fs::write(&path, vec![b'a'; len]).expect("written");
            assert_eq!(words_of(&path).is_some(), is_taken, "{len}");
        }
        assert!(words_of("/dev/zero").is_none());
    }

    /// As its unit of systemd starts it.
    #[tokio::test]
    async fn a_process_is_known_by_its_variables_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("kms.sock").display().to_string();
        let mut child = Command::new("sleep")
            .arg0("/usr/bin/keystead-plugin")
            .arg("3600")
            .env_clear()
            .envs([("KEYSTEAD_SOCKET", &*socket), ("KEYSTEAD_KEY_FILE", "/k"), ("A_TOKEN", "s3cr3t")])
            .spawn()
            .expect("started");
        let plugin = PluginFacts::well(Provider::KmsV2 { name: "k".to_owned() }, &socket);
        let programs = find(None, std::slice::from_ref(&plugin)).await;
        child.kill().expect("ended");
        child.wait().expect("ended");
        let [program] = &programs[..] else { panic!("{} programs", programs.len()) };
        assert_eq!(program.facts.from, format!("process {}", child.id()));
        assert_eq!(program.facts.serves, [socket]);
        assert_eq!(program.facts.key_file.as_ref().map(|(path, _)| path.as_path()), Some(Path::new("/k")));
        assert_eq!(program.facts.secrets, ["the variable A_TOKEN"]);
    }

    #[test]
    fn a_setting_is_a_field_in_camel_case() {
        assert_eq!(camel_case("kms-ca-file"), "kmsCaFile");
    }
}
