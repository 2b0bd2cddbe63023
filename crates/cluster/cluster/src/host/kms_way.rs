//! What is known of a plugin on its host: what its process was started with, static pods that name its socket, and the files that both name.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use keystead_runtime::whole_file::{self, Readers, directory_of};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::LocalHost;
use super::files::Files;
use super::listener::process_at;
use super::plugins::PluginAt;
use crate::kms_way::{KmsWay, PluginFacts, Range, Setting, is_flag, is_name, kms_way};
use crate::yaml::{Document, MAX_LEN, Node, Step};

/// Manifests that are looked at; a control-plane host has five or so.
const MANIFESTS_MAX: usize = 64;
/// Bytes of the longest command line, environment and settings file that are looked at.
const TEXT_MAX: usize = 1 << 20;
const CONTROLLER_MANAGER: &str = "kube-controller-manager.yaml";
/// Flags and variables of our plugin that name a file with more settings.
const FILES: [&str; 4] = ["config", "credentials-file", "KEYSTEAD_CONFIG", "KEYSTEAD_CREDENTIALS_FILE"];

impl LocalHost {
    /// How each of these plugins reaches its KMS.
    pub(super) async fn kms_ways(&self, plugins: &[PluginAt], files: &Files) -> Vec<KmsWay> {
        let manifests = self.manifests();
        let ranges = self.ranges(files, &manifests);
        let mut ways = Vec::with_capacity(plugins.len());
        for plugin in plugins {
            let process = process_at(&plugin.socket).await;
            ways.push(kms_way(&plugin_facts(Path::new(&plugin.socket), process, &manifests), &ranges));
        }
        ways
    }

    fn manifests(&self) -> Vec<(PathBuf, Document)> {
        let Ok(entries) = fs::read_dir(directory_of(&self.manifest)) else { return Vec::new() };
        let read = |path: PathBuf| {
            // As for the kubelet, which passes over what begins with a dot.
            let is_hidden = path.file_name().is_some_and(|it| it.to_string_lossy().starts_with('.'));
            let (bytes, _) =
                whole_file::read(&path, Readers::Everybody, MAX_LEN).ok().filter(|_| !is_hidden)?;
            Some((path, Document::parse(&bytes).ok()?))
        };
        entries.take(MANIFESTS_MAX).filter_map(|entry| read(entry.ok()?.path())).collect()
    }

    fn ranges(&self, files: &Files, manifests: &[(PathBuf, Document)]) -> Vec<Range> {
        let services = files.api_server.flag("service-cluster-ip-range").unwrap_or_default();
        let mut ranges = Range::parse("service-cluster-ip-range", &services);
        let is_it = |path: &Path| path.file_name().is_some_and(|it| it == CONTROLLER_MANAGER);
        for (path, document) in manifests.iter().filter(|(path, _)| is_it(path)) {
            for setting in of_manifest(path, document).iter().filter(|it| it.name == "--cluster-cidr") {
                ranges.extend(Range::parse("cluster-cidr", &setting.value));
            }
        }
        ranges
    }
}

fn plugin_facts(socket: &Path, process: Option<u32>, manifests: &[(PathBuf, Document)]) -> PluginFacts {
    let mut facts = PluginFacts::default();
    let socket = socket.display().to_string();
    for (path, document) in manifests {
        let settings = of_manifest(path, document);
        // One that only mounts the directory may be another plugin's.
        if settings.iter().any(|it| it.value.contains(&socket)) {
            facts.settings.extend(of_named_files(&settings, Path::new("/")));
            facts.settings.extend(settings);
        }
    }
    let Some(process) = process else { return facts };
    let pod = pod_of(&format!("/proc/{process}/cgroup"));
    // Where all of this runs in a pod of another cluster's, as tests may.
    let pod = pod.filter(|pod| pod_of("/proc/self/cgroup").as_ref() != Some(pod));
    let settings = of_process(process, pod.is_some());
    facts.settings.extend(of_named_files(&settings, &PathBuf::from(format!("/proc/{process}/root"))));
    facts.settings.extend(settings);
    let is_static = |uid: &String| {
        let named = |document: &Document| {
            document.at(&[Step::Key("metadata"), Step::Key("uid")]).and_then(Node::as_str) == Some(uid)
        };
        manifests.iter().any(|(_, document)| named(document))
    };
    facts.pod = pod.filter(|pod| pod.is_from_api).map(|it| it.uid).filter(|uid| !is_static(uid));
    facts
}

