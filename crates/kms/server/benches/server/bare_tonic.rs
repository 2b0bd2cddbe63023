//! The limits: tonic over TLS with client certificates, one AES-256-GCM for each call, and nothing else; and the same with the
//! least that durability takes. Each runs as a process of its own, so that its CPU time can be read.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::future::BoxFuture;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystead_crypto::{Random as _, Secret32, SystemRandom, aes256gcm_seal};
use keystead_proto::cloud_kms::{EncryptRequest, EncryptResponse};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;

use crate::connection::{Call, Target};
use crate::disk::Syncs;
use crate::load::Case;
use crate::stage::Stage;

/// First argument of the process.
pub(crate) const ROLE: &str = "bare-tonic";

/// A running limit; it ends with this value.
pub(crate) struct Bare {
    process: Child,
    port: u16,
}

impl Bare {
    /// Nothing but the calls.
    pub(crate) fn start(directory: &Path, stage: &Stage) -> Result<Self> {
        Self::start_with(directory, stage, None)
    }

    /// Each call is answered when a record of it is on the disk.
    pub(crate) fn start_durable(directory: &Path, stage: &Stage) -> Result<Self> {
        Self::start_with(directory, stage, Some(directory.join("records")))
    }

    fn start_with(directory: &Path, stage: &Stage, records: Option<PathBuf>) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([
                ROLE.as_ref(),
                directory.join("data/tls/server.pem").as_os_str(),
                stage.ca_file().as_os_str(),
            ])
            .args(records)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
        Ok(Self { process, port: line.trim().parse()? })
    }

    pub(crate) fn encrypt(&self, stage: &Stage) -> Case {
        let target = Target { port: self.port, tls: stage.tls(), pid: self.process.id() };
        let Case { calls, .. } = stage.encrypt_call();
        let calls = calls.iter().map(|call| match call {
            Call::Grpc { body, .. } | Call::Rest { body, .. } => {
                Call::Grpc { path: "/bare/Encrypt".into(), body: body.clone() }
            }
        });
        Case { target, calls: Arc::new(calls.collect()) }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Only a process that has ended already cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until it is killed; prints its port.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let acceptor = TlsAcceptor::from(Arc::new(tls(&arguments[0], &arguments[1])?));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        let key = Arc::new(Secret32::generate(&SystemRandom).ok().context("random bytes")?);
        let syncs = arguments.get(2).map(|path| Syncs::start(Path::new(path))).transpose()?;
        let mut serving = tokio::task::JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            let (acceptor, key, syncs) = (acceptor.clone(), Arc::clone(&key), syncs.clone());
            serving.spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let seal = Seal { key: Arc::clone(&key), syncs: syncs.clone() };
                    async move {
                        let mut grpc = Grpc::new(ProstCodec::default());
                        Ok::<_, Infallible>(grpc.unary(seal, request).await)
                    }
                });
                drop(
                    http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    })
}

struct Seal {
    key: Arc<Secret32>,
    syncs: Option<Syncs>,
}

impl UnaryService<EncryptRequest> for Seal {
    type Response = EncryptResponse;
    type Future = BoxFuture<'static, Result<tonic::Response<EncryptResponse>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<EncryptRequest>) -> Self::Future {
        let (key, syncs) = (Arc::clone(&self.key), self.syncs.clone());
        let request = request.into_inner();
        Box::pin(async move {
            let mut nonce = [0; 12];
            let mut ciphertext = Vec::with_capacity(64);
            SystemRandom
                .fill(&mut nonce)
                .and_then(|()| aes256gcm_seal(key.expose(), &nonce, b"", &request.plaintext, &mut ciphertext))
                .map_err(|_| tonic::Status::internal("cannot seal"))?;
            if let Some(syncs) = syncs {
                syncs.one().await.map_err(|_| tonic::Status::internal("cannot sync"))?;
            }
            Ok(tonic::Response::new(EncryptResponse { name: request.name, ciphertext, ..Default::default() }))
        })
    }
}

fn tls(identity: &str, authority: &str) -> Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let chain = CertificateDer::pem_file_iter(identity)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(identity)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
