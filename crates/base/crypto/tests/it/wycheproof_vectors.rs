//! Every vector of Project Wycheproof for the two primitives, through the functions that every seal calls.

use keystead_crypto::{aes256gcm_open, aes256gcm_seal, hkdf_sha256};
use wycheproof::{TestResult, aead, hkdf};

#[test]
fn aes_256_gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("vectors");
    let groups = set.test_groups.iter().filter(|group| group.key_size == 256 && group.nonce_size == 96);
    let (mut valid, mut invalid) = (0, 0);
    for (group, vector) in groups.flat_map(|group| group.tests.iter().map(move |vector| (group, vector))) {
        assert_eq!(group.tag_size, 128, "vector {}", vector.tc_id);
        let key = vector.key.as_ref().try_into().expect("256 bits of key");
        let nonce = vector.nonce.as_ref().try_into().expect("96 bits of nonce");
        let sealed = [vector.ct.as_ref(), vector.tag.as_ref()].concat();

        let opened = aes256gcm_open(key, nonce, &vector.aad, &sealed);
        let mut out = b"kept".to_vec();
        aes256gcm_seal(key, nonce, &vector.aad, &vector.pt, &mut out).expect("sealed");
        match vector.result {
            TestResult::Valid => {
                valid += 1;
                assert_eq!(opened.as_deref(), Ok(vector.pt.as_ref()), "vector {}", vector.tc_id);
                assert_eq!(out, [b"kept", sealed.as_slice()].concat(), "vector {}", vector.tc_id);
            }
            TestResult::Invalid => {
                invalid += 1;
                assert!(opened.is_err(), "vector {}: {}", vector.tc_id, vector.comment);
                assert_ne!(out, [b"kept", sealed.as_slice()].concat(), "vector {}", vector.tc_id);
            }
            TestResult::Acceptable => {
                panic!("vector {}: AES-GCM has none that may go either way", vector.tc_id)
            }
        }
    }
    assert_eq!((valid, invalid), (39, 27), "vectors were left out");
}

#[test]
fn hkdf_with_sha_256() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).expect("vectors");
    let (mut valid, mut invalid) = (0, 0);
    for vector in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = vec![0; vector.size];
        let derived = hkdf_sha256(&vector.ikm, &vector.salt, &vector.info, &mut okm);
        match vector.result {
            TestResult::Valid => {
                valid += 1;
                assert_eq!(derived, Ok(()), "vector {}", vector.tc_id);
                assert_eq!(okm, vector.okm.as_ref(), "vector {}", vector.tc_id);
            }
            TestResult::Invalid => {
                invalid += 1;
                assert!(derived.is_err(), "vector {}: {}", vector.tc_id, vector.comment);
            }
            TestResult::Acceptable => panic!("vector {}: HKDF has none that may go either way", vector.tc_id),
        }
    }
    assert_eq!((valid, invalid), (83, 3), "vectors were left out");
}
