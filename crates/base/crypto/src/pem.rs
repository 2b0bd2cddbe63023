//! Keys and certificates as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Characters in a line (RFC 7468, section 2).
const LINE: usize = 64;

/// DER as PEM, of a kind such as `PRIVATE KEY`. It wipes itself, because it may be a private key.
pub fn pem(kind: &str, der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    // One allocation: growing would leave the key behind.
    let around = "-----BEGIN -----\n-----END -----\n".len() + 2 * kind.len();
    let len = around + encoded.len() + encoded.len().div_ceil(LINE);
    let mut text = Zeroizing::new(String::with_capacity(len));
    for part in ["-----BEGIN ", kind, "-----\n"] {
        text.push_str(part);
    }
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        // All of it is ASCII.
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    for part in ["-----END ", kind, "-----\n"] {
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::pem;

    #[test]
    fn lines_have_64_characters_and_nothing_is_left_out() {
        assert_eq!(&*pem("KEY", b""), "-----BEGIN KEY-----\n-----END KEY-----\n");
        let full = "A".repeat(64);
        assert_eq!(&*pem("KEY", &[0; 48]), &format!("-----BEGIN KEY-----\n{full}\n-----END KEY-----\n"));
        assert_eq!(
            &*pem("PRIVATE KEY", &[0; 49]),
            &format!("-----BEGIN PRIVATE KEY-----\n{full}\nAA==\n-----END PRIVATE KEY-----\n")
        );
    }

    #[test]
    fn it_does_not_grow() {
        for len in [0, 1, 47, 48, 49, 1217] {
            let text = pem("PRIVATE KEY", &vec![0; len]);
            assert_eq!(text.capacity(), text.len(), "{len} bytes");
        }
    }
}
