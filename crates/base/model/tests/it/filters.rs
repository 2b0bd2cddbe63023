use std::path::Path;

use keystead_model::listing::{Filter, ListedKey};
use keystead_model::{CryptoKey, CryptoKeyVersion, KeyRing, VersionState};
use proptest::prelude::*;

use crate::samples::{at, key, version};

fn sample() -> ListedKey {
    ListedKey {
        key: CryptoKey {
            rotation_period_s: Some(7_776_000),
            next_rotation_time: Some(at("2026-08-01T00:00:00Z")),
            ..key(&[("team", "payments"), ("stage", "prod")])
        },
        primary: Some(version(7, VersionState::Enabled)),
    }
}

fn matches(filter: &str) -> bool {
    match Filter::<ListedKey>::parse(filter) {
        Ok(filter) => filter.matches(&sample()),
        Err(error) => panic!("{filter}: {error}"),
    }
}

/// By hand from the documented language.
#[test]
fn filters_mean_what_the_documents_say() {
    for (filter, expected) in [
        ("", true),
        ("   ", true),
        // Comparisons.
        ("purpose=ENCRYPT_DECRYPT", true),
        ("purpose = \"ENCRYPT_DECRYPT\"", true),
        ("purpose='ENCRYPT_DECRYPT'", true),
        ("purpose!=ENCRYPT_DECRYPT", false),
        ("purpose=encrypt_decrypt", false),
        ("name=projects/key-project/locations/us/keyRings/prod/cryptoKeys/k", true),
        ("name:CRYPTOKEYS/K", true),
        ("name:cryptoKeys/x", false),
        ("create_time < 2026-01-01T00:00:00.000001Z", true),
        ("createTime<\"2026-01-01T00:00:00Z\"", false),
        ("createTime<=\"2026-01-01T01:00:00+01:00\"", true),
        ("createTime>2025-12-31T23:59:59Z", true),
        ("createTime>=2026-01-02T00:00:00Z", false),
        ("rotationPeriod=7776000s", true),
        ("rotation_period > 86400s", true),
        ("destroyScheduledDuration<86400s", false),
        ("importOnly=false", true),
        ("import_only!=false", false),
        // Dotted paths.
        ("labels.team=payments", true),
        ("labels.team:PAY", true),
        ("labels.\"team\"=payments", true),
        ("labels.colour=red", false),
        ("labels.colour!=red", true),
        ("labels:team", true),
        ("labels:colour", false),
        ("labels.team:*", true),
        ("labels.team:\"*\"", false),
        ("labels:*", true),
        ("primary.state=ENABLED", true),
        ("primary.algorithm:symmetric", true),
        ("primary.create_time<2027-01-01T00:00:00Z", true),
        ("versionTemplate.protectionLevel=SOFTWARE", true),
        ("version_template.algorithm=GOOGLE_SYMMETRIC_ENCRYPTION", true),
        // What is not set.
        ("primary.destroyTime:*", false),
        ("primary.destroyTime<2027-01-01T00:00:00Z", false),
        ("primary.destroyTime>2020-01-01T00:00:00Z", false),
        ("primary.destroyTime!=2020-01-01T00:00:00Z", true),
        ("nextRotationTime:*", true),
        // Words between. T is true, F is false.
        ("labels.team=payments AND labels.stage=prod", true),
        ("labels.team=payments labels.stage=prod", true),
        ("labels.team=payments AND labels.stage=test", false),
        ("labels.team=payments labels.stage=test", false),
        ("labels.team=x OR labels.stage=prod", true),
        ("NOT labels.team=payments", false),
        ("-labels.team=payments", false),
        ("NOT NOT labels.team=payments", true),
        ("NOT (labels.team=x)", true),
        ("NOT(labels.team=x)", true),
        ("-(labels.team=x OR labels.stage=prod)", false),
        // OR binds tighter: (T OR T) AND F, not T OR (T AND F).
        ("labels.team=payments OR labels.team=payments AND labels.stage=test", false),
        ("labels.team=payments OR (labels.team=payments AND labels.stage=test)", true),
        // F AND (F OR T), not (F AND F) OR T.
        ("labels.stage=test labels.team=x OR labels.team=payments", false),
        ("(labels.stage=test labels.team=x) OR labels.team=payments", true),
        // NOT binds tighter than OR.
        ("NOT labels.team=payments OR labels.stage=prod", true),
    ] {
        assert_eq!(matches(filter), expected, "{filter}");
    }
}

