use keystead_testkit::control_plane::{EncryptionProvider, encryption_config};

#[test]
fn writes_each_kind_of_provider() {
    let providers = [
        EncryptionProvider::KmsV2 {
            name: "second".into(),
            endpoint: "unix:///run/a.sock".into(),
            timeout: Some("5s".into()),
        },
        EncryptionProvider::KmsV1 {
            name: "first".into(),
            endpoint: "unix:///run/a.sock".into(),
            cache_size: Some(1000),
            timeout: None,
            explicit_version: false,
        },
        EncryptionProvider::Identity,
    ];
    let expected = r#"apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources:
      - "secrets"
      - "configmaps"
    providers:
      - kms:
          apiVersion: v2
          name: "second"
          endpoint: "unix:///run/a.sock"
          timeout: "5s"
      - kms:
          name: "first"
          endpoint: "unix:///run/a.sock"
          cachesize: 1000
      - identity: {}
"#;
    assert_eq!(encryption_config(&["secrets", "configmaps"], &providers), expected);
}
