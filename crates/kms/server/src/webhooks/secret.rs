use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use keystead_crypto::{SecretBytes, hmac_sha256};
use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, Readers};

/// As the Standard Webhooks specification marks a secret that signs symmetrically.
const PREFIX: &str = "whsec_";
/// The lengths that the specification allows, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// The one in use, and the one before it.
const MOST: usize = 2;
/// Longest file, in bytes: two secrets have less than 200.
const MAX_LEN: usize = 1024;

/// What signs the notices for one receiver.
pub(super) struct Secrets(Vec<SecretBytes>);

/// Reads the file of a receiver's secret.
pub(super) fn read_secrets(path: &Path) -> Result<Secrets, Failure> {
    let (text, _) = whole_file::read(path, Readers::Owner, MAX_LEN)
        .map_err(|error| Failure::from_error(&error).hint(error.hint()))?;
    // What is wrong with a line is not repeated: it is a secret, or nearly.
    Secrets::parse(&text).ok_or_else(|| {
        Failure::new(format!("{}: there is no secret of a webhook in it", path.display())).hint(
            "write one line, whsec_ and 24 to 64 bytes in base64: echo \"whsec_$(openssl rand -base64 32)\"; a second line may have the \
             secret before it"
                .to_owned(),
        )
    })
}

impl Secrets {
    fn parse(text: &[u8]) -> Option<Self> {
        let lines: Vec<&str> = std::str::from_utf8(text).ok()?.lines().map(str::trim).collect();
        let secret = |line: &&str| {
            let bytes = SecretBytes::from(BASE64.decode(line.strip_prefix(PREFIX)?).ok()?);
            LENGTHS.contains(&bytes.expose().len()).then_some(bytes)
        };
        let secrets: Vec<SecretBytes> = lines.iter().map(secret).collect::<Option<_>>()?;
        (1..=MOST).contains(&secrets.len()).then_some(Self(secrets))
    }

    /// The header `webhook-signature`: one signature for each secret, with a space between.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &str) -> String {
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body.as_bytes()];
        let signature =
            |secret: &SecretBytes| ["v1,", &BASE64.encode(hmac_sha256(secret.expose(), &signed))].concat();
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_marked_and_long_enough() {
        let of = |len: usize| format!("{PREFIX}{}\n", BASE64.encode(vec![7; len]));
        for good in [of(24), of(64), [of(24), of(32)].concat()] {
            assert!(Secrets::parse(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            String::new(),
            of(23),
            of(65),
            [of(24), of(24), of(24)].concat(),
            [of(24), "\n".to_owned()].concat(),
            of(24).replace("whsec_", ""),
            "whsec_!".to_owned(),
        ] {
            assert!(Secrets::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Secrets::parse(&[0xff]).is_none());
    }
}
