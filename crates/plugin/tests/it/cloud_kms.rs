//! Settings of the provider `cloudkms`: what suffices, and what is refused.

use std::process::Command;

use crate::plugin_process::{Ended, Place, Plugin};

const KEY: &str = "projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/key";
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// With a credentials file of two tokens, `first` and `second`.
fn place() -> Place {
    let place = Place::empty();
    let text = format!(
        r#"{{"endpoint": "https://kms.example.com", "tokens": ["ks_first_{SECRET}", "ks_second_{SECRET}"]}}"#
    );
    place.write("credentials.json", text, 0o600);
    place
}

fn checked(place: &Place, variables: &[(&str, &str)], args: &[&str]) -> Ended {
    let mut command: Command = place.command(["--check-config"]);
    command.args(args).env("KEYSTEAD_CREDENTIALS_FILE", "credentials.json");
    command.envs(variables.iter().copied());
    let ended = Plugin::spawn(command).ended();
    assert!(!format!("{ended:?}").contains(SECRET), "a secret is printed: {ended:?}");
    ended
}

#[test]
fn k4_two_variables_and_the_credentials_file_suffice() {
    let place = place();
    let ended = checked(&place, &[("KMS_KEY_ID", KEY), ("KMS_USER_ID", "second")], &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "the settings are good\n"), "{ended:?}");

    let ended = checked(&place, &[("KMS_KEY_ID", KEY), ("KMS_USER_ID", "third")], &[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("no token with the id third"), "{ended:?}");
    assert!(ended.stderr.contains("hint: name one of the ids in the file with KMS_USER_ID"), "{ended:?}");
}

/// Flags and our own variables win over the manifest's, those over the file.
#[test]
fn k4_the_manifests_variables_have_their_place() {
    let place = place();
    let file = format!("kmsKey: {KEY}\nkmsUser: third\n");
    place.write("plugin.yaml", file, 0o644);
    let config = ["--config", "plugin.yaml"];
    assert_eq!(checked(&place, &[], &config).code, 1, "the file alone names a token that is not there");
    assert_eq!(checked(&place, &[("KMS_USER_ID", "first")], &config).code, 0);
    let both = [("KMS_USER_ID", "third"), ("KEYSTEAD_KMS_USER", "first")];
    assert_eq!(checked(&place, &both, &config).code, 0);
    let flag = ["--config", "plugin.yaml", "--kms-user", "first"];
    assert_eq!(checked(&place, &[("KMS_USER_ID", "third")], &flag).code, 0);
    // Empty is not given.
    assert_eq!(checked(&place, &[("KMS_USER_ID", ""), ("KMS_KEY_ID", "")], &flag).code, 0);
}

#[test]
fn k4_a_whole_token_in_the_manifest_is_refused_unless_allowed() {
    let place = place();
    let token = format!("ks_first_{SECRET}");
    let variables = [("KMS_KEY_ID", KEY), ("KMS_USER_ID", token.as_str())];
    let ended = checked(&place, &variables, &[]);
    assert_eq!(ended.code, 2, "{ended:?}");
    for words in [
        "would stand in etcd in clear",
        "credentials.json (mode 0600)",
        "its id, first",
        "--allow-token-in-env",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {ended:?}");
    }
    assert_eq!(checked(&place, &variables, &["--allow-token-in-env"]).code, 0);
    let allowed = [variables[0], variables[1], ("KEYSTEAD_ALLOW_TOKEN_IN_ENV", "true")];
    assert_eq!(checked(&place, &allowed, &[]).code, 0);

    // Nowhere else, and a token that is broken is a secret all the same.
    let flag = ["--kms-user", token.as_str(), "--allow-token-in-env"];
    assert_eq!(checked(&place, &[("KMS_KEY_ID", KEY)], &flag).code, 2);
    let help = checked(&place, &[("KEYSTEAD_KMS_USER", token.as_str())], &["--help"]);
    assert!(help.stdout.contains("KEYSTEAD_KMS_USER"), "{help:?}");
    let broken = format!("ks_first_{SECRET}x");
    for args in [&["--allow-token-in-env"][..], &[]] {
        let ended = checked(&place, &[("KMS_KEY_ID", KEY), ("KMS_USER_ID", &broken)], args);
        assert_eq!(ended.code, 2, "{ended:?}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_with_words() {
    let place = place();
    let key_file = place.path("key");
    let key_file = key_file.to_str().expect("UTF-8");
    for (variables, args, code, words) in [
        (&[("KMS_KEY_ID", "key")][..], &[][..], 2, "is not the name of a key"),
        (&[], &["--provider", "cloudkms"], 2, "no key is given"),
        (&[("KMS_KEY_ID", KEY)], &["--key-file", key_file], 2, "only one can be used"),
        (
            &[("KMS_KEY_ID", KEY)],
            &["--kms-endpoint", "http://kms.example.com"],
            2,
            "http:// is only for loopback",
        ),
        (&[("KMS_KEY_ID", KEY)], &["--kms-user", "a b"], 2, "a token has the form"),
        (
            &[("KMS_KEY_ID", KEY)],
            &["--kms-user", "first", "--kms-ca-file", "none.pem"],
            1,
            "none.pem does not exist",
        ),
        (&[("KMS_KEY_ID", KEY)], &["--credentials-file", "none.json"], 1, "none.json does not exist"),
        (&[], &[], 2, "no key file is given"),
    ] {
        let ended = checked(&place, variables, args);
        assert_eq!(ended.code, code, "{words}: {ended:?}");
        assert!(ended.stderr.contains(words), "{words}: {ended:?}");
    }
    // Google needs no file.
    let google = [("KMS_KEY_ID", KEY), ("KEYSTEAD_CREDENTIALS_FILE", "none.json")];
    assert_eq!(checked(&place, &google, &["--google"]).code, 0);
}

#[test]
fn others_must_not_be_able_to_read_the_credentials() {
    let place = place();
    place.write("credentials.json", "{}", 0o644);
    let ended = checked(&place, &[("KMS_KEY_ID", KEY)], &[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("has mode 0644: others can read"), "{ended:?}");
    assert!(ended.stderr.contains("hint: run `chmod 0600 "), "{ended:?}");
}
