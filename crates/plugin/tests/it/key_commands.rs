//! `keystead-plugin key ...` from the first version to another host.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::plugin_process::{Ended, Place};

fn key<'a>(place: &Place, args: impl IntoIterator<Item = &'a str>) -> Ended {
    place.run(["key", "--key-file", "key"].into_iter().chain(args))
}

fn done<'a>(place: &Place, args: impl IntoIterator<Item = &'a str>) -> String {
    let ended = key(place, args);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    ended.stdout
}

fn refused<'a>(place: &Place, args: impl IntoIterator<Item = &'a str>, names: &[&str]) {
    let before = fs::read(place.key()).ok();
    let ended = key(place, args);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    for name in ["error: "].iter().chain(names) {
        assert!(ended.stderr.contains(name), "`{name}` is missing: {ended:?}");
    }
    assert_eq!(fs::read(place.key()).ok(), before, "the file is as it was");
}

fn listed(place: &Place) -> serde_json::Value {
    serde_json::from_str(&done(place, ["list", "--format", "json"])).expect("JSON")
}

/// Number and whether it is the primary.
fn versions(place: &Place) -> Vec<(u64, bool)> {
    let list = listed(place);
    let versions = list["versions"].as_array().expect("versions").iter();
    versions
        .map(|it| (it["version"].as_u64().expect("a number"), it["primary"] == serde_json::Value::Bool(true)))
        .collect()
}

#[test]
fn create_says_what_losing_the_file_means_and_never_overwrites() {
    let place = Place::empty();
    let said = done(&place, ["create"]);
    assert!(said.contains("Losing this file loses every Secret"), "{said}");
    assert_eq!(fs::metadata(place.key()).expect("a file").permissions().mode() & 0o777, 0o600);
    refused(&place, ["create"], &["exists already", "hint: "]);
    assert_eq!(versions(&place), [(1, true)]);
}

#[test]
fn add_promote_and_remove_change_what_they_say() {
    let place = Place::new();
    assert!(done(&place, ["add"]).contains("version 2"));
    assert_eq!(versions(&place), [(1, true), (2, false)]);
    assert_eq!(listed(&place)["activation"], 1);

    done(&place, ["promote", "2"]);
    assert_eq!(versions(&place), [(1, false), (2, true)]);
    assert_eq!(listed(&place)["activation"], 2);
    refused(&place, ["promote", "2"], &["is the primary already"]);
    refused(&place, ["promote", "9"], &["no version 9", "1, 2"]);

    refused(&place, ["remove", "2", "--yes"], &["primary"]);
    refused(&place, ["remove", "9", "--yes"], &["no version 9"]);
    refused(&place, ["remove", "1"], &["would remove version 1", "hint: re-encrypt first", "--yes"]);
    let plan = done(&place, ["remove", "1", "--dry-run"]);
    assert!(plan.contains("would remove version 1") && plan.contains("never be read again"), "{plan}");
    assert_eq!(versions(&place), [(1, false), (2, true)], "a plan changes nothing");
    done(&place, ["remove", "1", "--yes"]);
    assert_eq!(versions(&place), [(2, true)]);

    done(&place, ["add"]);
    assert_eq!(versions(&place), [(2, true), (3, false)], "no number comes back");
}

#[test]
fn rotate_is_add_and_promote_and_wants_to_hear_that_there_is_one_host() {
    let place = Place::new();
    let without = key(&place, ["rotate"]);
    assert_eq!(without.code, 2);
    assert!(without.stderr.contains("--single-host"), "{without:?}");
    assert!(done(&place, ["rotate", "--single-host"]).contains("version 2"));
    assert_eq!(versions(&place), [(1, false), (2, true)]);
}

