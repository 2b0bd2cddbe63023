//! The words of a command, with variables in them, and edits of its flags.

use std::collections::BTreeMap;

use super::UnitError;
use crate::api_server_facts::Facts;
use crate::api_server_flags::{CONFIG, FEATURE_GATES, Flag, KMS_V1, RELOAD, gates};
use crate::api_server_manifest::EncryptionSettings;

/// Whether a program is kube-apiserver, by its name.
pub fn is_kube_apiserver(program: &str) -> bool {
    program.rsplit('/').next() == Some("kube-apiserver")
}

/// The words that a process gets, as `systemd.service`(5) says: `$NAME` as a word of its own becomes words, `${NAME}` text, `$$` a dollar.
/// What systemd makes of quotes in a value is followed as far as anybody writes them; whoever asks compares with the process.
pub fn expanded(words: &[String], variables: &BTreeMap<String, String>) -> Vec<String> {
    let mut all = Vec::with_capacity(words.len());
    for word in words {
        match word.strip_prefix('$').filter(|it| !it.starts_with(['{', '$']) && !it.is_empty()) {
            Some(name) => all.extend(variables.get(name).map(|it| split(it)).unwrap_or_default()),
            None => all.push(replaced(word, variables)),
        }
    }
    all
}

/// Whether variables decide what these words come to. `$$` is a dollar, and so is one with neither a name nor a bracket behind it.
pub fn has_variables(words: &[String]) -> bool {
    words.iter().any(|word| {
        let rest = word.replace("$$", "");
        let is_name = word.strip_prefix('$').is_some_and(|it| !it.starts_with(['{', '$']) && !it.is_empty());
        is_name || rest.split_once("${").is_some_and(|(_, behind)| behind.contains('}'))
    })
}

fn replaced(word: &str, variables: &BTreeMap<String, String>) -> String {
    let (mut text, mut rest) = (String::new(), word);
    while let Some((before, behind)) = rest.split_once('$') {
        text.push_str(before);
        rest = behind;
        if let Some(behind) = rest.strip_prefix('$') {
            (text, rest) = (text + "$", behind);
        } else if let Some((name, behind)) = rest.strip_prefix('{').and_then(|it| it.split_once('}')) {
            text.push_str(variables.get(name).map(String::as_str).unwrap_or_default());
            rest = behind;
        } else {
            text.push('$');
        }
    }
    text + rest
}

/// Words of a value: between white space that is not in quotes.
fn split(value: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', _) => word.get_or_insert_default().extend(letters.next()),
            (_, Some(end)) if letter == end => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, None) if letter.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Variables of the text of an `EnvironmentFile=`, as `systemd.exec`(5) says: what is asked while no process has them.
pub fn variables(text: &str) -> BTreeMap<String, String> {
    let text = text.replace("\\\n", "");
    let lines = text.lines().map(str::trim).filter(|it| !it.starts_with(['#', ';']));
    let pairs = lines.filter_map(|it| it.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()))).collect()
}

fn unquoted(value: &str) -> String {
    let (mut text, mut quote) = (String::new(), None);
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => text.extend(letters.next()),
            (_, Some(end)) if letter == end => quote = None,
            ('"' | '\'', None) => quote = Some(letter),
            _ => text.push(letter),
        }
    }
    text
}

