use super::InvalidListing;

/// Longest token that is looked at: the longest name with a time before it, in hexadecimal, and the check.
const MAX_TOKEN_LEN: usize = 1_024;

/// A token that says where a list goes on, bound to the request: its check is over the place and `bound_to` (parent,
/// filter, order).
///
/// The check finds mistakes, such as a changed filter or a token that was cut; it is no secret. Who forges one gets a page of
/// a list that may be asked for anyway: rights are checked on each call.
pub fn issue_token(place: &str, bound_to: &[String]) -> String {
    let check = check(place, bound_to);
    let mut token = format!("{check:016x}");
    for byte in place.bytes() {
        token += &format!("{byte:02x}");
    }
    token
}

/// The place in a token of [`issue_token`].
pub fn read_token(token: &str, bound_to: &[String]) -> Result<String, InvalidListing> {
    let place = place(token).ok_or(InvalidListing::PageToken)?;
    // Issued again and compared: another spelling of the same token, say in upper case, is none.
    if issue_token(&place, bound_to) == token { Ok(place) } else { Err(InvalidListing::PageToken) }
}

fn place(token: &str) -> Option<String> {
    if token.len() > MAX_TOKEN_LEN || !token.is_ascii() || !token.len().is_multiple_of(2) {
        return None;
    }
    let place = token.get(16..)?;
    let bytes = (0..place.len()).step_by(2).map(|at| u8::from_str_radix(place.get(at..at + 2)?, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

/// FNV-1a, 64 bits, over each text with its length: the same in every build, unlike the hash of the standard library.
fn check(place: &str, bound_to: &[String]) -> u64 {
    let texts = [place].into_iter().chain(bound_to.iter().map(String::as_str));
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in texts {
        for byte in (text.len() as u64).to_be_bytes().into_iter().chain(text.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
