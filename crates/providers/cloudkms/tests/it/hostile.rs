//! Answers that no honest service gives. None is believed, none looks like a revocation, and none holds a call for longer
//! than its deadline.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use keystead_crypto::{KmsBinding, KmsCiphertext, SystemRandom};
use keystead_model::KeyVersion;
use keystead_proto::cloud_kms::{DecryptResponse, EncryptResponse};
use keystead_provider::Provider;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::place::{Place, guarded, key};
use crate::server::{Body, Broken, Server, body, framed, grpc, message, ok, trailers};
use crate::stand_in::KEY;

/// The deadline of the tests' guard, and time to notice on a busy machine.
const IN_TIME: Duration = Duration::from_secs(4);

type Frames = Vec<Result<Frame<Bytes>, Broken>>;
type Make = Box<dyn Fn() -> Response<Body> + Send + Sync>;

fn good_encrypt() -> EncryptResponse {
    encrypt_of(vec![7; 100])
}

fn encrypt_of(ciphertext: Vec<u8>) -> EncryptResponse {
    EncryptResponse {
        name: format!("{KEY}/cryptoKeyVersions/1"),
        ciphertext_crc32c: Some(i64::from(crc32c::crc32c(&ciphertext))),
        ciphertext,
        verified_plaintext_crc32c: true,
        ..EncryptResponse::default()
    }
}

/// A ciphertext in the format of our server.
fn ours(version: u32) -> Vec<u8> {
    let binding = KmsBinding { uid: [7; 16], version, version_name: KEY, caller_data: &[] };
    KmsCiphertext::seal(&key(), &binding, &[7; 32], &SystemRandom).expect("sealed")
}

fn decrypt_of(len: usize) -> DecryptResponse {
    let plaintext = vec![7; len];
    DecryptResponse {
        plaintext_crc32c: Some(i64::from(crc32c::crc32c(&plaintext))),
        plaintext,
        ..DecryptResponse::default()
    }
}

fn encrypt_with(change: fn(&mut EncryptResponse)) -> Make {
    Box::new(move || {
        let mut answer = good_encrypt();
        change(&mut answer);
        ok(&answer)
    })
}

fn named(name: &'static str) -> Make {
    Box::new(move || ok(&EncryptResponse { name: name.to_owned(), ..good_encrypt() }))
}

fn activation(count: &'static str) -> Make {
    Box::new(move || {
        let mut response = ok(&good_encrypt());
        response.headers_mut().insert("keystead-activation", HeaderValue::from_static(count));
        response
    })
}

fn decrypt_with(change: fn(&mut DecryptResponse)) -> Make {
    Box::new(move || {
        let mut answer = decrypt_of(32);
        change(&mut answer);
        ok(&answer)
    })
}

/// The good frames of either answer, in a response that is changed.
fn response_with(change: fn(&mut Response<Body>)) -> [Make; 2] {
    let changed = move |mut response: Response<Body>| {
        change(&mut response);
        response
    };
    [Box::new(move || changed(ok(&good_encrypt()))), Box::new(move || changed(ok(&decrypt_of(32))))]
}

fn frames_with(change: fn(Frame<Bytes>) -> Frames) -> [Make; 2] {
    [
        Box::new(move || grpc(change(message(&good_encrypt())))),
        Box::new(move || grpc(change(message(&decrypt_of(32))))),
    ]
}

fn content_type(text: &'static str) -> [Make; 2] {
    [
        Box::new(move || with_content_type(ok(&good_encrypt()), text)),
        Box::new(move || with_content_type(ok(&decrypt_of(32)), text)),
    ]
}

fn with_content_type(mut response: Response<Body>, text: &'static str) -> Response<Body> {
    response.headers_mut().insert("content-type", HeaderValue::from_static(text));
    response
}

/// What a proxy or another web server says.
fn web(status: u16, content_type: &'static str) -> [Make; 2] {
    let make = move || {
        let mut response = Response::new(body(vec![Ok(Frame::data("<html>canary</html>".into()))]));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
        response.headers_mut().insert("location", HeaderValue::from_static("https://elsewhere.example/"));
        response
    };
    [Box::new(make), Box::new(make)]
}

