//! Keys and certificates of the cluster, made once. Nobody renews them, so they do not end: whoever can read them can change all that they
//! protect, which is in the same directory.

use std::path::Path;

use keystead_runtime::Failure;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use zeroize::Zeroizing;

use crate::files;
use crate::layout::{HostLayout, Layout};

/// What an API server is called, by clients of this machine and in the cluster. The last one is the first address for Services.
const API_SERVER: [&str; 6] =
    ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1"];
const LOOPBACK: [&str; 2] = ["127.0.0.1", "localhost"];
/// What the API server of a host reads.
const OF_A_HOST: [&str; 8] = [
    "authority.pem",
    "api-server.pem",
    "api-server.key",
    "etcd-authority.pem",
    "etcd-client.pem",
    "etcd-client.key",
    "service-accounts.pem",
    "service-accounts.key",
];

/// Files of clients, with what the API server takes them for.
const CLIENTS: [(&str, Option<&str>, &str); 3] = [
    ("administrator", Some("system:masters"), "keystead-local-administrator"),
    ("controller-manager", None, "system:kube-controller-manager"),
    ("scheduler", None, "system:kube-scheduler"),
];

/// Makes everything, if it is not there.
pub(crate) fn prepare(layout: &Layout) -> Result<(), Failure> {
    let (made, place) = (layout.path("pki.unfinished"), layout.path("pki"));
    if place.exists() {
        return Ok(());
    }
    match std::fs::remove_dir_all(&made) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(files::failed("remove", &made, &error));
        }
        _ => files::make_directory(&made)?,
    }
    make(&made)?;
    // All of it or nothing: halves would not fit those that are made later.
    std::fs::rename(&made, &place).map_err(|error| files::failed("rename", &made, &error))
}

/// Gives a host what its API server reads.
pub(crate) fn copy_to(layout: &Layout, host: &HostLayout) -> Result<(), Failure> {
    OF_A_HOST.iter().try_for_each(|name| {
        let from = layout.pki(name);
        let text = std::fs::read_to_string(&from).map(Zeroizing::new);
        let text = text.map_err(|error| files::failed("read", &from, &error))?;
        files::write(&host.path("pki").join(name), &text)
    })
}

fn make(directory: &Path) -> Result<(), Failure> {
    let authority = Authority::new("keystead local cluster", directory, "authority")?;
    // Signs more later: the controller manager answers signing requests with it.
    let key = Zeroizing::new(authority.issuer.key().serialize_pem());
    files::write(&directory.join("authority.key"), &key)?;
    authority.issue(
        "api-server",
        &of("kube-apiserver", None, &API_SERVER, &[ExtendedKeyUsagePurpose::ServerAuth])?,
    )?;
    for (file, group, name) in CLIENTS {
        authority.issue(file, &of(name, group, &[], &[ExtendedKeyUsagePurpose::ClientAuth])?)?;
    }
    // The key of this authority is not kept: nobody else is to reach etcd.
    let etcd = Authority::new("keystead local etcd", directory, "etcd-authority")?;
    // To its members, of which it is one, a server is a client as well.
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    etcd.issue("etcd-server", &of("etcd", None, &LOOPBACK, &both)?)?;
    etcd.issue("etcd-client", &of("kube-apiserver", None, &[], &[ExtendedKeyUsagePurpose::ClientAuth])?)?;
    let accounts = KeyPair::generate().map_err(failed)?;
    files::write(&directory.join("service-accounts.pem"), &accounts.public_key_pem())?;
    files::write(&directory.join("service-accounts.key"), &Zeroizing::new(accounts.serialize_pem()))
}

/// Signs certificates, and writes them beside its own.
struct Authority<'d> {
    issuer: Issuer<'static, KeyPair>,
    directory: &'d Path,
}

impl<'d> Authority<'d> {
    fn new(name: &str, directory: &'d Path, file: &str) -> Result<Self, Failure> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(failed)?;
        files::write(&directory.join(format!("{file}.pem")), &certificate.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), directory })
    }

    fn issue(&self, file: &str, params: &CertificateParams) -> Result<(), Failure> {
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        files::write(&self.directory.join(format!("{file}.pem")), &certificate.pem())?;
        files::write(&self.directory.join(format!("{file}.key")), &Zeroizing::new(key.serialize_pem()))
    }
}

fn of(
    name: &str,
    group: Option<&str>,
    at: &[&str],
    usages: &[ExtendedKeyUsagePurpose],
) -> Result<CertificateParams, Failure> {
    let at: Vec<String> = at.iter().map(|it| (*it).to_owned()).collect();
    let mut params = CertificateParams::new(at).map_err(failed)?;
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    Ok(params)
}

fn failed(error: rcgen::Error) -> Failure {
    Failure::new(format!("the cluster's certificates cannot be made: {error}"))
}