/// Variables of `Environment=`, as `systemctl show` prints it.
pub fn inline_variables(text: &str) -> BTreeMap<String, String> {
    let words = split(text);
    let pairs = words.iter().filter_map(|it| it.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The command with the flags that it lacks. `facts` are what it says now.
///
/// # Errors
///
/// The flag names another file.
pub fn with_encryption(
    words: &[String],
    facts: &Facts,
    wanted: &EncryptionSettings,
) -> Result<Vec<String>, UnitError> {
    let mut words = words.to_vec();
    let mut add = |name: &str, value: &str| words.push(format!("--{name}={}", value.replace('$', "$$")));
    match &facts.encryption_provider_config {
        Some(given) if *given == wanted.configuration => (),
        Some(given) => {
            let (given, wanted) = (given.clone(), wanted.configuration.clone());
            return Err(UnitError::OtherConfiguration { given, wanted });
        }
        None => add(CONFIG, &wanted.configuration),
    }
    // Of a flag that stands there twice, the last one counts; gates add up.
    if let Some(on) = wanted.automatic_reload.filter(|on| *on != facts.automatic_reload) {
        add(RELOAD, &on.to_string());
    }
    if wanted.kms_v1 && facts.feature_gates.get(KMS_V1) != Some(&true) {
        add(FEATURE_GATES, &format!("{KMS_V1}=true"));
    }
    Ok(words)
}

/// The command without the flags that name and follow a configuration. Those in variables stay.
pub fn without_encryption(words: &[String]) -> Vec<String> {
    let mut kept = Vec::with_capacity(words.len());
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let flag = word.strip_prefix("--").unwrap_or_default();
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let name = name.replace('_', "-");
        if ![CONFIG, RELOAD].contains(&name.as_str()) {
            kept.push(word.clone());
        } else if value.is_none() {
            words.next_if(|next| !next.starts_with('-'));
        }
    }
    kept
}

/// Names of flags in which two commands differ, apart from those that are about encryption.
pub fn differing(one: &[Flag], other: &[Flag]) -> Vec<String> {
    let of = |flags: &[Flag]| {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for flag in flags.iter().filter(|it| it.name != CONFIG && it.name != RELOAD) {
            let value = flag.value.clone().unwrap_or_default();
            let values = match flag.name == FEATURE_GATES {
                true => other_gates(&value),
                false => vec![value],
            };
            if !values.is_empty() {
                all.entry(flag.name.clone()).or_default().extend(values);
            }
        }
        all
    };
    let (one, other) = (of(one), of(other));
    let names = one.keys().chain(other.keys().filter(|it| !one.contains_key(*it)));
    names.filter(|it| one.get(*it) != other.get(*it)).map(|it| format!("--{it}")).collect()
}

fn other_gates(value: &str) -> Vec<String> {
    match gates(value) {
        Ok(gates) => gates
            .into_iter()
            .filter(|(name, _)| *name != KMS_V1)
            .map(|(name, on)| format!("{name}={on}"))
            .collect(),
        Err(_) => vec![value.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_server_flags::read;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|it| (*it).to_owned()).collect()
    }

    fn facts(text: &[&str]) -> Facts {
        let flags = read(text).expect("flags");
        Facts::of_flags(flags.iter().map(|it| (it.name.as_str(), it.value.as_deref()))).expect("facts")
    }

    #[test]
    fn variables_are_what_systemd_makes_of_them() {
        let variables = [("A", "--b=2  --c='x y'"), ("B", "one"), ("E", "")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let command =
            words(&["/k", "$A", "--d=$$x", "--e=${B}-${NONE}", "$NONE", "$E", "--f=a$B", "", "$$A", "$"]);
        assert_eq!(
            expanded(&command, &variables),
            ["/k", "--b=2", "--c=x y", "--d=$x", "--e=one-", "--f=a$B", "", "$A", "$"]
        );
    }

    #[test]
    fn a_dollar_is_not_yet_a_variable() {
        for (word, has) in [
            ("$A", true),
            ("--a=${A}", true),
            ("$$${A}", true),
            ("--a=^x$$", false),
            ("$$A", false),
            ("$${A}", false),
            ("--a=b$C", false),
            ("--a=b$", false),
            ("$", false),
            ("--a=${", false),
        ] {
            let command = words(&["/k", word]);
            assert_eq!(has_variables(&command), has, "{word}");
            // What has none comes to the same with any.
            let one = expanded(&command, &[("A".to_owned(), "1".to_owned())].into());
            assert_eq!(one != expanded(&command, &BTreeMap::new()), has, "{word}");
        }
    }

    #[test]
    fn variables_of_files_are_what_systemd_makes_of_them() {
        let text = "# A=0\nA=\"--b=2 --c='x y'\"\n ;c\nB = 'a\"b' \nC=--d=1 \\\n  --e=2\nD=\n";
        let found = variables(text);
        let all: Vec<(&str, &str)> =
            found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [("A", "--b=2 --c='x y'"), ("B", "a\"b"), ("C", "--d=1   --e=2"), ("D", "")];
        assert_eq!(all, expected);
        let inline = inline_variables("HOME2=vm \"Q=a b\"");
        assert_eq!(inline.get("Q").map(String::as_str), Some("a b"));
    }

    #[test]
    fn flags_are_added_once_and_taken_away_again() {
        let wanted = EncryptionSettings {
            configuration: "/e/$a.yaml".to_owned(),
            automatic_reload: Some(true),
            kms_v1: true,
            directories: Vec::new(),
        };
        let before = words(&["/k", "--a=1", "$ARGS"]);
        let with = with_encryption(&before, &facts(&["--a=1", "--feature-gates=X=true"]), &wanted);
        let with = with.expect("written");
        assert_eq!(
            with[3..],
            [
                "--encryption-provider-config=/e/$$a.yaml",
                "--encryption-provider-config-automatic-reload=true",
                "--feature-gates=KMSv1=true"
            ]
        );
        let now = facts(&[
            "--encryption-provider-config=/e/$a.yaml",
            "--encryption-provider-config-automatic-reload",
            "--feature-gates=KMSv1=1",
        ]);
        assert_eq!(with_encryption(&with, &now, &wanted).expect("nothing to do"), with);
        let other = facts(&["--encryption-provider-config", "/other"]);
        assert!(matches!(with_encryption(&with, &other, &wanted), Err(UnitError::OtherConfiguration { .. })));
        let apart = words(&[
            "/k",
            "--encryption_provider_config",
            "/x",
            "--a=1",
            "--encryption-provider-config-automatic-reload",
            "--b",
        ]);
        assert_eq!(without_encryption(&apart), ["/k", "--a=1", "--b"]);
    }

    #[test]
    fn only_what_is_not_about_encryption_differs() {
        let flags = |text: &[&str]| read(text).expect("flags");
        let one = flags(&["--a=1", "--feature-gates=X=true", "--b"]);
        let same =
            flags(&["--b", "--a=1", "--encryption-provider-config=/x", "--feature-gates=X=1,KMSv1=true"]);
        assert_eq!(differing(&one, &same), [""; 0]);
        let other = flags(&["--a=2", "--feature-gates=X=false", "--c"]);
        assert_eq!(differing(&one, &other), ["--a", "--b", "--feature-gates", "--c"]);
    }
}
