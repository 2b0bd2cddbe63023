//! The part of HPACK (RFC 7541) that finding and overwriting `:authority` literals needs.

/// Overwrites the value of each literal field in `block` whose name is static table entry 1, `:authority`.
///
/// Names given as text or by dynamic index are left alone: h2 judges those values as it always did.
pub(super) fn overwrite_authority(block: &mut [u8]) -> Result<(), HpackError> {
    let mut rest = block;
    while let Some(first) = rest.first().copied() {
        let prefix_bits = match first {
            0x80.. => 7,      // a whole field by index
            0x40..=0x7f => 6, // a literal that enters the table
            0x20..=0x3f => 5, // a new table size
            0x00..=0x1f => 4, // a literal that does not
        };
        let index = integer(&mut rest, prefix_bits)?;
        if first & 0x80 != 0 || first & 0xe0 == 0x20 {
            continue;
        }
        if index == 0 {
            string(&mut rest)?;
        }
        let value = string(&mut rest)?;
        if index == AUTHORITY_INDEX {
            overwrite(value);
        }
    }
    Ok(())
}

/// Why a header block cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpackError {
    /// A string or an integer that goes on after the block's end.
    #[error("a field that is cut off")]
    Truncated,
    /// More than 4 continuation bytes: over 28 bits, which no index or length needs.
    #[error("an integer that is too large")]
    IntegerTooLarge,
}

struct Text<'a> {
    huffman: bool,
    bytes: &'a mut [u8],
}

/// RFC 7541 section 5.1.
fn integer(rest: &mut &mut [u8], prefix_bits: u32) -> Result<usize, HpackError> {
    let mask = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(take_byte(rest)?) & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = take_byte(rest)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(HpackError::IntegerTooLarge)
}

/// RFC 7541 section 5.2.
fn string<'a>(rest: &mut &'a mut [u8]) -> Result<Text<'a>, HpackError> {
    let huffman = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let bytes = rest.split_off_mut(..length).ok_or(HpackError::Truncated)?;
    Ok(Text { huffman, bytes })
}

fn take_byte(rest: &mut &mut [u8]) -> Result<u8, HpackError> {
    rest.split_off_first_mut().map(|byte| *byte).ok_or(HpackError::Truncated)
}

fn overwrite(value: Text<'_>) {
    // kube-apiserver since 1.32, for KMS v2: already legal, and by far the most frequent value.
    if matches!((value.huffman, &*value.bytes), (false, b"localhost") | (true, LOCALHOST_HUFFMAN)) {
        return;
    }
    if !value.huffman {
        value.bytes.fill(b'a');
    } else if let Some(symbols) = huffman_symbols(value.bytes) {
        fill_huffman(value.bytes, symbols);
    }
}

/// Fills `bytes` with exactly `symbols` Huffman codes and no padding, if that can be done with codes of 5 to 8 bits.
///
/// It always can for grpc-go, which uses Huffman coding only where that is shorter. Otherwise the value stays.
fn fill_huffman(bytes: &mut [u8], symbols: usize) {
    let mut bits_left = bytes.len() * 8;
    if !(5 * symbols..=8 * symbols).contains(&bits_left) {
        return;
    }
    let mut bits: u32 = 0;
    let mut held = 0;
    let mut target = bytes.iter_mut();
    for left in (1..=symbols).rev() {
        // The floor keeps the mean of what is left between 5 and 8, so that the last code fits exactly.
        let (code, length) = match bits_left / left {
            5 => (0b00011, 5),     // a
            6 => (0b10_0011, 6),   // b
            7 => (0b111_0100, 7),  // j
            _ => (0b1111_1100, 8), // X
        };
        bits_left -= length;
        bits = bits << length | code;
        held += length;
        if held >= 8 {
            held -= 8;
            if let (Some(byte), [.., low]) = (target.next(), (bits >> held).to_be_bytes()) {
                *byte = low;
            }
        }
    }
}

/// How many symbols `bytes` encode; `None` when they are not a legal Huffman string, which h2 refuses by itself.
///
/// The code is canonical: codes of one length are consecutive numbers, so the number of codes of each length is enough
/// to tell where a symbol ends (RFC 7541 appendix B).
fn huffman_symbols(bytes: &[u8]) -> Option<usize> {
    let mut symbols = 0;
    let mut code: u32 = 0;
    let mut length = 0;
    let mut first_of_length: u32 = 0;
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |shift| u32::from(byte >> shift & 1)));
    for bit in bits {
        code = code << 1 | bit;
        let codes = CODES_OF_LENGTH.get(length).copied()?;
        length += 1;
        first_of_length <<= 1;
        if code - first_of_length < codes {
            symbols += 1;
            (code, length, first_of_length) = (0, 0, 0);
        } else {
            first_of_length += codes;
        }
    }
    // What is left must be padding: fewer than 8 bits, all ones.
    (length < 8 && code == (1 << length) - 1).then_some(symbols)
}

const AUTHORITY_INDEX: usize = 1;
const LOCALHOST_HUFFMAN: &[u8] = &[0xa0, 0xe4, 0x1d, 0x13, 0x9d, 0x09];
/// Number of Huffman codes of 1, 2, ... 30 bits. The last of them is end-of-string, which no string may hold.
const CODES_OF_LENGTH: [u32; 30] =
    [0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 3];
