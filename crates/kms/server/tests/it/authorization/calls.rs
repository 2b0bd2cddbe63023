//! A server with one caller for each role and place, and the same call over both transports.

use std::collections::HashMap;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use keystead_proto::descriptor_pool;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};

use super::table::Row;
use super::{PLACES, ROLES, binds};
use crate::api::Server;

/// Names that stand for `{ring}` and so on.
pub(super) type Names<'a> = &'a [(&'static str, &'a str)];

const PROJECT: &str = "key-project";

pub(super) const EXISTING: Names<'_> = &[
    ("{project}", PROJECT),
    ("{location}", "projects/key-project/locations/us-central1"),
    ("{ring}", "projects/key-project/locations/us-central1/keyRings/ring-1"),
    ("{key}", "projects/key-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1"),
    // It does not exist, so that whoever may change it changes nothing.
    (
        "{version}",
        "projects/key-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1/cryptoKeyVersions/99",
    ),
    // It is busy for good, so that whoever may change it changes nothing.
    ("{cluster}", "projects/key-project/locations/us-central1/clusters/cluster-1"),
    ("{account}", "projects/key-project/serviceAccounts/robot-1@key-project.iam.gserviceaccount.com"),
    ("{account-absent}", "projects/key-project/serviceAccounts/absent@key-project.iam.gserviceaccount.com"),
    ("{email}", "robot-1@key-project.iam.gserviceaccount.com"),
    ("{operation}", "operations/cp.a2V5LXByb2plY3Q"),
    ("{token}", "0000000000000000"),
    ("{serial}", "0a1b"),
];

/// The same in a project that does not exist: names of the same lengths.
pub(super) const ABSENT: Names<'_> = &[
    ("{project}", "non-project"),
    ("{location}", "projects/non-project/locations/us-central1"),
    ("{ring}", "projects/non-project/locations/us-central1/keyRings/ring-1"),
    ("{key}", "projects/non-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1"),
    (
        "{version}",
        "projects/non-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1/cryptoKeyVersions/99",
    ),
    ("{cluster}", "projects/non-project/locations/us-central1/clusters/cluster-1"),
    ("{account}", "projects/non-project/serviceAccounts/robot-1@non-project.iam.gserviceaccount.com"),
    ("{account-absent}", "projects/non-project/serviceAccounts/absent@non-project.iam.gserviceaccount.com"),
    ("{email}", "robot-1@non-project.iam.gserviceaccount.com"),
    ("{operation}", "operations/cp.bm9uLXByb2plY3Q"),
    ("{token}", "0000000000000001"),
    ("{serial}", "0a1c"),
];

#[derive(Clone, Copy, Debug)]
pub(super) enum Transport {
    Rest,
    Grpc,
}

pub(super) struct World {
    pub(super) server: Server,
    /// By role and place.
    tokens: HashMap<(&'static str, &'static str), String>,
    stranger: String,
}

impl World {
    pub(super) async fn new() -> Self {
        let server = Server::with_key().await;
        let location = "projects/key-project/locations/us-central1";
        let purpose = json!({ "purpose": "ENCRYPT_DECRYPT" });
        server.post(&format!("/v1/{location}/keyRings?keyRingId=ring-2"), json!({})).await.ok();
        server
            .post(&format!("/v1/{location}/keyRings/ring-1/cryptoKeys?cryptoKeyId=key-2"), purpose)
            .await
            .ok();
        server.post("/v1/projects", json!({ "projectId": "other-project", "name": "Other" })).await.ok();
        let engine = format!("/v1/projects/{PROJECT}/services/container.googleapis.com:enable");
        server.post(&engine, json!({})).await.ok();
        let cluster = json!({ "cluster": { "name": "cluster-1" } });
        server.post(&format!("/v1/{location}/clusters"), cluster).await.ok();
        let robot = json!({ "accountId": "robot-1" });
        server.post(&format!("/v1/projects/{PROJECT}/serviceAccounts"), robot).await.ok();
        let mut tokens = HashMap::new();
        for (place, resource) in PLACES {
            let mut bindings = Vec::new();
            for role in ROLES {
                let principal =
                    format!("user:{}-{place}@example.com", role.replace('/', ".").to_ascii_lowercase());
                tokens.insert((role, place), server.token_of(&principal).await);
                if binds(role, place) {
                    bindings.push((role, principal));
                }
            }
            let bindings: Vec<(&str, &str)> =
                bindings.iter().map(|(role, member)| (*role, member.as_str())).collect();
            server.bind(resource, &bindings).await;
        }
        let stranger = server.token_of("user:stranger@example.com").await;
        Self { server, tokens, stranger }
    }

