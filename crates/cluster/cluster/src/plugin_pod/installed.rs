//! A manifest that is there already, perhaps edited by a person.

use std::path::{Path, PathBuf};

use super::{ADMIN_PORT, COMPONENT, PluginPodError, manifest_name};
use crate::api_server_manifest::ApiServerManifest;
use crate::yaml::{Content, Document, Node, Step, Value};

/// The digest of an image that was imported under a name that it had before: without it the kubelet would see no change.
const IMAGE_DIGEST: &str = "keystead.io/image-digest";
/// The image's name without registry and tag.
const PROGRAM: &str = "keystead-plugin";

/// The static pod of our plugin, as it is written.
pub struct InstalledPod {
    document: Document,
    container: usize,
}

impl InstalledPod {
    /// Reads a manifest; none if it is another pod's, or no pod's.
    ///
    /// # Errors
    ///
    /// What is no YAML, or is refused.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, PluginPodError> {
        let document = Document::parse(bytes)?;
        let containers = document.at(&CONTAINERS).map(Node::items).unwrap_or_default();
        let container = containers.iter().position(is_ours);
        Ok(container.map(|container| Self { document, container }))
    }

    /// What the pod is called.
    pub fn name(&self) -> Option<&str> {
        self.document.at(&[Step::Key("metadata")]).and_then(|it| word(it, "name"))
    }

    /// Whether a file with this name is where an installation puts this pod: that of a plugin without a name, or of a named instance. A copy of
    /// it under another name is not.
    pub fn is_in_its_place(&self, file_name: &str) -> bool {
        let is_instance = |it: &&str| it.strip_prefix(COMPONENT).is_some_and(|rest| rest.starts_with('-'));
        file_name == manifest_name(COMPONENT)
            || self.name().filter(is_instance).is_some_and(|it| file_name == manifest_name(it))
    }

    /// The image, as it is written.
    pub fn image(&self) -> Option<&str> {
        self.node().get("image").and_then(Node::as_str)
    }

    /// Whether the kubelet never asks a registry for it.
    pub fn is_never_pulled(&self) -> bool {
        self.node().get("imagePullPolicy").and_then(Node::as_str) == Some("Never")
    }

    /// Where it listens; none: its own default.
    pub fn socket(&self) -> Option<PathBuf> {
        let given = self.setting("--socket", "KEYSTEAD_SOCKET")?;
        Some(PathBuf::from(given.strip_prefix("unix://").unwrap_or(given)))
    }

    /// The port of its probes on the host; none: it is switched off.
    pub fn admin_port(&self) -> Option<u16> {
        match self.setting("--admin", "KEYSTEAD_ADMIN") {
            Some(address) => address.rsplit_once(':')?.1.parse().ok(),
            None => Some(ADMIN_PORT),
        }
    }

    /// The files with keys and credentials that its flags name.
    pub fn files(&self) -> Vec<&str> {
        ["--key-file", "--credentials-file", "--kms-ca-file"].iter().filter_map(|it| self.flag(it)).collect()
    }

    /// The same manifest with another image. A digest is noted where the image may have the same name as before.
    ///
    /// # Errors
    ///
    /// The text cannot be edited.
    pub fn with_image(&self, image: &str, digest: Option<&str>) -> Result<Document, PluginPodError> {
        let container = [Step::Key("spec"), Step::Key("containers"), Step::Index(self.container)];
        let mut document = Document::parse(self.document.text().as_bytes())?;
        if self.image() != Some(image) {
            document = document.set(&container, "image", &Value::string(image))?;
        }
        let annotations = [Step::Key("metadata"), Step::Key("annotations")];
        let Some(digest) = digest else { return Ok(document) };
        let noted = document.at(&annotations);
        if noted.and_then(|it| word(it, IMAGE_DIGEST)) == Some(digest) {
            return Ok(document);
        }
        let has_some = noted.is_some_and(|it| !it.entries().is_empty());
        Ok(match has_some {
            true => document.set(&annotations, IMAGE_DIGEST, &Value::string(digest))?,
            false => {
                let noted = Value::map([(IMAGE_DIGEST, Value::string(digest))]);
                document.set(&[Step::Key("metadata")], "annotations", &noted)?
            }
        })
    }

    /// The value of a flag, or else of a variable.
    fn setting(&self, flag: &str, variable: &str) -> Option<&str> {
        let variable = || self.list("env").iter().find(|it| word(it, "name") == Some(variable));
        self.flag(flag).or_else(|| variable().and_then(|it| word(it, "value")))
    }

    /// The value of a flag, written `--name=value` or `--name`, `value`.
    fn flag(&self, name: &str) -> Option<&str> {
        let mut words = self.list("command").iter().chain(self.list("args")).filter_map(Node::as_str);
        while let Some(word) = words.next() {
            if word == name {
                return words.next();
            }
            if let Some(value) = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
                return Some(value);
            }
        }
        None
    }

    fn list(&self, key: &str) -> &[Node] {
        self.node().get(key).map(Node::items).unwrap_or_default()
    }

    fn node(&self) -> &Node {
        let containers = self.document.at(&CONTAINERS).map(Node::items).unwrap_or_default();
        // Found there when it was read; what is edited is another document.
        containers.get(self.container).unwrap_or(self.document.root())
    }
}

