//! `POST /token`: a service account signs for itself and gets a token (RFC 7523). The form and the answers are OAuth's, not
//! those of the other APIs.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use keystead_keyservice::operations::{TokenAnswer, TokenRefusal};
use keystead_keyservice::{KeyService, Origin};
use tonic::Code;
use tonic::body::Body;
use zeroize::Zeroizing;

use super::refusal::Refusal;
use super::{describe, query, read};
use crate::methods::{Served, code_name};

/// Where it is; key files of service accounts name it.
pub(crate) const PATH: &str = "/token";

/// Answers one request for a token. `origin` is what the audit log says of the sender.
pub(crate) async fn exchange(
    keyservice: &KeyService,
    origin: Origin,
    request: Request<Body>,
) -> Response<Body> {
    if request.method() != Method::POST {
        return Refusal::wrong_method(&[&Method::POST]).into_response();
    }
    let (head, body) = request.into_parts();
    let form = match form(&head, body).await {
        Ok(form) => form,
        Err(description) => return refused(&invalid_request(description)),
    };
    let field = |name: &str| {
        let mut values = form.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        // Twice is never meant, and two readers may take different ones.
        values.next().filter(|_| values.next().is_none())
    };
    let (Some(grant_type), Some(assertion)) = (field("grant_type"), field("assertion")) else {
        return refused(&invalid_request("grant_type and assertion are required, once each".to_owned()));
    };
    answered(keyservice, grant_type, assertion, origin).await
}

async fn answered(
    keyservice: &KeyService,
    grant_type: &str,
    assertion: &str,
    origin: Origin,
) -> Response<Body> {
    match keyservice.exchange_token(grant_type, assertion, origin).await {
        Ok(granted) => {
            let (status, code) = (StatusCode::OK, Code::Ok);
            respond(status, code, json(&granted).unwrap_or_default())
        }
        Err(refusal) => refused(&refusal),
    }
}

async fn form(head: &http::request::Parts, body: Body) -> Result<Vec<(String, String)>, String> {
    let is_form = head.headers.get(CONTENT_TYPE).is_some_and(|kind| {
        kind.to_str()
            .is_ok_and(|kind| kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"))
    });
    if !is_form {
        return Err("the body must be application/x-www-form-urlencoded".to_owned());
    }
    let body = read(&head.headers, body).await.map_err(|refusal| refusal.message().to_owned())?;
    let text = std::str::from_utf8(&body).map_err(|_| "the form is not UTF-8".to_owned())?;
    query::parameters(text).map_err(|refusal| refusal.message().to_owned())
}

fn invalid_request(description: String) -> TokenRefusal {
    TokenRefusal { error: "invalid_request", description, http_status: 400 }
}

fn refused(refusal: &TokenRefusal) -> Response<Body> {
    let json = serde_json::json!({ "error": refusal.error, "error_description": refusal.description });
    let status = StatusCode::from_u16(refusal.http_status).unwrap_or(StatusCode::BAD_REQUEST);
    let code = if status.is_server_error() { Code::Unavailable } else { Code::Unauthenticated };
    respond(status, code, Bytes::from(json.to_string()))
}

/// The token goes into memory that is wiped after it was sent.
fn json(answer: &TokenAnswer) -> Option<Bytes> {
    #[derive(serde::Serialize)]
    struct Json<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        access_token: Option<&'a str>,
        expires_in: i64,
        token_type: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id_token: Option<&'a str>,
    }
    let access_token = answer.access_token.as_ref().map(|token| std::str::from_utf8(token.expose()));
    let json = Json {
        access_token: access_token.transpose().ok()?,
        expires_in: answer.expires_in,
        token_type: answer.token_type,
        id_token: answer.id_token.as_deref(),
    };
    // More than a token has, so that it does not grow.
    let mut text = Zeroizing::new(Vec::with_capacity(8 * 1024));
    serde_json::to_writer(&mut *text, &json).ok()?;
    Some(Bytes::from_owner(text))
}

fn respond(status: StatusCode, code: Code, json: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(json)));
    *response.status_mut() = status;
    describe(response.headers_mut());
    response.headers_mut().insert(http::header::PRAGMA, HeaderValue::from_static("no-cache"));
    response.extensions_mut().insert(Served { method: "ExchangeToken", code: code_name(code) });
    response
}
