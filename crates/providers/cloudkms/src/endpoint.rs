use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// Where the service is: `https://host[:port]`, or `http://` on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    encrypted: bool,
}

impl Endpoint {
    /// Google's own.
    pub const GOOGLE: &str = "https://cloudkms.googleapis.com";

    /// A name or an address, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Scheme and authority of requests.
    pub(crate) fn origin(&self) -> Uri {
        self.uri.clone()
    }

    /// The same place for a connector, which does TLS itself.
    pub(crate) fn place(&self) -> String {
        let brackets = self.host.contains(':');
        let (open, close) = if brackets { ("[", "]") } else { ("", "") };
        format!("http://{open}{}{close}:{}", self.host, self.port)
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint::Form(text.chars().take(200).collect());
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        // User names would look like credentials, and a path would be dropped without a word.
        if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(invalid());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let (encrypted, default_port) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") if is_loopback(&host) => (false, 80),
            Some("http") => return Err(InvalidEndpoint::Plaintext(host)),
            _ => return Err(invalid()),
        };
        if host.is_empty() {
            return Err(invalid());
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, digits)) if !digits.ends_with(']') => digits.parse().map_err(|_| invalid())?,
            _ => default_port,
        };
        Ok(Self { uri, host, port, encrypted })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri.to_string().trim_end_matches('/'))
    }
}

/// Names that only this machine answers to.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// No address of a service.
    #[error("`{0}` is not an address such as https://kms.example.com:8443")]
    Form(String),
    /// Keys and tokens would travel in clear.
    #[error("http:// is only for loopback, and {0} is not: use https://")]
    Plaintext(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_http_on_loopback() {
        for (text, place, encrypted) in [
            ("https://kms.example.com:8443", "http://kms.example.com:8443", true),
            ("https://kms.example.com", "http://kms.example.com:443", true),
            ("https://kms.example.com/", "http://kms.example.com:443", true),
            ("https://[2001:db8::1]:8443", "http://[2001:db8::1]:8443", true),
            ("https://[2001:db8::1]", "http://[2001:db8::1]:443", true),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", false),
            ("http://[::1]:8080", "http://[::1]:8080", false),
            ("http://localhost", "http://localhost:80", false),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.place().as_str(), endpoint.is_encrypted()), (place, encrypted), "{text}");
            assert_eq!(endpoint.to_string(), text.trim_end_matches('/'));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "kms.example.com",
            "kms.example.com:8443",
            "ftp://kms.example.com",
            "https://",
            "https://user:password@kms.example.com",
            "https://kms.example.com/v1",
            "https://kms.example.com?x=y",
            "https://kms.example.com:99999",
            "http://kms.example.com",
            "http://10.0.0.1:80",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
