//! The plugin's image: read from the file of a release, and put into containerd.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keystead_cluster::plugin_pod::ImagePull;
use keystead_runtime::Failure;
use serde::Deserialize;
use tar::Archive;

/// Where the image comes from.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Image")]
pub(super) struct ImageArgs {
    /// Image file of a release (keystead-plugin-VERSION-image-ARCH.tar), which is loaded into containerd
    #[arg(long, value_name = "FILE", conflicts_with = "image_name")]
    image: Option<PathBuf>,
    /// Name of an image that is on this host, or that a registry outside this cluster has
    #[arg(long, value_name = "NAME")]
    image_name: Option<String>,
    /// containerd's `ctr`
    #[arg(long, value_name = "PROGRAM", default_value = "ctr")]
    ctr: OsString,
}

/// An image that a pod can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) name: String,
    pub(super) pull: ImagePull,
    /// The file and the digest of what is in it, where it is still to be loaded.
    pub(super) file: Option<(PathBuf, String)>,
}

/// What a release of this version is called.
fn own_name() -> String {
    format!("keystead.io/keystead-plugin:{}", env!("CARGO_PKG_VERSION"))
}

impl ImageArgs {
    /// Whether one is named.
    pub(super) fn is_given(&self) -> bool {
        self.image.is_some() || self.image_name.is_some()
    }

    /// The image, after a look whether it is there or can be brought there.
    pub(super) fn find(&self, must_be_there: bool) -> Result<Image, Failure> {
        if let Some(file) = &self.image {
            let (name, digest) = name_in(file)?;
            if self.asked(&["version"]).is_err() {
                return Err(self.no_containerd(Some(file)));
            }
            return Ok(Image { name, pull: ImagePull::Never, file: Some((file.clone(), digest)) });
        }
        if let Some(name) = &self.image_name {
            return Ok(Image { name: name.clone(), pull: ImagePull::IfNotPresent, file: None });
        }
        let name = own_name();
        if must_be_there && !self.has(&name)? {
            return Err(Failure::new(format!("containerd does not have the image {name}")).hint(
                "load it with --image FILE, from the download page of the release, or name another one with --image-name"
                    .to_owned(),
            ));
        }
        Ok(Image { name, pull: ImagePull::Never, file: None })
    }

    /// Loads the image's file, if it has one, and pins what containerd has: where disks are full the kubelet removes images that no container
    /// uses, such as that of a plugin between two starts, and then nothing starts the plugin again.
    pub(super) fn load(&self, image: &Image) -> Result<(), Failure> {
        if let Some((file, _)) = &image.file {
            self.import(image, file)?;
        } else if !self.has(&image.name).unwrap_or_default() {
            // A registry or another runtime's tool brings it.
            return Ok(());
        }
        let pin = ["images", "label", &image.name, PINNED];
        let pinned = self.asked(&pin);
        pinned.map(drop).map_err(|error| {
            Failure::new(format!("containerd did not pin {}", image.name))
                .caused_by(error)
                .hint(format!("the command was `{}`", self.shown(&pin)))
        })
    }

    /// Takes the pin off the plugin's other images, but for those that are `used`: which ones, or why not. Where containerd does not answer
    /// another runtime has the images, and there is none.
    pub(super) fn unpin_all_but(&self, used: impl Fn(&str) -> bool) -> Vec<Result<String, String>> {
        let listed = self.asked(&["images", "list", "--quiet", PINNED_ONES]).unwrap_or_default();
        let others = listed.lines().map(str::trim).filter(|it| is_plugin(it) && !used(it));
        // Without a value the label goes away.
        let unpin = |name: &str| self.asked(&["images", "label", name, UNPINNED]);
        others
            .map(|name| unpin(name).map(|_| name.to_owned()).map_err(|error| format!("{name}: {error}")))
            .collect()
    }

