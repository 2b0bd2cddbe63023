//! Where a plugin listens, as Go's `url.Parse` and kube-apiserver read it.

use std::fmt;
use std::str::FromStr;

use super::Problem;

/// An endpoint that kube-apiserver starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    socket: String,
}

impl Endpoint {
    /// The text of the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path of the socket, or `@` and a name in the abstract name space. Empty if kube-apiserver takes the text and then
    /// connects to nothing.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// Whether the socket is what the text looks like: `unix:/run/kms.sock` is, and `unix://tmp/kms.sock` is `/kms.sock` to
    /// kube-apiserver.
    pub(super) fn is_plain(&self) -> bool {
        let written =
            self.text.split_once(':').map_or("", |(_, rest)| rest.strip_prefix("//").unwrap_or(rest));
        written == self.socket || written.strip_prefix('/') == Some(&self.socket)
    }
}

impl FromStr for Endpoint {
    type Err = Problem;

    /// Takes the text of `endpoint`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        if text.is_empty() {
            return Err(Problem::Missing("endpoint"));
        }
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) || text.starts_with(':') {
            return Err(Problem::EndpointUrl);
        }
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        unescaped(fragment)?;
        let Some((scheme, rest)) = url.split_once(':') else { return Err(Problem::EndpointScheme) };
        if !scheme.eq_ignore_ascii_case("unix") {
            return Err(Problem::EndpointScheme);
        }
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        // Without a slash it is an opaque URL, whose path is empty.
        let path = match rest.strip_prefix("//") {
            Some(after) => after.find('/').and_then(|slash| after.get(slash..)).unwrap_or_default(),
            None if rest.starts_with('/') => rest,
            None => "",
        };
        let path = unescaped(path)?;
        let socket = if path.starts_with("/@") { path.trim_start_matches('/').to_owned() } else { path };
        Ok(Self { text: text.to_owned(), socket })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `%41` is `A`.
fn unescaped(text: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let hex = hex.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or(Problem::EndpointUrl)?;
        bytes.push(byte);
        rest = after.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| Problem::EndpointUrl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_the_path_of_the_url() {
        for (text, socket, plain) in [
            ("unix:///run/kms.sock", "/run/kms.sock", true),
            ("unix:///@kms", "@kms", true),
            ("UNIX:///run/kms.sock", "/run/kms.sock", true),
            ("unix:/run/kms.sock", "/run/kms.sock", true),
            ("unix://tmp/kms.sock", "/kms.sock", false),
            ("unix:kms.sock", "", false),
            ("unix:/@kms", "@kms", true),
            ("unix:/run/a%20b", "/run/a b", false),
            ("unix://", "", false),
            ("unix:///run/a%20b", "/run/a b", false),
            ("unix:///run/a?b#c", "/run/a", false),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(
                (endpoint.socket(), endpoint.is_plain() && !socket.is_empty()),
                (socket, plain),
                "{text}"
            );
        }
        for (text, expected) in [
            ("", Problem::Missing("endpoint")),
            ("/run/kms.sock", Problem::EndpointScheme),
            ("tcp://localhost:1", Problem::EndpointScheme),
            (":///run", Problem::EndpointUrl),
            ("unix:///run/%zz", Problem::EndpointUrl),
            ("unix:///run/\u{7f}", Problem::EndpointUrl),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(expected), "{text}");
        }
    }
}
