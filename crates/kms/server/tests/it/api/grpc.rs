//! The same over gRPC, with generated clients.

use http::Request;
use http_body_util::{BodyExt, Full};
use keystead_proto::cloud_kms::key_management_service_client::KeyManagementServiceClient;
use keystead_proto::cloud_kms::{self as kms, crypto_key, crypto_key_version};
use keystead_proto::iam_policy::iam_policy_client::IamPolicyClient;
use keystead_proto::iam_policy::{GetIamPolicyRequest, TestIamPermissionsRequest};
use keystead_proto::locations::ListLocationsRequest;
use keystead_proto::locations::locations_client::LocationsClient;
use keystead_proto::resource_manager_v3::GetProjectRequest;
use keystead_proto::resource_manager_v3::projects_client::ProjectsClient;
use keystead_proto::rpc;
use prost::Message;
use tonic::body::Body;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Status};

use super::{KEY, RING, Server};

/// Puts the administrator's token on every call.
fn authorised(
    server: &Server,
) -> InterceptedService<
    keystead_server::Api,
    impl FnMut(tonic::Request<()>) -> Result<tonic::Request<()>, Status> + Clone,
> {
    let bearer = format!("Bearer {}", server.admin);
    InterceptedService::new(server.api.clone(), move |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("authorization", bearer.parse().expect("header"));
        Ok(request)
    })
}

