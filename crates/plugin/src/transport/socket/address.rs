//! What a user may write for the socket.

use std::path::PathBuf;

use super::{SocketError, SocketSettings};

/// Where to listen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address {
    Path(PathBuf),
    /// Without the `@`.
    Abstract(String),
}

impl Address {
    /// Takes `/path`, `unix:///path`, `@name` and `unix:///@name`, the forms that kube-apiserver takes or shows.
    pub(super) fn parse(settings: &SocketSettings) -> Result<Self, SocketError> {
        let given = settings.endpoint.as_deref().unwrap_or(DEFAULT_SOCKET);
        let invalid = |reason| SocketError::Invalid { given: given.to_owned(), reason };

        let name = match given.strip_prefix("unix://") {
            // kube-apiserver reads it as a URL, so these would mean something else to it.
            Some(url) if url.contains(['%', '?', '#']) => {
                return Err(invalid("a unix:// endpoint must not contain %, ? or #"));
            }
            Some(url) if url.starts_with("/@") => url.trim_start_matches('/'),
            Some(url) => url,
            None => given,
        };
        if name.contains('\0') {
            return Err(invalid("a socket's name must not contain a NUL byte"));
        }
        if name.len() > LONGEST_NAME {
            return Err(SocketError::TooLong { given: given.to_owned(), length: name.len() });
        }
        if let Some(name) = name.strip_prefix('@') {
            return match name {
                "" => Err(invalid("an abstract socket needs a name after the @")),
                _ if !settings.allow_abstract_socket => {
                    Err(SocketError::AbstractNotAllowed { given: given.to_owned() })
                }
                _ => Ok(Self::Abstract(name.to_owned())),
            };
        }
        let path = PathBuf::from(name);
        if !path.is_absolute() {
            return Err(invalid("a socket's path must be absolute"));
        }
        if path.file_name().is_none() || name.ends_with('/') {
            return Err(invalid("a socket's path must end with a file name"));
        }
        Ok(Self::Path(path))
    }
}

/// Where the plugin listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/keystead/kms.sock";
/// `sun_path` has 108 bytes, the last of them NUL; an abstract name's first is NUL, here written `@`.
pub(super) const LONGEST_NAME: usize = 107;
