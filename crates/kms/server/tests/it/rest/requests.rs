//! The numbers in the names are those of the rules that real clients were seen to need.

use serde_json::json;

use super::{KEY, seen};

const KMS: &str = "/google.cloud.kms.v1.KeyManagementService";
const RING: &str = "projects/key-project/locations/us-central1/keyRings/ring-1";

#[tokio::test]
async fn wire_01_bytes_come_in_both_alphabets_with_or_without_padding() {
    let plaintext = [0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0xff, 0xfe, 0xfb, 0xbf];
    for text in ["aGVsbG8g//77vw==", "aGVsbG8g__77vw==", "aGVsbG8g//77vw", "aGVsbG8g__77vw"] {
        let body = json!({ "plaintext": text }).to_string();
        let seen = seen("POST", &format!("/v1/{KEY}:encrypt"), body).await;
        assert_eq!(seen.path, format!("{KMS}/Encrypt"));
        let field = seen.message.get_field_by_name("plaintext").expect("field");
        assert_eq!(field.as_bytes().expect("bytes").as_ref(), plaintext, "{text}");
    }
}

#[tokio::test]
async fn wire_03_an_etag_is_the_same_bytes_in_either_alphabet() {
    for etag in ["ei4H+Dro", "ei4H-Dro"] {
        let body = json!({ "policy": { "etag": etag, "version": 3 } }).to_string();
        let seen = seen("POST", &format!("/v1/{KEY}:setIamPolicy"), body).await;
        let expected = json!({ "resource": KEY, "policy": { "version": 3, "etag": "ei4H+Dro" } });
        assert_eq!(seen.json(), expected);
    }
}

#[tokio::test]
async fn wire_04_enums_come_as_numbers_or_names() {
    for (purpose, algorithm) in
        [(json!(1), json!(1)), (json!("ENCRYPT_DECRYPT"), json!("GOOGLE_SYMMETRIC_ENCRYPTION"))]
    {
        let body = json!({ "purpose": purpose, "versionTemplate": { "algorithm": algorithm } }).to_string();
        let seen = seen("POST", &format!("/v1/{RING}/cryptoKeys?cryptoKeyId=key-1"), body).await;
        let key = json!({
            "purpose": "ENCRYPT_DECRYPT",
            "versionTemplate": { "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION" },
        });
        assert_eq!(seen.json(), json!({ "parent": RING, "cryptoKeyId": "key-1", "cryptoKey": key }));
    }
}

#[tokio::test]
async fn wire_05_unknown_query_parameters_mean_nothing() {
    for query in [
        "$alt=json;enum-encoding=int",
        "%24alt=json%3Benum-encoding%3Dint",
        "$alt=json%3Benum-encoding=int",
        "alt=json&prettyPrint=false&quotaUser=x&alt=json",
        "",
        "&&",
    ] {
        let seen = seen("GET", &format!("/v1/{KEY}?{query}"), "").await;
        assert_eq!(seen.path, format!("{KMS}/GetCryptoKey"));
        assert_eq!(seen.json(), json!({ "name": KEY }), "{query}");
    }
}

#[tokio::test]
async fn wire_06_an_empty_text_is_an_empty_message() {
    for body in ["\"\"", "{}", "", " \n", "null"] {
        let path = "/v1/projects/key-project/locations/us-central1/keyRings?keyRingId=ring-1";
        let seen = seen("POST", path, body).await;
        let parent = "projects/key-project/locations/us-central1";
        let expected = json!({ "parent": parent, "keyRingId": "ring-1", "keyRing": {} });
        assert_eq!(seen.json(), expected, "{body:?}");
    }
}

#[tokio::test]
async fn wire_07_and_08_checksums_come_as_text_or_number_and_a_zero_is_one() {
    for (plaintext, aad) in [(json!("297981719"), json!("0")), (json!(297981719), json!(0))] {
        let body =
            json!({ "plaintextCrc32c": plaintext, "additionalAuthenticatedDataCrc32c": aad }).to_string();
        let seen = seen("POST", &format!("/v1/{KEY}:encrypt"), body).await;
        let expected =
            json!({ "name": KEY, "plaintextCrc32c": "297981719", "additionalAuthenticatedDataCrc32c": "0" });
        assert_eq!(seen.json(), expected);
    }
}

