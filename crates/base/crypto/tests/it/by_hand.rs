//! HKDF and GCM written down from RFC 5869 and NIST SP 800-38D over nothing but SHA-256 and single AES blocks, so that
//! the published vectors are checked by other code than the code that makes them.

use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA256, digest};

/// RFC 5869 with RFC 2104, for keys of at most one block.
pub(crate) fn hkdf(ikm: &[u8], salt: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    let prk = hmac(salt, &[ikm]);
    let (mut out, mut block) = (Vec::new(), Vec::new());
    for counter in 1.. {
        if out.len() >= len {
            break;
        }
        block = hmac(&prk, &[&block, info, &[counter]]);
        out.extend_from_slice(&block);
    }
    out.truncate(len);
    out
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let padded = |with: u8| -> Vec<u8> {
        (0..64).map(|position| key.get(position).copied().unwrap_or(0) ^ with).collect()
    };
    let inner = digest(&SHA256, &[padded(0x36), parts.concat()].concat());
    digest(&SHA256, &[padded(0x5c).as_slice(), inner.as_ref()].concat()).as_ref().to_vec()
}

/// Ciphertext and tag, for a nonce of 12 bytes.
pub(crate) fn gcm(key: &[u8], nonce: &[u8], associated_data: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let counter = |count: u32| [nonce, &count.to_be_bytes()].concat();
    let mut sealed = Vec::new();
    for (chunk, count) in plaintext.chunks(16).zip(2..) {
        sealed.extend(chunk.iter().zip(block(key, &counter(count))).map(|(byte, stream)| byte ^ stream));
    }

    let hash_key = u128::from_be_bytes(block(key, &[0; 16]));
    let mut hash = 0;
    for chunk in associated_data.chunks(16).chain(sealed.chunks(16)) {
        let mut padded = [0; 16];
        padded[..chunk.len()].copy_from_slice(chunk);
        hash = multiply(hash ^ u128::from_be_bytes(padded), hash_key);
    }
    let lengths = (associated_data.len() as u128 * 8) << 64 | (plaintext.len() as u128 * 8);
    hash = multiply(hash ^ lengths, hash_key);
    let tag = hash ^ u128::from_be_bytes(block(key, &counter(1)));
    [sealed.as_slice(), &tag.to_be_bytes()].concat()
}

fn block(key: &[u8], input: &[u8]) -> [u8; 16] {
    let key = UnboundCipherKey::new(&AES_256, key).expect("32 bytes of key");
    let mut block: [u8; 16] = input.try_into().expect("one block");
    EncryptingKey::ecb(key).expect("AES").encrypt(&mut block).expect("one block");
    block
}

/// In GF(2^128) as GCM orders its bits: the first bit is the coefficient of x^0.
fn multiply(a: u128, b: u128) -> u128 {
    let (mut product, mut shifted) = (0, b);
    for bit in (0..128).rev() {
        if a >> bit & 1 == 1 {
            product ^= shifted;
        }
        let carry = shifted & 1 == 1;
        shifted >>= 1;
        if carry {
            shifted ^= 0xe1 << 120;
        }
    }
    product
}

/// RFC 5869, test case 1, and test case 16 of the paper that defines GCM: this code is right on its own.
#[test]
fn fits_the_standards() {
    let okm = hkdf(&[0x0b; 22], &hex("000102030405060708090a0b0c"), &hex("f0f1f2f3f4f5f6f7f8f9"), 42);
    let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
    assert_eq!(okm, hex(expected));

    let key = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    let plaintext = hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
         b16aedf5aa0de657ba637b39",
    );
    let associated_data = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let expected = hex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838\
         c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
    );
    assert_eq!(gcm(&key, &hex("cafebabefacedbaddecaf888"), &associated_data, &plaintext), expected);
}

fn hex(text: &str) -> Vec<u8> {
    ::hex::decode(text).expect("hexadecimal")
}
