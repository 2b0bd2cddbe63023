//! The text of a key file: what is accepted is, byte for byte, what would be written.

use keystead_crypto::{CryptoFailed, Random, SystemRandom};
use keystead_provider_local::{EditError, KeyFile, KeyFileError};
use proptest::prelude::*;

use crate::fixed::{NOW, body, fresh, of_format_1, three_versions, with_digest};

fn refused(text: &str) -> KeyFileError {
    KeyFile::parse(text.as_bytes()).err().unwrap_or_else(|| panic!("accepted:\n{text}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn round_trips(added in 0..40_u32, promoted in prop::collection::vec(1..41_u32, 0..10),
                   removed in prop::collection::vec(1..41_u32, 0..20)) {
        let mut file = fresh();
        for _ in 0..added {
            file.add(NOW, &SystemRandom).expect("added");
        }
        // Some of these are refused, which leaves the file as it was.
        promoted.iter().for_each(|number| drop(file.promote(*number)));
        removed.iter().for_each(|number| drop(file.remove(*number)));

        let text = file.print();
        let parsed = KeyFile::parse(text.as_bytes()).expect("parsed");
        prop_assert!(parsed.print() == text);
        prop_assert_eq!(parsed.id(), file.id());
        prop_assert_eq!(parsed.activation(), file.activation());
        prop_assert_eq!(parsed.primary(), file.primary());
        // Fingerprints among them, so the keys are the same.
        prop_assert_eq!(parsed.versions(), file.versions());
        prop_assert_eq!(parsed.can_replace(&file), Ok(()));
        prop_assert_eq!(file.can_replace(&parsed), Ok(()));
    }

    #[test]
    fn arbitrary_lines_are_refused_or_printed_again(
        lines in prop::collection::vec("(id|activation|primary|next|version|removed|sha256|#)? ?[ -~]{0,60}", 0..8),
        format in 1..3_u8,
    ) {
        let body = format!("keystead-key-file {format}\n{}\n", lines.join("\n"));
        let text = with_digest(&body);
        if let Ok(file) = KeyFile::parse(text.as_bytes()) {
            prop_assert!(*file.print() == text);
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let good = three_versions().print().as_bytes().to_vec();
    assert!(KeyFile::parse(&good).is_ok());
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[position] ^= 1 << bit;
            assert!(KeyFile::parse(&flipped).is_err(), "bit {bit} of byte {position}");
        }
    }
}

#[test]
fn truncated_at_every_length_is_refused() {
    let good = three_versions().print().as_bytes().to_vec();
    for len in 0..good.len() {
        assert!(KeyFile::parse(&good[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn one_number_for_two_keys_is_refused() {
    let body = body(&three_versions());
    let (before, third) = body.split_at(body.find("version 3").expect("version 3"));
    let twice = third.replace("version 3", "version 2");
    let error = refused(&with_digest(&format!("{before}{twice}")));
    assert_eq!(error, KeyFileError::Twice { line: 9, number: 2 });
}

#[test]
fn what_a_person_might_have_done_is_refused_by_name() {
    let good = body(&three_versions());
    let edited = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        refused(&with_digest(&good.replacen(from, to, 1)))
    };
    assert_eq!(edited("keystead-key-file 2", "keystead-key-file 3"), KeyFileError::NotAKeyFile);
    assert_eq!(edited("primary 2", "primary 7"), KeyFileError::NoPrimary(7));
    assert_eq!(edited("next 4", "next 3"), KeyFileError::Next(3));
    for (from, to, line, expected) in [
        ("id ", "id 0", 3, "id and 32 hexadecimal digits"),
        ("activation 2", "activation two", 4, "activation"),
        ("activation 2", "activation -2", 4, "activation"),
        ("activation 2", "activation 4294967296", 4, "activation"),
        ("activation 2\n", "", 4, "activation"),
        ("primary", "Primary", 5, "primary"),
        ("next", "\nnext", 6, "next"),
        ("next 4\n", "next 4\n\n", 7, "version NUMBER TIME BASE64"),
        ("version 1 ", "versions 1 ", 7, "version NUMBER TIME BASE64"),
        ("version 1 ", "version one ", 7, "version NUMBER TIME BASE64"),
        ("version 1 2026", "version 1 26", 7, "version NUMBER TIME BASE64"),
        ("version 1 2026-01-31T12:00:00Z ", "version 1 ", 7, "version NUMBER TIME BASE64"),
        ("T12:00:00Z ", "T12:00:00Z AAAA", 7, "version NUMBER TIME BASE64"),
        ("T12:00:00Z ", "T12:00:00Z  ", 7, "version NUMBER TIME BASE64"),
    ] {
        assert_eq!(edited(from, to), KeyFileError::Line { line, expected }, "{from} -> {to}");
    }
    for (from, to) in [
        ("activation 2", "activation 02"),
        ("activation 2", "activation +2"),
        ("version 1", "version 01"),
        ("# Losing", "# losing"),
        ("next 4\n", "next 4\r\n"),
        ("keystead-key-file 2", "keystead-key-file 1"),
    ] {
        assert_eq!(edited(from, to), KeyFileError::NotCanonical, "{from} -> {to}");
    }
    let behind = format!("{}version 9 {NOW} AAAA\n", with_digest(&good));
    assert_eq!(refused(&behind), KeyFileError::Truncated);
    let comment = format!("{good}# a note\n");
    let expected = KeyFileError::Line { line: 10, expected: "version NUMBER TIME BASE64" };
    assert_eq!(refused(&with_digest(&comment)), expected);
    let changed = good.replace("primary 2", "primary 3");
    let old_digest = with_digest(&good).split_off(good.len());
    assert_eq!(refused(&format!("{changed}{old_digest}")), KeyFileError::Digest);
}

#[test]
fn another_order_of_versions_is_refused() {
    let body = body(&three_versions());
    let (head, versions) = body.split_at(body.find("version 1").expect("version 1"));
    let reversed: Vec<&str> = versions.lines().rev().collect();
    assert_eq!(
        refused(&with_digest(&format!("{head}{}\n", reversed.join("\n")))),
        KeyFileError::NotCanonical
    );
}

#[test]
fn what_is_no_text_or_too_long_is_refused() {
    assert_eq!(KeyFile::parse(&[0xff; 100]).err(), Some(KeyFileError::NotText));
    assert_eq!(KeyFile::parse(&[b'a'; 65_537]).err(), Some(KeyFileError::TooLong(65_537)));
    assert_eq!(KeyFile::parse(b"").err(), Some(KeyFileError::NotAKeyFile));
}

#[test]
fn fullest_file_fits_and_is_printed_without_growing() {
    let mut file = fresh();
    for _ in 0..255 {
        file.add(NOW, &SystemRandom).expect("added");
    }
    let text = file.print();
    assert!(KeyFile::parse(text.as_bytes()).is_ok());
    // 128 bytes a line were reserved. Growing would have left keys behind in freed memory.
    assert_eq!(text.capacity(), 128 * (256 + 8));
}

#[test]
fn so_does_one_with_as_many_removed_versions_as_it_takes_and_numbers_of_any_length() {
    let first = body(&fresh());
    let high = first.replace("next 2", "next 4294960000");
    let mut file = KeyFile::parse(with_digest(&high).as_bytes()).expect("parsed");
    let mut removed = 0;
    loop {
        let number = file.add(NOW, &SystemRandom).expect("added");
        match file.remove(number) {
            Ok(()) => removed += 1,
            Err(error) => break assert_eq!(error, EditError::Full),
        }
    }
    assert_eq!(removed, 1000);
    while file.add(NOW, &SystemRandom).is_ok() {}
    let text = file.print();
    assert!(text.len() <= 65_536, "{} bytes", text.len());
    assert_eq!(text.capacity(), 128 * (256 + 1000 + 8));
    assert!(KeyFile::parse(text.as_bytes()).is_ok());
}

#[test]
fn fingerprints_and_removed_versions_are_read_as_they_are_written_or_not_at_all() {
    let mut file = three_versions();
    file.remove(1).expect("removed");
    let good = body(&file);
    let words = |start: &str| {
        let line = good.lines().find(|line| line.starts_with(start)).expect("a line");
        (line.to_owned(), line.rsplit(' ').next().expect("a word").to_owned())
    };
    let ((version, recorded), (removed, gone)) = (words("version 3"), words("removed 1"));
    assert!(recorded.len() == 16 && gone.len() == 16, "{good}");
    let edited = |from: &str, to: &str| refused(&with_digest(&good.replacen(from, to, 1)));
    let expected = "removed NUMBER FINGERPRINT";
    assert_eq!(edited(&recorded, &gone), KeyFileError::NotCanonical, "another fingerprint");
    assert_eq!(edited(&recorded, &recorded.to_uppercase().replace('0', "a")), KeyFileError::NotCanonical);
    assert_eq!(edited(&recorded, &recorded[..8]), KeyFileError::NotCanonical);
    for (from, to) in [("removed 1", "removed one"), (gone.as_str(), "abc"), (removed.as_str(), "removed 1")]
    {
        assert_eq!(edited(from, to), KeyFileError::Line { line: 9, expected });
    }
    assert_eq!(edited("removed 1", "removed 01"), KeyFileError::NotCanonical);
    assert_eq!(edited("removed 1", "removed 2"), KeyFileError::Twice { line: 9, number: 2 });
    assert_eq!(edited("removed 1", "removed 4"), KeyFileError::Next(4));
    let twice = format!("{removed}\n{removed}");
    assert_eq!(edited(&removed, &twice), KeyFileError::Twice { line: 10, number: 1 });
    let moved = good.replace(&format!("{removed}\n"), "").replace(&version, &format!("{removed}\n{version}"));
    assert_eq!(refused(&with_digest(&moved)), KeyFileError::NotCanonical);
}

/// A file of before fingerprints stays as it is until somebody changes the key.
#[test]
fn format_1_is_read_and_written_until_a_version_is_added_or_removed() {
    let old = of_format_1(&three_versions());
    assert!(old.print().starts_with("keystead-key-file 1\n"));
    let text = old.print();
    let parsed = || KeyFile::parse(text.as_bytes()).expect("parsed");
    for (change, format) in [
        ((|file| file.promote(1)) as fn(&mut KeyFile) -> Result<(), EditError>, 1),
        (|file| file.add(NOW, &SystemRandom).map(drop), 2),
        (|file| file.remove(3), 2),
    ] {
        let mut file = parsed();
        change(&mut file).expect("changed");
        assert!(file.print().starts_with(&format!("keystead-key-file {format}\n")));
        assert_eq!(file.versions()[0].fingerprint, old.versions()[0].fingerprint);
        assert!(KeyFile::parse(file.print().as_bytes()).is_ok());
    }
}

#[test]
fn without_randomness_there_is_no_file() {
    struct NoRandom;
    impl Random for NoRandom {
        fn fill(&self, _: &mut [u8]) -> Result<(), CryptoFailed> {
            Err(CryptoFailed)
        }
    }
    assert!(KeyFile::generate(NOW, &NoRandom).is_err());
    let mut file = fresh();
    assert!(file.add(NOW, &NoRandom).is_err());
    assert_eq!(file.versions().len(), 1);
}
