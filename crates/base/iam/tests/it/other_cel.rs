//! Our conditions beside the crate `cel`: the same language, written by other people.

use cel::{Context, Program, Value};
use keystead_iam::Expression;
use proptest::prelude::*;

use crate::conditions::holds;

const NAME: &str = "projects/key-project/locations/us/keyRings/prod/cryptoKeys/k";

/// Whether `cel` finds `expression` true; none when it cannot parse it.
fn other(expression: &str) -> Option<bool> {
    let mut context = Context::default();
    for (variable, value) in [
        ("request", "{'time': timestamp('2026-06-01T12:34:56.789Z')}".to_owned()),
        (
            "resource",
            format!(
                "{{'name': '{NAME}', 'type': 'cloudkms.googleapis.com/CryptoKey', 'service': 'cloudkms.googleapis.com'}}"
            ),
        ),
    ] {
        let value =
            Program::compile(&value).expect("a literal").execute(&Context::default()).expect("a value");
        context.add_variable_from_value(variable, value);
    }
    let program = Program::compile(expression).ok()?;
    Some(program.execute(&context) == Ok(Value::Bool(true)))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("resource.name".to_owned()),
        Just("resource.type".to_owned()),
        Just("resource.service".to_owned()),
        prop::sample::select(vec![
            format!("'{NAME}'"),
            "'projects/'".into(),
            "\"/k\"".into(),
            "'cloudkms.googleapis.com'".into(),
            "''".into(),
            "'keyRings/prod'".into(),
            "r'\\d'".into(),
            "'\\x41\\u00e9\\n\\''".into(),
            "'''it's'''".into(),
        ]),
    ]
}

/// A time that the other one takes apart as we do: it counts the hours of `timestamp('…+02:00')` in that offset, the
/// language's definition in UTC.
fn utc_time() -> impl Strategy<Value = String> {
    time().prop_filter("an offset", |it| !it.contains("+02:00"))
}

fn time() -> impl Strategy<Value = String> {
    let moment = prop_oneof![
        Just("request.time".to_owned()),
        (2025..2028, 1..13, 1..29, 0..24).prop_map(|(year, month, day, hour)| format!(
            "timestamp('{year}-{month:02}-{day:02}T{hour:02}:34:56.789Z')"
        )),
        Just("timestamp('2026-06-01T14:34:56.789+02:00')".to_owned()),
    ];
    let length = (0..100_i64, prop::sample::select(vec!["h", "m", "s", "ms", "h30m"]))
        .prop_map(|(count, unit)| format!("duration('{count}{unit}')"));
    (moment, proptest::option::of((prop::bool::ANY, length))).prop_map(|(moment, by)| match by {
        None => moment,
        Some((true, by)) => format!("({moment} + {by})"),
        Some((false, by)) => format!("({moment} - {by})"),
    })
}

fn number() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    ]);
    let zone = prop::sample::select(vec!["", "'UTC'", "'+02:00'", "'-13:30'"]);
    prop_oneof![
        (-3..30_i64).prop_map(|it| it.to_string()),
        Just("2026".to_owned()),
        Just("0x1F".to_owned()),
        (utc_time(), part, zone).prop_map(|(time, part, zone)| format!("{time}.{part}({zone})")),
    ]
}

fn question() -> impl Strategy<Value = String> {
    let comparison = || prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        (text(), comparison(), text()).prop_map(|(a, how, b)| format!("{a} {how} {b}")),
        (time(), comparison(), time()).prop_map(|(a, how, b)| format!("{a} {how} {b}")),
        (number(), comparison(), number()).prop_map(|(a, how, b)| format!("{a} {how} {b}")),
        (text(), prop::sample::select(vec!["startsWith", "endsWith", "contains"]), text())
            .prop_map(|(a, how, b)| format!("{a}.{how}({b})")),
        (text(), proptest::collection::vec(text(), 0..3))
            .prop_map(|(a, many)| format!("{a} in [{}]", many.join(", "))),
        (time(), proptest::collection::vec(time(), 1..3))
            .prop_map(|(a, many)| format!("{a} in [{}]", many.join(", "))),
        // Beyond the calendar of either.
        Just("timestamp('9999-12-30T21:00:00Z') + duration('9000h') > request.time".to_owned()),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} && {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} || {b}")),
            inner.clone().prop_map(|a| format!("!({a})")),
            inner.clone().prop_map(|a| format!("({a})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a}) ? ({b}) : {c}")),
        ]
    })
}

proptest! {
    #[test]
    fn conditions_hold_where_they_hold_for_others(question in question()) {
        prop_assume!(Expression::compile(&question).is_ok());
        prop_assert_eq!(Some(holds(&question)), other(&question), "{}", question);
    }

    /// What we read at all, they read too.
    #[test]
    fn we_read_nothing_that_is_no_cel(
        text in "(request\\.time|resource\\.name|[(),!<>=+?:-]|==|<=|&&|\\|\\||true|false| |'a'|1|in|\\[|\\]|\\.startsWith\\(){0,14}",
    ) {
        if Expression::compile(&text).is_ok() {
            prop_assert!(Program::compile(&text).is_ok(), "{}", text);
        }
    }
}
