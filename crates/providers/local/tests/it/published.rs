//! The examples in `docs/formats/key-file.md`. They were made by a Python program over other libraries, HPKE included.

use std::str::FromStr;

use keystead_model::KeyVersion;
use keystead_provider::Provider;
use keystead_provider_local::{Identity, KeyFile, Recipient, VersionInfo, open_sealed};

use crate::fixed::{Place, set_mode};

/// The fenced block with this label.
fn example(label: &str) -> &'static str {
    let document = include_str!("../../../../../docs/formats/key-file.md");
    let (_, rest) = document.split_once(&format!("```{label}\n")).expect("the document has the block");
    let (block, _) = rest.split_once("```").expect("the block ends");
    block
}

fn place(name: &str, label: &str) -> Place {
    let place = Place::new();
    std::fs::write(place.path(name), example(label)).expect("written");
    set_mode(&place.path(name), 0o600);
    place
}

/// The second word of the line that starts with `name`.
fn word(label: &str, name: &str) -> &'static str {
    let line = example(label).lines().find(|line| line.starts_with(name)).expect("the line is there");
    line.split(' ').nth(1).expect("a second word")
}

#[test]
fn key_file_is_accepted_and_has_those_fingerprints() {
    let file = KeyFile::parse(example("key-file").as_bytes()).expect("parsed");
    assert_eq!(file.print().as_str(), example("key-file"));
    assert_eq!((file.primary(), file.activation()), (5, 5));
    assert_eq!(fingerprints(&file), example("fingerprints"));
}

#[test]
fn key_file_of_format_1_is_accepted_and_written_so() {
    let file = KeyFile::parse(example("key-file-1").as_bytes()).expect("parsed");
    assert_eq!(file.print().as_str(), example("key-file-1"));
    assert_eq!((file.primary(), file.activation()), (3, 4));
    assert!(example("fingerprints").starts_with(&fingerprints(&file)));
}

fn fingerprints(file: &KeyFile) -> String {
    let line = |version: VersionInfo| format!("{} {}\n", version.version, version.fingerprint);
    file.versions().into_iter().map(line).collect()
}

#[tokio::test]
async fn wrapped_keys_unwrap_and_the_key_id_of_each_format_is_as_published() {
    for (file, label) in [("key-file", "wrapped"), ("key-file-1", "wrapped-1"), ("key-file", "wrapped-1")] {
        let place = place("kek", file);
        let provider = place.provider();
        let wrapped = hex::decode(word(label, "wrapped")).expect("hexadecimal");
        let version = KeyVersion::new(word(label, "version")).expect("a version");
        let unwrapped = provider.unwrap(&version, &wrapped).await.expect("unwrapped");
        assert_eq!(hex::encode(unwrapped.expose()), word(label, "wrapping-key"));

        let now = provider.wrap(&unwrapped).await.expect("wrapped");
        let is_primary = now.version == version;
        let reference = provider.describe().reference(now.version, now.activation, now.material);
        let same = reference.expect("reference").as_str() == word(label, "key-reference");
        assert_eq!(same, is_primary, "{file} {label}");
    }
}

#[test]
fn sealed_key_file_opens_with_the_identity() {
    let place = place("identity", "identity");
    let identity = Identity::load(&place.path("identity")).expect("loaded");
    assert_eq!(identity.recipient().to_string(), example("recipient").trim_end());
    assert!(Recipient::from_str(example("recipient")).is_ok());
    let opened = open_sealed(&identity, example("sealed-key-file").as_bytes()).expect("opened");
    assert_eq!(opened.print().as_str(), example("key-file-1"));

    let copy = place.path("copy");
    identity.save(&copy).expect("saved");
    assert_eq!(std::fs::read_to_string(copy).expect("read"), example("identity"));
}