/// Whether a pod, of whatever plugin but not kube-apiserver's, has to do with this socket: it names it, or mounts its directory. None: it
/// cannot be read.
pub fn uses_socket(bytes: &[u8], socket: &Path) -> Option<bool> {
    let document = Document::parse(bytes).ok()?;
    if ApiServerManifest::read(bytes).is_ok() {
        return Some(false);
    }
    let directory = socket.parent().map(|it| it.display().to_string()).unwrap_or_default();
    let volumes = document.at(&VOLUMES).map(Node::items).unwrap_or_default();
    let paths = volumes.iter().filter_map(|it| word(it.get("hostPath")?, "path"));
    let mounts = paths.map(|it| it.trim_end_matches('/')).any(|it| it == directory);
    Some(mounts || mentions(document.root(), &socket.display().to_string()))
}

fn mentions(node: &Node, socket: &str) -> bool {
    match &node.content {
        Content::String(text) => text.ends_with(socket),
        Content::Sequence(items) => items.iter().any(|it| mentions(it, socket)),
        Content::Mapping(entries) => entries.iter().any(|it| mentions(&it.value, socket)),
        _ => false,
    }
}

fn is_ours(container: &Node) -> bool {
    let image = word(container, "image").unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split([':', '@']).next() == Some(PROGRAM) && !is_agent(container)
}

/// The agent's pod has the plugin's image, and another program.
fn is_agent(container: &Node) -> bool {
    let mut words = container.get("command").map(Node::items).unwrap_or_default().iter().map(Node::as_str);
    let program = words.next().flatten().and_then(|it| it.rsplit('/').next());
    program == Some("keystead") && words.next().flatten() == Some("agent")
}

fn word<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key).and_then(Node::as_str)
}