#[tokio::test]
async fn wire_09_and_10_the_mask_is_in_camel_case_and_the_body_may_hold_more_or_less() {
    let uri = format!("/v1/{KEY}?alt=json&updateMask=rotationPeriod,nextRotationTime");
    let schedule = seen("PATCH", &uri, "{\"labels\": {}}").await;
    assert_eq!(schedule.path, format!("{KMS}/UpdateCryptoKey"));
    assert_eq!(paths(&schedule.message), ["rotation_period", "next_rotation_time"]);
    assert_eq!(schedule.json()["cryptoKey"], json!({ "name": KEY }));

    let version = format!("{KEY}/cryptoKeyVersions/1");
    let body = json!({ "state": "DISABLED", "externalProtectionLevelOptions": {} }).to_string();
    let state = seen("PATCH", &format!("/v1/{version}?updateMask=state"), body).await;
    let expected = json!({ "name": version, "state": "DISABLED", "externalProtectionLevelOptions": {} });
    assert_eq!(state.json()["cryptoKeyVersion"], expected);

    for mask in ["versionTemplate.algorithm", "version_template.algorithm"] {
        let nested = seen("PATCH", &format!("/v1/{KEY}?updateMask={mask}"), "{}").await;
        assert_eq!(paths(&nested.message), ["version_template.algorithm"]);
    }
}

#[tokio::test]
async fn wire_10_a_mask_in_the_body_may_be_in_either_case() {
    for mask in ["displayName,description", "display_name,description"] {
        let body = json!({ "updateMask": mask, "serviceAccount": { "displayName": "d" } }).to_string();
        let path = "/v1/projects/key-project/serviceAccounts/a@key-project.example";
        let seen = seen("PATCH", path, body).await;
        assert_eq!(paths(&seen.message), ["display_name", "description"]);
        let name = "projects/key-project/serviceAccounts/a@key-project.example";
        assert_eq!(seen.json()["serviceAccount"], json!({ "name": name, "displayName": "d" }));
    }
    let body = json!({ "policy": {}, "updateMask": "bindings,etag,version" }).to_string();
    let policy = seen("POST", &format!("/v1/{KEY}:setIamPolicy"), body).await;
    assert_eq!(paths(&policy.message), ["bindings", "etag", "version"]);
}

fn paths(message: &prost_reflect::DynamicMessage) -> Vec<String> {
    let mask = message.get_field_by_name("update_mask").expect("mask");
    let paths = mask.as_message().expect("mask").get_field_by_name("paths").expect("paths").into_owned();
    paths.as_list().expect("list").iter().map(|path| path.as_str().expect("path").to_owned()).collect()
}

#[tokio::test]
async fn wire_11_truth_is_written_as_python_does_or_not() {
    for (text, skip) in [("True", true), ("true", true), ("False", false), ("false", false)] {
        let uri = format!("/v1/{RING}/cryptoKeys?cryptoKeyId=k&skipInitialVersionCreation={text}");
        let json = seen("POST", &uri, "{}").await.json();
        assert_eq!(json.get("skipInitialVersionCreation").is_some(), skip, "{text}");
    }
}

#[tokio::test]
async fn wire_12_query_values_are_form_encoded() {
    let path = "/v1/projects/key-project/locations/us-central1/keyRings?keyRingId=bad+name%21%E2%82%AC";
    assert_eq!(seen("POST", path, "{}").await.json()["keyRingId"], "bad name!\u{20ac}");
    let path = "/v1/projects?filter=lifecycleState%3AACTIVE+OR+x&pageSize=500&pageToken=a%3D%3D";
    let seen = seen("GET", path, "").await;
    assert_eq!(seen.path, "/google.cloudresourcemanager.v1.Projects/ListProjects");
    let expected = json!({ "filter": "lifecycleState:ACTIVE OR x", "pageSize": 500, "pageToken": "a==" });
    assert_eq!(seen.json(), expected);
}

#[tokio::test]
async fn wire_17_verbs_have_a_colon_and_encrypt_takes_a_version_too() {
    for name in [KEY.to_owned(), format!("{KEY}/cryptoKeyVersions/1")] {
        let seen = seen("POST", &format!("/v1/{name}:encrypt"), "{}").await;
        assert_eq!((seen.path.clone(), seen.json()), (format!("{KMS}/Encrypt"), json!({ "name": name })));
    }
    let seen = seen("POST", "/v1/projects/p/locations/us:generateRandomBytes", "{\"lengthBytes\": 32}").await;
    assert_eq!(seen.json(), json!({ "location": "projects/p/locations/us", "lengthBytes": 32 }));
}

