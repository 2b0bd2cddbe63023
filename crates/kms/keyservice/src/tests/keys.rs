use keystead_crypto::SecretBytes;
use keystead_model::{CryptoKeyName, ErrorClass, VersionNumber, VersionState};

use crate::operations::*;
use crate::testbed::{Testbed, create_key, key_name, ring, version, version_name};

pub(super) async fn encrypt(bed: &Testbed, key: CryptoKeyName, version: Option<VersionNumber>) -> Encrypted {
    let plaintext = SecretBytes::from(b"thirty-two bytes of a seed......".to_vec());
    bed.run(Encrypt { key, version, plaintext, caller_data: b"aad".to_vec() }).await.unwrap()
}

pub(super) async fn decrypts(bed: &Testbed, ciphertext: &[u8]) -> Result<bool, ErrorClass> {
    let command = Decrypt {
        key: key_name(),
        ciphertext: ciphertext.to_vec(),
        caller_data: b"aad".to_vec(),
        recheck: false,
    };
    let opened = bed.run(command).await.map_err(|error| error.class())?;
    assert_eq!(opened.plaintext.expose(), b"thirty-two bytes of a seed......");
    Ok(opened.used_primary)
}

#[tokio::test]
async fn p18_old_ciphertexts_open_after_a_rotation() {
    let bed = Testbed::new().await;
    bed.key().await;
    let old = encrypt(&bed, key_name(), None).await;
    assert_eq!(old.version, version_name(1));
    let second = bed.run(CreateCryptoKeyVersion { key: key_name() }).await.unwrap();
    assert_eq!(second.name, version_name(2));
    assert_eq!(
        encrypt(&bed, key_name(), None).await.version,
        version_name(1),
        "a new version is not the primary"
    );
    let key = bed.run(UpdateCryptoKeyPrimaryVersion { key: key_name(), version: version(2) }).await.unwrap();
    assert_eq!((key.key.primary, key.key.activations), (Some(version(2)), 2));
    let new = encrypt(&bed, key_name(), None).await;
    assert_eq!((new.version, new.activation), (version_name(2), 2));
    assert_eq!(encrypt(&bed, key_name(), Some(version(1))).await.version, version_name(1));
    assert_eq!(decrypts(&bed, &old.ciphertext).await, Ok(false));
    assert_eq!(decrypts(&bed, &new.ciphertext).await, Ok(true));

    // The same after the server was stopped: everything is in the database.
    let bed = bed.reopen().await;
    assert_eq!(decrypts(&bed, &old.ciphertext).await, Ok(false));
    assert_eq!(decrypts(&bed, &new.ciphertext).await, Ok(true));
}

#[tokio::test]
async fn p20_a_disabled_version_is_refused_by_the_next_call_and_enabling_heals() {
    let bed = Testbed::new().await;
    bed.key().await;
    let sealed = encrypt(&bed, key_name(), None).await.ciphertext;
    let disabled = bed.run(UpdateCryptoKeyVersion { name: version_name(1), enabled: false }).await.unwrap();
    assert_eq!(disabled.state, VersionState::Disabled);
    assert_eq!(decrypts(&bed, &sealed).await, Err(ErrorClass::FailedPrecondition));
    let refused = bed
        .run(Encrypt {
            key: key_name(),
            version: None,
            plaintext: SecretBytes::from(vec![1]),
            caller_data: Vec::new(),
        })
        .await;
    let refused = refused.err().unwrap();
    assert_eq!(refused.message(), format!("{} is not enabled, current state is: DISABLED.", version_name(1)));
    bed.run(UpdateCryptoKeyVersion { name: version_name(1), enabled: true }).await.unwrap();
    assert_eq!(decrypts(&bed, &sealed).await, Ok(true));
}

#[tokio::test]
async fn what_exists_is_not_made_again_and_what_does_not_is_not_found() {
    let bed = Testbed::new().await;
    let missing = bed.run(GetKeyRing { name: ring() }).await.err().unwrap();
    assert_eq!(missing.class(), ErrorClass::NotFound);
    assert_eq!(bed.run(create_key()).await.err().unwrap().class(), ErrorClass::NotFound, "no ring");
    bed.key().await;
    let again = bed.run(CreateKeyRing { name: ring() }).await.err().unwrap();
    assert_eq!(again.class(), ErrorClass::AlreadyExists);
    assert_eq!(again.message(), format!("KeyRing {} already exists.", ring()));
    assert_eq!(bed.run(create_key()).await.err().unwrap().class(), ErrorClass::AlreadyExists);
    let missing = bed.run(GetCryptoKeyVersion { name: version_name(2) }).await.err().unwrap();
    assert_eq!(missing.class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn a_hundred_versions_made_at_once_have_a_hundred_numbers() {
    let bed = std::sync::Arc::new(Testbed::new().await);
    bed.key().await;
    let mut made = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let bed = bed.clone();
        made.spawn(async move { bed.run(CreateCryptoKeyVersion { key: key_name() }).await });
    }
    let mut numbers = Vec::new();
    let mut refused = 0;
    for made in made.join_all().await {
        match made {
            Ok(version) => numbers.push(version.name.version.get()),
            Err(error) => {
                assert_eq!(error.class(), ErrorClass::Aborted);
                refused += 1;
            }
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=101 - refused).collect::<Vec<u32>>(), "no gap, none twice");
}

#[tokio::test]
async fn a_deleted_key_keeps_its_name() {
    let bed = Testbed::new().await;
    bed.run(CreateKeyRing { name: ring() }).await.unwrap();
    bed.run(CreateCryptoKey { skip_initial_version: true, ..create_key() }).await.unwrap();
    let retired = bed.run(DeleteCryptoKey { name: key_name() }).await.unwrap();
    assert_eq!(retired.original_resource, key_name().to_string());
    assert_eq!(bed.run(GetCryptoKey { name: key_name() }).await.err().unwrap().class(), ErrorClass::NotFound);
    assert_eq!(bed.run(create_key()).await.err().unwrap().class(), ErrorClass::AlreadyExists);
}

#[tokio::test]
async fn every_answered_call_has_one_audit_record() {
    let bed = Testbed::new().await;
    let before = bed.audit_records().len();
    bed.key().await;
    let sealed = encrypt(&bed, key_name(), None).await.ciphertext;
    decrypts(&bed, &sealed).await.unwrap();
    decrypts(&bed, b"garbage").await.err().unwrap();
    let stranger = bed.call_of("user:stranger@example.com");
    let denied = bed.service.run(&stranger, GetCryptoKey { name: key_name() }).await.err().unwrap();
    assert_eq!(denied.class(), ErrorClass::Denied);
    let records = bed.audit_records();
    let methods: Vec<String> = records
        .iter()
        .skip(before)
        .map(|record| {
            let record: serde_json::Value = serde_json::from_str(record).unwrap();
            record["protoPayload"]["methodName"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        methods,
        ["CreateKeyRing", "CreateCryptoKey", "Encrypt", "Decrypt", "Decrypt", "GetCryptoKey"]
    );
    assert!(records.iter().all(|record| !record.contains("thirty-two bytes")));
}
