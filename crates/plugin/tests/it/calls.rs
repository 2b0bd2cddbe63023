//! The six calls over a real socket with a real gRPC client.

use std::collections::HashMap;

use keystead_model::ErrorClass;
use keystead_proto::kms_v1;
use keystead_proto::kms_v2::key_management_service_client::KeyManagementServiceClient as V2;
use keystead_proto::kms_v2::{DecryptRequest, EncryptRequest};
use keystead_provider::switchable::Mode;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::plugin_in_process::{Sealed, Served};
use crate::plugin_process::{clients, v1, v2};

async fn encrypt(client: &mut V2<Channel>, plaintext: &[u8]) -> Result<Sealed, Status> {
    let request = EncryptRequest { plaintext: plaintext.to_vec(), uid: "uid".into() };
    let answer = client.encrypt(request).await?.into_inner();
    assert!(answer.annotations.is_empty());
    Ok(Sealed { ciphertext: answer.ciphertext, key_id: answer.key_id })
}

async fn decrypt(client: &mut V2<Channel>, ciphertext: &[u8], key_id: &str) -> Result<Vec<u8>, Status> {
    decrypt_with(client, ciphertext, key_id, HashMap::new()).await
}

async fn decrypt_with(
    client: &mut V2<Channel>,
    ciphertext: &[u8],
    key_id: &str,
    annotations: HashMap<String, Vec<u8>>,
) -> Result<Vec<u8>, Status> {
    let (ciphertext, key_id) = (ciphertext.to_vec(), key_id.to_owned());
    let request = DecryptRequest { ciphertext, uid: "uid".into(), key_id, annotations };
    Ok(client.decrypt(request).await?.into_inner().plaintext)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_apis_take_every_length_and_open_each_others_ciphertexts() {
    let served = Served::ready().await;
    let (mut v1, mut v2) = clients(&served.socket()).await;
    for plaintext in [&b""[..], b"\0", b"ping", &[7; 32], &[7; 256]] {
        let sealed = encrypt(&mut v2, plaintext).await.expect("sealed");
        assert_eq!(decrypt(&mut v2, &sealed.ciphertext, &sealed.key_id).await.expect("opened"), plaintext);

        let request = kms_v1::EncryptRequest { version: "v1beta1".into(), plain: plaintext.to_vec() };
        let cipher = v1.encrypt(request).await.expect("sealed").into_inner().cipher;
        assert_eq!(decrypt(&mut v2, &cipher, &sealed.key_id).await.expect("opened"), plaintext);
        let request = kms_v1::DecryptRequest { version: "v1beta1".into(), cipher: sealed.ciphertext };
        assert_eq!(v1.decrypt(request).await.expect("opened").into_inner().plain, plaintext);
    }
    assert_eq!(encrypt(&mut v2, &[7; 257]).await.err().map(|it| it.code()), Some(Code::InvalidArgument));
    let request = kms_v1::EncryptRequest { version: "v1beta1".into(), plain: vec![7; 257] };
    assert_eq!(v1.encrypt(request).await.expect_err("too long").code(), Code::InvalidArgument);
    let version = v1.version(kms_v1::VersionRequest { version: "v1beta1".into() }).await.expect("a version");
    assert_eq!(version.into_inner().version, "v1beta1", "kube-apiserver accepts nothing else");
    drop((v1, v2));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_or_is_not_ours_is_an_error_and_never_bytes() {
    let (served, other) = (Served::ready().await, Served::ready().await);
    let mut client = v2(&served.socket()).await;
    let Sealed { ciphertext, key_id } = encrypt(&mut client, &[7; 32]).await.expect("sealed");
    // Every bit is flipped in the unit tests of `kms`.
    for bit in (0..ciphertext.len() * 8).step_by(7) {
        let mut flipped = ciphertext.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = decrypt(&mut client, &flipped, &key_id).await.expect_err("changed");
        assert!(matches!(error.code(), Code::InvalidArgument | Code::DataLoss), "bit {bit}: {error}");
    }
    for len in (0..ciphertext.len()).step_by(11) {
        let error = decrypt(&mut client, &ciphertext[..len], &key_id).await.expect_err("truncated");
        assert!(matches!(error.code(), Code::InvalidArgument | Code::DataLoss), "{len} bytes: {error}");
    }
    let foreign = encrypt(&mut v2(&other.socket()).await, b"seed").await.expect("sealed");
    for (ciphertext, key_id, code) in [
        (&ciphertext[..], "", Code::InvalidArgument),
        (&ciphertext, "local-v1-a1-0000000000000000", Code::InvalidArgument),
        (&ciphertext, &foreign.key_id, Code::InvalidArgument),
        (&foreign.ciphertext, &foreign.key_id, Code::NotFound),
        (b"", &key_id, Code::InvalidArgument),
        (b"junk", &key_id, Code::InvalidArgument),
        (&[1; 100_000], &key_id, Code::InvalidArgument),
        (&[1; 200_000], &key_id, Code::OutOfRange),
    ] {
        let error = decrypt(&mut client, ciphertext, key_id).await.expect_err("not ours");
        assert_eq!(error.code(), code, "{error}");
        assert!(!error.message().is_empty());
    }
    let annotations = HashMap::from([("a.example.com".to_owned(), b"1".to_vec())]);
    let error = decrypt_with(&mut client, &ciphertext, &key_id, annotations).await.expect_err("annotations");
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(decrypt(&mut client, &ciphertext, &key_id).await.expect("the good one"), [7; 32]);
    drop(client);
    served.stop().await;
    other.stop().await;
}

/// A seed that many objects in etcd share, right after a start: kube-apiserver's lists ask for it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_decrypts_at_once_cost_one_call_for_each_seed() {
    let served = Served::ready().await;
    for seeds in [1, 100] {
        let mut sealed = Vec::new();
        for _ in 0..seeds {
            sealed.push(served.sealed_elsewhere(b"seed").await);
        }
        let before = served.backend.unwraps();
        let mut calls = JoinSet::new();
        for call in 0..100 {
            let (mut client, Sealed { ciphertext, key_id }) =
                (v2(&served.socket()).await, &sealed[call % seeds]);
            let (ciphertext, key_id) = (ciphertext.clone(), key_id.clone());
            calls.spawn(async move { decrypt(&mut client, &ciphertext, &key_id).await });
        }
        while let Some(opened) = calls.join_next().await {
            assert_eq!(opened.expect("no panic").expect("opened"), b"seed");
        }
        assert_eq!(served.backend.unwraps() - before, seeds);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_backend_have_their_code() {
    let served = Served::ready().await;
    let mut client = v2(&served.socket()).await;
    for (class, code) in [
        (ErrorClass::Denied, Code::PermissionDenied),
        (ErrorClass::NotFound, Code::NotFound),
        (ErrorClass::FailedPrecondition, Code::FailedPrecondition),
        (ErrorClass::Misconfigured, Code::FailedPrecondition),
        (ErrorClass::Unauthenticated, Code::Unauthenticated),
    ] {
        let sealed = served.sealed_elsewhere(b"seed").await;
        served.backend.set(Mode::Fails(class));
        let error = decrypt(&mut client, &sealed.ciphertext, &sealed.key_id).await.expect_err("fails");
        assert_eq!(error.code(), code, "{error}");
        served.backend.set(Mode::Works);
        assert_eq!(decrypt(&mut client, &sealed.ciphertext, &sealed.key_id).await.expect("opened"), b"seed");
    }
    drop(client);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_v1_caller_that_says_no_version_is_served() {
    let served = Served::ready().await;
    let mut client = v1(&served.socket()).await;
    let request = kms_v1::EncryptRequest { version: String::new(), plain: b"ping".to_vec() };
    assert!(client.encrypt(request).await.is_ok());
    drop(client);
    served.stop().await;
}