/// Flags and variables of all containers of a manifest.
fn of_manifest(path: &Path, document: &Document) -> Vec<Setting> {
    let mut settings = Vec::new();
    for containers in ["initContainers", "containers"] {
        let containers = document.at(&[Step::Key("spec"), Step::Key(containers)]);
        for container in containers.map(Node::items).unwrap_or_default() {
            let list = |name: &str| container.get(name).map(Node::items).unwrap_or_default().iter();
            let words = list("command").chain(list("args")).filter_map(Node::as_str);
            settings.extend(of_words(&path.display().to_string(), words));
            for variable in list("env") {
                let text = |key: &str| variable.get(key).and_then(Node::as_str);
                if let Some((name, value)) = text("name").zip(text("value")) {
                    settings.push(setting(&path.display().to_string(), name, value));
                }
            }
        }
    }
    settings
}

/// What a process was started with. Into a pod's environment the kubelet puts the addresses of Services that it never uses.
fn of_process(process: u32, is_in_pod: bool) -> Vec<Setting> {
    let read = |file: &str| {
        let mut text = Zeroizing::new(Vec::with_capacity(TEXT_MAX));
        let file = File::open(format!("/proc/{process}/{file}"));
        // What is cut off is looked at as far as it goes.
        match file.map(|it| it.take(TEXT_MAX as u64).read_to_end(&mut text)) {
            Ok(Ok(_)) => text,
            _ => Zeroizing::new(Vec::new()),
        }
    };
    let command = read("cmdline");
    let place = format!("process {process}");
    let mut settings = of_words(&place, words_of(&command));
    if !is_in_pod {
        let environment = read("environ");
        let variables = words_of(&environment).filter_map(|it| it.split_once('='));
        let variables = variables.filter(|(name, _)| !is_of_a_service(name));
        settings.extend(variables.map(|(name, value)| setting(&place, name, value)));
    }
    settings
}

/// What a kubelet gives every process of a pod, and that it hands on.
fn is_of_a_service(name: &str) -> bool {
    name.starts_with("KUBERNETES_")
        || name.ends_with("_SERVICE_HOST")
        || ["_SERVICE_PORT", "_PORT_"].iter().any(|it| name.contains(it))
}

fn words_of(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|it| *it == 0).filter_map(|it| str::from_utf8(it).ok()).filter(|it| !it.is_empty())
}

/// `--name=value` and `--name`, `value`; any other word has the name of the one before it.
fn of_words<'w>(place: &str, words: impl Iterator<Item = &'w str>) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut name = WORD;
    for word in words {
        match word.split_once('=').filter(|(flag, _)| is_flag(flag)) {
            Some((flag, value)) => settings.push(setting(place, flag, value)),
            None if is_flag(word) => {
                name = word;
                continue;
            }
            None => settings.push(setting(place, name, word)),
        }
        name = WORD;
    }
    settings
}

/// What has no name of its own.
const WORD: &str = "a word";

/// What stands in the files that our plugin's settings name, and in the credentials that such a file names.
fn of_named_files(settings: &[Setting], root: &Path) -> Vec<Setting> {
    let named = settings.iter().filter(|it| FILES.contains(&it.name.trim_start_matches('-')));
    let mut found: Vec<Setting> = named.flat_map(|it| of_file(&it.value, root)).collect();
    let further = found.iter().find(|it| it.name == "credentialsFile").map(|it| it.value.clone());
    found.extend(further.iter().flat_map(|it| of_file(it, root)));
    found
}

