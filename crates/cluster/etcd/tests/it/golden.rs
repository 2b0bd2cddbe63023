//! Records that Kubernetes wrote. See `golden/README.md`.

use base64::Engine;
use keystead_etcd::stored::{
    KmsV1, KmsV2, OpenError, PlainFormat, SealRandomness, SeedKind, StaticCipher, StaticKey, Stored,
    WrappedSeed,
};

use crate::round_trip::{parse, parse_v2};

#[test]
fn value_of_1_27_opens() {
    let value = parse_v2(&type_0());
    assert_metadata(&value, SeedKind::AesGcmKey, "gafIvwT0ASoKdZ/D1L2SlH73LUMj5qa3hroljfS51wc=");
    assert_eq!(value.payload.len(), 394);
    assert_secret(&value, TYPE_0_KEY, "1f4a8f7b-01b4-49d1-b898-751eb56937f1");
}

#[test]
fn value_of_1_28_opens() {
    let value = parse_v2(&type_1());
    assert_metadata(&value, SeedKind::HkdfSeed, "/+WnKXQEM/AhXICYRNBeGk+WSuB+7OBuSYJTbP66Zyc=");
    assert_eq!(value.payload.len(), 465);
    assert_secret(&value, TYPE_1_KEY, "87c514b4-9c26-4041-ad0d-0d07dca557ed");
}

#[test]
fn our_encoding_is_that_of_kubernetes() {
    for record in [type_0(), type_1()] {
        assert_eq!(parse_v2(&record).encode().expect("valid"), record);
    }
}

#[test]
fn our_sealing_is_that_of_kubernetes() {
    let recorded = parse_v2(&type_1());
    let seed = unwrap(&recorded);
    let plaintext = recorded.open(&seed, TYPE_1_KEY.as_bytes()).expect("opens");
    let random = SealRandomness {
        info: recorded.payload[..32].try_into().expect("32 bytes"),
        nonce: recorded.payload[32..44].try_into().expect("12 bytes"),
    };
    let wrapped = recorded.seed.clone();
    let sealed = KmsV2::seal("kms-provider", wrapped, &seed, TYPE_1_KEY.as_bytes(), &plaintext, &random);
    assert_eq!(sealed.expect("sealed").encode().expect("valid"), type_1());
}

#[test]
fn value_does_not_open_under_the_other_key_of_etcd() {
    let value = parse_v2(&type_1());
    let seed = unwrap(&value);
    assert_eq!(value.open(&seed, TYPE_0_KEY.as_bytes()), Err(OpenError::NotAuthentic));
}

#[test]
fn payload_of_a_seed_opens() {
    let value = v2(SeedKind::HkdfSeed, bytes(include_str!("golden/extended-nonce-payload.hex")));
    let seed = bytes(include_str!("golden/extended-nonce-seed.hex"));
    assert_eq!(value.open(&seed, b"bamboo").expect("opens").as_slice(), PANDAS);
}

#[test]
fn payload_of_a_short_aes_key_opens() {
    let payload = bytes(include_str!("golden/gcm-payload.hex"));
    assert_eq!(v1(&payload).open(KEY, b"bamboo").expect("opens").as_slice(), PANDAS);
    assert_eq!(v2(SeedKind::AesGcmKey, payload).open(KEY, b"bamboo").expect("opens").as_slice(), PANDAS);
}

#[test]
fn payload_before_1_25_opens_only_when_asked_to() {
    let value = v1(&bytes(include_str!("golden/cbc-payload.hex")));
    assert_eq!(value.open(KEY, b"bamboo"), Err(OpenError::NotAuthentic));
    assert_eq!(value.open_unauthenticated(KEY).expect("opens").as_slice(), PANDAS);
    assert_eq!(value.open_unauthenticated(b"awesomes_snorlax"), Err(OpenError::Padding));
}

