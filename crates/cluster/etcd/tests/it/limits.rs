//! The limits of `ValidateEncryptedObject`, written from kube-apiserver's `envelope.go` and not from our code: only
//! "greater than" is refused.

use keystead_etcd::stored::{KmsV2, Malformed, SeedKind};
use keystead_proto::stored::EncryptedObject;
use prost::Message;

use crate::round_trip::{parse, sample};

#[test]
fn largest_allowed_values_are_read() {
    let annotations = [("a.b".to_owned(), vec![0; 32_768 - 3])].into();
    let largest = message(|m| {
        m.key_id = "k".repeat(1024);
        m.encrypted_dek_source = vec![0; 1024];
        m.annotations = annotations;
    });
    assert!(read(&largest).is_ok());
}

#[test]
fn one_more_is_refused_on_read_and_on_write() {
    for (change, reason) in [
        ((|m| m.key_id = "k".repeat(1025)) as Change, Malformed::KeyIdSize(1025)),
        (|m| m.key_id.clear(), Malformed::KeyIdSize(0)),
        (|m| m.encrypted_dek_source = vec![0; 1025], Malformed::WrappedSeedSize(1025)),
        (|m| m.encrypted_dek_source.clear(), Malformed::WrappedSeedSize(0)),
        (
            |m| m.annotations = [("a.b".to_owned(), vec![0; 32_766])].into(),
            Malformed::AnnotationsSize(32_769),
        ),
        (|m| m.encrypted_dek_source_type = 2, Malformed::UnknownSeedKind(2)),
        (|m| m.encrypted_dek_source_type = -1, Malformed::UnknownSeedKind(-1)),
        (|m| m.encrypted_data.clear(), Malformed::ShortPayload { length: 0, minimum: 60 }),
        (|m| m.encrypted_data.truncate(59), Malformed::ShortPayload { length: 59, minimum: 60 }),
    ] {
        assert_eq!(read(&message(change)), Err(reason));
    }

    let mut value = sample();
    value.seed.key_id = "k".repeat(1025);
    assert_eq!(value.encode(), Err(Malformed::KeyIdSize(1025)));
    value = KmsV2 { provider: "a:b".to_owned(), ..sample() };
    assert_eq!(value.encode(), Err(Malformed::Name));
}

#[test]
fn shortest_payloads_are_read() {
    assert!(read(&message(|m| m.encrypted_data.truncate(60))).is_ok());
    let type_0 = message(|m| {
        m.encrypted_data.truncate(28);
        m.encrypted_dek_source_type = 0;
    });
    assert_eq!(read(&type_0).expect("valid").seed.kind, SeedKind::AesGcmKey);
}

#[test]
fn annotation_names_are_domain_names() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    for name in ["a.b", "a.b.", "10.0.0.1", "x-y.example.com", &longest, &format!("{longest}.")] {
        assert!(read(&annotated(name)).is_ok(), "{name}");
    }
    for name in [
        "",
        ".",
        "a",
        "a.",
        "a..b",
        ".a.b",
        "a.b..",
        "-a.b",
        "a-.b",
        "A.b",
        "a_b.c",
        "*.b.c",
        "a/b.c",
        "a:1.c",
        "a@b.c",
        "ä.b",
        &format!("{label}a.b"),
        &format!("{longest}a"),
    ] {
        assert_eq!(read(&annotated(name)), Err(Malformed::AnnotationName), "{name}");
    }
}

type Change = fn(&mut EncryptedObject);

fn annotated(name: &str) -> EncryptedObject {
    let annotations = [(name.to_owned(), vec![1])].into();
    message(|m| m.annotations = annotations)
}

fn message(change: impl FnOnce(&mut EncryptedObject)) -> EncryptedObject {
    let mut message = EncryptedObject {
        encrypted_data: vec![9; 100],
        key_id: "1".to_owned(),
        encrypted_dek_source: vec![1],
        annotations: Default::default(),
        encrypted_dek_source_type: 1,
    };
    change(&mut message);
    message
}

fn read(message: &EncryptedObject) -> Result<KmsV2, Malformed> {
    let value = [b"k8s:enc:kms:v2:kms:", message.encode_to_vec().as_slice()].concat();
    match parse(&value)? {
        keystead_etcd::stored::Stored::KmsV2(object) => Ok(object),
        other => panic!("not a KMS v2 value: {other:?}"),
    }
}