const CONTAINERS: [Step<'static>; 2] = [Step::Key("spec"), Step::Key("containers")];
const VOLUMES: [Step<'static>; 2] = [Step::Key("spec"), Step::Key("volumes")];

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(more: &str) -> InstalledPod {
        let text = format!(
            "metadata:\n  name: x\nspec:\n  containers:\n  - image: side:1\n    name: side\n  - image: a.example:5000/b/keystead-plugin:1@sha256:00 # ours\n    name: x\n{more}"
        );
        InstalledPod::read(text.as_bytes()).expect("YAML").expect("ours")
    }

    #[test]
    fn the_socket_is_found_wherever_it_is_written() {
        for (more, socket) in [
            ("    args: [--socket=/a/kms.sock]\n", Some("/a/kms.sock")),
            ("    args:\n    - --socket\n    - unix:///a/kms.sock\n", Some("/a/kms.sock")),
            ("    command: [keystead-plugin, --socket=/a/kms.sock]\n", Some("/a/kms.sock")),
            ("    env: [{name: KEYSTEAD_SOCKET, value: /a/kms.sock}]\n", Some("/a/kms.sock")),
            ("    args: [--socket-mode=0600]\n", None),
        ] {
            assert_eq!(pod(more).socket(), socket.map(PathBuf::from), "{more}");
        }
    }

    #[test]
    fn the_admin_port_is_found_wherever_it_is_written() {
        for (more, port) in [
            ("    args: [--admin=127.0.0.1:10278]\n", Some(10_278)),
            ("    args: [--admin, '[::1]:10278']\n", Some(10_278)),
            ("    env: [{name: KEYSTEAD_ADMIN, value: '127.0.0.1:10278'}]\n", Some(10_278)),
            ("    args: [--admin=off]\n", None),
            ("    args: [--admin=127.0.0.1:99999]\n", None),
            ("", Some(10_277)),
        ] {
            assert_eq!(pod(more).admin_port(), port, "{more}");
        }
    }

    #[test]
    fn a_pod_is_in_its_place_under_its_own_name_alone() {
        let named = |name: &str| {
            let text = format!(
                "metadata: {{name: {name}}}\nspec: {{containers: [{{image: 'keystead-plugin:1'}}]}}\n"
            );
            InstalledPod::read(text.as_bytes()).expect("YAML").expect("ours")
        };
        for (name, file, expected) in [
            ("keystead-kms-plugin", "keystead-kms-plugin-pod.yaml", true),
            // A person may have renamed the pod of the plugin without a name.
            ("x", "keystead-kms-plugin-pod.yaml", true),
            ("keystead-kms-plugin-new", "keystead-kms-plugin-new-pod.yaml", true),
            ("keystead-kms-plugin-new", "keystead-kms-plugin-old-pod.yaml", false),
            ("keystead-kms-plugin-new", "keystead-kms-plugin-new-pod.yaml.bak", false),
            ("keystead-kms-plugin", "keystead-kms-plugin-new-pod.yaml", false),
            ("keystead-kms-pluginx", "keystead-kms-pluginx-pod.yaml", false),
            ("x", "x-pod.yaml", false),
        ] {
            assert_eq!(named(name).is_in_its_place(file), expected, "{name} in {file}");
        }
    }

    #[test]
    fn another_image_leaves_everything_else() {
        let pod = pod("    args: [--socket=/a/kms.sock]\n");
        let edited = pod.with_image("keystead.io/keystead-plugin:2", None).expect("edited");
        let expected = pod
            .document
            .text()
            .replace("a.example:5000/b/keystead-plugin:1@sha256:00", "keystead.io/keystead-plugin:2");
        assert_eq!(edited.text(), expected);
        let noted = pod.with_image("keystead.io/keystead-plugin:2", Some("sha256:1")).expect("edited");
        let again = InstalledPod::read(noted.text().as_bytes()).expect("YAML").expect("ours");
        let same = again.with_image("keystead.io/keystead-plugin:2", Some("sha256:1")).expect("edited");
        assert_eq!(same.text(), noted.text());
        let other = again.with_image("keystead.io/keystead-plugin:2", Some("sha256:2")).expect("edited");
        assert_eq!(other.text(), noted.text().replace("sha256:1", "sha256:2"));
    }

    #[test]
    fn pods_of_others_are_not_ours() {
        for image in ["keystead-plugin-fork:1", "example.com/keystead-plugin/other:1", "kube-apiserver:v1"] {
            let text = format!("spec: {{containers: [{{image: '{image}'}}]}}");
            assert!(InstalledPod::read(text.as_bytes()).expect("YAML").is_none(), "{image}");
        }
        let agent = include_bytes!("../../../../../deploy/static-pod/keystead-agent-pod.yaml");
        assert!(InstalledPod::read(agent).expect("YAML").is_none(), "the agent has the plugin's image");
    }
}
