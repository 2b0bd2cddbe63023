use std::time::Duration;

use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{
    Binaries, ControlPlane, DEFAULT_VERSION, EncryptionProvider, Options, encryption_config,
};

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn one_api_server_keeps_objects_over_restart_and_crash() -> anyhow::Result<()> {
    let mut control_plane = ControlPlane::start(Options::default()).await?;
    let server = &mut control_plane.api_servers[0];
    let (url, pid) = (server.url().to_owned(), server.pid());
    let readyz = server.readyz(true).await?;
    assert!(readyz.ok && readyz.text.contains("[+]etcd ok"), "{}", readyz.text);

    server.client().create(&Object::new(Kind::Secret, "default", "kept", "key", b"value")).await?;

    server.restart().await?;
    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    server.kill().await?;
    assert_eq!(server.pid(), None);
    assert!(server.readyz(false).await.is_err());
    server.start().await?;
    let kept = server.client().get(Kind::Secret, "default", "kept").await?;
    assert_eq!(kept.data["key"], b"value");
    assert!(server.metrics().await?.contains("apiserver_request_total"));
    assert_eq!(server.stop().await?, 0);

    let directory = control_plane.directory().to_owned();
    assert!(directory.exists());
    drop(control_plane);
    assert!(!directory.exists());
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn the_client_handles_secrets_and_config_maps() -> anyhow::Result<()> {
    let control_plane = ControlPlane::start(Options::default()).await?;
    let client = control_plane.api_servers[0].client();
    // A ConfigMap's values are text; a Secret's are any bytes.
    for (kind, value) in [(Kind::Secret, b"\xff\x00".as_slice()), (Kind::ConfigMap, b"text")] {
        let created = client.create(&Object::new(kind, "default", "first", "key", value)).await?;
        client.create(&Object::new(kind, "default", "second", "key", value)).await?;
        let again = client.create(&Object::new(kind, "default", "first", "key", value)).await.unwrap_err();
        assert_eq!(again.status(), Some(409), "{again}");
        assert!(again.to_string().contains("AlreadyExists"), "{again}");

        let mut object = client.get(kind, "default", "first").await?;
        assert_eq!((&object.metadata, object.data["key"].as_slice()), (&created, value));
        assert!(!format!("{object:?}").contains("255"), "{object:?}");

        let page = client.list(kind, "default", 1, "").await?;
        assert_eq!(page.items.len(), 1);
        assert!(!page.continue_token.is_empty());
        let rest = client.list(kind, "default", 0, &page.continue_token).await?;
        assert!(rest.continue_token.is_empty());
        assert!(rest.items.iter().any(|it| it.name == "second"));

        // Nothing is stale: an empty patch writes nothing.
        assert_eq!(client.touch(kind, "default", "first").await?, created.resource_version);
        object.data.insert("key".into(), b"new".to_vec());
        let updated = client.update(&object).await?;
        assert_ne!(updated.resource_version, created.resource_version);
        let conflict = client.update(&object).await.unwrap_err();
        assert_eq!(conflict.status(), Some(409), "{conflict}");

        client.delete(kind, "default", "first").await?;
        let missing = client.get(kind, "default", "first").await.unwrap_err();
        assert_eq!(missing.status(), Some(404), "{missing}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn three_api_servers_share_one_etcd() -> anyhow::Result<()> {
    let options = Options { api_servers: 3, etcd_prefix: "/three".into(), ..Options::default() };
    let control_plane = ControlPlane::start(options).await?;
    let [first, second, third] = control_plane.api_servers.as_slice() else { panic!("three were asked for") };
    first.client().create(&Object::new(Kind::Secret, "default", "shared", "key", b"value")).await?;
    for other in [second, third] {
        assert_eq!(other.client().get(Kind::Secret, "default", "shared").await?.data["key"], b"value");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn older_versions_start() -> anyhow::Result<()> {
    // From 1.29 on, KMS v1 is off unless asked for.
    for (version, args) in [("1.28.15", vec![]), ("1.31.0", vec!["--feature-gates=KMSv1=true".to_owned()])] {
        let options = Options { version: version.into(), args, ..Options::default() };
        let control_plane = ControlPlane::start(options).await?;
        let client = control_plane.api_servers[0].client();
        client.create(&Object::new(Kind::Secret, "default", "name", "key", b"value")).await?;
        let metrics = control_plane.api_servers[0].metrics().await?;
        assert!(metrics.contains(&format!("git_version=\"v{version}\"")), "{version}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn an_encryption_configuration_takes_effect_at_restart() -> anyhow::Result<()> {
    let mut control_plane = ControlPlane::start(Options::default()).await?;
    let server = &mut control_plane.api_servers[0];
    let socket = server.encryption_file().with_file_name("nobody.sock");
    let kms = EncryptionProvider::KmsV2 {
        name: "absent".into(),
        endpoint: format!("unix://{}", socket.display()),
        timeout: Some("1s".into()),
    };
    server.set_encryption(Some(&encryption_config(&["secrets"], &[EncryptionProvider::Identity, kms])))?;
    server.set_automatic_reload(true);
    server.stop().await?;
    server.spawn().await?;
    // With a plugin that is not there, this API server runs but is not ready, and says which check fails. Until it
    // listens, nothing says anything.
    let not_ready = async {
        loop {
            match server.readyz(true).await {
                Ok(readyz) if readyz.text.contains("kms-providers") => break readyz,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let readyz = tokio::time::timeout(Duration::from_mins(2), not_ready).await?;
    assert!(!readyz.ok && readyz.text.contains("[-]kms-providers failed"), "{}", readyz.text);

    server.set_encryption(None)?;
    server.restart().await
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn an_api_server_that_ends_at_once_says_why() -> anyhow::Result<()> {
    let options = Options { args: vec!["--no-such-flag".into()], ..Options::default() };
    let error = ControlPlane::start(options).await.unwrap_err();
    assert!(format!("{error:#}").contains("unknown flag: --no-such-flag"), "{error:#}");
    Ok(())
}

#[test]
fn missing_programs_name_the_command_that_builds_them() {
    let error = Binaries::find(None, "1.2.3").unwrap_err().to_string();
    assert!(error.contains(DEFAULT_VERSION), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = Binaries::find(Some(empty.path()), DEFAULT_VERSION).unwrap_err().to_string();
    assert!(error.contains("no kube-apiserver"), "{error}");
}