#[test]
fn each_list_has_its_own_fields() {
    let ring = KeyRing {
        name: "projects/key-project/locations/us/keyRings/prod".parse().expect("a name"),
        create_time: at("2026-01-01T00:00:00Z"),
    };
    assert!(Filter::parse("name:PROD createTime>2025-01-01T00:00:00Z").expect("a filter").matches(&ring));
    let error = Filter::<KeyRing>::parse("labels.team=x").expect_err("rings have no labels");
    assert_eq!(
        error.to_string(),
        "filter names the unknown field \"labels.team\". Known fields: name, createTime."
    );
    let gone = version(3, VersionState::Destroyed);
    let filter = Filter::<CryptoKeyVersion>::parse("state=DESTROYED destroy_event_time:* -destroy_time:*");
    assert!(filter.expect("a filter").matches(&gone));
    assert!(Filter::<CryptoKeyVersion>::parse("primary.state=ENABLED").is_err());
}

#[test]
fn a_word_of_the_language_is_whole() {
    for filter in ["name:x ORname:y", "name:x ANDname:y", "NOTname:x"] {
        let error = Filter::<ListedKey>::parse(filter).expect_err(filter).to_string();
        assert!(error.starts_with("filter names the unknown field"), "{filter}: {error}");
    }
}

/// Each file of `bad_filters` is a filter; the file beside it with `.txt` in place of `.filter` is what is said.
#[test]
fn bad_filters_are_refused_with_their_texts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/bad_filters");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|it| it == "filter") {
            let filter = std::fs::read_to_string(&path).expect("a filter");
            let filter = filter.strip_suffix('\n').unwrap_or(&filter);
            let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
            let found = match Filter::<ListedKey>::parse(filter) {
                Ok(filter) => panic!("{} is taken as {filter}", path.display()),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected.trim_end(), "{}", path.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 24, "filters in {}", folder.display());
}

fn restriction() -> impl Strategy<Value = String> {
    prop_oneof![
        "(name|purpose|primary.state|labels.[a-z]{1,3}|labels.\"[a-z\\\\\" ]{0,3}\")(=|!=|<|<=|>|>=|:)[a-zA-Z0-9/:*.-]{1,8}",
        "(name|labels.team)(=|:)\"[^\"\\\\]{0,8}\"",
        "(createTime|primary.destroy_time)(=|<|>=)20[0-9]{2}-01-0[1-9]T00:00:00Z",
        "rotation_period(=|<|>)[0-9]{1,6}s",
        "importOnly(=|!=)(true|false)",
    ]
}

fn filter() -> impl Strategy<Value = String> {
    restriction().prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} AND {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} OR {b}")),
            inner.clone().prop_map(|a| format!("NOT ({a})")),
            inner.prop_map(|a| format!("({a})")),
        ]
    })
}

proptest! {
    #[test]
    fn a_filter_prints_as_itself(text in filter()) {
        if let Ok(parsed) = Filter::<ListedKey>::parse(&text) {
            let printed = parsed.to_string();
            match Filter::<ListedKey>::parse(&printed) {
                Ok(again) => {
                    prop_assert_eq!(again.to_string(), printed.clone());
                    prop_assert_eq!(again.matches(&sample()), parsed.matches(&sample()));
                    prop_assert_eq!(again, parsed);
                }
                Err(error) => prop_assert!(false, "{} -> {}: {}", text, printed, error),
            }
        }
    }

    /// Against the meaning itself: a filter over two labels that are there or not, beside `&&`, `||` and `!`.
    #[test]
    fn words_mean_what_logic_says(a: bool, b: bool, c: bool) {
        let leaf = |it: bool| if it { "labels.team=payments" } else { "labels.team=x" };
        let (x, y, z) = (leaf(a), leaf(b), leaf(c));
        prop_assert_eq!(matches(&format!("{x} OR {y} AND {z}")), (a || b) && c);
        prop_assert_eq!(matches(&format!("{x} AND {y} OR {z}")), a && (b || c));
        prop_assert_eq!(matches(&format!("{x} {y} OR -{z}")), a && (b || !c));
        prop_assert_eq!(matches(&format!("NOT {x} OR {y} {z}")), (!a || b) && c);
        prop_assert_eq!(matches(&format!("NOT ({x} {y}) {z}")), !(a && b) && c);
        prop_assert_eq!(matches(&format!("({x} AND {y}) OR {z}")), (a && b) || c);
    }

    #[test]
    fn any_text_is_a_filter_or_an_error(
        text in "\\PC{0,80}|[a-z.:=<>!()\"'\\\\ANDORNT \t-]{0,80}|[(]{0,40}[a-z=)]{0,20}|(NOT |-){0,40}a=b",
    ) {
        if let Err(error) = Filter::<ListedKey>::parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
