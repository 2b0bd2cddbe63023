//! An image as its runtimes read it: an OCI image layout, and the `manifest.json` of `docker save` beside it.

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::archive::{File, Files, tar};

/// What all architectures of one image share.
pub struct Description {
    /// With its tag, as a Pod names it.
    pub name: String,
    pub version: String,
    /// The commit.
    pub revision: String,
    /// Of the commit, in seconds since 1970.
    pub time: u64,
    /// The same in RFC 3339.
    pub created: String,
    /// The program in the image, absolute.
    pub entrypoint: String,
    /// Where commands are looked for, as in `kubectl exec POD -- COMMAND`.
    pub search_path: String,
}

/// The image of one architecture.
pub struct Image {
    /// In the words of OCI: `amd64`, `arm64`.
    architecture: String,
    layer: Blob,
    config: Blob,
    manifest: Blob,
}

struct Blob {
    digest: String,
    content: Vec<u8>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Uncompressed: compressed bytes would depend on the compressor's version.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

impl Image {
    /// An image whose only layer has `files`.
    pub fn new(description: &Description, architecture: &str, files: &Files) -> Result<Self> {
        let layer = Blob::new(tar(files, description.time)?);
        let config = Blob::json(json!({
            "architecture": architecture,
            "config": {
                "Entrypoint": [description.entrypoint],
                "Env": [format!("PATH={}", description.search_path)],
                "Labels": annotations(description),
                // kube-apiserver's socket and the key file belong to root and nobody else may come near them. Numbers,
                // because the image has no /etc/passwd.
                "User": "0:0",
            },
            "created": description.created,
            "history": [{ "created": description.created, "created_by": "cargo xtask image" }],
            "os": "linux",
            // Of the uncompressed layer, which is the layer.
            "rootfs": { "diff_ids": [layer.digest], "type": "layers" },
        }))?;
        let manifest = Blob::json(json!({
            "annotations": annotations(description),
            "config": config.descriptor(CONFIG),
            "layers": [layer.descriptor(LAYER)],
            "mediaType": MANIFEST,
            "schemaVersion": 2,
        }))?;
        Ok(Self { architecture: architecture.to_owned(), layer, config, manifest })
    }

    /// Of the manifest: by it a runtime names this architecture's image.
    pub fn digest(&self) -> &str {
        &self.manifest.digest
    }

    fn descriptor(&self) -> Value {
        let mut descriptor = self.manifest.descriptor(MANIFEST);
        descriptor["platform"] = json!({ "architecture": self.architecture, "os": "linux" });
        descriptor
    }

    fn blobs(&self) -> [&Blob; 3] {
        [&self.layer, &self.config, &self.manifest]
    }
}

/// The files of an OCI image layout with all `images` under one name, and the digest of that name's index, which does not
/// depend on the order of `images`.
pub fn layout(description: &Description, images: &[Image]) -> Result<(Files, String)> {
    let mut images: Vec<&Image> = images.iter().collect();
    images.sort_by_key(|it| &it.architecture);
    let index = Blob::json(json!({
        "annotations": annotations(description),
        "manifests": images.iter().map(|it| it.descriptor()).collect::<Vec<_>>(),
        "mediaType": INDEX,
        "schemaVersion": 2,
    }))?;
    let mut files = layout_of(description, index.descriptor(INDEX))?;
    files.extend(images.iter().flat_map(|it| it.blobs()).chain([&index]).map(Blob::file));
    Ok((files, index.digest))
}

/// The files of an archive that `docker load` reads, old and new, and everything that reads an OCI image layout.
pub fn docker_archive(description: &Description, image: &Image) -> Result<Files> {
    let mut files = layout_of(description, image.descriptor())?;
    files.extend(image.blobs().map(Blob::file));
    let manifest = json!([{
        "Config": image.config.path(),
        "Layers": [image.layer.path()],
        "RepoTags": [description.name],
    }]);
    files.insert("manifest.json".to_owned(), readable(text(manifest)?));
    Ok(files)
}

fn layout_of(description: &Description, mut named: Value) -> Result<Files> {
    named["annotations"] = json!({
        // containerd takes the name from here, others the tag from the second.
        "io.containerd.image.name": description.name,
        "org.opencontainers.image.ref.name": description.version,
    });
    let index = json!({ "manifests": [named], "mediaType": INDEX, "schemaVersion": 2 });
    Ok(Files::from([
        ("index.json".to_owned(), readable(text(index)?)),
        ("oci-layout".to_owned(), readable(text(json!({ "imageLayoutVersion": "1.0.0" }))?)),
    ]))
}

fn annotations(description: &Description) -> Value {
    json!({
        "org.opencontainers.image.created": description.created,
        "org.opencontainers.image.description": "KMS plugin for Kubernetes, v1 and v2 on one socket",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.revision": description.revision,
        "org.opencontainers.image.title": "keystead-plugin",
        "org.opencontainers.image.version": description.version,
    })
}

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        Self { digest: format!("sha256:{}", sha256(&content)), content }
    }

    fn json(value: Value) -> Result<Self> {
        text(value).map(Self::new)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "digest": self.digest, "mediaType": media_type, "size": self.content.len() })
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }

    fn file(&self) -> (String, File) {
        (self.path(), readable(self.content.clone()))
    }
}

