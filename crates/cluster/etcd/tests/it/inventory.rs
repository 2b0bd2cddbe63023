//! Counting.

use keystead_etcd::stored::{KmsV1, KmsV2, PlainFormat};
use keystead_etcd::{Encryption, Layout, StoredCounts, Tally, inventory};

use crate::fake_etcd::FakeEtcd;
use crate::round_trip::sample;

#[tokio::test]
async fn inventory_counts_by_resource_provider_and_key_id() {
    let etcd = FakeEtcd::start().await;
    for index in 0..3 {
        etcd.put(&format!("/registry/secrets/ns/new-{index}"), encoded(|_| ()));
    }
    etcd.put("/registry/secrets/ns/old-0", encoded(|value| value.seed.key_id = "projects/p/0".to_owned()));
    etcd.put("/registry/secrets/ns/old-1", encoded(|value| value.seed.key_id = "projects/p/0".to_owned()));
    etcd.put("/registry/secrets/ns/seed", encoded(|value| value.seed.ciphertext = b"another".to_vec()));
    etcd.put("/registry/secrets/ns/plain", "k8s\0 text");
    etcd.put("/registry/secrets/ns/broken", "k8s:enc:kms:v2:kms:");
    etcd.put("/registry/configmaps/ns/v1", v1());
    etcd.put("/registry/services/specs/ns/a", "k8s\0 text");
    etcd.put("/registry/cert-manager.io/certificates/ns/a", "{}");
    etcd.put("/registry/ns.with.dot", "{}");

    let layout = Layout { known_names: vec!["old:kms".to_owned()], ..Layout::default() };
    let result = inventory(&mut etcd.client().await.scan("/registry/"), &layout).await.expect("counted");
    let rows: Vec<_> =
        result.groups.iter().map(|g| (g.resource.as_str(), g.encryption.clone(), g.objects)).collect();
    let v2 = |key_id: &str| Encryption::KmsV2 { provider: "kms".to_owned(), key_id: key_id.to_owned() };
    let plain = |format| Encryption::Plain { format };
    assert_eq!(
        rows,
        [
            ("cert-manager.io/certificates", plain(PlainFormat::Json), 1),
            ("configmaps", Encryption::KmsV1 { provider: "old:kms".to_owned() }, 1),
            ("ns.with.dot", plain(PlainFormat::Json), 1),
            ("secrets", plain(PlainFormat::Protobuf), 1),
            ("secrets", v2("projects/p/0"), 2),
            ("secrets", v2("projects/p/1"), 4),
            ("secrets", Encryption::Malformed, 1),
            ("services/specs", plain(PlainFormat::Protobuf), 1),
        ]
    );
    assert_eq!((result.objects, result.wrapped_seeds, result.wrapped_seeds_are_more), (12, 3, false));
    assert_eq!(result.malformed.len(), 1);
    assert_eq!(result.malformed[0].key, "/registry/secrets/ns/broken");
    assert_eq!((result.first_revision, result.last_revision), (Some(12), Some(12)));
    assert_eq!(result.groups[1].bytes, v1().len() as u64);
}

#[test]
fn text_form_is_stable() {
    let mut tally = Tally::new(Layout::default());
    tally.add(b"/registry/secrets/ns/a", &encoded(|_| ()));
    tally.add(b"/registry/secrets/ns/b", b"k8s:enc:none:");
    let mut expected = serde_json::json!({
        "first_revision": null,
        "last_revision": null,
        "objects": 2,
        "groups": [
            {
                "resource": "secrets",
                "encryption": {"kind": "kms_v2", "provider": "kms", "key_id": "projects/p/1"},
                "objects": 1,
            },
            {"resource": "secrets", "encryption": {"kind": "malformed"}, "objects": 1, "bytes": 13},
        ],
        "objects_left_out": 0,
        "wrapped_seeds": 1,
        "wrapped_seeds_are_more": false,
        "malformed": [{
            "key": "/registry/secrets/ns/b",
            "reason": "the value has the prefix of encrypted data, but of no provider that Kubernetes has",
        }],
    });
    expected["groups"][0]["bytes"] = encoded(|_| ()).len().into();
    assert_eq!(serde_json::to_value(tally.finish()).expect("JSON"), expected);
}

#[test]
fn etcd_prefix_is_no_part_of_the_resource() {
    for prefix in ["/a/registry", "a/registry/", "/a/registry/"] {
        let layout = Layout { etcd_prefix: prefix.to_owned(), ..Layout::default() };
        let mut tally = Tally::new(layout);
        tally.add(b"/a/registry/pods/ns/a", b"{}");
        tally.add(b"/a/registry/ranges/serviceips", b"{}");
        let resources: Vec<_> = tally.finish().groups.into_iter().map(|group| group.resource).collect();
        assert_eq!(resources, ["pods", "ranges/serviceips"]);
    }
}

#[test]
fn hostile_contents_stay_bounded() {
    let mut tally = Tally::new(Layout::default());
    for index in 0..110_000_u32 {
        let key_id = format!("{index}");
        let value = encoded(|value| value.seed.key_id = key_id);
        tally.add(format!("/registry/secrets/ns/{index}").as_bytes(), &value);
        tally.add(&[b'/'; 5000], b"k8s:enc:");
    }
    let StoredCounts {
        objects,
        groups,
        objects_left_out,
        wrapped_seeds,
        wrapped_seeds_are_more,
        malformed,
        ..
    } = tally.finish();
    assert_eq!((objects, groups.len(), objects_left_out), (220_000, 10_000, 110_000 - 9_999));
    assert_eq!((wrapped_seeds, wrapped_seeds_are_more), (100_000, true));
    assert_eq!((malformed.len(), malformed[0].key.len()), (100, 1024));
}

fn encoded(change: impl FnOnce(&mut KmsV2)) -> Vec<u8> {
    let mut value = sample();
    change(&mut value);
    value.encode().expect("valid")
}

fn v1() -> Vec<u8> {
    KmsV1::seal("old:kms", b"wrapped", &[1; 32], b"key", b"text", &[2; 12])
        .expect("sealed")
        .encode()
        .expect("valid")
}
