//! Damaged, moved and made-up values: an error, never wrong plaintext.

use keystead_etcd::stored::{KmsV1, Malformed, OpenError, PlainFormat, SeedKind, Stored};

use crate::golden;
use crate::round_trip::{ETCD_KEY, PLAINTEXT, SEED, parse, parse_v2, sample};

#[test]
fn no_flipped_bit_gives_wrong_plaintext() {
    let recorded = golden::type_1();
    let seed = golden::unwrap(&parse_v2(&recorded));
    let text = parse_v2(&recorded).open(&seed, golden::TYPE_1_KEY.as_bytes()).expect("opens");
    flip_each_bit(&recorded, &seed, golden::TYPE_1_KEY.as_bytes(), &text);
    flip_each_bit(&sample().encode().expect("valid"), SEED, ETCD_KEY, PLAINTEXT);
    let v1 = KmsV1::seal("kms", b"wrapped", SEED, ETCD_KEY, PLAINTEXT, &[5; 12]).expect("sealed");
    flip_each_bit(&v1.encode().expect("valid"), SEED, ETCD_KEY, PLAINTEXT);
}

#[test]
fn no_shortened_value_opens() {
    let v1 = KmsV1::seal("kms", b"wrapped", SEED, ETCD_KEY, PLAINTEXT, &[5; 12]).expect("sealed");
    for value in [sample().encode().expect("valid"), v1.encode().expect("valid")] {
        for length in 0..value.len() {
            let opened = open(&value[..length], SEED, ETCD_KEY);
            // Behind the payload come key id, wrapped seed, annotations and type. Without the type it is type 0.
            assert_eq!(opened, None, "{length} of {} bytes", value.len());
        }
    }
}

#[test]
fn prefix_cut_short_is_plain_or_malformed() {
    let value = sample().encode().expect("valid");
    for length in 0..8 {
        assert_eq!(parse(&value[..length]), Ok(Stored::Plain(PlainFormat::Other)), "{length}");
    }
    for length in 8..15 {
        assert_eq!(parse(&value[..length]), Err(Malformed::UnknownPrefix), "{length}");
    }
    for length in 15..19 {
        assert_eq!(parse(&value[..length]), Err(Malformed::NameWithoutEnd), "{length}");
    }
}

#[test]
fn value_under_another_etcd_key_does_not_open() {
    let v1 = KmsV1::seal("kms", b"wrapped", SEED, ETCD_KEY, PLAINTEXT, &[5; 12]).expect("sealed");
    for key in [&b"/registry/secrets/default/b"[..], b"registry/secrets/default/a", b""] {
        assert_eq!(sample().open(SEED, key), Err(OpenError::NotAuthentic));
        assert_eq!(v1.open(SEED, key), Err(OpenError::NotAuthentic));
    }
}

#[test]
fn value_does_not_open_as_the_other_type() {
    let mut value = sample();
    value.seed.kind = SeedKind::AesGcmKey;
    assert_eq!(value.open(SEED, ETCD_KEY), Err(OpenError::NotAuthentic));
}

#[test]
fn made_up_messages_are_errors() {
    // A length of 2^63, a field number of 0, an unfinished varint, a group without end, deep groups, a key id that is
    // not UTF-8, a payload of the wrong wire type.
    let deep = [0x33; 10_000];
    for message in [
        &b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"[..],
        b"\x02\x00",
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x33",
        &deep,
        b"\x12\x01\xff",
        b"\x08\x01",
    ] {
        let value = [b"k8s:enc:kms:v2:kms:", message].concat();
        assert!(matches!(parse(&value), Err(Malformed::Protobuf(_))), "{message:x?}");
    }
}

#[test]
fn names_are_checked() {
    for (value, reason) in [
        (&b"k8s:enc:kms:v3:n:"[..], Malformed::UnknownPrefix),
        (b"k8s:enc:", Malformed::UnknownPrefix),
        (b"k8s:enc:kms:v2:", Malformed::NameWithoutEnd),
        (b"k8s:enc:kms:v2::\x0a", Malformed::Name),
        (b"k8s:enc:kms:v1:\xff:\x00\x00", Malformed::Name),
        (b"k8s:enc:kms:v1:n:\x00", Malformed::ShortWrappedKey),
        (b"k8s:enc:kms:v1:n:\x00\x05wrap", Malformed::ShortWrappedKey),
        (b"k8s:enc:kms:v1:n:\x00\x04wrap", Malformed::ShortPayload { length: 0, minimum: 28 }),
    ] {
        assert_eq!(parse(value), Err(reason), "{value:?}");
    }
    let endless = [&b"k8s:enc:kms:v2:"[..], &[b'n'; 1025], b":"].concat();
    assert_eq!(parse(&endless), Err(Malformed::NameWithoutEnd));
}

/// Named inputs, which the fuzzer starts from too.
#[test]
fn named_inputs_are_what_their_names_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/inputs");
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("folder") {
        let path = file.expect("file").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        let parsed = Stored::parse(&std::fs::read(&path).expect("readable"), &["kms:1".to_owned()]);
        assert_eq!(parsed.is_ok(), name.starts_with("good-"), "{name}: {parsed:?}");
        count += 1;
    }
    assert_eq!(count, 33);
}

/// Each flip either fails or gives the object itself, where only the metadata around it is another.
fn flip_each_bit(value: &[u8], seed: &[u8], etcd_key: &[u8], text: &[u8]) {
    let mut opens = 0;
    for bit in 0..value.len() * 8 {
        let mut flipped = value.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Some(opened) = open(&flipped, seed, etcd_key) {
            assert_eq!(opened, text, "bit {bit}");
            opens += 1;
        }
    }
    assert!(opens > 0, "the name of the provider is not sealed");
}

fn open(value: &[u8], unwrapped: &[u8], etcd_key: &[u8]) -> Option<Vec<u8>> {
    match parse(value).ok()? {
        Stored::KmsV1(object) => Some(object.open(unwrapped, etcd_key).ok()?.to_vec()),
        Stored::KmsV2(object) => Some(object.open(unwrapped, etcd_key).ok()?.to_vec()),
        Stored::Plain(_) | Stored::StaticKey(_) => None,
    }
}
