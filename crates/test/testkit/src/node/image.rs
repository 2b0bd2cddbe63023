//! Images of one layer for the programs of a node.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Where programs are in an image, and its PATH.
const FOLDER: &str = "bin";

/// What is in an image.
pub(super) struct Image<'a> {
    /// As Pods name it.
    pub(super) name: &'a str,
    /// The program, which must not need shared libraries, and its name in the image.
    pub(super) program: (&'a Path, &'a str),
    /// More names of the program, for busybox.
    pub(super) also: &'a [&'a str],
    /// What runs where a Pod names no command.
    pub(super) command: &'a [&'a str],
}

impl Image<'_> {
    /// Writes an archive that `ctr images import` reads.
    pub(super) fn write(&self, archive: &Path) -> Result<()> {
        let layer = Blob::new(self.layer()?);
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = Blob::of(&json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Env": [format!("PATH=/{FOLDER}")], "Cmd": self.command },
            "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
        }))?;
        let manifest = Blob::of(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &layer)],
        }))?;
        let mut named = descriptor(MANIFEST, &manifest);
        if let Some(named) = named.as_object_mut() {
            named.insert("annotations".to_owned(), json!({ "io.containerd.image.name": self.name }));
        }
        let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [named] }))?;
        let file = File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
        let mut tar = tar::Builder::new(file);
        for content in [&layer, &config, &manifest] {
            let path = format!("blobs/{}", content.digest.replace(':', "/"));
            append(&mut tar, Path::new(&path), &content.bytes, 0o644)?;
        }
        append(&mut tar, Path::new("index.json"), &index, 0o644)?;
        append(&mut tar, Path::new("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
        tar.into_inner()?;
        Ok(())
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let (program, name) = self.program;
        let content = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        let mut tar = tar::Builder::new(Vec::new());
        for directory in [FOLDER, "etc", "tmp"] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            tar.append_data(&mut header, format!("{directory}/"), std::io::empty())?;
        }
        append(&mut tar, &PathBuf::from(FOLDER).join(name), &content, 0o755)?;
        for also in self.also {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            tar.append_link(&mut header, PathBuf::from(FOLDER).join(also), name)?;
        }
        Ok(tar.into_inner()?)
    }
}

fn append<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    path: &Path,
    content: &[u8],
    mode: u32,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).with_context(|| path.display().to_string())
}

/// With its digest, which takes seconds for a program.
struct Blob {
    bytes: Vec<u8>,
    digest: String,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        Self { bytes, digest }
    }

    fn of(value: &Value) -> Result<Self> {
        Ok(Self::new(serde_json::to_vec(value)?))
    }
}

fn descriptor(media_type: &str, content: &Blob) -> Value {
    json!({ "mediaType": media_type, "digest": content.digest, "size": content.bytes.len() })
}
