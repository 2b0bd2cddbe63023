//! An agent of a cluster's host that is played: its host, its plugins and its etcd are not there, and what it says to a server and hears
//! is the real protocol, over TLS with the certificate that its join token got it.

use anyhow::{Context as _, Result, ensure};
use keystead_testkit::kms_server::KmsServer;
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Identity, Method, RequestBuilder};
use serde_json::{Value, json};

pub(crate) const PROJECT: &str = "cluster-project";
pub(crate) const LOCATION: &str = "projects/cluster-project/locations/us-central1";

/// What is stored in the etcd of its cluster, and how far it is with what it was told.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// The key that everything is stored under; none: plainly.
    pub(crate) stored_under: Option<String>,
    /// The operation that it works for, and whether it has done its part.
    work: Option<(String, bool)>,
    /// The operations that it has begun to work for, in their order.
    pub(crate) begun: Vec<String>,
}

/// An agent that has joined.
pub(crate) struct Agent {
    pub(crate) http: reqwest::Client,
    /// Certificate and key.
    pub(crate) identity: [String; 2],
    pub(crate) node: String,
    sequence: u64,
    pub(crate) host: Host,
}

/// The name of a key of the project.
pub(crate) fn key(id: &str) -> String {
    format!("{LOCATION}/keyRings/ring/cryptoKeys/{id}")
}

/// The name of a cluster of the project.
pub(crate) fn cluster(id: &str) -> String {
    format!("{LOCATION}/clusters/{id}")
}

/// Makes a project, and a ring whose keys its clusters may use.
pub(crate) async fn prepare(server: &KmsServer) -> Result<()> {
    let number = server.create_project(PROJECT).await?;
    server.ok(Method::POST, &format!("/v1/{LOCATION}/keyRings?keyRingId=ring"), Some(&json!({}))).await?;
    let account = format!("serviceAccount:service-{number}@container-engine-robot.iam.gserviceaccount.com");
    let role = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
    server.grant(&format!("/v1/{LOCATION}/keyRings/ring"), Method::GET, role, &account).await
}

/// Makes a key in it.
pub(crate) async fn create_key(server: &KmsServer, id: &str) -> Result<()> {
    let path = format!("/v1/{LOCATION}/keyRings/ring/cryptoKeys?cryptoKeyId={id}");
    server.ok(Method::POST, &path, Some(&json!({ "purpose": "ENCRYPT_DECRYPT" }))).await.map(drop)
}

/// What a request for a cluster says, encrypted with a key or not.
pub(crate) fn encryption(key: Option<&str>) -> Value {
    match key {
        Some(key) => json!({ "state": "ENCRYPTED", "keyName": key }),
        None => json!({ "state": "DECRYPTED" }),
    }
}

/// Status and answer; none: there was no whole one.
pub(crate) async fn ask(request: RequestBuilder) -> Option<(u16, Value)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let bytes = response.bytes().await.ok()?;
    Some((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}

/// What a host that was invited joins with: the request, and the private key that stays there.
pub(crate) fn signing_request() -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    Ok((CertificateParams::default().serialize_request(&key)?.pem()?, key.serialize_pem()))
}

/// A client with connections of its own, which shows this certificate with its key.
pub(crate) fn connect(server: &KmsServer, identity: &[String; 2]) -> Result<reqwest::Client> {
    let authorities = Certificate::from_pem_bundle(&std::fs::read(server.ca_file())?)?;
    let identity = Identity::from_pem(identity.concat().as_bytes())?;
    Ok(reqwest::Client::builder().tls_certs_only(authorities).identity(identity).no_proxy().build()?)
}

impl Agent {
    /// Invites a host to a cluster and joins.
    pub(crate) async fn join(server: &KmsServer, cluster: &str, node: &str) -> Result<Self> {
        let path = format!("/keystead/v1/{cluster}/hosts:invite");
        let invited = server.ok(Method::POST, &path, Some(&json!({ "node": node }))).await?;
        let token = invited["joinToken"].as_str().context("an invitation has a token")?;
        let (request, key) = signing_request()?;
        let body = json!({ "signingRequestPem": request, "node": node });
        let (status, joined) =
            server.call_as(token, Method::POST, "/keystead/v1/agent:join", Some(&body)).await?;
        ensure!(status == 200, "joining answered {status}: {joined}");
        Self::joined(server, node, &joined, key)
    }

    /// Goes on with what the server answered to a host that joins.
    pub(crate) fn joined(server: &KmsServer, node: &str, answer: &Value, key: String) -> Result<Self> {
        let certificate = answer["certificatePem"].as_str().context("a certificate")?.to_owned();
        let identity = [certificate, key];
        let http = connect(server, &identity)?;
        Ok(Self { http, identity, node: node.to_owned(), sequence: 0, host: Host::default() })
    }

    /// A call with its certificate to a server, which may listen elsewhere than before.
    pub(crate) fn request(&self, endpoint: &str, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(format!("{endpoint}/keystead/v1/{path}")).json(body)
    }

    /// Its next report, as `keystead agent run` makes it.
    pub(crate) fn report(&mut self) -> Value {
        let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
        self.sequence = now.max(self.sequence + 1);
        let work = self.host.work.as_ref().map(|(operation, is_done)| {
            let (state, detail) = if *is_done { ("DONE", "") } else { ("WORKING", "writes everything anew") };
            json!({ "operation": operation, "state": state, "detail": detail })
        });
        json!({ "report": {
            "sequence": self.sequence.to_string(),
            "agentVersion": env!("CARGO_PKG_VERSION"),
            "apiServerVersion": "v1.37.2",
            "configurationHash": "5d41402abc4b2a76b9719d911017c592ae1f8a3cf0c3e6b3b4e1d1ab5cbd8e3a",
            "writes": if self.host.stored_under.is_some() { "kms:v2:keystead" } else { "identity" },
            "keyIds": [],
            "controlPlane": [self.node],
            "work": work,
        } })
    }

    /// Does what the answer to a report says: begins, or does its part and will say so.
    pub(crate) fn follow(&mut self, answer: &Value) {
        let told = &answer["instruction"];
        let Some(operation) = told["operation"].as_str() else {
            self.host.work = None;
            return;
        };
        match &mut self.host.work {
            Some((current, is_done)) if current == operation => {
                self.host.stored_under =
                    told["cryptoKey"].as_str().filter(|it| !it.is_empty()).map(str::to_owned);
                *is_done = true;
            }
            _ => {
                self.host.begun.push(operation.to_owned());
                self.host.work = Some((operation.to_owned(), false));
            }
        }
    }

    /// One report and what comes of it; the status of the answer.
    pub(crate) async fn turn(&mut self, endpoint: &str) -> Option<u16> {
        let report = self.report();
        let (status, answer) = ask(self.request(endpoint, "agent:report", &report)).await?;
        if status == 200 {
            self.follow(&answer);
        }
        Some(status)
    }
}