#[tokio::test]
async fn a_key_from_its_making_to_its_use() {
    let server = Server::with_project().await;
    let mut client = KeyManagementServiceClient::new(authorised(&server));
    let request = kms::CreateKeyRingRequest {
        parent: super::LOCATION.to_owned(),
        key_ring_id: "ring-1".to_owned(),
        key_ring: None,
    };
    assert_eq!(client.create_key_ring(request).await.expect("made").into_inner().name, RING);
    let request = kms::CreateCryptoKeyRequest {
        parent: RING.to_owned(),
        crypto_key_id: "key-1".to_owned(),
        crypto_key: Some(kms::CryptoKey {
            purpose: crypto_key::CryptoKeyPurpose::EncryptDecrypt.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let key = client.create_crypto_key(request).await.expect("made").into_inner();
    let primary = key.primary.expect("primary");
    assert_eq!(primary.state(), crypto_key_version::CryptoKeyVersionState::Enabled);

    let request = kms::EncryptRequest {
        name: KEY.to_owned(),
        plaintext: b"32 bytes".to_vec(),
        plaintext_crc32c: Some(crc32c::crc32c(b"32 bytes").into()),
        ..Default::default()
    };
    let sealed = client.encrypt(request).await.expect("encrypted");
    assert_eq!(sealed.metadata().get("keystead-activation").expect("count"), "1");
    let sealed = sealed.into_inner();
    assert_eq!((sealed.name, sealed.verified_plaintext_crc32c), (primary.name, true));
    let request =
        kms::DecryptRequest { name: KEY.to_owned(), ciphertext: sealed.ciphertext, ..Default::default() };
    let opened = client.decrypt(request).await.expect("decrypted").into_inner();
    assert_eq!((opened.plaintext, opened.used_primary), (b"32 bytes".to_vec(), true));

    let mask = prost_types::FieldMask { paths: vec!["rotation_period".into(), "next_rotation_time".into()] };
    let request = kms::UpdateCryptoKeyRequest {
        crypto_key: Some(kms::CryptoKey { name: KEY.to_owned(), ..Default::default() }),
        update_mask: Some(mask),
    };
    client.update_crypto_key(request).await.expect("updated");
}

#[tokio::test]
async fn the_services_that_client_libraries_need_beside_it() {
    let server = Server::with_key().await;
    let project = "projects/key-project".to_owned();
    let mut locations = LocationsClient::new(authorised(&server));
    let request = ListLocationsRequest { name: project.clone(), ..Default::default() };
    assert_eq!(locations.list_locations(request).await.expect("listed").into_inner().locations.len(), 2);
    let mut policies = IamPolicyClient::new(authorised(&server));
    for resource in [KEY, RING, &project] {
        let request = GetIamPolicyRequest { resource: resource.to_owned(), options: None };
        assert!(!policies.get_iam_policy(request).await.expect("policy").into_inner().etag.is_empty());
    }
    let request = TestIamPermissionsRequest {
        resource: KEY.to_owned(),
        permissions: vec!["cloudkms.cryptoKeys.get".to_owned()],
    };
    assert_eq!(
        policies.test_iam_permissions(request).await.expect("tested").into_inner().permissions.len(),
        1
    );
    let mut projects = ProjectsClient::new(authorised(&server));
    projects.get_project(GetProjectRequest { name: project }).await.expect("project");
}

#[tokio::test]
async fn errors_have_codes_and_details() {
    let server = Server::with_key().await;
    let mut client = KeyManagementServiceClient::new(authorised(&server));
    let version = format!("{KEY}/cryptoKeyVersions/1");
    let request = kms::UpdateCryptoKeyVersionRequest {
        crypto_key_version: Some(kms::CryptoKeyVersion {
            name: version.clone(),
            state: crypto_key_version::CryptoKeyVersionState::Disabled.into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["state".into()] }),
    };
    client.update_crypto_key_version(request).await.expect("disabled");
    let request = kms::EncryptRequest { name: KEY.to_owned(), ..Default::default() };
    let status = client.encrypt(request).await.expect_err("disabled");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = rpc::Status::decode(status.details()).expect("details");
    assert_eq!((details.code, details.message.as_str()), (9, status.message()));
    let failure = rpc::PreconditionFailure::decode(details.details[0].value.as_slice()).expect("failure");
    assert_eq!(
        (failure.violations[0].r#type.as_str(), &failure.violations[0].subject),
        ("KEY_DISABLED", &version)
    );

    let mut stranger = KeyManagementServiceClient::new(server.api.clone());
    let status =
        stranger.get_key_ring(kms::GetKeyRingRequest { name: RING.to_owned() }).await.expect_err("nobody");
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn paths_that_lead_nowhere() {
    let server = Server::with_key().await;
    for (path, code) in [
        ("/google.cloud.kms.v1.KeyManagementService/Nonsense", Code::Unimplemented),
        ("/google.cloud.kms.v1.KeyManagementService/MacSign", Code::Unimplemented),
        ("/nonsense.Service/Method", Code::Unimplemented),
        ("/", Code::Unimplemented),
        ("*", Code::Unimplemented),
        ("/google.cloud.kms.v1.KeyManagementService/Encrypt/", Code::Unimplemented),
    ] {
        let request = Request::post(path).header("content-type", "application/grpc");
        let request = request.header("authorization", format!("Bearer {}", server.admin));
        let response = server.respond(request.body(Body::empty()).expect("request")).await;
        let status = Status::from_header_map(response.headers()).expect("trailers only");
        assert_eq!(status.code(), code, "{path}: {status:?}");
    }
}

#[tokio::test]
async fn messages_that_are_none() {
    let server = Server::with_key().await;
    let large = vec![0; 300 * 1024];
    let mut too_large = vec![0];
    too_large.extend_from_slice(&u32::try_from(large.len()).expect("short").to_be_bytes());
    too_large.extend_from_slice(&large);
    for frame in
        [vec![], vec![0, 0, 0, 0, 9, 1], vec![0, 0, 0, 0, 2, 0xff, 0xff], vec![1, 0, 0, 0, 0], too_large]
    {
        let path = "/google.cloud.kms.v1.KeyManagementService/Encrypt";
        let request = Request::post(path).header("content-type", "application/grpc");
        let request = request.header("authorization", format!("Bearer {}", server.admin));
        let body = Body::new(Full::from(frame.clone()));
        let response = server.respond(request.body(body).expect("request")).await;
        let (head, body) = response.into_parts();
        let trailers = body.collect().await.expect("body").trailers().cloned().unwrap_or_default();
        let status = Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers));
        assert_ne!(status.expect("status").code(), Code::Ok, "{:?}", frame.get(..8));
    }
}
