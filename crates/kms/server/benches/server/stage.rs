//! A real server with a key, and a caller with a client certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use keystead_proto::cloud_kms::{DecryptRequest, EncryptRequest, EncryptResponse};
use keystead_testkit::kms_server::KmsServer;
use prost::Message as _;
use reqwest::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::task::JoinSet;

use crate::connection::{Call, Connection, Target};
use crate::load::Case;

pub(crate) const PROJECT: &str = "key-project";
pub(crate) const RING: &str = "projects/key-project/locations/us-central1/keyRings/ring";
const CALLER: &str = "user:bench@example.com";
const ROLE: &str = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
const PLAINTEXT: [u8; 32] = [7; 32];
/// Calls under way while the stage is set.
const AT_ONCE: usize = 32;

pub(crate) struct Stage {
    server: Arc<KmsServer>,
    tls: Arc<ClientConfig>,
    sealed: Bytes,
}

impl Stage {
    pub(crate) async fn new(directory: &Path) -> Result<Self> {
        let server = start(&directory.join("data")).await?;
        server.create_project(PROJECT).await?;
        let rings = "/v1/projects/key-project/locations/us-central1/keyRings?keyRingId=ring";
        server.ok(Method::POST, rings, Some(&json!({}))).await?;
        create_key(&server, "key").await?;
        server.grant(&format!("/v1/{}", key("key")), Method::GET, ROLE, CALLER).await?;
        let tls = Arc::new(certificate(&server, CALLER).await?);
        let mut stage = Self { server: Arc::new(server), tls, sealed: Bytes::new() };
        let encrypt = stage.encrypt_call();
        let mut connection = Connection::open(&encrypt.target, &encrypt.calls[0]).await?;
        let answer = connection.call(&encrypt.calls[0]).await?;
        stage.sealed =
            EncryptResponse::decode(answer.get(5..).context("a frame has a head")?)?.ciphertext.into();
        Ok(stage)
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.server.ca_file()
    }

    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }

    pub(crate) fn decrypt_grpc(&self) -> Case {
        let message =
            DecryptRequest { name: key("key"), ciphertext: self.sealed.to_vec(), ..Default::default() };
        self.case(vec![grpc("Decrypt", &message)])
    }

    pub(crate) fn encrypt_rest(&self) -> Case {
        let body = json!({"plaintext": BASE64.encode(PLAINTEXT)}).to_string().into();
        self.case(vec![Call::Rest { path: format!("/v1/{}:encrypt", key("key")), body }])
    }

    pub(crate) fn decrypt_rest(&self) -> Case {
        let body = json!({"ciphertext": BASE64.encode(&self.sealed)}).to_string().into();
        self.case(vec![Call::Rest { path: format!("/v1/{}:decrypt", key("key")), body }])
    }

    pub(crate) fn encrypt_call(&self) -> Case {
        self.case(vec![encrypt("key")])
    }

    /// Encrypt with each of these keys in turn.
    pub(crate) fn encrypt_with(&self, ids: &[String]) -> Case {
        self.case(ids.iter().map(|id| encrypt(id)).collect())
    }

    /// Roles for 1,000 members, 100 of them under conditions, on the key, its ring and its project.
    pub(crate) async fn grant_a_thousand(&self) -> Result<()> {
        for (resource, get) in [
            (key("key"), Method::GET),
            (RING.to_owned(), Method::GET),
            (format!("projects/{PROJECT}"), Method::POST),
        ] {
            let body = (get == Method::POST).then(|| json!({"options": {"requestedPolicyVersion": 3}}));
            let mut policy = self
                .server
                .ok(
                    get,
                    &format!("/v1/{resource}:getIamPolicy?options.requestedPolicyVersion=3"),
                    body.as_ref(),
                )
                .await?;
            let mut bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
            // A policy may hold 100 conditions; all others with one role are one binding.
            let member = |number: usize| format!("user:somebody-{number}@example.com");
            bindings.extend((0..100).map(|number| {
                let expression = format!("resource.name != \"{number}\"");
                let condition = json!({"title": format!("binding {number}"), "expression": expression});
                json!({"role": "roles/cloudkms.viewer", "members": [member(number)], "condition": condition})
            }));
            let others: Vec<String> = (100..1000).map(member).collect();
            bindings.push(json!({"role": "roles/cloudkms.viewer", "members": others}));
            policy["bindings"] = bindings.into();
            policy["version"] = json!(3);
            let body = json!({"policy": policy});
            self.server.ok(Method::POST, &format!("/v1/{resource}:setIamPolicy"), Some(&body)).await?;
        }
        // Bound on the ring, so that the 10,000 keys need no policies of their own.
        self.server.grant(&format!("/v1/{RING}"), Method::GET, ROLE, CALLER).await
    }

    pub(crate) async fn create_keys(&self, count: usize) -> Result<Vec<String>> {
        let ids: Vec<String> = (0..count).map(|number| format!("key-{number}")).collect();
        self.at_once(ids.iter().cloned(), |server, id| async move { create_key(&server, &id).await }).await?;
        Ok(ids)
    }

    pub(crate) async fn create_versions(&self, count: usize) -> Result<()> {
        let keys = (0..count).map(|number| format!("key-{}", number % 10_000));
        self.at_once(keys, |server, id| async move {
            let path = format!("/v1/{}/cryptoKeyVersions", key(&id));
            server.ok(Method::POST, &path, Some(&json!({}))).await.map(drop)
        })
        .await
    }

    /// Milliseconds from the start of the process to the first answer that opens a ciphertext.
    pub(crate) async fn restart_times(self, rounds: usize) -> Result<Vec<f64>> {
        let Self { server, tls, sealed } = self;
        let mut server = Arc::into_inner(server).context("nobody else has the server")?;
        let mut times = Vec::new();
        for _ in 0..rounds {
            let started = Instant::now();
            server.kill_and_restart().await?;
            let message =
                DecryptRequest { name: key("key"), ciphertext: sealed.to_vec(), ..Default::default() };
            let call = grpc("Decrypt", &message);
            let target = Target { port: port(&server)?, tls: Arc::clone(&tls), pid: server.pid() };
            Connection::open(&target, &call).await?.call(&call).await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        Ok(times)
    }

    /// Something of everything that is listed and not filled in otherwise: key rings, accounts, tokens and retired resources.
    pub(crate) async fn create_for_lists(&self, count: usize) -> Result<()> {
        self.at_once((0..count).map(|number| number.to_string()), |server, number| async move {
            let location = format!("/v1/projects/{PROJECT}/locations/us-central1");
            server
                .ok(Method::POST, &format!("{location}/keyRings?keyRingId=ring-{number}"), Some(&json!({})))
                .await?;
            let account = json!({"accountId": format!("account-{number}")});
            server
                .ok(Method::POST, &format!("/v1/projects/{PROJECT}/serviceAccounts"), Some(&account))
                .await?;
            let token = json!({"principal": format!("user:somebody-{number}@example.com")});
            server.ok(Method::POST, "/keystead/v1/tokens", Some(&token)).await?;
            let key = format!("/v1/{RING}/cryptoKeys");
            let make = format!("{key}?cryptoKeyId=gone-{number}&skipInitialVersionCreation=true");
            server.ok(Method::POST, &make, Some(&json!({"purpose": "ENCRYPT_DECRYPT"}))).await?;
            server.ok(Method::DELETE, &format!("{key}/gone-{number}"), None).await.map(drop)
        })
        .await
    }

    /// Where to call as the first administrator.
    pub(crate) async fn admin(&self) -> Result<Target> {
        let tls = Arc::new(certificate(&self.server, "user:admin@keystead.local").await?);
        Ok(Target { port: port(&self.server)?, tls, pid: self.pid() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Ends the server as a service manager does.
    pub(crate) async fn stop(self) -> Result<()> {
        let server = Arc::into_inner(self.server).context("nobody else has the server")?;
        let status = server.stop().await?;
        ensure!(status == 0, "the server ended with {status}");
        Ok(())
    }

    /// Ends the server, does something, and starts it again. Answers how long it took until it opened a ciphertext.
    pub(crate) async fn restart_after<F: Future<Output = Result<()>>>(
        self,
        between: impl FnOnce() -> F,
    ) -> Result<(Self, Duration)> {
        let (tls, sealed, data) = (self.tls(), self.sealed.clone(), self.server.data_dir().to_owned());
        self.stop().await?;
        between().await?;
        let started = Instant::now();
        let server = Arc::new(start(&data).await?);
        let stage = Self { server, tls, sealed };
        let Case { target, calls } = stage.decrypt_grpc();
        Connection::open(&target, &calls[0]).await?.call(&calls[0]).await?;
        Ok((stage, started.elapsed()))
    }

    fn case(&self, calls: Vec<Call>) -> Case {
        let port = port(&self.server).unwrap_or_default();
        Case { target: Target { port, tls: self.tls(), pid: self.server.pid() }, calls: Arc::new(calls) }
    }

    async fn at_once<F: Future<Output = Result<()>> + Send + 'static>(
        &self,
        items: impl Iterator<Item = String>,
        act: impl Fn(Arc<KmsServer>, String) -> F,
    ) -> Result<()> {
        let mut running = JoinSet::new();
        for item in items {
            if running.len() == AT_ONCE {
                running.join_next().await.context("some are running")???;
            }
            running.spawn(act(Arc::clone(&self.server), item));
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(())
    }
}

fn key(id: &str) -> String {
    format!("{RING}/cryptoKeys/{id}")
}

fn port(server: &KmsServer) -> Result<u16> {
    Ok(server.endpoint().rsplit_once(':').context("an endpoint has a port")?.1.parse()?)
}

fn encrypt(id: &str) -> Call {
    grpc("Encrypt", &EncryptRequest { name: key(id), plaintext: PLAINTEXT.to_vec(), ..Default::default() })
}

fn grpc(method: &str, message: &impl prost::Message) -> Call {
    let path = format!("/google.cloud.kms.v1.KeyManagementService/{method}");
    Call::Grpc { path, body: framed(&message.encode_to_vec()) }
}

/// A message as gRPC sends it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    body.extend_from_slice(message);
    body.into()
}

async fn start(data: &Path) -> Result<KmsServer> {
    let program = Path::new(env!("CARGO_BIN_EXE_keystead-server"));
    KmsServer::start_with(program, data, &["--log-level", "warn"]).await
}

async fn create_key(server: &KmsServer, id: &str) -> Result<()> {
    let path = format!("/v1/{RING}/cryptoKeys?cryptoKeyId={id}");
    server.ok(Method::POST, &path, Some(&json!({"purpose": "ENCRYPT_DECRYPT"}))).await.map(drop)
}

/// A client certificate from the server's own authority.
async fn certificate(server: &KmsServer, principal: &str) -> Result<ClientConfig> {
    let key = rcgen::KeyPair::generate()?;
    let request = rcgen::CertificateParams::default().serialize_request(&key)?.pem()?;
    let wanted = json!({"principal": principal, "signingRequestPem": request, "ttl": "86400s"});
    let issued = server.ok(Method::POST, "/keystead/v1/certificates", Some(&wanted)).await?;
    let text = issued["certificatePem"].as_str().context("a certificate was issued")?;
    let chain = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(server.ca_file())? {
        roots.add(authority?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?)
}
