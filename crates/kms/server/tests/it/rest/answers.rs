use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use keystead_proto::cloud_kms as kms;
use keystead_proto::{iam_policy, locations, rpc};
use keystead_server::rest::Gateway;
use prost::Message;
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};

use super::{KEY, Recorder, grpc_ok, request, send};

async fn answer(
    method: &str,
    uri: &str,
    response: impl Fn() -> Response<Body> + Send + Sync + 'static,
) -> (u16, Value) {
    let (status, json, _) = send(request(method, uri, "{}"), &Recorder::answering(response)).await;
    (status, json)
}

#[tokio::test]
async fn wire_02_and_07_bytes_are_standard_base64_and_long_numbers_text() {
    let encrypted = kms::EncryptResponse {
        name: format!("{KEY}/cryptoKeyVersions/1"),
        ciphertext: vec![0xfb, 0xff, 0xfe, 0x3e],
        ciphertext_crc32c: Some(4_294_967_295),
        verified_plaintext_crc32c: true,
        verified_additional_authenticated_data_crc32c: true,
        protection_level: kms::ProtectionLevel::Software.into(),
    };
    let (status, json) = answer("POST", &format!("/v1/{KEY}:encrypt"), move || grpc_ok(&encrypted)).await;
    let expected = json!({
        "name": format!("{KEY}/cryptoKeyVersions/1"),
        "ciphertext": "+//+Pg==",
        "ciphertextCrc32c": "4294967295",
        "verifiedPlaintextCrc32c": true,
        "verifiedAdditionalAuthenticatedDataCrc32c": true,
        "protectionLevel": "SOFTWARE",
    });
    assert_eq!((status, json), (200, expected));
}

/// gcloud takes an absent plaintext for the empty one, but needs its checksum.
#[tokio::test]
async fn wire_08_the_checksum_of_nothing_is_there() {
    let decrypted = kms::DecryptResponse { plaintext_crc32c: Some(0), ..Default::default() };
    let (_, json) = answer("POST", &format!("/v1/{KEY}:decrypt"), move || grpc_ok(&decrypted)).await;
    assert_eq!(json, json!({ "plaintextCrc32c": "0" }));
}

#[tokio::test]
async fn only_fields_that_are_set_are_there_and_in_camel_case() {
    let key = kms::CryptoKey {
        name: KEY.to_owned(),
        purpose: kms::crypto_key::CryptoKeyPurpose::EncryptDecrypt.into(),
        create_time: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 123_456_000 }),
        rotation_schedule: Some(kms::crypto_key::RotationSchedule::RotationPeriod(prost_types::Duration {
            seconds: 7_776_000,
            nanos: 0,
        })),
        key_access_justifications_policy: Some(kms::KeyAccessJustificationsPolicy::default()),
        ..Default::default()
    };
    let (_, json) = answer("GET", &format!("/v1/{KEY}"), move || grpc_ok(&key)).await;
    let expected = json!({
        "name": KEY,
        "purpose": "ENCRYPT_DECRYPT",
        "createTime": "2030-03-17T17:46:40.123456Z",
        "rotationPeriod": "7776000s",
        "keyAccessJustificationsPolicy": {},
    });
    assert_eq!(json, expected);
    let (_, json) =
        answer("GET", &format!("/v1/{KEY}:getIamPolicy"), || grpc_ok(&iam_policy::Policy::default())).await;
    assert_eq!(json, json!({}));
}

#[tokio::test]
async fn a_message_of_any_type_says_its_type() {
    let metadata = kms::LocationMetadata { hsm_available: true, ..Default::default() };
    let metadata = prost_types::Any {
        type_url: "type.googleapis.com/google.cloud.kms.v1.LocationMetadata".to_owned(),
        value: metadata.encode_to_vec(),
    };
    let location =
        locations::Location { location_id: "us".into(), metadata: Some(metadata), ..Default::default() };
    let (_, json) = answer("GET", "/v1/projects/p/locations/us", move || grpc_ok(&location)).await;
    let metadata =
        json!({ "@type": "type.googleapis.com/google.cloud.kms.v1.LocationMetadata", "hsmAvailable": true });
    assert_eq!(json, json!({ "locationId": "us", "metadata": metadata }));
}

