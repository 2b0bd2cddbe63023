//! Secrets cannot be printed or cloned, and errors hold none.

use keystead_crypto::{Envelope, SystemRandom};

use crate::fixed::{key, reference};

/// Compiles only while the type lacks the trait: with it, two implementations would fit and inference would fail.
macro_rules! assert_lacks {
    ($type:ty: $trait:path) => {{
        trait Either<Which> {
            fn either() {}
        }
        struct Always;
        struct WithTheTrait;
        impl<T> Either<Always> for T {}
        impl<T: $trait> Either<WithTheTrait> for T {}
        <$type as Either<_>>::either();
    }};
}

#[test]
fn secrets_can_be_neither_printed_nor_cloned() {
    use keystead_crypto::{Secret32, SecretBytes};
    assert_lacks!(Secret32: std::fmt::Debug);
    assert_lacks!(Secret32: std::fmt::Display);
    assert_lacks!(Secret32: Clone);
    assert_lacks!(Secret32: PartialEq);
    assert_lacks!(SecretBytes: std::fmt::Debug);
    assert_lacks!(SecretBytes: std::fmt::Display);
    assert_lacks!(SecretBytes: Clone);
    assert_lacks!(SecretBytes: PartialEq);
}

#[test]
fn errors_hold_neither_plaintext_nor_wrapped_key() {
    let canary = "CANARY-c4n4ry-CANARY";
    let long = canary.repeat(40);
    let seal = |wrapped: &str, plaintext: &str| {
        Envelope::seal(&reference(), &key(1), wrapped.as_bytes(), plaintext.as_bytes(), &SystemRandom)
    };
    let mut errors = vec![
        seal(canary, &long).expect_err("plaintext too long"),
        seal(&long, canary).expect_err("wrapped key too long"),
    ];
    let named = [&[1, 60], long.as_bytes()].concat();
    let wrapped = [&[1, 28], b"local-v3-a5-0123456789abcdef".as_slice(), long.as_bytes()].concat();
    for ciphertext in [long.as_bytes(), &named, &wrapped] {
        errors.push(Envelope::parse(ciphertext).err().expect("not a ciphertext"));
    }
    for error in errors {
        let texts = format!("{error} {error:?}");
        assert!(!texts.contains("CANARY") && !texts.contains("c4n4ry"), "{texts}");
    }
}