/// Never ends.
fn endless(frame: fn() -> Frame<Bytes>, first: fn() -> Frame<Bytes>) -> Make {
    Box::new(move || {
        let start = stream::iter([Ok(first())]);
        let rest = stream::unfold((), move |()| async move {
            tokio::task::yield_now().await;
            Some((Ok::<_, Broken>(frame()), ()))
        });
        let mut response =
            Response::new(Body::new(StreamBody::new(futures_util::StreamExt::chain(start, rest))));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    })
}

fn answers_to_encrypt() -> Vec<(&'static str, Make)> {
    vec![
        (
            "another key",
            named(
                "projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/other/cryptoKeyVersions/1",
            ),
        ),
        (
            "another ring",
            named(
                "projects/key-project/locations/us-central1/keyRings/other/cryptoKeys/key/cryptoKeyVersions/1",
            ),
        ),
        (
            "another project",
            named(
                "projects/other-project/locations/us-central1/keyRings/ring/cryptoKeys/key/cryptoKeyVersions/1",
            ),
        ),
        (
            "another location",
            named("projects/key-project/locations/global/keyRings/ring/cryptoKeys/key/cryptoKeyVersions/1"),
        ),
        (
            "a key that begins alike",
            named(
                "projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/key2/cryptoKeyVersions/1",
            ),
        ),
        ("no name", named("")),
        ("a name without a version", named(KEY)),
        (
            "version 0",
            named(
                "projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/key/cryptoKeyVersions/0",
            ),
        ),
        (
            "version 01",
            named(
                "projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/key/cryptoKeyVersions/01",
            ),
        ),
        (
            "version 2^32",
            named(
                "projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/key/cryptoKeyVersions/4294967296",
            ),
        ),
        (
            "a slash too many",
            named(
                "projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/key/cryptoKeyVersions/1/",
            ),
        ),
        (
            "a path",
            named(
                "projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/other/../key/cryptoKeyVersions/1",
            ),
        ),
        (
            "a service before the name",
            named(
                "//cloudkms.googleapis.com/projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/key/cryptoKeyVersions/1",
            ),
        ),
        ("no ciphertext", Box::new(|| ok(&encrypt_of(vec![])))),
        ("a ciphertext that is too long", Box::new(|| ok(&encrypt_of(vec![7; 513])))),
        ("a huge ciphertext", Box::new(|| ok(&encrypt_of(vec![7; 1024 * 1024])))),
        ("a ciphertext of another version", Box::new(|| ok(&encrypt_of(ours(2))))),
        ("a wrong checksum", encrypt_with(|answer| answer.ciphertext_crc32c = Some(7))),
        ("no checksum", encrypt_with(|answer| answer.ciphertext_crc32c = None)),
        (
            "a negative checksum",
            encrypt_with(|answer| answer.ciphertext_crc32c = answer.ciphertext_crc32c.map(|sum| -sum)),
        ),
        (
            "a checksum with high bits",
            encrypt_with(|answer| {
                answer.ciphertext_crc32c = answer.ciphertext_crc32c.map(|sum| sum | 1 << 32)
            }),
        ),
        ("an altered ciphertext", encrypt_with(|answer| answer.ciphertext[5] ^= 1)),
        ("an unverified plaintext", encrypt_with(|answer| answer.verified_plaintext_crc32c = false)),
        ("nothing set", Box::new(|| ok(&EncryptResponse::default()))),
        ("an answer to Decrypt", Box::new(|| ok(&decrypt_of(32)))),
        ("a negative activation", activation("-1")),
        ("an activation with a zero in front", activation("01")),
        ("an activation that is no number", activation("one")),
        ("an activation of 2^32", activation("4294967296")),
        (
            "endless messages after a good one",
            endless(|| message(&good_encrypt()), || message(&good_encrypt())),
        ),
    ]
}

fn answers_to_decrypt() -> Vec<(&'static str, Make)> {
    vec![
        ("no plaintext", Box::new(|| ok(&decrypt_of(0)))),
        ("31 bytes", Box::new(|| ok(&decrypt_of(31)))),
        ("33 bytes", Box::new(|| ok(&decrypt_of(33)))),
        ("64 KiB", Box::new(|| ok(&decrypt_of(65_536)))),
        ("a wrong checksum", decrypt_with(|answer| answer.plaintext_crc32c = Some(7))),
        ("no checksum", decrypt_with(|answer| answer.plaintext_crc32c = None)),
        ("an altered plaintext", decrypt_with(|answer| answer.plaintext[5] ^= 1)),
        ("nothing set", Box::new(|| ok(&DecryptResponse::default()))),
        ("an answer to Encrypt", Box::new(|| ok(&good_encrypt()))),
        (
            "endless messages after a good one",
            endless(|| message(&decrypt_of(32)), || message(&decrypt_of(32))),
        ),
    ]
}