/// Of credentials only the address is read.
fn of_file(path: &str, root: &Path) -> Vec<Setting> {
    #[derive(Deserialize)]
    struct Credentials {
        endpoint: Option<String>,
    }
    let inside = root.join(path.trim_start_matches('/'));
    let Ok((bytes, _)) = whole_file::read(&inside, Readers::Everybody, TEXT_MAX) else { return Vec::new() };
    if let Ok(credentials) = serde_json::from_slice::<Credentials>(&bytes) {
        return credentials.endpoint.map(|it| setting(path, "endpoint", &it)).into_iter().collect();
    }
    let Ok(document) = Document::parse(&bytes) else { return Vec::new() };
    let entries = document.root().entries().iter();
    entries.filter_map(|it| Some(setting(path, &it.key, it.value.as_str()?))).collect()
}

fn setting(place: &str, name: &str, value: &str) -> Setting {
    let name = if is_name(name.trim_start_matches('-')) { name } else { WORD };
    Setting { place: place.to_owned(), name: name.to_owned(), value: Zeroizing::new(value.to_owned()) }
}

/// A pod that a process is in.
#[derive(PartialEq, Eq)]
struct Pod {
    uid: String,
    /// An API server gave it its uid; the kubelet's own for static pods is a digest without dashes.
    is_from_api: bool,
}

fn pod_of(path: &str) -> Option<Pod> {
    fs::read_to_string(path).ok()?.lines().find_map(pod_of_cgroup)
}