    /// Somebody who is known and has no role.
    pub(super) fn stranger(&self) -> &str {
        &self.stranger
    }

    pub(super) async fn is_allowed(
        &self,
        row: &Row,
        role: &'static str,
        place: &'static str,
        transport: Transport,
    ) -> bool {
        let code = self.code(row, &self.tokens[&(role, place)], transport, EXISTING).await;
        assert!(
            !matches!(
                code,
                Code::Unauthenticated
                    | Code::Internal
                    | Code::Unknown
                    | Code::Unavailable
                    | Code::Unimplemented
            ),
            "{} answered {code:?}",
            row.method
        );
        code != Code::PermissionDenied
    }

    /// The gRPC code that a call ends with.
    pub(super) async fn code(&self, row: &Row, bearer: &str, transport: Transport, names: Names<'_>) -> Code {
        self.answer(row, bearer, transport, names).await.0
    }

    /// The gRPC code that a call ends with, and the whole answer as text, but for what names the call.
    pub(super) async fn answer(
        &self,
        row: &Row,
        bearer: &str,
        transport: Transport,
        names: Names<'_>,
    ) -> (Code, String) {
        match transport {
            Transport::Rest => self.rest(row, bearer, names).await,
            Transport::Grpc => self.grpc(row, bearer, names).await,
        }
    }

    async fn rest(&self, row: &Row, bearer: &str, names: Names<'_>) -> (Code, String) {
        let call = filled(&row.rest, names);
        let mut parts = call.splitn(3, ' ');
        let (method, path, body) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or(""));
        let answered = self.server.call_as(bearer, method, path, body).await;
        let text = answered.json.to_string();
        if answered.status == 200 {
            return (Code::Ok, text);
        }
        let name = answered.json["error"]["status"].as_str().unwrap().to_owned();
        let code = (0..17).map(Code::from_i32).find(|code| snake(*code) == name);
        (code.unwrap_or_else(|| panic!("{name} is no status")), text)
    }

    async fn grpc(&self, row: &Row, bearer: &str, names: Names<'_>) -> (Code, String) {
        let message =
            message(row, names).unwrap_or_else(|error| panic!("{}: {error}", row.method)).encode_to_vec();
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(&message);
        let mut request = Request::post(format!("/{}", row.method))
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if !bearer.is_empty() {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let response = self.server.respond(request.body(Body::new(Full::from(framed))).unwrap()).await;
        let mut headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        headers.extend(body.trailers().cloned().unwrap_or_default());
        let status = Status::from_header_map(&headers).expect("a status");
        let details = details(status.details());
        (status.code(), format!("{} {details} {:?}", status.message(), body.to_bytes()))
    }
}

/// The gRPC message of a row.
pub(super) fn message(row: &Row, names: Names<'_>) -> Result<DynamicMessage, String> {
    let (service, method) = row.method.split_once('/').ok_or("no method")?;
    let service = descriptor_pool().get_service_by_name(service).ok_or("no such service")?;
    let method = service.methods().find(|it| it.name() == method).ok_or("no such method")?;
    let json: Value =
        serde_json::from_str(&filled(&row.message, names)).map_err(|error| error.to_string())?;
    DynamicMessage::deserialize(method.input(), json).map_err(|error| error.to_string())
}

/// The details of a status as JSON: maps have no order of their own on the wire.
fn details(bytes: &[u8]) -> Value {
    let kind = descriptor_pool().get_message_by_name("google.rpc.Status").expect("a type");
    let status = DynamicMessage::decode(kind, bytes).expect("details");
    serde_json::to_value(&status).expect("JSON")
}

fn filled(text: &str, names: Names<'_>) -> String {
    names.iter().fold(text.to_owned(), |text, (placeholder, name)| text.replace(placeholder, name))
}

/// `PermissionDenied` as `PERMISSION_DENIED`.
fn snake(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