#[tokio::test]
async fn wire_18_headers_and_extensions_reach_the_service() {
    let mut request = super::request("GET", &format!("/v1/{KEY}"), "");
    for (name, value) in
        [("authorization", "Bearer t"), ("user-agent", "gcloud/528"), ("x-goog-user-project", "p")]
    {
        request.headers_mut().insert(name, value.parse().expect("value"));
    }
    let recorder = super::Recorder::answering(|| super::grpc_ok(&()));
    let (_, _, seen) = super::send(request, &recorder).await;
    let headers = seen.expect("asked").headers;
    assert_eq!(headers["authorization"], "Bearer t");
    assert_eq!(headers["user-agent"], "gcloud/528");
    assert_eq!(headers["x-goog-user-project"], "p");
    assert_eq!(headers["content-type"], "application/grpc");
}

#[tokio::test]
async fn nested_and_repeated_fields_come_in_the_query() {
    let uri = format!("/v1/{KEY}:getIamPolicy?options.requestedPolicyVersion=3&alt=json");
    let policy = seen("GET", &uri, "").await;
    assert_eq!(policy.path, "/google.iam.v1.IAMPolicy/GetIamPolicy");
    assert_eq!(policy.json(), json!({ "resource": KEY, "options": { "requestedPolicyVersion": 3 } }));

    let account = "projects/p/serviceAccounts/a@p.example";
    let keys = seen("GET", &format!("/v1/{account}/keys?keyTypes=USER_MANAGED&keyTypes=2"), "").await;
    assert_eq!(keys.json(), json!({ "name": account, "keyTypes": ["USER_MANAGED", "SYSTEM_MANAGED"] }));
}

#[tokio::test]
async fn what_the_path_says_wins_over_query_and_body() {
    let other = KEY.replace("key-1", "other");
    let in_body = seen("POST", &format!("/v1/{KEY}:encrypt"), json!({ "name": other }).to_string()).await;
    assert_eq!(in_body.json(), json!({ "name": KEY }));
    let in_query = seen("GET", &format!("/v1/{KEY}?name={other}"), "").await;
    assert_eq!(in_query.json(), json!({ "name": KEY }));
    let of_field = seen("PATCH", &format!("/v1/{KEY}?cryptoKey.name={other}&updateMask=labels"), "{}").await;
    assert_eq!(of_field.json()["cryptoKey"], json!({ "name": KEY }));
}

/// Terraform clears a schedule so.
#[tokio::test]
async fn null_is_the_absence_of_a_field() {
    let body = "{\"rotationPeriod\": null, \"nextRotationTime\": null, \"labels\": null}";
    let seen = seen("PATCH", &format!("/v1/{KEY}?updateMask=rotationPeriod"), body).await;
    assert_eq!(seen.json()["cryptoKey"], json!({ "name": KEY }));
}

#[tokio::test]
async fn durations_and_times_keep_their_value() {
    let body = json!({
        "rotationPeriod": "7776000s",
        "nextRotationTime": "2030-01-02T03:04:05.000Z",
        "destroyScheduledDuration": "90000.5s",
        "labels": { "team": "a_b" },
    });
    let seen = seen("POST", &format!("/v1/{RING}/cryptoKeys?crypto_key_id=k"), body.to_string()).await;
    let expected = json!({
        "rotationPeriod": "7776000s",
        "nextRotationTime": "2030-01-02T03:04:05Z",
        "destroyScheduledDuration": "90000.500s",
        "labels": { "team": "a_b" },
    });
    assert_eq!(seen.json()["cryptoKey"], expected);
    assert_eq!(seen.json()["cryptoKeyId"], "k");
}

#[tokio::test]
async fn bodies_are_ignored_where_no_body_belongs() {
    let account = "projects/p/serviceAccounts/a@p.example";
    let uri = format!("/v1/{account}:getIamPolicy?options.requestedPolicyVersion=3");
    let seen = seen("POST", &uri, "{not JSON").await;
    assert_eq!(seen.json(), json!({ "resource": account, "options": { "requestedPolicyVersion": 3 } }));
}

/// The largest that the API allows: 64 KiB of plaintext and 64 KiB of additional data.
#[tokio::test]
async fn the_documented_maxima_fit() {
    let text = "A".repeat(65_536usize.div_ceil(3) * 4);
    let body = json!({ "plaintext": text, "additionalAuthenticatedData": text }).to_string();
    let seen = seen("POST", &format!("/v1/{KEY}:encrypt"), body).await;
    let field = seen.message.get_field_by_name("additional_authenticated_data").expect("field");
    assert_eq!(field.as_bytes().expect("bytes").len(), 65_538);
}
