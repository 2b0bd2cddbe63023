//! Where the settings of a connection come from: flags, our variables, gcloud's variables, in this order.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use keystead_runtime::Failure;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Identity, Url};
use zeroize::Zeroizing;

/// The server and the files that prove who calls.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Address of the server; otherwise gcloud's CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS
    #[arg(long, global = true, value_name = "URL", env = "KEYSTEAD_ENDPOINT")]
    endpoint: Option<String>,
    /// Certificates of the authority that vouches for the server, PEM; otherwise gcloud's
    /// CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE, otherwise those of the system
    #[arg(long, global = true, value_name = "FILE", env = "KEYSTEAD_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// File with the token; otherwise gcloud's CLOUDSDK_AUTH_ACCESS_TOKEN_FILE
    #[arg(long, global = true, value_name = "FILE", env = "KEYSTEAD_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Own certificate, PEM, instead of a token
    #[arg(long, global = true, value_name = "FILE", env = "KEYSTEAD_CLIENT_CERTIFICATE_FILE")]
    client_certificate_file: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, global = true, value_name = "FILE", env = "KEYSTEAD_CLIENT_KEY_FILE")]
    client_key_file: Option<PathBuf>,
}

impl ConnectionArgs {
    /// The file that the token is read from.
    pub(crate) fn token_file(&self) -> Option<PathBuf> {
        self.token_file.clone().or_else(|| env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE").map(Into::into))
    }
}

/// What the settings come to, with the files read.
pub(super) struct Settings {
    pub(super) endpoint: Url,
    pub(super) authorities: Vec<Certificate>,
    pub(super) identity: Option<Identity>,
    pub(super) credentials: Credentials,
}

/// Proof of who calls. Not printable: it holds the token.
pub(super) struct Credentials {
    header: Option<HeaderValue>,
    /// For texts: which file would have to be changed.
    pub(super) token_file: Option<PathBuf>,
    pub(super) certificate_file: Option<PathBuf>,
}

impl Credentials {
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { header: None, token_file: None, certificate_file: None }
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.header.clone()
    }
}

/// What somebody shows who does not go by the settings of a shell.
pub(crate) enum Proof {
    /// The token in this file.
    Token(PathBuf),
    /// A certificate and its private key, PEM.
    Certificate { certificate: PathBuf, key: PathBuf },
}

impl Settings {
    /// Those, and no variables.
    pub(super) fn named(endpoint: &str, ca_file: Option<&Path>, proof: Proof) -> Result<Self, Failure> {
        let (header, identity, token_file, certificate_file) = match proof {
            Proof::Token(file) => (Some(token_header(&file)?), None, Some(file), None),
            Proof::Certificate { certificate, key } => {
                (None, Some(read_identity(&certificate, &key)?), None, Some(certificate))
            }
        };
        Ok(Self {
            endpoint: checked_endpoint(endpoint)?,
            authorities: ca_file.map_or_else(|| Ok(Vec::new()), authorities)?,
            identity,
            credentials: Credentials { header, token_file, certificate_file },
        })
    }

    pub(super) fn read(args: &ConnectionArgs) -> Result<Self, Failure> {
        let endpoint = args.endpoint.clone().or_else(|| env("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"));
        let endpoint = endpoint.ok_or_else(|| {
            Failure::new("which server? Neither --endpoint nor KEYSTEAD_ENDPOINT is set").usage().hint(
                "eval \"$(keystead env --data-dir DIR)\" points keystead and gcloud at a server on this host"
                    .to_owned(),
            )
        })?;
        let endpoint = checked_endpoint(&endpoint)?;
        let ca_file =
            args.ca_file.clone().or_else(|| env("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE").map(Into::into));
        let authorities = match ca_file {
            Some(file) => authorities(&file)?,
            None => Vec::new(),
        };
        let token_file = args.token_file();
        let header = token_file.as_deref().map(token_header).transpose()?;
        let identity = identity(args)?;
        let certificate_file = args.client_certificate_file.clone();
        Ok(Self {
            endpoint,
            authorities,
            identity,
            credentials: Credentials { header, token_file, certificate_file },
        })
    }
}

/// A variable that is set to nothing is not set.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Without TLS everyone on the way reads token and plaintext, so that is for this host only.
fn checked_endpoint(text: &str) -> Result<Url, Failure> {
    let wrong = |what: &str| Failure::new(format!("endpoint {text:?} {what}")).usage();
    let url =
        Url::parse(text).map_err(|_| wrong("is not an address such as https://kms.example.org:8443"))?;
    let Some(host) = url.host_str() else { return Err(wrong("names no host")) };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not hold a name or password: --token-file names the file with the token"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_this_host(host) => Ok(url),
        "http" => Err(wrong("is plain HTTP to another host: the token would be readable on the way")),
        _ => Err(wrong("is neither https nor http")),
    }
}

fn is_this_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, Failure> {
    let pem = read(file)?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|error| Failure::from_error(&error).usage())?;
    if certificates.is_empty() {
        return Err(Failure::new(format!("{} holds no certificate in PEM", file.display())).usage());
    }
    Ok(certificates)
}

fn identity(args: &ConnectionArgs) -> Result<Option<Identity>, Failure> {
    match (&args.client_certificate_file, &args.client_key_file) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => read_identity(certificate, key).map(Some),
        _ => {
            let text = "--client-certificate-file and --client-key-file go together";
            Err(Failure::new(text).usage())
        }
    }
}

fn read_identity(certificate: &Path, key: &Path) -> Result<Identity, Failure> {
    let mut pem = read(certificate)?;
    pem.push(b'\n');
    pem.extend_from_slice(&read(key)?);
    Identity::from_pem(&pem).map_err(|error| {
        let text = format!("{} and {} are no certificate with its key", certificate.display(), key.display());
        Failure::new(format!("{text}: {error}")).usage()
    })
}

fn token_header(file: &Path) -> Result<HeaderValue, Failure> {
    let text = token(file)?;
    let mut header = Zeroizing::new(String::with_capacity("Bearer ".len() + text.len()));
    header.push_str("Bearer ");
    header.push_str(&text);
    let holds_none = |_| Failure::new(format!("{} holds no token", file.display())).usage();
    let mut header = HeaderValue::from_str(&header).map_err(holds_none)?;
    header.set_sensitive(true);
    Ok(header)
}

/// The token in a file.
pub(crate) fn token(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let bytes = read(file)?;
    let wrong = |what: &str| Failure::new(format!("{} {what}", file.display())).usage();
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not text: a token was expected"))?.trim();
    if text.starts_with('{') {
        return Err(wrong("is JSON, such as a service account's key file; a token was expected"));
    }
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(wrong("should hold one token and nothing else"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let bytes = std::fs::read(file);
    bytes
        .map(Zeroizing::new)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())).usage())
}

#[cfg(test)]
mod tests {
    use super::checked_endpoint;

    #[test]
    fn plain_http_stays_on_this_host() {
        for good in ["https://kms.example.org", "http://localhost:1", "http://127.0.0.1:1/", "http://[::1]:1"]
        {
            assert!(checked_endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "http://kms.example.org",
            "http://10.0.0.1:80",
            "http://127.0.0.1.example.org",
            "ftp://localhost",
        ] {
            assert_eq!(checked_endpoint(bad).expect_err(bad).code(), 2);
        }
        for bad in ["kms.example.org", "https://user:secret@localhost", "https://"] {
            let failure = checked_endpoint(bad).expect_err(bad);
            assert_eq!(failure.code(), 2);
        }
    }
}