    fn import(&self, image: &Image, file: &Path) -> Result<(), Failure> {
        let path = file.to_str().ok_or_else(|| Failure::new("the name of the image's file is not UTF-8"))?;
        self.asked(&["images", "import", path]).map_err(|error| {
            Failure::new(format!("containerd did not take {}", file.display()))
                .caused_by(error)
                .hint(format!("the command was `{}`", self.shown(&["images", "import", path])))
        })?;
        match self.has(&image.name)? {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "containerd took {}, and has no image {} all the same",
                file.display(),
                image.name
            ))
            .hint(format!("`{}` shows what it has", self.shown(&["images", "list"])))),
        }
    }

    /// Whether containerd has it.
    pub(super) fn has(&self, name: &str) -> Result<bool, Failure> {
        let filter = format!("name=={name}");
        let listed = self.asked(&["images", "list", "--quiet", &filter]);
        let listed = listed.map_err(|error| self.no_containerd(None).caused_by(error))?;
        Ok(listed.lines().any(|it| it.trim() == name))
    }

    fn asked(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.ctr);
        command.args(["--namespace", NAMESPACE]).args(words).stdin(Stdio::null());
        let output = command.output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    fn shown(&self, words: &[&str]) -> String {
        format!("{} --namespace {NAMESPACE} {}", self.ctr.display(), words.join(" "))
    }

    fn no_containerd(&self, file: Option<&Path>) -> Failure {
        let failure = Failure::new(format!("containerd cannot be asked with `{}`", self.ctr.display()));
        failure.hint(match file {
            Some(file) => format!(
                "name its ctr with --ctr; where the kubelet uses another runtime, load {} with that one's own tool and install with --image-name {}. \
                 With containerd it is `{}`",
                file.display(),
                name_in(file).map_or_else(|_| own_name(), |it| it.0),
                self.shown(&["images", "import", &file.display().to_string()])
            ),
            None => format!(
                "name its ctr with --ctr; where the kubelet uses another runtime, load the image with that one's own tool and install with --image-name {}",
                own_name()
            ),
        })
    }
}

/// The namespace in which the kubelet keeps images.
const NAMESPACE: &str = "k8s.io";
/// By this label containerd tells the kubelet to leave an image alone.
const PINNED: &str = "io.cri-containerd.pinned=pinned";
const UNPINNED: &str = "io.cri-containerd.pinned=";
/// A filter of containerd's.
const PINNED_ONES: &str = "labels.\"io.cri-containerd.pinned\"==pinned";

/// Whether an image with this name, in whatever registry and of whatever version, is the plugin's.
fn is_plugin(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next() == Some(super::on_host::PROGRAM)
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "io.containerd.image.name")]
    name: Option<String>,
}

/// Name and digest of the one image in a tar with an OCI layout.
fn name_in(path: &Path) -> Result<(String, String), Failure> {
    let not_one = |why: &str| {
        Failure::new(format!("{} is no image of keystead-plugin: {why}", path.display())).hint(
            "take keystead-plugin-VERSION-image-ARCH.tar from the release, and compare it with SHA256SUMS"
                .to_owned(),
        )
    };
    let file =
        File::open(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let index = entry(file, "index.json").map_err(|error| not_one(&error.to_string()))?;
    let index = index.ok_or_else(|| not_one("it has no index.json"))?;
    let index: Index = serde_json::from_slice(&index).map_err(|error| not_one(&error.to_string()))?;
    match <[Descriptor; 1]>::try_from(index.manifests) {
        Ok([Descriptor { digest, annotations: Annotations { name: Some(name) } }]) => {
            let repository = name.rsplit_once(':').map_or(name.as_str(), |(repository, _)| repository);
            match repository.rsplit('/').next() {
                Some(super::on_host::PROGRAM) => Ok((name, digest)),
                _ => Err(not_one(&format!("it is {name}"))),
            }
        }
        _ => Err(not_one("it must have exactly one image, with a name")),
    }
}

/// One file of a tar, without reading the others; none: it is not there.
fn entry(tar: File, wanted: &str) -> std::io::Result<Option<Vec<u8>>> {
    let mut tar = Archive::new(tar);
    for entry in tar.entries_with_seek()?.take(ENTRIES_MAX) {
        let entry = entry?;
        let path = entry.path()?;
        if path.strip_prefix(".").unwrap_or(&path) == Path::new(wanted) {
            let mut content = Vec::new();
            entry.take(INDEX_MAX).read_to_end(&mut content)?;
            return Ok(Some(content));
        }
    }
    Ok(None)
}

/// An image of ours has 11 files at most.
const ENTRIES_MAX: usize = 1000;
const INDEX_MAX: u64 = 1 << 20;
