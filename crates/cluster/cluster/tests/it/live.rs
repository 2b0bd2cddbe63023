//! Edited files in the hands of a real kube-apiserver.

use anyhow::{Context, Result};
use keystead_cluster::api_server_manifest::{ApiServerManifest, EncryptionSettings};
use keystead_cluster::encryption_configuration::{ApiServer, EncryptionConfiguration, GroupResource, Place};
use keystead_cluster::owned_file::{self, OwnedFile, Places};
use keystead_cluster::yaml::MAX_LEN;
use keystead_etcd::{Connection, Etcd};
use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options};

use crate::manifests::{KUBEADM, settings};

const BY_HAND: &str = include_str!("inputs/good-by-hand.yaml");

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn kube_apiserver_follows_an_edited_manifest_and_an_edited_configuration() -> Result<()> {
    let directory = tempfile::tempdir()?;
    for name in ["manifests", "encryption"] {
        std::fs::create_dir(directory.path().join(name))?;
    }
    let places =
        Places { staging: directory.path().join("staging"), previous: directory.path().join("previous") };
    let path = directory.path().join("encryption/config.yaml");
    owned_file::create(&path, BY_HAND.as_bytes(), &places, None)?;
    let manifest_path = directory.path().join("manifests/kube-apiserver.yaml");
    std::fs::write(&manifest_path, KUBEADM)?;

    let file = OwnedFile::read(&manifest_path, MAX_LEN)?;
    let manifest = ApiServerManifest::read(file.bytes())?;
    let settings =
        EncryptionSettings { configuration: path.display().to_string(), kms_v1: true, ..settings() };
    let manifest = manifest.edited(&manifest.plan_encryption(&settings)?)?;
    file.replace(manifest.text().as_bytes(), &places)?;

    // What the file says now, and not what was meant.
    let manifest = ApiServerManifest::read(&std::fs::read(&manifest_path)?)?;
    let names =
        ["encryption-provider-config", "encryption-provider-config-automatic-reload", "feature-gates"];
    let mut args = Vec::new();
    for name in names {
        args.push(format!("--{name}={}", manifest.flag(name)?.context(name)?));
    }
    let mut control_plane = ControlPlane::start(Options { args, ..Options::default() }).await?;
    let connection = Connection::plain(control_plane.etcd().url());
    let etcd = Etcd::connect(&connection).await?;
    let client = control_plane.api_servers[0].client();
    client.create(&Object::new(Kind::Secret, "default", "first", "key", b"value")).await?;
    assert!(stored(&etcd, "first").await?.starts_with(b"k8s:enc:aescbc:v1:key1:"));

    let file = OwnedFile::read(&path, MAX_LEN)?;
    let configuration = EncryptionConfiguration::read(file.bytes())?;
    let (secrets, server) = (GroupResource::parse("secrets"), ApiServer::new(37));
    let identity = configuration.effective(&secrets).and_then(|it| it.identity()).context("identity")?;
    let configuration = configuration.move_provider(&secrets, identity, Place::First, &server)?;
    let previous = file.replace(configuration.text().as_bytes(), &places)?.context("another text")?;
    assert_eq!(std::fs::read(previous)?, BY_HAND.as_bytes());
    control_plane.api_servers[0].restart().await?;

    let client = control_plane.api_servers[0].client();
    client.create(&Object::new(Kind::Secret, "default", "second", "key", b"value")).await?;
    assert!(stored(&etcd, "second").await?.starts_with(b"k8s\0"));
    assert_eq!(client.get(Kind::Secret, "default", "first").await?.data["key"], b"value");
    Ok(())
}

async fn stored(etcd: &Etcd, name: &str) -> Result<Vec<u8>> {
    let key = format!("/registry/secrets/default/{name}");
    Ok(etcd.get(key.as_bytes()).await?.context("it is stored")?.value.to_vec())
}
