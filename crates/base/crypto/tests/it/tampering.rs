//! Every single change to a ciphertext: an error, never bytes.

use keystead_crypto::{
    Envelope, EnvelopeError, MESSAGE_OVERHEAD, OpenError, Purpose, SecretBytes, SystemRandom, open, seal,
};

use crate::fixed::{PLAINTEXT, WRAPPED, key, reference, sealed};

fn opened(ciphertext: &[u8]) -> Option<SecretBytes> {
    Envelope::parse(ciphertext).ok()?.open(&key(1)).ok()
}

/// Where the wrapped key is. The seal does not cover it, because it selects the key: the local provider's tests flip its
/// bits with a provider that unwraps.
fn wrapped_at() -> std::ops::Range<usize> {
    let start = 2 + reference().to_string().len() + 2;
    start..start + WRAPPED.len()
}

#[test]
fn every_flipped_bit_is_an_error() {
    let good = sealed();
    assert_eq!(opened(&good).expect("the good one opens").expose(), PLAINTEXT);
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[position] ^= 1 << bit;
            if wrapped_at().contains(&position) {
                // Another wrapped key, that is all: to this key the message is the same.
                let parsed = Envelope::parse(&flipped).expect("any bytes may be a wrapped key");
                assert_eq!(parsed.wrapped(), &flipped[wrapped_at()]);
                assert_eq!(parsed.open(&key(1)).expect("same message").expose(), PLAINTEXT);
            } else {
                assert!(opened(&flipped).is_none(), "bit {bit} of byte {position}");
            }
        }
    }
}

#[test]
fn every_other_first_byte_is_an_unknown_format() {
    for format in (0..=255).filter(|format| *format != 1) {
        let mut other = sealed();
        other[0] = format;
        assert_eq!(Envelope::parse(&other).err(), Some(EnvelopeError::UnknownFormat(format)));
    }
}

#[test]
fn truncated_at_every_length_is_an_error() {
    let good = sealed();
    for len in 0..good.len() {
        assert!(opened(&good[..len]).is_none(), "{len} bytes");
    }
    assert!(opened(&[good.as_slice(), &[0]].concat()).is_none(), "one byte more");
}

#[test]
fn another_key_is_named_as_such() {
    let good = sealed();
    let parsed = Envelope::parse(&good).expect("parsed");
    assert_eq!(parsed.open(&key(2)).err(), Some(OpenError::OtherKey));
}

#[test]
fn parts_of_two_ciphertexts_do_not_fit_together() {
    let (first, second) = (sealed(), {
        let plaintext = [0x51; 32];
        Envelope::seal(&reference(), &key(1), &WRAPPED, &plaintext, &SystemRandom).expect("sealed")
    });
    for cut in wrapped_at().end + 1..first.len() {
        assert!(opened(&[&first[..cut], &second[cut..]].concat()).is_none(), "cut at {cut}");
    }
}

#[test]
fn another_purpose_derives_another_key() {
    for (sealed_for, opened_for) in
        [(Purpose::Envelope, Purpose::KeyFileWrap), (Purpose::KeyFileWrap, Purpose::Envelope)]
    {
        let mut message = Vec::new();
        seal(&key(1), sealed_for, b"context", b"ping", &SystemRandom, &mut message).expect("sealed");
        assert_eq!(open(&key(1), opened_for, b"context", &message).err(), Some(OpenError::OtherKey));
        assert_eq!(open(&key(1), sealed_for, b"context", &message).expect("opened").expose(), b"ping");
    }
}

#[test]
fn other_associated_data_is_an_error() {
    let mut message = Vec::new();
    seal(&key(1), Purpose::KeyFileWrap, b"context", b"ping", &SystemRandom, &mut message).expect("sealed");
    for context in [&b""[..], b"contex", b"contexu", b"context\0"] {
        let refused = open(&key(1), Purpose::KeyFileWrap, context, &message);
        assert_eq!(refused.err(), Some(OpenError::Altered));
    }
}

#[test]
fn message_too_short_for_its_parts_is_an_error() {
    let mut message = Vec::new();
    seal(&key(1), Purpose::KeyFileWrap, b"", b"", &SystemRandom, &mut message).expect("sealed");
    assert_eq!(message.len(), MESSAGE_OVERHEAD);
    for len in 0..message.len() {
        let refused = open(&key(1), Purpose::KeyFileWrap, b"", &message[..len]).err();
        let expected = if len < 48 { OpenError::Truncated } else { OpenError::Altered };
        assert_eq!(refused, Some(expected), "{len} bytes");
    }
}
