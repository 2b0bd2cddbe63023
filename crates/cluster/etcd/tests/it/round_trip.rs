//! What is sealed opens again, with everything that stands around it.

use std::collections::BTreeMap;

use keystead_etcd::stored::{
    KmsV1, KmsV2, Malformed, OpenError, PlainFormat, SealError, SealRandomness, SeedKind, StaticCipher,
    StaticKey, Stored, WrappedSeed,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

proptest! {
    #[test]
    fn v2_value_opens_again(
        provider in "[a-z/ é-]{1,20}",
        key_id in ".{1,50}",
        ciphertext in vec(any::<u8>(), 1..100),
        annotations in btree_map("[a-z0-9]{1,9}\\.[a-z0-9]{1,9}", vec(any::<u8>(), 0..20), 0..4),
        seed in vec(any::<u8>(), 32..=130),
        etcd_key in vec(any::<u8>(), 0..60),
        plaintext in vec(any::<u8>(), 0..300),
        info in any::<[u8; 32]>(),
        nonce in any::<[u8; 12]>(),
    ) {
        let wrapped = WrappedSeed { kind: SeedKind::HkdfSeed, key_id, ciphertext, annotations };
        let random = SealRandomness { info, nonce };
        let sealed = KmsV2::seal(&provider, wrapped, &seed, &etcd_key, &plaintext, &random).expect("sealed");

        let parsed = parse_v2(&sealed.encode().expect("valid"));
        prop_assert_eq!(&parsed, &sealed);
        let opened = parsed.open(&seed, &etcd_key).expect("opens");
        prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
    }

    #[test]
    fn v1_value_opens_again(
        provider in "[a-z:]{0,9}[a-z]",
        wrapped in vec(any::<u8>(), 0..100),
        size in prop::sample::select(vec![16_usize, 24, 32]),
        key in any::<[u8; 32]>(),
        etcd_key in vec(any::<u8>(), 0..60),
        plaintext in vec(any::<u8>(), 0..300),
        nonce in any::<[u8; 12]>(),
    ) {
        let key = &key[..size];
        let sealed = KmsV1::seal(&provider, &wrapped, key, &etcd_key, &plaintext, &nonce).expect("sealed");
        let parsed = Stored::parse(&sealed.encode().expect("valid"), std::slice::from_ref(&provider));
        prop_assert_eq!(&parsed, &Ok(Stored::KmsV1(sealed.clone())));
        let opened = sealed.open(key, &etcd_key).expect("opens");
        prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
    }

    #[test]
    fn any_bytes_parse_to_something(value in vec(any::<u8>(), 0..200), prefix in 0..6_usize) {
        let prefix = ["", "k8s:enc:", "k8s:enc:kms:v1:n:", "k8s:enc:kms:v2:n:", "k8s:enc:aescbc:v1:n:", "k8s:enc:kms:v2:"][prefix];
        let value = [prefix.as_bytes(), &value].concat();
        if let Ok(Stored::KmsV2(object)) = parse(&value) {
            prop_assert_eq!(parse_v2(&object.encode().expect("it was read")), object);
        }
    }
}

#[test]
fn plain_values_are_told_apart() {
    for (value, format) in [
        (&b"k8s\0\n\x0c"[..], PlainFormat::Protobuf),
        (b"{\"kind\":\"Cat\"}\n", PlainFormat::Json),
        (b"\xd9\xd9\xf7\xa1", PlainFormat::Cbor),
        (b"", PlainFormat::Other),
        (b"k8s:en", PlainFormat::Other),
        (b"1234", PlainFormat::Other),
    ] {
        assert_eq!(parse(value), Ok(Stored::Plain(format)), "{value:?}");
    }
}

#[test]
fn values_of_static_keys_name_their_key() {
    for (prefix, cipher, shortest) in [
        ("k8s:enc:aescbc:v1:", StaticCipher::AesCbc, 32),
        ("k8s:enc:aesgcm:v1:", StaticCipher::AesGcm, 28),
        ("k8s:enc:secretbox:v1:", StaticCipher::Secretbox, 40),
    ] {
        let value = |length| [prefix.as_bytes(), b"key1:", &vec![b':'; length]].concat();
        let payload = vec![b':'; shortest];
        let expected = Stored::StaticKey(StaticKey { cipher, key_name: "key1".to_owned(), payload });
        assert_eq!(parse(&value(shortest)), Ok(expected));
        let short = Malformed::ShortPayload { length: shortest - 1, minimum: shortest };
        assert_eq!(parse(&value(shortest - 1)), Err(short));
    }
    let odd = [&b"k8s:enc:aescbc:v1:k:"[..], &[0; 33]].concat();
    assert_eq!(parse(&odd), Err(Malformed::PartialBlock));
}

#[test]
fn known_names_come_first_and_the_longest_of_them() {
    let sealed = KmsV1::seal("a:b", b"wrapped", &[7; 32], b"k", b"text", &[1; 12]).expect("sealed");
    let value = sealed.encode().expect("valid");
    let names = ["a", "b", "a:b", "a:bc"].map(str::to_owned);
    assert_eq!(Stored::parse(&value, &names), Ok(Stored::KmsV1(sealed)));
    // Without the name there is no way to know.
    let Err(Malformed::ShortWrappedKey) = parse(&value) else { panic!("the length would be `b:`") };
}

#[test]
fn sealing_refuses_what_could_not_be_read_back() {
    let random = SealRandomness { info: [1; 32], nonce: [2; 12] };
    let seal = |kind, seed: &[u8]| {
        let wrapped =
            WrappedSeed { kind, key_id: "1".into(), ciphertext: vec![1], annotations: BTreeMap::new() };
        KmsV2::seal("p", wrapped, seed, b"k", b"text", &random).err()
    };
    assert_eq!(seal(SeedKind::HkdfSeed, &[0; 32]), None);
    assert_eq!(seal(SeedKind::HkdfSeed, &[0; 31]), Some(SealError::KeySize(31)));
    assert_eq!(seal(SeedKind::AesGcmKey, &[0; 32]), Some(SealError::NotASeed));
    let v1 = |key: &[u8]| KmsV1::seal("p", b"w", key, b"k", b"text", &[0; 12]);
    assert_eq!(v1(&[0; 33]).err(), Some(SealError::KeySize(33)));
    let long = KmsV1 { wrapped_key: vec![0; 65_536], ..v1(&[0; 32]).expect("sealed") };
    assert_eq!(long.encode(), Err(Malformed::WrappedKeyTooLong(65_536)));
    let longest = KmsV1 { wrapped_key: vec![0; 65_535], ..long };
    assert_eq!(parse(&longest.encode().expect("valid")), Ok(Stored::KmsV1(longest)));
}

#[test]
fn keys_of_the_wrong_size_open_nothing() {
    let value = sample();
    assert_eq!(value.open(&[0; 31], b"k"), Err(OpenError::KeySize(31)));
    let old = KmsV2 { seed: WrappedSeed { kind: SeedKind::AesGcmKey, ..value.seed.clone() }, ..value };
    assert_eq!(old.open(&[0; 33], b"k"), Err(OpenError::KeySize(33)));
    let v1 = KmsV1 { provider: "p".into(), wrapped_key: vec![], payload: vec![0; 64] };
    assert_eq!(v1.open(&[0; 20], b"k"), Err(OpenError::KeySize(20)));
    assert_eq!(v1.open_unauthenticated(&[0; 20]), Err(OpenError::KeySize(20)));
    let short = KmsV1 { payload: vec![0; 16], ..v1 };
    assert_eq!(short.open_unauthenticated(&[0; 32]), Err(OpenError::Padding));
    assert_eq!(short.open(&[0; 32], b"k"), Err(OpenError::ShortPayload));
}

#[test]
fn fingerprints_differ_wherever_seeds_do() {
    let seed = sample().seed;
    let other = |change: fn(&mut WrappedSeed)| {
        let mut other = seed.clone();
        change(&mut other);
        other.fingerprint()
    };
    assert_eq!(seed.fingerprint(), other(|_| ()));
    let changed = [
        other(|seed| seed.kind = SeedKind::AesGcmKey),
        other(|seed| seed.key_id.push('x')),
        other(|seed| seed.ciphertext.push(0)),
        other(|seed| seed.annotations.clear()),
        // One byte from the end of one field to the start of the next.
        other(|seed| seed.ciphertext.insert(0, seed.key_id.pop().map_or(0, |c| c as u8))),
    ];
    let all: std::collections::HashSet<_> = changed.into_iter().chain([seed.fingerprint()]).collect();
    assert_eq!(all.len(), 6);
}

pub(crate) fn parse(value: &[u8]) -> Result<Stored, Malformed> {
    Stored::parse(value, &[])
}

pub(crate) fn parse_v2(value: &[u8]) -> KmsV2 {
    match parse(value) {
        Ok(Stored::KmsV2(object)) => object,
        other => panic!("not a KMS v2 value: {other:?}"),
    }
}

/// Seed [3; 32], etcd key `/registry/secrets/default/a`.
pub(crate) fn sample() -> KmsV2 {
    let wrapped = WrappedSeed {
        kind: SeedKind::HkdfSeed,
        key_id: "projects/p/1".to_owned(),
        ciphertext: b"wrapped seed".to_vec(),
        annotations: [("a.example".to_owned(), b"note".to_vec())].into(),
    };
    let random = SealRandomness { info: [4; 32], nonce: [5; 12] };
    KmsV2::seal("kms", wrapped, SEED, ETCD_KEY, PLAINTEXT, &random).expect("sealed")
}

pub(crate) const SEED: &[u8] = &[3; 32];
pub(crate) const ETCD_KEY: &[u8] = b"/registry/secrets/default/a";
/// Of a length at which the payload of a v1 value is whole blocks, as AES-CBC wants it.
pub(crate) const PLAINTEXT: &[u8] = b"k8s\0 and a password!";