/// SHA-256 as text.
pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|it| format!("{it:02x}")).collect()
}

/// Keys in their order, also where another crate of the same build asks serde_json to keep them as written.
fn text(mut value: Value) -> Result<Vec<u8>> {
    value.sort_all_objects();
    Ok(serde_json::to_vec(&value)?)
}

fn readable(content: Vec<u8>) -> File {
    File { mode: 0o644, content }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            name: "keystead.io/keystead-plugin:1.2.3".to_owned(),
            version: "1.2.3".to_owned(),
            revision: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            time: 1_700_000_000,
            created: "2023-11-14T22:13:20Z".to_owned(),
            entrypoint: "/usr/local/bin/keystead-plugin".to_owned(),
            search_path: "/usr/local/bin".to_owned(),
        }
    }

    fn image(architecture: &str) -> Image {
        let program = File { mode: 0o755, content: architecture.as_bytes().to_vec() };
        let files = Files::from([("usr/local/bin/keystead-plugin".to_owned(), program)]);
        Image::new(&description(), architecture, &files).expect("an image")
    }

    fn parsed(files: &Files, path: &str) -> Value {
        serde_json::from_slice(&files.get(path).unwrap_or_else(|| panic!("no {path}")).content).expect("JSON")
    }

    #[test]
    fn the_digests_are_known() {
        let (_, digest) = layout(&description(), &[image("amd64"), image("arm64")]).expect("a layout");
        // If these change, so do the digests of every image that was ever built: on purpose only.
        assert_eq!(
            image("amd64").digest(),
            "sha256:f0fefc8a22f165c9b3cc1bea1865dcc75de582341c423570201dc20c5994b0fc"
        );
        assert_eq!(digest, "sha256:dc1ffe4496e868b2a860d390558d2751ea63b89bf261de5e2fd877a9d036013b");
    }

    #[test]
    fn the_order_of_architectures_does_not_matter() {
        let digest = |images: &[Image]| layout(&description(), images).expect("a layout").1;
        assert_eq!(digest(&[image("amd64"), image("arm64")]), digest(&[image("arm64"), image("amd64")]));
    }

    /// Follows a descriptor as a runtime does, checking size and digest on the way.
    fn followed(files: &Files, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().expect("a digest");
        let path = format!("blobs/sha256/{}", digest.strip_prefix("sha256:").expect("SHA-256"));
        let content = files.get(&path).unwrap_or_else(|| panic!("no {path}")).content.clone();
        assert_eq!(digest, format!("sha256:{}", sha256(&content)));
        assert_eq!(descriptor["size"], content.len());
        content
    }

    fn json(content: &[u8]) -> Value {
        serde_json::from_slice(content).expect("JSON")
    }

    #[test]
    fn every_architecture_is_reached_from_the_index() {
        let (files, digest) = layout(&description(), &[image("amd64"), image("arm64")]).expect("a layout");
        assert_eq!(parsed(&files, "oci-layout")["imageLayoutVersion"], "1.0.0");
        let named = parsed(&files, "index.json")["manifests"][0].clone();
        assert_eq!(named["annotations"]["io.containerd.image.name"], "keystead.io/keystead-plugin:1.2.3");
        assert_eq!(named["digest"], digest.as_str());
        let index = json(&followed(&files, &named));
        for (at, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
            let descriptor = &index["manifests"][at];
            assert_eq!(descriptor["platform"], json!({ "architecture": architecture, "os": "linux" }));
            let manifest = json(&followed(&files, descriptor));
            let config = json(&followed(&files, &manifest["config"]));
            assert_eq!(config["architecture"], architecture);
            let layer = followed(&files, &manifest["layers"][0]);
            assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&layer)));
            // Every blob of every architecture, the index, and the two files that lead to it.
            assert_eq!(files.len(), 2 + 1 + 2 * 3);
        }
    }

    #[test]
    fn docker_and_containerd_find_the_same_image_in_one_archive() {
        let image = image("arm64");
        let files = docker_archive(&description(), &image).expect("an archive");
        let docker = parsed(&files, "manifest.json")[0].clone();
        assert_eq!(docker["RepoTags"], json!(["keystead.io/keystead-plugin:1.2.3"]));
        let named = parsed(&files, "index.json")["manifests"][0].clone();
        assert_eq!(named["digest"], image.digest());
        let manifest = json(&followed(&files, &named));
        let path = |descriptor: &Value| {
            format!("blobs/{}", descriptor["digest"].as_str().expect("a digest").replace(':', "/"))
        };
        assert_eq!(docker["Config"], path(&manifest["config"]));
        assert_eq!(docker["Layers"], json!([path(&manifest["layers"][0])]));
    }
}