/// `.../kubepods.slice/kubepods-burstable-podUID.slice/...` with the systemd driver, `/kubepods/burstable/podUID/...` with cgroupfs.
fn pod_of_cgroup(line: &str) -> Option<Pod> {
    // The last one: a node may itself run in a pod.
    let (_, path) = line.rsplit_once("kubepods")?;
    path.split('/').find_map(|part| {
        let part = part.strip_suffix(".slice").unwrap_or(part);
        let uid = part.get(part.rfind("pod")? + 3..)?.replace('_', "-");
        let digits = |it: &str| !it.is_empty() && it.chars().all(|it| it.is_ascii_hexdigit());
        let lengths: Vec<usize> = uid.split('-').map(str::len).collect();
        let is_from_api = lengths == [8, 4, 4, 4, 12];
        ((is_from_api || lengths == [32]) && uid.split('-').all(digits)).then_some(Pod { uid, is_from_api })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_is_that_of_the_cgroup() {
        for (line, uid, is_from_api) in [
            (
                "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod2f9c1c4e_63a1_4f5e_8a53_0c7d1b1f9e11.slice/cri-containerd-aa.scope",
                "2f9c1c4e-63a1-4f5e-8a53-0c7d1b1f9e11",
                true,
            ),
            (
                "11:memory:/kubepods/burstable/pod2f9c1c4e-63a1-4f5e-8a53-0c7d1b1f9e11/aa",
                "2f9c1c4e-63a1-4f5e-8a53-0c7d1b1f9e11",
                true,
            ),
            (
                "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod5c1d8a0b7e0b4f4c9a2d3e4f5a6b7c8d.slice/x",
                "5c1d8a0b7e0b4f4c9a2d3e4f5a6b7c8d",
                false,
            ),
            (
                "0::/kubepods/burstable/pod2f9c1c4e-63a1-4f5e-8a53-0c7d1b1f9e11/aa/kubelet/kubepods/pod5c1d8a0b7e0b4f4c9a2d3e4f5a6b7c8d/bb",
                "5c1d8a0b7e0b4f4c9a2d3e4f5a6b7c8d",
                false,
            ),
        ] {
            let pod = pod_of_cgroup(line).expect(line);
            assert_eq!((pod.uid.as_str(), pod.is_from_api), (uid, is_from_api));
        }
        for line in [
            "0::/system.slice/keystead-plugin.service",
            "0::/",
            "0::/kubepods.slice/kubepods-burstable.slice",
        ] {
            assert!(pod_of_cgroup(line).is_none(), "{line}");
        }
    }

    #[test]
    fn words_have_the_name_of_their_flag() {
        let settings = of_words("p", ["plugin", "--a=1", "-b", "2", "--on", "--c", "3", "4"].into_iter());
        let pairs: Vec<(&str, &str)> =
            settings.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect();
        assert_eq!(pairs, [("a word", "plugin"), ("--a", "1"), ("-b", "2"), ("--c", "3"), ("a word", "4")]);
    }

    #[test]
    fn a_key_is_no_name() {
        let pem = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE==\n-----END EC PRIVATE KEY-----\n";
        let long = format!("--{}", "a".repeat(65));
        for word in [pem, "---", "-", "--a b", &long] {
            assert!(!is_flag(word), "{word}");
            let settings = of_words("p", [word, "https://a.b.svc"].into_iter());
            assert!(settings.iter().all(|it| it.name == WORD), "{word}");
        }
        assert_eq!(setting("p", "MHcC AQ", "v").name, WORD);
        assert!(is_flag("--kms-endpoint") && is_flag("-vault.addr_2"));
        assert!(is_of_a_service("KUBERNETES_SERVICE_HOST") && is_of_a_service("VAULT_PORT_8200_TCP"));
        assert!(!is_of_a_service("VAULT_ADDR"));
    }

    #[test]
    fn a_file_that_names_itself_is_read_twice_and_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("plugin.yaml").display().to_string();
        fs::write(&path, format!("credentialsFile: {path}\nkmsEndpoint: https://a.b.svc\n"))
            .expect("written");
        let found = of_named_files(&[setting("p", "--config", &path)], Path::new("/"));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn settings_come_from_manifests_and_from_the_files_that_they_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let write = |name: &str, text: String| fs::write(path(name), text).expect("written");
        write(
            "credentials.json",
            r#"{"endpoint": "https://kms.keystead.svc:8443", "tokens": ["ks_canary"]}"#.into(),
        );
        write(
            "plugin.yaml",
            format!("provider: cloudkms\ncredentialsFile: {}\n", path("credentials.json").display()),
        );
        let socket = path("kms.sock");
        let manifest = format!(
            "kind: Pod\nmetadata:\n  uid: u-1\nspec:\n  containers:\n  - args: [--socket={}, --config, {}]\n    env: [{{name: A_URL, value: 'http://10.96.0.1'}}]\n",
            socket.display(),
            path("plugin.yaml").display()
        );
        let document = Document::parse(manifest.as_bytes()).expect("YAML");
        let manifests = vec![(path("pod.yaml"), document)];
        let facts = plugin_facts(&socket, None, &manifests);
        let way = kms_way(&facts, &[]);
        let evidence = way.behind_cluster.expect("the endpoint of the credentials");
        assert!(evidence.contains("credentials.json names kms.keystead.svc"), "{evidence}");
        assert!(!format!("{facts:?}{evidence}").contains("canary"));
        let values: Vec<&str> = facts.settings.iter().map(|it| it.name.as_str()).collect();
        assert!(values.contains(&"A_URL") && !values.contains(&"tokens"), "{values:?}");
        // Of another plugin nothing is taken.
        assert!(plugin_facts(&path("other.sock"), None, &manifests).settings.is_empty());
    }

    #[test]
    fn this_process_is_read_too() {
        let settings = of_process(std::process::id(), false);
        assert!(settings.iter().any(|it| it.name == "PATH") && settings.iter().any(|it| it.name == "a word"));
        assert!(of_process(std::process::id(), true).iter().all(|it| it.name != "PATH"));
    }
}
