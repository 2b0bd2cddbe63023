//! TLS with client certificates, as etcd of a real cluster wants it.

use std::path::Path;

use keystead_etcd::{ClientFiles, Connection, Etcd, TlsFiles};
use keystead_model::ErrorClass;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::fake_etcd::FakeEtcd;

#[tokio::test]
async fn client_with_its_certificate_reads_and_others_do_not() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (ours, other) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.issue("127.0.0.1");
    let server = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(&ours.pem));
    let etcd = FakeEtcd::start_with_tls(server).await;
    etcd.put("/registry/a", "value");

    let class = async |trusted: &Authority, issuer: &Authority| {
        let files = write(directory.path(), trusted, issuer);
        let connection = Connection { tls: Some(files), ..Connection::plain(etcd.endpoint()) };
        match Etcd::connect(&connection).await {
            Err(error) => Err(error.class()),
            Ok(client) => {
                client.get(b"/registry/a").await.map(|found| found.is_some()).map_err(|e| e.class())
            }
        }
    };
    assert_eq!(class(&ours, &ours).await, Ok(true));
    assert_eq!(class(&other, &ours).await, Err(ErrorClass::Unavailable));
    assert_eq!(class(&ours, &other).await, Err(ErrorClass::Unavailable));
}

fn write(directory: &Path, trusted: &Authority, issuer: &Authority) -> TlsFiles {
    let (certificate, key) = issuer.issue("keystead");
    let put = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    TlsFiles {
        ca: put("ca.crt", &trusted.pem),
        client: Some(ClientFiles {
            certificate: put("client.crt", &certificate),
            key: put("client.key", &key),
        }),
    }
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).expect("certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("key");
        let params = CertificateParams::new([name.to_owned()]).expect("name");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        (certificate.pem(), key.serialize_pem())
    }
}