/// The same to both calls: they break the protocol and not the message.
fn answers_to_both() -> Vec<(&'static str, [Make; 2])> {
    vec![
        ("no message", frames_with(|_| vec![Ok(trailers(&[("grpc-status", "0")]))])),
        ("an empty body", frames_with(|_| vec![])),
        ("no trailers", frames_with(|frame| vec![Ok(frame)])),
        ("trailers without a status", frames_with(|frame| vec![Ok(frame), Ok(trailers(&[("x", "y")]))])),
        (
            "a status that is no number",
            frames_with(|frame| vec![Ok(frame), Ok(trailers(&[("grpc-status", "good")]))]),
        ),
        (
            "a status that does not exist",
            frames_with(|frame| vec![Ok(frame), Ok(trailers(&[("grpc-status", "99")]))]),
        ),
        (
            "an error after a good message",
            frames_with(|frame| vec![Ok(frame), Ok(trailers(&[("grpc-status", "13")]))]),
        ),
        ("a reset after a good message", frames_with(|frame| vec![Ok(frame), Err(Broken)])),
        (
            "a status before the message",
            response_with(|response| {
                response.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
            }),
        ),
        ("a reset in the middle", frames_with(|frame| vec![Ok(half(frame)), Err(Broken)])),
        ("half a message", frames_with(|frame| vec![Ok(half(frame)), Ok(trailers(&[("grpc-status", "0")]))])),
        (
            "one byte",
            frames_with(|_| vec![Ok(Frame::data(vec![0].into())), Ok(trailers(&[("grpc-status", "0")]))]),
        ),
        (
            "a length of 4 GiB",
            frames_with(|_| vec![Ok(Frame::data(vec![0, 255, 255, 255, 255, 1].into())), Err(Broken)]),
        ),
        (
            "not protobuf",
            frames_with(|_| vec![Ok(framed(0, &[255; 90])), Ok(trailers(&[("grpc-status", "0")]))]),
        ),
        (
            "compressed, it says",
            frames_with(|frame| {
                vec![
                    Ok(framed(1, &frame.into_data().expect("data")[5..])),
                    Ok(trailers(&[("grpc-status", "0")])),
                ]
            }),
        ),
        (
            "an unknown flag",
            frames_with(|frame| {
                vec![
                    Ok(framed(9, &frame.into_data().expect("data")[5..])),
                    Ok(trailers(&[("grpc-status", "0")])),
                ]
            }),
        ),
        (
            "an unknown encoding",
            response_with(|response| {
                response.headers_mut().insert("grpc-encoding", HeaderValue::from_static("snappy"));
            }),
        ),
        (
            "endless empty messages",
            [endless(|| framed(0, b""), || framed(0, b"")), endless(|| framed(0, b""), || framed(0, b""))],
        ),
        (
            "an endless message",
            [
                endless(|| Frame::data(vec![7; 1024].into()), || Frame::data(vec![0, 64, 0, 0, 0].into())),
                endless(|| Frame::data(vec![7; 1024].into()), || Frame::data(vec![0, 64, 0, 0, 0].into())),
            ],
        ),
        (
            "huge headers",
            response_with(|response| {
                for number in 0..30 {
                    let name =
                        http::HeaderName::from_bytes(format!("x-{number}").as_bytes()).expect("a name");
                    response
                        .headers_mut()
                        .insert(name, HeaderValue::from_str(&"x".repeat(1000)).expect("a value"));
                }
            }),
        ),
        ("no content type", response_with(|response| drop(response.headers_mut().remove("content-type")))),
        ("HTML, it says", content_type("text/html")),
        ("JSON, it says", content_type("application/json")),
        ("gRPC for browsers, it says", content_type("application/grpc-web")),
        ("nearly gRPC, it says", content_type("application/grpcx")),
        ("a 202", response_with(|response| *response.status_mut() = StatusCode::ACCEPTED)),
        ("a web page", web(200, "text/html")),
        ("a web page that says gRPC", web(200, "application/grpc")),
        ("a redirect for ever", web(301, "text/html")),
        ("a redirect", web(302, "text/html")),
        ("a redirect that says gRPC", web(307, "application/grpc")),
        ("401 from a proxy", web(401, "text/html")),
        ("403 from a proxy", web(403, "text/html")),
        ("403 from a proxy that says gRPC", web(403, "application/grpc")),
        ("404 from a web server", web(404, "text/html")),
        ("412 from a web server", web(412, "text/html")),
        ("429 from a proxy", web(429, "text/html")),
        ("500 from a proxy", web(500, "text/html")),
        ("502 from a proxy", web(502, "text/html")),
        ("503 from a proxy", web(503, "application/grpc")),
    ]
}

