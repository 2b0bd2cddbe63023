//! The `:authority` that Go clients derive from the socket's path, and methods that do not exist.

use keystead_proto::kms_v1::VersionRequest;
use prost::Message as _;

use crate::check::{Check, Judged};
use crate::options::{Kms, Socket};
use crate::plugin::V1_VERSION;
use crate::raw::{self, Ending};
use crate::report::Outcome;
use crate::run::{Suite, skip};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "v1-authority-raw",
        title: "v1: the raw path as authority",
        rule: "a request with the socket's path as :authority is answered",
        why: "Kubernetes up to 1.28 sends it for KMS v1: the API server is never ready and every write fails",
        kms: Kms::V1,
        judge: |suite| Box::pin(authority(suite, Kms::V1, raw_path(suite), Outcome::fail)),
    },
    Check {
        id: "v1-authority-encoded",
        title: "v1: the encoded path as authority",
        rule: "a request with the percent-encoded path as :authority is answered",
        why: "Kubernetes since 1.29 sends it for KMS v1: the API server is never ready and every write fails",
        kms: Kms::V1,
        judge: |suite| Box::pin(authority(suite, Kms::V1, encoded_path(suite), Outcome::fail)),
    },
    Check {
        id: "v1-authority-abstract",
        title: "v1: an abstract name as authority",
        rule: "a request with `@name` as :authority is answered",
        why: "with an abstract socket Kubernetes sends it for KMS v1",
        kms: Kms::V1,
        judge: |suite| Box::pin(authority(suite, Kms::V1, abstract_name(suite), if_abstract(suite))),
    },
    Check {
        id: "v2-authority-localhost",
        title: "v2: `localhost` as authority",
        rule: "a request with `localhost` as :authority is answered",
        why: "Kubernetes since 1.32 sends it for KMS v2",
        kms: Kms::V2,
        judge: |suite| Box::pin(authority(suite, Kms::V2, "localhost".to_owned(), Outcome::fail)),
    },
    Check {
        id: "v2-authority-raw",
        title: "v2: the raw path as authority",
        rule: "a request with the socket's path as :authority is answered",
        why: "Kubernetes 1.27 and 1.28 send it for KMS v2: with those the plugin does not work",
        kms: Kms::V2,
        judge: |suite| Box::pin(authority(suite, Kms::V2, raw_path(suite), Outcome::warn)),
    },
    Check {
        id: "v2-authority-encoded",
        title: "v2: the encoded path as authority",
        rule: "a request with the percent-encoded path as :authority is answered",
        why: "Kubernetes 1.29 to 1.31 send it for KMS v2: with those the plugin does not work",
        kms: Kms::V2,
        judge: |suite| Box::pin(authority(suite, Kms::V2, encoded_path(suite), Outcome::warn)),
    },
    Check {
        id: "v2-authority-abstract",
        title: "v2: an abstract name as authority",
        rule: "a request with `@name` as :authority is answered",
        why: "with an abstract socket Kubernetes before 1.32 sends it for KMS v2",
        kms: Kms::V2,
        judge: |suite| Box::pin(authority(suite, Kms::V2, abstract_name(suite), if_abstract(suite))),
    },
    Check {
        id: "grpc-unknown-method",
        title: "A method that does not exist",
        rule: "methods and services that do not exist get an error, and the connection lives on",
        why: "a newer API server may ask for what the plugin does not know, and must not stop it",
        kms: Kms::Both,
        judge: |suite| Box::pin(unknown_method(suite)),
    },
    Check {
        id: "grpc-malformed-message",
        title: "A message that is not protobuf",
        rule: "a request that cannot be decoded gets an error, and the plugin serves on",
        why: "a broken client must not stop the API server",
        kms: Kms::Both,
        judge: |suite| Box::pin(malformed_message(suite)),
    },
];

