//! Secrets on a command line and in variables, by what they are called and by how they look. Only names are kept, and only what is a name.

use zeroize::Zeroizing;

use crate::doctor::userinfo::has_userinfo;
use crate::kms_way::{is_flag, is_name};

/// What is said of a secret whose place has no name.
const A_WORD: &str = "a word of its command";

/// Names of variables and flags that hold a secret.
pub(super) fn places(
    environment: &[(String, Zeroizing<String>)],
    command: &[Zeroizing<String>],
) -> Vec<String> {
    let variables = environment.iter().filter(|(name, value)| is_secret(name, value));
    let mut found: Vec<String> = variables
        .map(|(name, _)| match is_shown(name) {
            true => format!("the variable {name}"),
            false => "a variable".to_owned(),
        })
        .collect();
    let mut words = command.iter().flat_map(|it| pieces(it)).peekable();
    let mut is_told = false;
    while let Some(word) = words.next() {
        // The value of a flag that was told is no second place.
        let told_before = std::mem::take(&mut is_told);
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, value),
            None => (word, words.peek().copied().unwrap_or_default()),
        };
        let (bare, has_value) = (name.trim_start_matches('-'), word.contains('='));
        let is_named = (has_value || is_flag(name)) && is_secret(bare, value);
        if is_named && is_flag(name) && is_shown(bare) {
            found.push(format!("the flag {name}"));
            is_told = !has_value;
        } else if is_named && bare == name && is_shown(name) {
            found.push(format!("the variable {name} of its command"));
        } else if !told_before && (is_named || looks_secret(word) || has_userinfo(word)) {
            found.push(A_WORD.to_owned());
        }
    }
    found.dedup();
    found
}

/// A secret may stand where a name is expected.
fn is_shown(name: &str) -> bool {
    is_name(name) && !looks_secret(name)
}

/// A script of `sh -c` is a word with words in it. What is in PEM stays whole.
fn pieces(word: &str) -> Vec<&str> {
    if word.contains("-----BEGIN") {
        return vec![word];
    }
    let ends = |it: char| it.is_whitespace() || matches!(it, '"' | '\'' | ';' | '|' | '&' | '(' | ')');
    let is_script = word.contains(char::is_whitespace);
    match is_script {
        true => word.split(ends).filter(|it| !it.is_empty()).collect(),
        false => vec![word],
    }
}

/// By what it is called, or by how it looks. What ends in a word for a place is a place.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_uppercase().replace('-', "_");
    let is_place =
        ["FILE", "PATH", "DIR", "NAME", "_ID", "URL", "ADDR", "IN_ENV"].iter().any(|it| name.ends_with(it));
    let is_named = NAMES.iter().any(|it| name.ends_with(it));
    // A reference to a variable is none, nor is a place.
    let is_value =
        !value.is_empty() && !value.starts_with(['/', '-', '$']) && !["true", "false"].contains(&value);
    looks_secret(value) || has_userinfo(value) || (is_named && !is_place && is_value)
}

/// Ends of names of secrets.
const NAMES: [&str; 15] = [
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "PASSWRD",
    "_PASS",
    "_PWD",
    "SECRET",
    "PIN",
    "PASSPHRASE",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "API_KEY",
    "APIKEY",
    "SECRET_KEY",
    "CREDENTIAL",
];

/// Tokens of our server, of Vault and of AWS, signed tokens, and keys in PEM.
fn looks_secret(value: &str) -> bool {
    let value = value.trim();
    let is_jwt = value.starts_with("eyJ") && value.split('.').count() == 3;
    ["ks_", "ksa_", "hvs.", "hvb.", "AKIA", "ASIA"].iter().any(|it| value.starts_with(it) && value.len() > 12)
        || value.contains("PRIVATE KEY")
        || is_jwt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_and_by_look() {
        for (name, value, expected) in [
            ("KMS_USER_ID", "ks_a-1_0123456789012345678901234567890123456789012", true),
            ("KMS_USER_ID", "a-1", false),
            ("VAULT_TOKEN", "anything", true),
            ("VAULT_TOKEN", "$(FROM_A_SECRET)", false),
            ("VAULT_TOKEN_FILE", "/etc/token", false),
            ("PIN", "1234", true),
            ("allow-token-in-env", "true", false),
            ("ANYTHING", "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjF9.c2ln", true),
            ("KMS_KEY_ID", "projects/p/locations/l/keyRings/r/cryptoKeys/k", false),
            ("KMS_API_KEY", "anything", true),
            ("DB_PASSWD", "anything", true),
            ("HTTPS_PROXY", "http://user:pw@proxy:3128", true),
            ("HTTPS_PROXY", "http://proxy:3128", false),
        ] {
            assert_eq!(is_secret(name, value), expected, "{name}={value}");
        }
    }

    /// Nothing of a secret is in what is told of its place.
    #[test]
    fn only_names_are_repeated() {
        let pem = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIcanary=\n-----END EC PRIVATE KEY-----\n";
        let long = format!("--{}-token=x", "canary".repeat(20));
        for (command, expected) in [
            (vec!["--client-key", pem], vec!["the flag --client-key"]),
            (vec!["--verbose", "plugin", pem], vec![A_WORD]),
            (vec![&format!("--client-key={pem}")], vec!["the flag --client-key"]),
            (vec!["--hvs.canary-canary-canary=hvs.canary-canary-canary"], vec![A_WORD]),
            (vec!["hvs.canary-canary-canary="], vec![A_WORD]),
            (vec![long.as_str()], vec![A_WORD]),
            (vec!["-vault-token=hvs.canary-canary-canary"], vec!["the flag -vault-token"]),
            (vec!["-pin", "canary"], vec!["the flag -pin"]),
            (
                vec!["sh", "-c", "export DB_PASSWD=canary; run --token 'canary' && x --a=https://u:canary@h"],
                vec!["the variable DB_PASSWD of its command", "the flag --token", "the flag --a"],
            ),
            (vec!["https://user:canary@kms.example"], vec![A_WORD]),
            (vec!["run", "--socket=/run/kms.sock", "--log=info"], vec![]),
        ] {
            let words: Vec<Zeroizing<String>> =
                command.iter().map(|it| Zeroizing::new((*it).to_owned())).collect();
            let found = places(&[], &words);
            assert_eq!(found, expected, "{command:?}");
            assert!(!found.concat().contains("canary"), "{found:?}");
        }
        let odd = [("hvs.canary-canary-canary".to_owned(), Zeroizing::new("hvs.canary-canary".to_owned()))];
        assert_eq!(places(&odd, &[]), ["a variable"]);
    }
}