#[test]
fn the_list_for_people_has_what_the_one_for_programs_has_and_no_key() {
    let place = Place::new();
    done(&place, ["add"]);
    let (table, list) = (done(&place, ["list"]), listed(&place));
    assert!(table.contains(list["id"].as_str().expect("an id")), "{table}");
    for version in list["versions"].as_array().expect("versions") {
        for field in ["fingerprint", "created"] {
            assert!(table.contains(version[field].as_str().expect("text")), "{field}: {table}");
        }
    }
    assert_eq!((table.matches("primary").count(), table.matches("unwraps").count()), (1, 1), "{table}");
    let file = fs::read_to_string(place.key()).expect("a key file");
    for line in file.lines().filter(|line| line.starts_with("version ")) {
        let secret = line.split(' ').nth(3).expect("a key");
        assert!(!table.contains(secret) && !list.to_string().contains(secret));
    }
}

#[test]
fn the_file_is_named_by_flag_or_environment() {
    let place = Place::new();
    let mut command = place.command(["key", "list"]);
    command.env("KEYSTEAD_KEY_FILE", place.key());
    let ended = crate::plugin_process::Plugin::spawn(command).ended();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(place.run(["key", "list", "--key-file", "key"]).code, 0);
    let missing = place.run(["key", "list", "--key-file", "nowhere"]);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("nowhere") && missing.stderr.contains("hint: "), "{missing:?}");
}

/// A new version reaches a second host sealed, before any host uses it.
#[test]
fn a_key_file_travels_sealed_to_one_recipient() {
    let (one, other) = (Place::new(), Place::empty());
    let identity = other.path("identity");
    let recipient = done(&other, ["import", "--new-identity", "identity"]);
    assert_eq!(fs::metadata(&identity).expect("a file").permissions().mode() & 0o777, 0o600);
    refused(&other, ["import", "--new-identity", "identity"], &["exists already"]);

    let sealed = done(&one, ["export", "--recipient", recipient.trim()]);
    let file = fs::read_to_string(one.key()).expect("a key file");
    let secret =
        file.lines().find(|line| line.starts_with("version ")).and_then(|line| line.split(' ').nth(3));
    assert!(!sealed.contains(secret.expect("a key")));
    other.write("sealed", &sealed, 0o644);
    done(&other, ["import", "sealed", "--identity", "identity"]);
    assert_eq!(fs::read(other.key()).expect("there"), file.into_bytes(), "byte for byte");
    assert_eq!(fs::metadata(other.key()).expect("a file").permissions().mode() & 0o777, 0o600);

    // The next version: the same way, and the other host is not asked to lose anything.
    done(&one, ["add"]);
    other.write("sealed", done(&one, ["export", "--recipient", recipient.trim()]), 0o644);
    done(&other, ["import", "sealed", "--identity", "identity"]);
    assert_eq!(listed(&one), listed(&other));
    done(&other, ["promote", "2"]);
    refused(&other, ["import", "sealed", "--identity", "identity"], &["older"]);
}

#[test]
fn what_was_not_sealed_for_this_host_is_refused() {
    let (one, other) = (Place::new(), Place::new());
    let recipient = done(&other, ["import", "--new-identity", "identity"]);
    done(&other, ["import", "--new-identity", "second"]);
    let sealed = done(&one, ["export", "--recipient", recipient.trim()]);
    other.write("sealed", &sealed, 0o644);
    refused(&other, ["import", "sealed", "--identity", "second"], &["another recipient"]);
    refused(&other, ["import", "sealed", "--identity", "identity"], &["another key"]);
    other.write("junk", "hello\n", 0o644);
    refused(&other, ["import", "junk", "--identity", "identity"], &["not a sealed key file"]);
    refused(&other, ["import", "missing", "--identity", "identity"], &["missing"]);
    refused(&other, ["import", "sealed", "--identity", "nowhere"], &["nowhere"]);
    other.write("wrong", &sealed, 0o600);
    refused(&other, ["import", "sealed", "--identity", "wrong"], &["not an identity"]);
    let cut = &sealed[..sealed.len() - 10];
    other.write("cut", cut, 0o644);
    refused(&other, ["import", "cut", "--identity", "identity"], &["error: "]);
    let nobody = key(&one, ["export", "--recipient", "nobody"]);
    assert_eq!(nobody.code, 2, "{nobody:?}");
}
