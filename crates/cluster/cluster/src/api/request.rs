use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::ApiServer;
use super::error::{CallError, Refusal, is_about_credentials};

/// Metadata alone: no value of a Secret travels.
pub(crate) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
pub(crate) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Bytes of the longest answer read. The metadata of one object has at most 1.5 MiB, etcd's limit; a page of 500 has some hundred
/// KiB, and one that has more than this is asked for again with fewer objects.
const ANSWER_MAX: usize = 32 << 20;
/// Bytes of a message that are kept. All lines of `/readyz?verbose` are some 3,000.
const MESSAGE_MAX: usize = 4096;

/// One call.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) accept: &'static str,
    /// Content type and text.
    pub(crate) body: Option<(&'static str, &'a str)>,
    pub(crate) limit: Duration,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str, accept: &'static str, limit: Duration) -> Self {
        Self { method: Method::GET, path, accept, body: None, limit }
    }

    fn name(&self) -> String {
        // Not the query: a continue token is of no use to a person.
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{} {path}", self.method)
    }
}

impl ApiServer {
    /// Makes a call and reads what of the answer `T` has.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, CallError> {
        let bytes = self.call(call).await?;
        serde_json::from_slice(&bytes).map_err(|source| CallError::Answer { request: call.name(), source })
    }

    /// Makes a call. The answer wipes itself, because an annotation may repeat what a Secret holds, as `kubectl apply` has it. That
    /// is this one copy: what the connection has in its buffers nobody wipes.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let exchange = self.exchange(call);
        match tokio::time::timeout(call.limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Timeout { request: call.name(), limit: call.limit }),
        }
    }

    async fn exchange(&self, call: &Call<'_>) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let failed = |error: kube::Error| match is_about_credentials(&error) {
            true => CallError::Credentials { request: call.name() },
            false => CallError::Transport { request: call.name(), source: Box::new(error) },
        };
        let mut request =
            http::Request::builder().method(&call.method).uri(call.path).header(ACCEPT, call.accept);
        let mut body = Body::empty();
        if let Some((kind, text)) = call.body {
            request = request.header(CONTENT_TYPE, kind);
            body = Body::from(text.as_bytes().to_vec());
        }
        let request = request.body(body).map_err(|error| failed(kube::Error::HttpError(error)))?;
        let answer = self.client.send(request).await.map_err(failed)?;
        let (head, mut body) = answer.into_parts();
        let (mut frames, mut length) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(failed)?.into_data() else { continue };
            length += data.len();
            if length > ANSWER_MAX {
                return Err(CallError::TooLong { request: call.name(), longest: ANSWER_MAX });
            }
            frames.push(data);
        }
        // At once: one that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        frames.iter().for_each(|frame| bytes.extend_from_slice(frame));
        if head.status.is_success() {
            return Ok(bytes);
        }
        Err(CallError::Refused(Box::new(refusal(call.name(), head.status.as_u16(), &head.headers, &bytes))))
    }
}

fn refusal(request: String, status: u16, headers: &HeaderMap, body: &[u8]) -> Refusal {
    #[derive(Default, Deserialize)]
    struct Status {
        #[serde(default)]
        reason: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        metadata: Metadata,
        #[serde(default)]
        details: Option<Details>,
    }
    #[derive(Default, Deserialize)]
    struct Details {
        #[serde(default)]
        name: String,
        /// Plural, and no kind.
        #[serde(default)]
        kind: String,
    }
    #[derive(Default, Deserialize)]
    struct Metadata {
        #[serde(default, rename = "continue")]
        continue_token: Option<String>,
    }
    let Status { reason, message, metadata, details } =
        serde_json::from_slice(body).unwrap_or_else(|_| Status {
            message: String::from_utf8_lossy(body.get(..MESSAGE_MAX).unwrap_or(body)).into_owned(),
            ..Status::default()
        });
    let Details { name: object, kind: resource } = details.unwrap_or_default();
    let end = message.floor_char_boundary(MESSAGE_MAX);
    // kube-apiserver sends seconds and never a date.
    let seconds = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok()).and_then(|it| it.parse().ok());
    Refusal {
        request,
        status,
        reason,
        message: message.get(..end).unwrap_or_default().to_owned(),
        resource,
        object,
        retry_after: seconds.map(Duration::from_secs),
        continue_token: metadata.continue_token.filter(|it| !it.is_empty()),
    }
}
