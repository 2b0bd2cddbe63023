//! Requests to one API server.

use std::time::Duration;

pub use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Certificate, RequestBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::{Error, Kind, Metadata, Object};

/// Metadata alone: no value of a Secret travels.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// A client of one API server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    http: reqwest::Client,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The objects' names and versions.
    pub items: Vec<Metadata>,
    /// What to ask for the next page; empty on the last one.
    pub continue_token: String,
}

/// What `/readyz` says.
#[derive(Clone, Debug)]
pub struct Readyz {
    /// Whether it said yes.
    pub ok: bool,
    /// Each check with its result when asked verbosely.
    pub text: String,
}

impl Client {
    /// A client that trusts `ca` (PEM) alone and sends `token` with each request.
    pub fn new(url: &str, ca: &str, token: &str) -> anyhow::Result<Self> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))?;
        authorization.set_sensitive(true);
        let http = reqwest::Client::builder()
            .tls_certs_only([Certificate::from_pem(ca.as_bytes())?])
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, authorization)]))
            .no_proxy()
            // The API server's own limit for one request.
            .timeout(Duration::from_secs(60))
            .build()?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), http })
    }

    /// The API server's base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates `object`; its new metadata.
    pub async fn create(&self, object: &Object) -> Result<Metadata, Error> {
        let path = collection(object.kind, &object.metadata.namespace);
        self.write(Method::POST, &path, object).await
    }

    /// Reads one object.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Object, Error> {
        let path = item(kind, namespace, name);
        Object::from_json(kind, &self.send(&Method::GET, &path, |it| it).await?)
    }

    /// Replaces an object; fails with status 409 if its resource version is set and no longer the stored one.
    pub async fn update(&self, object: &Object) -> Result<Metadata, Error> {
        let path = item(object.kind, &object.metadata.namespace, &object.metadata.name);
        self.write(Method::PUT, &path, object).await
    }

    /// Deletes one object.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<(), Error> {
        self.send(&Method::DELETE, &item(kind, namespace, name), |it| it).await?;
        Ok(())
    }

    /// Lists up to `limit` objects (0: all) of one namespace or, with an empty name, of all, from `continue_token` on.
    pub async fn list(
        &self,
        kind: Kind,
        namespace: &str,
        limit: u32,
        continue_token: &str,
    ) -> Result<Page, Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: WireMetadata,
            // kube-apiserver writes null for an empty list.
            items: Option<Vec<WireItem>>,
        }
        #[derive(Deserialize)]
        struct WireMetadata {
            #[serde(default, rename = "continue")]
            continue_token: String,
        }
        // The token is base64 for URLs.
        let path = format!("{}?limit={limit}&continue={continue_token}", collection(kind, namespace));
        let bytes = self.send(&Method::GET, &path, |it| it.header(ACCEPT, METADATA_LIST)).await?;
        let page: Wire = serde_json::from_slice(&bytes)?;
        Ok(Page {
            items: page.items.unwrap_or_default().into_iter().map(|it| it.metadata).collect(),
            continue_token: page.metadata.continue_token,
        })
    }

    /// Sends an empty merge patch, which makes the API server rewrite a stale object and nothing else; the resource
    /// version afterwards.
    pub async fn touch(&self, kind: Kind, namespace: &str, name: &str) -> Result<String, Error> {
        let patch = |it: RequestBuilder| {
            it.header(CONTENT_TYPE, "application/merge-patch+json").header(ACCEPT, METADATA).body("{}")
        };
        let bytes = self.send(&Method::PATCH, &item(kind, namespace, name), patch).await?;
        Ok(serde_json::from_slice::<WireItem>(&bytes)?.metadata.resource_version)
    }

    /// Any other call; the answer's JSON. `body` is sent as JSON, and with PATCH as a merge patch.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let complete = |it: RequestBuilder| match body {
            Some(body) if method == Method::PATCH => {
                it.header(CONTENT_TYPE, "application/merge-patch+json").body(body.to_string())
            }
            Some(body) => it.json(body),
            None => it,
        };
        Ok(serde_json::from_slice(&self.send(&method, path, complete).await?)?)
    }

    /// What `/readyz` says; an error only when there is no answer.
    pub async fn readyz(&self, verbose: bool) -> Result<Readyz, Error> {
        let path = if verbose { "/readyz?verbose" } else { "/readyz" };
        let answer = self.http.get(format!("{}{path}", self.url)).send().await?;
        Ok(Readyz { ok: answer.status().is_success(), text: answer.text().await? })
    }

    /// Whether `/livez` is content; an error only when there is no answer.
    pub async fn livez(&self) -> Result<bool, Error> {
        Ok(self.http.get(format!("{}/livez", self.url)).send().await?.status().is_success())
    }

    /// What `/metrics` says, in Prometheus text.
    pub async fn metrics(&self) -> Result<String, Error> {
        let bytes = self.send(&Method::GET, "/metrics", |it| it).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn write(&self, method: Method, path: &str, object: &Object) -> Result<Metadata, Error> {
        let body = object.to_json();
        let bytes = self.send(&method, path, |it| it.header(ACCEPT, METADATA).json(&body)).await?;
        Ok(serde_json::from_slice::<WireItem>(&bytes)?.metadata)
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Vec<u8>, Error> {
        let request = self.http.request(method.clone(), format!("{}{path}", self.url));
        let answer = complete(request).send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        if status.is_success() {
            return Ok(body.into());
        }
        #[derive(Default, Deserialize)]
        struct Status {
            #[serde(default)]
            reason: String,
            #[serde(default)]
            message: String,
        }
        let Status { reason, message } = serde_json::from_slice(&body).unwrap_or_else(|_| Status {
            message: String::from_utf8_lossy(&body).into_owned(),
            ..Status::default()
        });
        Err(Error::Status { request: format!("{method} {path}"), status: status.as_u16(), reason, message })
    }
}

#[derive(Deserialize)]
struct WireItem {
    metadata: Metadata,
}

fn collection(kind: Kind, namespace: &str) -> String {
    let resource = kind.resource();
    if namespace.is_empty() {
        format!("/api/v1/{resource}")
    } else {
        format!("/api/v1/namespaces/{namespace}/{resource}")
    }
}

fn item(kind: Kind, namespace: &str, name: &str) -> String {
    format!("{}/{name}", collection(kind, namespace))
}
