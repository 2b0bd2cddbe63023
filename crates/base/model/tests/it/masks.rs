use keystead_model::field_mask::{CRYPTO_KEY, CRYPTO_KEY_VERSION, FieldMask};
use proptest::prelude::*;

fn key_mask(text: &str) -> Result<Vec<&'static str>, String> {
    FieldMask::parse(text, CRYPTO_KEY).map(|mask| mask.paths().collect()).map_err(|error| error.to_string())
}

#[test]
fn both_spellings_are_read() {
    let schedule = Ok(vec!["nextRotationTime", "rotationPeriod"]);
    assert_eq!(key_mask("rotationPeriod,nextRotationTime"), schedule);
    assert_eq!(key_mask("rotation_period,next_rotation_time"), schedule);
    assert_eq!(key_mask("rotationPeriod, next_rotation_time,,rotation_period"), schedule);
    assert_eq!(key_mask("version_template.algorithm"), Ok(vec!["versionTemplate.algorithm"]));
    let from_grpc = FieldMask::from_paths(["state"], CRYPTO_KEY_VERSION).expect("a mask");
    assert!(from_grpc.contains("state"));
}

#[test]
fn a_field_is_meant_when_what_it_is_part_of_is() {
    let whole = FieldMask::parse("versionTemplate", CRYPTO_KEY).expect("a mask");
    assert!(whole.contains("versionTemplate.algorithm"));
    let part = FieldMask::parse("versionTemplate.algorithm", CRYPTO_KEY).expect("a mask");
    assert!(!part.contains("versionTemplate") && !part.contains("versionTemplate.protectionLevel"));
    assert!(!part.contains("labels"));
}

#[test]
fn a_mask_that_cannot_be_followed_is_refused() {
    for empty in ["", ",", " , "] {
        assert_eq!(key_mask(empty), Err("update_mask must name at least one field.".into()), "{empty:?}");
    }
    for unknown in
        ["*", "label", "labels.team", "Labels", "rotation__period", "primary.state", "a.b.c.d", "é"]
    {
        assert_eq!(
            key_mask(unknown),
            Err(format!(
                "update_mask names the unknown field {unknown:?}. Fields that can be updated: labels, nextRotationTime, \
                 rotationPeriod, versionTemplate, versionTemplate.algorithm, versionTemplate.protectionLevel."
            )),
        );
    }
    for (fixed, name) in
        [("purpose", "purpose"), ("labels,destroy_scheduled_duration", "destroyScheduledDuration")]
    {
        assert_eq!(key_mask(fixed), Err(format!("{name} cannot be changed.")));
    }
    assert_eq!(
        FieldMask::parse("destroyTime", CRYPTO_KEY_VERSION).map_err(|error| error.to_string()),
        Err("destroyTime cannot be changed.".into())
    );
    assert_eq!(key_mask(&"labels,".repeat(200)), Err("update_mask must be at most 1024 bytes.".into()));
}

proptest! {
    #[test]
    fn any_text_is_a_mask_or_an_error(text in "\\PC{0,60}|[a-zA-Z_.,*]{0,60}") {
        if let Ok(mask) = FieldMask::parse(&text, CRYPTO_KEY) {
            prop_assert!(mask.paths().count() > 0);
            let again = mask.paths().collect::<Vec<_>>().join(",");
            prop_assert_eq!(FieldMask::parse(&again, CRYPTO_KEY), Ok(mask));
        }
    }
}
