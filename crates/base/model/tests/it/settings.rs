use std::collections::BTreeMap;

use keystead_model::CryptoKey;
use keystead_model::key_settings::{MAX_LABELS, check_destroy_scheduled, check_labels};

use crate::samples;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn labels_are_as_google_has_them() {
    let longest = "a".repeat(63);
    for good in [
        labels(&[]),
        labels(&[("team", "payments"), ("cost-center", "42_b"), ("keystead-destroy", "3"), ("empty", "")]),
        labels(&[(&longest, &longest)]),
        labels(&[("größe", "日本語")]),
    ] {
        assert_eq!(check_labels(&good), Ok(()), "{good:?}");
    }
    let key_text = |key: &str| {
        format!(
            "label key {key:?} must be 1 to 63 lower-case letters, digits, hyphens and underscores, and start with a letter."
        )
    };
    for key in ["", "Team", "1team", "-team", "_team", "te am", "team.a", "a/b", "tEam", &"a".repeat(64)] {
        let error = check_labels(&labels(&[(key, "x")])).expect_err(key);
        assert_eq!(error.to_string(), key_text(key));
    }
    for value in ["Payments", "a b", "a.b", "a=b", &"v".repeat(64), &"日".repeat(43)] {
        let error = check_labels(&labels(&[("team", value)])).expect_err(value);
        assert_eq!(
            error.to_string(),
            format!(
                "value {value:?} of label \"team\" must be at most 63 lower-case letters, digits, hyphens and underscores."
            )
        );
    }
}

#[test]
fn there_are_at_most_64_labels() {
    let many =
        |count: usize| (0..count).map(|it| (format!("l{it}"), String::new())).collect::<BTreeMap<_, _>>();
    assert_eq!(check_labels(&many(MAX_LABELS)), Ok(()));
    let error = check_labels(&many(65)).expect_err("one too many");
    assert_eq!(error.to_string(), "labels must be at most 64, not 65.");
}

#[test]
fn destruction_waits_between_a_day_and_120() {
    assert_eq!(check_destroy_scheduled(None), Ok(2_592_000));
    assert_eq!(check_destroy_scheduled(Some(86_400)), Ok(86_400));
    assert_eq!(check_destroy_scheduled(Some(10_368_000)), Ok(10_368_000));
    for wrong_s in [i64::MIN, -1, 0, 86_399, 10_368_001, i64::MAX] {
        let error = check_destroy_scheduled(Some(wrong_s)).expect_err("out of range");
        assert_eq!(
            error.to_string(),
            format!(
                "destroy_scheduled_duration must be between 86400s (24 hours) and 10368000s (120 days), not {wrong_s}s."
            )
        );
    }
}

/// Databases hold keys with a switch that nobody could turn: `audit_data_access`.
#[test]
fn a_key_that_an_earlier_server_stored_is_read() {
    let key = samples::key(&[]);
    let mut stored = serde_json::to_value(&key).expect("json");
    stored.as_object_mut().expect("an object").insert("audit_data_access".to_owned(), true.into());
    assert_eq!(serde_json::from_value::<CryptoKey>(stored).expect("a key"), key);
}
