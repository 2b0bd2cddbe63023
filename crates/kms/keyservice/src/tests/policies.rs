use keystead_model::{Binding, Condition, ErrorClass, Policy};

use crate::Resource;
use crate::operations::*;
use crate::testbed::{Testbed, key_name};

const ROLE: &str = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
const MEMBER: &str = "serviceAccount:service-123@container-engine-robot.iam.gserviceaccount.com";

#[tokio::test]
async fn c5_a_grant_counts_for_the_next_call_and_its_removal_too() {
    let bed = Testbed::new().await;
    bed.key().await;
    let encrypt = || Encrypt {
        key: key_name(),
        version: None,
        plaintext: keystead_crypto::SecretBytes::from(vec![1; 32]),
        caller_data: Vec::new(),
    };
    let denied = bed.service.run(&bed.call_of(MEMBER), encrypt()).await.err().unwrap();
    assert_eq!(denied.class(), ErrorClass::Denied);
    set(&bed, policy(None), None).await.unwrap();
    bed.service.run(&bed.call_of(MEMBER), encrypt()).await.unwrap();
    let seen = bed.service.run(&bed.call_of(MEMBER), GetCryptoKey { name: key_name() }).await;
    assert_eq!(seen.err().unwrap().class(), ErrorClass::Denied, "whoever decrypts cannot see the key");
    set(&bed, Policy::default(), None).await.unwrap();
    let denied = bed.service.run(&bed.call_of(MEMBER), encrypt()).await.err().unwrap();
    assert_eq!(denied.class(), ErrorClass::Denied);
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_no_etag_overwrites() {
    let bed = Testbed::new().await;
    bed.key().await;
    let first = get(&bed, 3).await;
    let second = set(&bed, policy(None), Some(first.etag.clone())).await.unwrap();
    assert_ne!(first.etag, second.etag);
    let stale = set(&bed, Policy::default(), Some(first.etag)).await.err().unwrap();
    assert_eq!(stale.class(), ErrorClass::Aborted);
    assert!(stale.message().starts_with("There were concurrent policy changes."), "{stale}");
    assert_eq!(get(&bed, 3).await, second);
    set(&bed, Policy::default(), None).await.unwrap();
    assert!(get(&bed, 3).await.policy.bindings.is_empty());
}

#[tokio::test]
async fn of_many_writers_with_one_etag_one_wins() {
    let bed = std::sync::Arc::new(Testbed::new().await);
    bed.key().await;
    let etag = get(&bed, 3).await.etag;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (bed, etag) = (bed.clone(), etag.clone());
        writers.spawn(async move { set(&bed, policy(None), Some(etag)).await.is_ok() });
    }
    let won = writers.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_condition_needs_version_3_and_is_hidden_from_those_who_do_not_know_it() {
    let bed = Testbed::new().await;
    bed.key().await;
    let condition = Condition {
        expression: "request.time < timestamp(\"2027-01-01T00:00:00Z\")".into(),
        title: "2026".into(),
        ..Condition::default()
    };
    let old = Policy { version: 1, ..policy(Some(condition.clone())) };
    assert_eq!(set(&bed, old, None).await.err().unwrap().class(), ErrorClass::Invalid);
    set(&bed, policy(Some(condition)), None).await.unwrap();
    let decrypt = "cloudkms.cryptoKeyVersions.useToDecrypt";
    let allowed = async || bed.service.run(&bed.call_of(MEMBER), test(&[decrypt])).await.unwrap().len();
    assert_eq!(allowed().await, 1);
    bed.clock.set("2027-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(allowed().await, 0);
    let hidden = get(&bed, 1).await.policy;
    assert!(hidden.bindings[0].condition.is_none() && hidden.bindings[0].role.contains("_withcond_"));
}

fn test(permissions: &[&str]) -> TestIamPermissions {
    TestIamPermissions {
        resource: Resource::CryptoKey(key_name()),
        permissions: permissions.iter().map(|&text| text.to_owned()).collect(),
    }
}

fn policy(condition: Option<Condition>) -> Policy {
    let binding = Binding { role: ROLE.to_owned(), members: vec![MEMBER.to_owned()], condition };
    Policy { version: 3, bindings: vec![binding] }
}

async fn get(bed: &Testbed, requested_version: i32) -> PolicyAndEtag {
    bed.run(GetIamPolicy { resource: Resource::CryptoKey(key_name()), requested_version }).await.unwrap()
}

async fn set(bed: &Testbed, policy: Policy, etag: Option<Vec<u8>>) -> Result<PolicyAndEtag, crate::KmsError> {
    let resource = Resource::CryptoKey(key_name());
    bed.run(SetIamPolicy { resource, policy, etag, keep_bindings: false }).await
}