/// Written by hand from `google.rpc.Code`; UNIMPLEMENTED is 400, so that gcloud prints it.
#[tokio::test]
async fn each_code_has_its_http_status_and_name() {
    for (code, http, name) in [
        (Code::Cancelled, 499, "CANCELLED"),
        (Code::Unknown, 500, "UNKNOWN"),
        (Code::InvalidArgument, 400, "INVALID_ARGUMENT"),
        (Code::DeadlineExceeded, 504, "DEADLINE_EXCEEDED"),
        (Code::NotFound, 404, "NOT_FOUND"),
        (Code::AlreadyExists, 409, "ALREADY_EXISTS"),
        (Code::PermissionDenied, 403, "PERMISSION_DENIED"),
        (Code::ResourceExhausted, 429, "RESOURCE_EXHAUSTED"),
        (Code::FailedPrecondition, 400, "FAILED_PRECONDITION"),
        (Code::Aborted, 409, "ABORTED"),
        (Code::OutOfRange, 400, "OUT_OF_RANGE"),
        (Code::Unimplemented, 400, "UNIMPLEMENTED"),
        (Code::Internal, 500, "INTERNAL"),
        (Code::Unavailable, 503, "UNAVAILABLE"),
        (Code::DataLoss, 500, "DATA_LOSS"),
        (Code::Unauthenticated, 401, "UNAUTHENTICATED"),
    ] {
        let (status, json) =
            answer("GET", &format!("/v1/{KEY}"), move || Status::new(code, "why: \"x\" \u{e9}").into_http())
                .await;
        let expected = json!({ "error": { "code": http, "message": "why: \"x\" \u{e9}", "status": name } });
        assert_eq!((status, json), (http, expected));
    }
}

#[tokio::test]
async fn an_error_in_the_trailers_counts() {
    let response = || {
        let trailers = Status::not_found("gone").into_http::<Body>().into_parts().0.headers;
        let body = http_body_util::Empty::<Bytes>::new().with_trailers(async move { Some(Ok(trailers)) });
        Response::new(Body::new(body))
    };
    let (status, json) = answer("GET", &format!("/v1/{KEY}"), response).await;
    assert_eq!((status, json["error"]["message"].as_str()), (404, Some("gone")));
}

#[tokio::test]
async fn details_of_an_error_are_json_with_their_types() {
    let violation = rpc::precondition_failure::Violation {
        r#type: "KEY_DISABLED".to_owned(),
        subject: format!("{KEY}/cryptoKeyVersions/1"),
        description: String::new(),
    };
    let failure = rpc::PreconditionFailure { violations: vec![violation] };
    let any = |name: &str, value: Vec<u8>| prost_types::Any {
        type_url: format!("type.googleapis.com/{name}"),
        value,
    };
    let details = rpc::Status {
        code: 9,
        message: "m".to_owned(),
        details: vec![
            any("google.rpc.PreconditionFailure", failure.encode_to_vec()),
            any("google.rpc.NotOfOurs", vec![1, 2, 3]),
        ],
    };
    let response = move || {
        Status::with_details(Code::FailedPrecondition, "m", details.encode_to_vec().into()).into_http()
    };
    let (_, json) = answer("GET", &format!("/v1/{KEY}"), response).await;
    let expected = json!([{
        "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
        "violations": [{ "type": "KEY_DISABLED", "subject": format!("{KEY}/cryptoKeyVersions/1") }],
    }]);
    assert_eq!(json["error"]["details"], expected);
}

#[tokio::test]
async fn answers_are_not_to_be_stored_and_401_names_the_scheme() {
    let gateway = Gateway::new().expect("routes");
    let service = Recorder::answering(|| Status::unauthenticated("who?").into_http());
    let response = gateway.call(request("GET", &format!("/v1/{KEY}"), ""), service).await;
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"keystead\"");
    assert_eq!(response.headers()["cache-control"], "no-store");

    let service = Recorder::answering(|| {
        let mut response = grpc_ok(&kms::CryptoKey::default());
        response.headers_mut().insert("keystead-activation", "3".parse().expect("value"));
        response
    });
    let response = gateway.call(request("GET", &format!("/v1/{KEY}"), ""), service).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["keystead-activation"], "3");
    assert_eq!(response.into_body().collect().await.expect("body").to_bytes(), "{}");
}
