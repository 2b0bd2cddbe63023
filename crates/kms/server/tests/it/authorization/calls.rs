//! A server with one caller for each role and place, and the same call over both transports.

use std::collections::HashMap;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use keystead_proto::descriptor_pool;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use tonic::Code;
use tonic::body::Body;

use super::table::Row;
use super::{PLACES, ROLES, binds};
use crate::api::Server;

/// Names that stand for `{ring}` and so on.
pub(super) type Names = [(&'static str, &'static str); 9];

const PROJECT: &str = "key-project";

pub(super) const EXISTING: Names = [
    ("{project}", PROJECT),
    ("{location}", "projects/key-project/locations/us-central1"),
    ("{ring}", "projects/key-project/locations/us-central1/keyRings/ring-1"),
    ("{key}", "projects/key-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1"),
    // It does not exist, so that whoever may change it changes nothing.
    (
        "{version}",
        "projects/key-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1/cryptoKeyVersions/99",
    ),
    ("{account}", "projects/key-project/serviceAccounts/robot-1@key-project.iam.gserviceaccount.com"),
    ("{account-absent}", "projects/key-project/serviceAccounts/absent@key-project.iam.gserviceaccount.com"),
    ("{email}", "robot-1@key-project.iam.gserviceaccount.com"),
    ("{operation}", "operations/cp.a2V5LXByb2plY3Q"),
];

/// The same shapes in a project that does not exist.
pub(super) const ABSENT: Names = [
    ("{project}", "no-project"),
    ("{location}", "projects/no-project/locations/us-central1"),
    ("{ring}", "projects/no-project/locations/us-central1/keyRings/ring-1"),
    ("{key}", "projects/no-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1"),
    (
        "{version}",
        "projects/no-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1/cryptoKeyVersions/99",
    ),
    ("{account}", "projects/no-project/serviceAccounts/robot-1@no-project.iam.gserviceaccount.com"),
    ("{account-absent}", "projects/no-project/serviceAccounts/absent@no-project.iam.gserviceaccount.com"),
    ("{email}", "robot-1@no-project.iam.gserviceaccount.com"),
    ("{operation}", "operations/cp.bm8tcHJvamVjdA"),
];

#[derive(Clone, Copy, Debug)]
pub(super) enum Transport {
    Rest,
    Grpc,
}

pub(super) struct World {
    server: Server,
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
    pub(super) async fn code(&self, row: &Row, bearer: &str, transport: Transport, names: Names) -> Code {
        match transport {
            Transport::Rest => self.rest(row, bearer, names).await,
            Transport::Grpc => self.grpc(row, bearer, names).await,
        }
    }

    async fn rest(&self, row: &Row, bearer: &str, names: Names) -> Code {
        let call = filled(&row.rest, names);
        let mut parts = call.splitn(3, ' ');
        let (method, path, body) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or(""));
        let answered = self.server.call_as(bearer, method, path, body).await;
        if answered.status == 200 {
            return Code::Ok;
        }
        let name = answered.json["error"]["status"].as_str().unwrap().to_owned();
        let code = (0..17).map(Code::from_i32).find(|code| snake(*code) == name);
        code.unwrap_or_else(|| panic!("{name} is no status"))
    }

    async fn grpc(&self, row: &Row, bearer: &str, names: Names) -> Code {
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
        let in_headers = response.headers().get("grpc-status").cloned();
        let trailers = response.into_body().collect().await.unwrap().trailers().cloned();
        let status = in_headers.or_else(|| trailers?.get("grpc-status").cloned()).unwrap();
        Code::from_bytes(status.as_bytes())
    }
}

/// The gRPC message of a row.
pub(super) fn message(row: &Row, names: Names) -> Result<DynamicMessage, String> {
    let (service, method) = row.method.split_once('/').ok_or("no method")?;
    let service = descriptor_pool().get_service_by_name(service).ok_or("no such service")?;
    let method = service.methods().find(|it| it.name() == method).ok_or("no such method")?;
    let json: Value =
        serde_json::from_str(&filled(&row.message, names)).map_err(|error| error.to_string())?;
    DynamicMessage::deserialize(method.input(), json).map_err(|error| error.to_string())
}

fn filled(text: &str, names: Names) -> String {
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