/// One call with this authority. `verdict` makes the outcome when it is refused.
async fn authority(suite: &Suite, kms: Kms, authority: String, verdict: fn(String) -> Outcome) -> Judged {
    if !suite.serves(kms) {
        return skip("needs Status or Version to be answered: see v2-served and v1-served");
    }
    let (path, message) = cheapest(kms);
    let answer = raw_call(suite, &authority, path, &message).await;
    if matches!(answer, Ending::Message(_)) {
        return Ok(Outcome::pass(format!("`{authority}` is answered")));
    }
    let plain = raw_call(suite, "localhost", path, &message).await;
    if authority != "localhost" && !matches!(plain, Ending::Message(_)) {
        return Ok(Outcome::skip(format!("not even `localhost` is answered: {plain}")));
    }
    Ok(verdict(format!("`{authority}`: {answer}")))
}

async fn unknown_method(suite: &Suite) -> Judged {
    let Some(kms) = [Kms::V2, Kms::V1].into_iter().find(|it| suite.serves(*it)) else {
        return skip("the plugin does not answer: see socket-answers");
    };
    for path in [
        "/v2.KeyManagementService/Rotate",
        "/v3.KeyManagementService/Status",
        "/",
        "/grpc.health.v1.Health/Check",
    ] {
        match raw_call(suite, "localhost", path, &[]).await {
            Ending::Trailers => {}
            // The health service is real in some plugins, and harmless.
            Ending::Message(_) if path.starts_with("/grpc.health") => {}
            other => return Ok(Outcome::fail(format!("`{path}`: {other}"))),
        }
    }
    serves_on(suite, kms).await
}

async fn malformed_message(suite: &Suite) -> Judged {
    let Some(kms) = [Kms::V2, Kms::V1].into_iter().find(|it| suite.serves(*it)) else {
        return skip("the plugin does not answer: see socket-answers");
    };
    let service = if kms == Kms::V2 { "/v2.KeyManagementService" } else { "/v1beta1.KeyManagementService" };
    // Field 1 as bytes with 127 to come, a field number of 0, and an endless varint: none can be decoded.
    for message in [&[0x0a, 0x7f, 1][..], &[0x02, 1, 1], &[0xff; 24]] {
        for method in ["Encrypt", "Decrypt"] {
            match raw_call(suite, "localhost", &format!("{service}/{method}"), message).await {
                Ending::Trailers => {}
                other => return Ok(Outcome::fail(format!("{method} of a malformed message: {other}"))),
            }
        }
    }
    serves_on(suite, kms).await
}

async fn serves_on(suite: &Suite, kms: Kms) -> Judged {
    let (path, message) = cheapest(kms);
    Ok(match raw_call(suite, "localhost", path, &message).await {
        Ending::Message(_) => Outcome::pass("an error each time, and the plugin serves on"),
        other => Outcome::fail(format!("a good call after that: {other}")),
    })
}

async fn raw_call(suite: &Suite, authority: &str, path: &str, message: &[u8]) -> Ending {
    raw::unary(&suite.options.socket, authority.as_bytes(), path, message, suite.options.timeout).await
}

/// The path and the request of a call that does nothing.
fn cheapest(kms: Kms) -> (&'static str, Vec<u8>) {
    match kms {
        Kms::V1 => {
            let request = VersionRequest { version: V1_VERSION.to_owned() };
            ("/v1beta1.KeyManagementService/Version", request.encode_to_vec())
        }
        Kms::V2 | Kms::Both => ("/v2.KeyManagementService/Status", Vec::new()),
    }
}

/// What grpc-go 1.56 sends. For an abstract socket a path must be made up.
fn raw_path(suite: &Suite) -> String {
    match &suite.options.socket {
        Socket::Path(path) => path.display().to_string(),
        Socket::Abstract(_) => "/run/kms/kms.sock".to_owned(),
    }
}

/// What grpc-go since 1.58 sends: all but letters, digits and these signs as `%2F`.
fn encoded_path(suite: &Suite) -> String {
    let mut encoded = String::new();
    for byte in raw_path(suite).bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn abstract_name(suite: &Suite) -> String {
    match &suite.options.socket {
        Socket::Path(_) => "@kms".to_owned(),
        Socket::Abstract(_) => suite.options.socket.authority(),
    }
}

/// An authority of abstract sockets matters to a plugin that listens on one.
fn if_abstract(suite: &Suite) -> fn(String) -> Outcome {
    match suite.options.socket {
        Socket::Path(_) => Outcome::warn,
        Socket::Abstract(_) => Outcome::fail,
    }
}
