//! Any bytes in etcd: no panic, what is read encodes to what is read again, and nothing opens with a key that it was
//! not sealed with. Good inputs to start from: `crates/cluster/etcd/tests/it/inputs`.
#![no_main]

use keystead_etcd::stored::{SeedKind, Stored};
use keystead_etcd::{Layout, Tally};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let names = ["kms:1".to_owned()];
    let layout = Layout { known_names: names.to_vec(), ..Layout::default() };
    let mut tally = Tally::new(layout);
    tally.add(value, value);
    assert_eq!(tally.finish().objects, 1);

    match Stored::parse(value, &names) {
        Ok(Stored::KmsV1(object)) => {
            let again =
                Stored::parse(&object.encode().expect("it was read"), std::slice::from_ref(&object.provider));
            assert_eq!(again.as_ref(), Ok(&Stored::KmsV1(object.clone())));
            assert!(object.open(&KEY, b"key").is_err());
            // No integrity, so it may give anything: but no panic.
            let _ = object.open_unauthenticated(&KEY);
        }
        Ok(Stored::KmsV2(object)) => {
            let again = Stored::parse(&object.encode().expect("it was read"), &[]);
            assert_eq!(again.as_ref(), Ok(&Stored::KmsV2(object.clone())));
            assert!(object.open(&KEY, b"key").is_err());
            let mut other = object;
            other.seed.kind = match other.seed.kind {
                SeedKind::AesGcmKey => SeedKind::HkdfSeed,
                SeedKind::HkdfSeed => SeedKind::AesGcmKey,
            };
            assert!(other.open(&KEY, b"key").is_err());
        }
        Ok(Stored::Plain(_) | Stored::StaticKey(_)) | Err(_) => (),
    }
});

/// Nothing is ever sealed with it.
const KEY: [u8; 32] = *b"no value is sealed with this key";
