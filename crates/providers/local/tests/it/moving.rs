//! Sealed key files and identities.

use std::thread;

use keystead_provider_local::{
    FileError, Identity, KeyFileError, Recipient, SealedError, open_sealed, seal_to,
};

use crate::fixed::{Place, mode, set_mode, three_versions};

fn identity() -> Identity {
    Identity::generate().expect("generated")
}

#[test]
fn sealed_file_opens_for_its_recipient() {
    let (identity, file) = (identity(), three_versions());
    let sealed = seal_to(&identity.recipient(), &file).expect("sealed");
    let opened = open_sealed(&identity, sealed.as_bytes()).expect("opened");
    assert_eq!(opened.print().as_str(), file.print().as_str());
    assert_ne!(sealed, seal_to(&identity.recipient(), &file).expect("sealed again"));
}

#[test]
fn sealed_file_opens_for_nobody_else() {
    let sealed = seal_to(&identity().recipient(), &three_versions()).expect("sealed");
    let refused = open_sealed(&identity(), sealed.as_bytes()).err();
    assert!(matches!(refused, Some(SealedError::OtherRecipient)), "{refused:?}");
}

#[test]
fn every_flipped_bit_is_refused() {
    let identity = identity();
    let sealed = seal_to(&identity.recipient(), &three_versions()).expect("sealed").into_bytes();
    for position in 0..sealed.len() {
        for bit in 0..8 {
            let mut flipped = sealed.clone();
            flipped[position] ^= 1 << bit;
            assert!(open_sealed(&identity, &flipped).is_err(), "bit {bit} of byte {position}");
        }
    }
}