#[test]
fn values_of_static_keys_open_with_their_key_only() {
    let value =
        |cipher, payload: &str| StaticKey { cipher, key_name: "k".to_owned(), payload: bytes(payload) };
    let gcm = value(StaticCipher::AesGcm, include_str!("golden/gcm-payload.hex"));
    assert_eq!(gcm.open(KEY, b"bamboo").expect("opens").as_slice(), PANDAS);
    assert_eq!(gcm.open(KEY, b"bambus"), Err(OpenError::NotAuthentic), "another etcd key");
    let cbc = value(StaticCipher::AesCbc, include_str!("golden/cbc-payload.hex"));
    assert_eq!(cbc.open(KEY, b"anything").expect("opens").as_slice(), PANDAS);
    assert_eq!(cbc.open(b"awesomes_snorlax", b""), Err(OpenError::Padding));
    assert_eq!(cbc.open(b"short", b""), Err(OpenError::KeySize(5)));

    // The vector of NaCl's own test `secretbox.c`: key, nonce, and the box with its tag in front.
    let nacl = ["69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37", NACL_BOX].concat();
    let mut secretbox = value(StaticCipher::Secretbox, &nacl);
    let key = bytes("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
    let opened = secretbox.open(&key, b"anything").expect("opens");
    assert!(opened.starts_with(&bytes("be075fc53c81f2d5cf141316ebeb0c7b")) && opened.len() == 131);
    assert_eq!(secretbox.open(&[0; 32], b""), Err(OpenError::NotAuthentic));
    assert_eq!(secretbox.open(&[0; 16], b""), Err(OpenError::KeySize(16)));
    *secretbox.payload.last_mut().expect("not empty") ^= 1;
    assert_eq!(secretbox.open(&key, b""), Err(OpenError::NotAuthentic));
}

/// 16 bytes of tag and 131 of ciphertext.
const NACL_BOX: &str = "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a\
    c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae\
    90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74\
    e355a5";

pub(crate) fn type_0() -> Vec<u8> {
    bytes(include_str!("golden/kms-v2-type-0.hex"))
}

pub(crate) fn type_1() -> Vec<u8> {
    bytes(include_str!("golden/kms-v2-type-1.hex"))
}

/// The plugin of the recorded values wraps by base64.
pub(crate) fn unwrap(value: &KmsV2) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(&value.seed.ciphertext).expect("base64")
}

fn assert_metadata(value: &KmsV2, kind: SeedKind, wrapped: &str) {
    assert_eq!(value.provider, "kms-provider");
    let seed = WrappedSeed {
        kind,
        key_id: "1".to_owned(),
        ciphertext: wrapped.as_bytes().to_vec(),
        annotations: [("local-kek.kms.kubernetes.io".to_owned(), b"encrypted-local-kek".to_vec())].into(),
    };
    assert_eq!(value.seed, seed);
}

fn assert_secret(value: &KmsV2, etcd_key: &str, uid: &str) {
    let plaintext = value.open(&unwrap(value), etcd_key.as_bytes()).expect("opens");
    assert!(matches!(parse(&plaintext), Ok(Stored::Plain(PlainFormat::Protobuf))));
    for part in ["Secret", "kms-v2-legacy-data", uid, "086a7ffc-0225-11e8-ba89-0ed5f89f718b"] {
        assert!(plaintext.windows(part.len()).any(|window| window == part.as_bytes()), "{part} is missing");
    }
}

fn v1(payload: &[u8]) -> KmsV1 {
    KmsV1 { provider: "p".to_owned(), wrapped_key: Vec::new(), payload: payload.to_vec() }
}

fn v2(kind: SeedKind, payload: Vec<u8>) -> KmsV2 {
    let seed =
        WrappedSeed { kind, key_id: "1".to_owned(), ciphertext: vec![1], annotations: Default::default() };
    KmsV2 { provider: "p".to_owned(), seed, payload }
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.split_whitespace().collect::<String>()).expect("hex")
}

const TYPE_0_KEY: &str =
    "/43da1478-5e9c-4ef3-a92a-2b19d540c8a5/registry/secrets/kms-v2-legacy-data/dek-source-aes-gcm-key";
pub(crate) const TYPE_1_KEY: &str = "/43da1478-5e9c-4ef3-a92a-2b19d540c8a5/registry/secrets/kms-v2-legacy-data/\
     dek-source-hkdf-sha256-xnonce-aes-gcm-seed";
const KEY: &[u8] = b"snorlax_awesomes";
const PANDAS: &[u8] = b"pandas are the best";
