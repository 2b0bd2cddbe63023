use bytes::Bytes;
use http::Request;
use http_body_util::StreamBody;
use keystead_server::MAX_REQUEST_LEN;
use keystead_server::rest::Gateway;

use super::{KEY, Recorder, grpc_ok, refused, seen};

#[tokio::test]
async fn bodies_that_are_refused_before_anything_is_made_of_them() {
    let deep = format!("{{\"plaintext\": {}1{}}}", "[".repeat(40), "]".repeat(40));
    let large = format!("{{\"plaintext\": \"{}\"}}", "A".repeat(MAX_REQUEST_LEN));
    for (body, why) in [
        (Bytes::from_static(b"{\"plaintext\": \"\xff\"}"), "not UTF-8"),
        ("{\"plaintext\": \"\", \"plaintext\": \"QQ==\"}".into(), "there twice"),
        ("{\"plaintextCrc32c\": 1, \"plaintext_crc32c\": 2}".into(), "there twice"),
        (deep.into(), "within each other"),
        (large.into(), "larger than 262144 bytes"),
        ("{".into(), "EOF"),
        ("[]".into(), "not valid"),
        ("7".into(), "not valid"),
        ("\"x\"".into(), "not valid"),
        ("{} {}".into(), "trailing"),
        ("{\"plaintext\": 7}".into(), "not valid"),
        ("{\"plaintext\": \"A===\"}".into(), "base64"),
        ("{\"plaintext\": \"a b\"}".into(), "base64"),
        ("{\"plaintext\": \"-_+/\"}".into(), "base64"),
        ("{\"plaintextCrc32c\": \"1x\"}".into(), "not valid"),
        ("{\"plaintextCrc32c\": 1.5}".into(), "not valid"),
        ("{\"plaintextCrc32c\": 9223372036854775808}".into(), "not valid"),
        ("{\"nonsense\": 1}".into(), "nonsense"),
    ] {
        let (status, message) = refused("POST", &format!("/v1/{KEY}:encrypt"), body.clone()).await;
        assert_eq!(status, 400, "{body:?}");
        assert!(message.contains(why), "{body:?}: {message}");
    }
}

/// Without a length the body is counted as it comes.
#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let pulled = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = pulled.clone();
    let endless = futures_util::stream::repeat_with(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(Bytes::from_static(&[b' '; 1024])))
    });
    let request =
        Request::post(format!("/v1/{KEY}:encrypt")).body(StreamBody::new(endless)).expect("request");
    let service = Recorder::answering(|| grpc_ok(&()));
    let response = Gateway::new().expect("routes").call(request, service).await;
    assert_eq!(response.status(), 400);
    assert_eq!(pulled.load(std::sync::atomic::Ordering::Relaxed), MAX_REQUEST_LEN / 1024 + 1);
}

#[tokio::test]
async fn paths_that_lead_nowhere() {
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v2/projects", 404),
        ("GET", "/v1/projects/p/locations//keyRings", 404),
        ("GET", &format!("/v1/{KEY}/"), 404),
        ("POST", &format!("/v1/{KEY}:nonsense"), 404),
        ("POST", &format!("/v1/{KEY}:"), 404),
        ("OPTIONS", "*", 404),
        ("DELETE", "/v1/projects/p/locations/us/keyRings/r", 405),
        ("PUT", &format!("/v1/{KEY}"), 405),
        ("GET", &format!("/v1/{KEY}:encrypt"), 405),
        ("HEAD", &format!("/v1/{KEY}"), 405),
    ] {
        assert_eq!(refused(method, path, "").await.0, status, "{method} {path}");
    }
}

#[tokio::test]
async fn the_methods_that_a_path_takes_are_named() {
    let service = Recorder::answering(|| grpc_ok(&()));
    let gateway = Gateway::new().expect("routes");
    let response = gateway.call(super::request("PUT", &format!("/v1/{KEY}"), ""), service).await;
    let allow = response.headers()["allow"].to_str().expect("text").to_owned();
    let mut allow: Vec<_> = allow.split(", ").collect();
    allow.sort_unstable();
    assert_eq!(allow, ["DELETE", "GET", "PATCH"]);
}

#[tokio::test]
async fn urls_that_are_refused() {
    let many = vec!["a=b"; 101].join("&");
    for uri in [
        "/v1/projects/p/locations/us/keyRings/r%2FcryptoKeys%2Fk".to_owned(),
        "/v1/projects/p/locations/us/keyRings/r%2".to_owned(),
        "/v1/projects/p/locations/us/keyRings/r%zz".to_owned(),
        "/v1/projects/p/locations/us/keyRings/%ff".to_owned(),
        "/v1/projects?pageSize=x".to_owned(),
        "/v1/projects?pageSize=99999999999".to_owned(),
        "/v1/projects?pageSize=1&pageSize=2".to_owned(),
        "/v1/projects?filter=%ff".to_owned(),
        "/v1/projects?filter=%".to_owned(),
        "/v3/projects?showDeleted=maybe".to_owned(),
        format!("/v1/projects?{many}"),
    ] {
        assert_eq!(refused("GET", &uri, "").await.0, 400, "{uri:.80}");
    }
    let uri = format!("/v1/{KEY}?updateMask=labels,,x");
    assert_eq!(seen("PATCH", &uri, "{}").await.json()["updateMask"], "labels,x");
}

#[tokio::test]
async fn odd_names_arrive_as_they_are() {
    let seen = seen("GET", "/v1/projects/p/serviceAccounts/a%40b.example%3a", "").await;
    assert_eq!(seen.json()["name"], "projects/p/serviceAccounts/a@b.example:");
}