fn half(frame: Frame<Bytes>) -> Frame<Bytes> {
    let data = frame.into_data().expect("data");
    Frame::data(data.slice(..data.len() / 2))
}

/// What comes instead of HTTP/2, and then silence or the end.
const WIRE: [(&str, &[u8], bool); 8] = [
    ("HTTP/1.1", b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n\r\n", true),
    ("a redirect in HTTP/1.1", b"HTTP/1.1 301 Moved\r\nlocation: https://elsewhere.example/\r\n\r\n", true),
    ("noise", &[0xa5; 4096], true),
    ("nothing", b"", true),
    ("silence", b"", false),
    ("half a frame and silence", &[0, 0, 6, 4, 0], false),
    ("good-bye", &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], true),
    ("a frame of 16 MiB", &[255, 255, 255, 0, 0, 0, 0, 0, 1], false),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_no_bad_answer_is_believed() {
    let mut answers = Vec::new();
    for (name, make) in answers_to_encrypt() {
        answers.push((name, true, make));
    }
    for (name, make) in answers_to_decrypt() {
        answers.push((name, false, make));
    }
    for (name, [encrypt, decrypt]) in answers_to_both() {
        answers.push((name, true, encrypt));
        answers.push((name, false, decrypt));
    }
    assert!(answers.len() > 100, "{} answers", answers.len());
    join_all(answers.into_iter().map(|(name, encrypt, make)| async move {
        let server = Server::start(None, move |_, _| {
            let response = make();
            Box::pin(async move { response })
        })
        .await;
        refused(name, &Place::for_plain(server.address), encrypt).await;
        assert!(server.requests() > 0, "{name}: it was not asked");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_no_noise_on_the_wire_is_believed() {
    join_all(WIRE.into_iter().map(|(name, bytes, closes)| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                // Who is answered so may be gone.
                drop(stream.write_all(bytes).await);
                if !closes {
                    kept.push(stream);
                }
            }
        });
        let place = Place::for_plain(address);
        refused(name, &place, true).await;
        refused(name, &place, false).await;
    }))
    .await;
}

/// What the tests above change is good as it stands.
#[tokio::test]
async fn the_unchanged_answers_are_believed() {
    let server = Server::start(None, |parts, _| {
        let encrypt = parts.uri.path().ends_with("/Encrypt");
        Box::pin(async move { if encrypt { ok(&good_encrypt()) } else { ok(&decrypt_of(32)) } })
    })
    .await;
    let provider = Place::for_plain(server.address).provider();
    let wrapped = provider.wrap(&key()).await.expect("believed");
    assert_eq!((wrapped.version.as_str(), wrapped.bytes.len()), ("1", 100));
    provider.unwrap(&wrapped.version, &wrapped.bytes).await.expect("believed");
    assert!(good_encrypt().encode_to_vec().len() < 512);
}

async fn refused(name: &str, place: &Place, encrypt: bool) {
    let provider = guarded(place.provider());
    let start = Instant::now();
    let error = if encrypt {
        provider.wrap(&key()).await.err()
    } else {
        provider.unwrap(&KeyVersion::from(1), &[7; 100]).await.err()
    };
    let error = error.unwrap_or_else(|| panic!("{name}: believed"));
    assert!(start.elapsed() < IN_TIME, "{name}: took {:?}", start.elapsed());
    assert!(!error.class().is_revocation(), "{name}: {error} is no word of the key service");
    assert!(!format!("{error:?}").contains("canary"), "{name}: {error}");
}