#[test]
fn truncated_is_refused_at_every_length_but_the_last_line_end() {
    let identity = identity();
    let sealed = seal_to(&identity.recipient(), &three_versions()).expect("sealed");
    for len in 0..sealed.len() - 1 {
        assert!(open_sealed(&identity, &sealed.as_bytes()[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn what_mail_does_to_line_ends_is_accepted_and_nothing_else() {
    let identity = identity();
    let sealed = seal_to(&identity.recipient(), &three_versions()).expect("sealed");
    for mailed in [sealed.replace('\n', "\r\n"), sealed.trim_end().to_owned()] {
        assert!(open_sealed(&identity, mailed.as_bytes()).is_ok());
    }
    let quoted = sealed.replace("\n", "\n> ");
    let wrapped = sealed.replacen("sealed ", "sealed \n", 1);
    for other in
        ["", "\n", &quoted, &wrapped, &format!("\n{sealed}"), &format!("{sealed}\n"), &format!(" {sealed}")]
    {
        let refused = open_sealed(&identity, other.as_bytes()).err();
        assert!(matches!(refused, Some(SealedError::NotSealed)), "{refused:?}");
    }
    assert!(matches!(open_sealed(&identity, &[0xff; 10]), Err(SealedError::NotSealed)));
    let long = format!("{sealed}{}", "A".repeat(200_000));
    assert!(matches!(open_sealed(&identity, long.as_bytes()), Err(SealedError::NotSealed)));
}

#[test]
fn fullest_file_can_be_moved() {
    let identity = identity();
    let mut file = three_versions();
    while file.add(crate::fixed::NOW, &keystead_crypto::SystemRandom).is_ok() {}
    let sealed = seal_to(&identity.recipient(), &file).expect("sealed");
    assert_eq!(open_sealed(&identity, sealed.as_bytes()).expect("opened").versions(), file.versions());
}

#[test]
fn identity_is_written_with_mode_0600_and_read_again() {
    let place = Place::new();
    let (identity, path) = (identity(), place.path("identity"));
    identity.save(&path).expect("saved");
    assert_eq!(mode(&path), 0o600);
    let loaded = Identity::load(&path).expect("loaded");
    assert_eq!(loaded.recipient(), identity.recipient());
    let sealed = seal_to(&identity.recipient(), &three_versions()).expect("sealed");
    open_sealed(&loaded, sealed.as_bytes()).expect("opened");
    assert_eq!(place.others(), ["identity"]);
}

#[test]
fn identity_is_never_overwritten_not_even_by_16_at_once() {
    let place = Place::new();
    let path = &place.path("identity");
    let saved: Vec<Recipient> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let identity = identity();
                    match identity.save(path) {
                        Ok(()) => Some(identity.recipient()),
                        Err(SealedError::IdentityExists(_)) => None,
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(saved, [Identity::load(path).expect("loaded").recipient()], "one was told that it is saved");
    assert_eq!(place.others(), ["identity"], "nothing is left behind");
}

#[test]
fn identity_that_others_can_read_is_refused() {
    let place = Place::new();
    let path = place.path("identity");
    identity().save(&path).expect("saved");
    for bits in [0o640, 0o604, 0o666] {
        set_mode(&path, bits);
        let refused = Identity::load(&path).err();
        let expected =
            matches!(refused, Some(SealedError::File(FileError::Mode { mode, .. })) if mode == bits);
        assert!(expected, "{refused:?}");
    }
}

#[test]
fn what_is_no_identity_is_refused() {
    let place = Place::new();
    let path = place.path("identity");
    for (text, what) in [
        (String::new(), "empty"),
        ("keystead-identity-1:".to_owned(), "no keys"),
        (format!("keystead-identity-1:{}\n", "A".repeat(44)), "one key"),
        (format!("keystead-identity-1:{}\n", "A".repeat(88)), "two keys and two bytes"),
        (format!("keystead-identity-2:{}==\n", "A".repeat(86)), "another format"),
        (format!("keystead-recipient-1:{}=\n", "A".repeat(43)), "a recipient"),
        ("\n".repeat(100_000), "long"),
    ] {
        std::fs::write(&path, text).expect("written");
        set_mode(&path, 0o600);
        assert!(matches!(Identity::load(&path), Err(SealedError::Identity(_))), "{what}");
    }
    let missing = Identity::load(&place.path("nothing")).err();
    assert!(matches!(missing, Some(SealedError::File(FileError::Missing(_)))), "{missing:?}");
}

#[test]
fn recipient_is_read_as_it_is_printed() {
    let recipient = identity().recipient();
    let text = recipient.to_string();
    assert_eq!(text.parse::<Recipient>().expect("parsed"), recipient);
    assert_eq!(format!(" {text}\n").parse::<Recipient>().expect("copied with its line end"), recipient);
    let bare = text.replace("keystead-recipient-1:", "");
    for other in [
        "",
        "keystead-recipient-1:",
        &bare,
        &text[..text.len() - 1],
        &format!("{text}A"),
        &text.to_uppercase(),
    ] {
        assert!(matches!(other.parse::<Recipient>(), Err(SealedError::Recipient)), "{other}");
    }
}

/// Sealed by somebody who knows the recipient, but no key file.
#[test]
fn what_is_sealed_must_be_a_key_file() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as HPKE;
    use rustls::crypto::hpke::{Hpke as _, HpkePublicKey};

    let identity = identity();
    let public = identity.recipient().to_string().replace("keystead-recipient-1:", "");
    let public = HpkePublicKey(BASE64.decode(public).expect("base64"));
    let (encapsulated, sealed) = HPKE
        .seal(b"keystead key file export 1", b"keystead-sealed-key-file 1", b"keystead-key-file 3\n", &public)
        .expect("sealed");
    let text = format!(
        "keystead-sealed-key-file 1\nencapsulated {}\nsealed {}\n",
        BASE64.encode(encapsulated.0),
        BASE64.encode(sealed)
    );
    let refused = open_sealed(&identity, text.as_bytes()).err();
    assert!(matches!(refused, Some(SealedError::KeyFile(KeyFileError::NotAKeyFile))), "{refused:?}");
}

/// A public key of small order would make the shared secret known to everybody.
#[test]
fn keys_of_small_order_are_refused() {
    let zero: Recipient =
        format!("keystead-recipient-1:{}=", "A".repeat(43)).parse().expect("32 bytes of zero");
    assert!(seal_to(&zero, &three_versions()).is_err());

    let identity = identity();
    let sealed = seal_to(&identity.recipient(), &three_versions()).expect("sealed");
    let start = sealed.find("encapsulated ").expect("second line") + "encapsulated ".len();
    let mut zeroed = sealed;
    zeroed.replace_range(start..start + 43, &"A".repeat(43));
    assert!(open_sealed(&identity, zeroed.as_bytes()).is_err());
}
