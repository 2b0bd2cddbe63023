//! Which server, as whom: the settings of a call, and the calls themselves as JSON over REST.
//!
//! A token is read from a file and never from the command line, where every process of the host could see it.

mod refused;
mod settings;

use std::path::Path;
use std::time::Duration;

use keystead_runtime::{Failure, termination};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

pub(crate) use settings::{ConnectionArgs, Proof, env, token};
use settings::{Credentials, Settings};

/// A server that does not even accept a connection in this time is as good as away.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The longest call is a page of a long list over a slow line; nothing that this API serves takes a minute.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// Longest answer, in bytes: a list of everything in a project, many times over.
const MAX_ANSWER: usize = 64 << 20;

/// The body of an answer; none: it is longer than any.
async fn whole(mut response: reqwest::Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > MAX_ANSWER {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

fn is_loopback(endpoint: &Url) -> bool {
    let host = endpoint.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The server, and who calls it.
pub(crate) struct Connection {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    endpoint: Url,
    credentials: Credentials,
}

impl Connection {
    /// Reads the settings and the files that they name. Nothing is sent yet.
    pub(crate) fn open(args: &ConnectionArgs) -> Result<Self, Failure> {
        Self::of(Settings::read(args)?)
    }

    /// The same without the settings of a shell. Without `ca_file` the system's authorities vouch for the server.
    pub(crate) fn with(endpoint: &str, ca_file: Option<&Path>, proof: Proof) -> Result<Self, Failure> {
        Self::of(Settings::named(endpoint, ca_file, proof)?)
    }

    fn of(settings: Settings) -> Result<Self, Failure> {
        let Settings { endpoint, authorities, identity, credentials } = settings;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(CALL_LIMIT)
            // Wherever else a server may point, the token stays here.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("keystead/", env!("CARGO_PKG_VERSION")));
        if !authorities.is_empty() {
            builder = builder.tls_certs_only(authorities);
        }
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        // A proxy leads away from this host, and the server's own address is the one that env gives.
        if is_loopback(&endpoint) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| Failure::from_error(&error).usage())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
        Ok(Self { runtime, client, endpoint, credentials })
    }

    /// Reads.
    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.call(Method::GET, path, query, None)
    }

    /// Creates, or does what a custom verb says.
    pub(crate) fn post(&self, path: &str, query: &[(&str, &str)], body: &Value) -> Result<Value, Failure> {
        self.call(Method::POST, path, query, Some(body))
    }

    /// Creates something whose secret is in the answer and can be asked for only once. A signal ends the call as an error, and
    /// after the answer no signal ends the process: what was prepared for the secret is removed, or written.
    pub(crate) fn post_for_secret(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let signal = {
            let _signals_need_it = self.runtime.enter();
            termination().map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?
        };
        self.call_unless(signal, Method::POST, path, &[], Some(body))
    }

    /// A custom verb whose options are all in the query.
    pub(crate) fn post_without_body(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.call(Method::POST, path, query, None)
    }

    /// Changes the fields that the mask in the query names.
    pub(crate) fn patch(&self, path: &str, query: &[(&str, &str)], body: &Value) -> Result<Value, Failure> {
        self.call(Method::PATCH, path, query, Some(body))
    }

    /// Changes a cluster: the API's own verb for it.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::PUT, path, &[], Some(body))
    }

    /// Deletes.
    pub(crate) fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::DELETE, path, &[], None)
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.call_unless(std::future::pending(), method, path, query, body)
    }

    fn call_unless(
        &self,
        signal: impl Future<Output = &'static str>,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let url = self.url(path, query);
        let mut request = self.client.request(method, url);
        if let Some(token) = self.credentials.header() {
            request = request.header(reqwest::header::AUTHORIZATION, token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = async {
            let response = request.send().await?;
            let status = response.status();
            Ok((status, whole(response).await?))
        };
        let answer = self.runtime.block_on(async {
            tokio::select! {
                answer = answer => answer.map_err(|error| refused::unreachable(&error, &self.endpoint)),
                signal = signal => Err(refused::interrupted(signal)),
            }
        });
        let (status, bytes) = answer?;
        let bytes = bytes.ok_or_else(|| {
            Failure::new(format!("{} answers with more than {MAX_ANSWER} bytes", self.endpoint))
        })?;
        let value: Result<Value, _> = serde_json::from_slice(if bytes.is_empty() { b"{}" } else { &bytes });
        match value {
            Ok(value) if status.is_success() => Ok(value),
            Ok(value) => Err(refused::answer(status, &value, &self.credentials)),
            Err(_) => Err(self.no_json(status)),
        }
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.endpoint.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        // What would end the path is part of a name here: the server says that no such name exists.
        url.set_path(&format!("{prefix}{}", path.replace('%', "%25")));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn no_json(&self, status: StatusCode) -> Failure {
        Failure::new(format!("{} answers {status} and no JSON", self.endpoint))
            .hint("is this the address of a keystead-server?".to_owned())
    }
}
