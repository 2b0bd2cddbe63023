use keystead_iam::{CompiledPolicy, Expression, Permission, Query, decide};
use keystead_model::{Binding, Condition, Policy, Principal};
use proptest::prelude::*;

/// Whether `expression` holds for the key `k` of the ring `prod` on Monday, 2026-06-01, 12:34:56.789 UTC.
pub(crate) fn holds(expression: &str) -> bool {
    if let Err(error) = Expression::compile(expression) {
        panic!("{expression}: {error}");
    }
    let policy = CompiledPolicy::compile(&Policy {
        version: 3,
        bindings: vec![Binding {
            role: "roles/cloudkms.viewer".into(),
            members: vec!["user:a@example.com".into()],
            condition: Some(Condition { expression: expression.into(), ..Condition::default() }),
        }],
    });
    let principal: Principal = "user:a@example.com".parse().expect("a principal");
    let query = Query {
        principal: &principal,
        groups: &[],
        permission: Permission::CryptoKeysGet,
        resource_name: "projects/key-project/locations/us/keyRings/prod/cryptoKeys/k",
        resource_type: "cloudkms.googleapis.com/CryptoKey",
        service: "cloudkms.googleapis.com",
        time: "2026-06-01T12:34:56.789Z".parse().expect("a time"),
    };
    decide(&query, &[("projects/key-project", &policy)]).is_allowed()
}

#[test]
fn conditions_hold_as_cel_says() {
    for (expression, expected) in [
        ("true", true),
        ("false", false),
        ("!false", true),
        ("true && false", false),
        ("false || true", true),
        ("true ? false : true", false),
        ("1 < 2", true),
        ("-1 >= 0", false),
        ("resource.name == 'projects/key-project/locations/us/keyRings/prod/cryptoKeys/k'", true),
        ("resource.name.startsWith('projects/key-project/locations/us/keyRings/prod/')", true),
        ("resource.name.startsWith(\"projects/other\")", false),
        ("resource.name.endsWith('/k')", true),
        ("resource.name.contains('keyRings/prod')", true),
        ("resource.name.extract('keyRings/{ring}/') == 'prod'", true),
        ("resource.name.extract('/cryptoKeys/{key}') == 'k'", true),
        ("resource.name.extract('{project}/locations') == 'projects/key-project'", true),
        ("resource.name.extract('importJobs/{job}') == ''", true),
        ("resource.name.extract('keyRings/{ring}/importJobs') == ''", true),
        ("resource.type == 'cloudkms.googleapis.com/CryptoKey'", true),
        ("resource.type != 'cloudkms.googleapis.com/CryptoKey'", false),
        ("resource.type in ['cloudkms.googleapis.com/KeyRing', 'cloudkms.googleapis.com/CryptoKey']", true),
        ("resource.type in ['cloudkms.googleapis.com/KeyRing']", false),
        ("resource.service == 'cloudkms.googleapis.com'", true),
        ("request.time < timestamp('2026-06-01T12:34:56.790Z')", true),
        ("request.time < timestamp('2026-06-01T12:34:56.789Z')", false),
        ("request.time <= timestamp('2026-06-01T14:34:56.789+02:00')", true),
        ("request.time > timestamp('2026-06-01T12:34:56Z')", true),
        ("request.time - duration('24h') < timestamp('2026-06-01T00:00:00Z')", true),
        ("request.time + duration('1h30m') > timestamp('2026-06-01T14:00:00Z')", true),
        ("request.time >= date('2026-06-01') && request.time < date('2026-06-02')", true),
        ("request.time < timestamp('9999-12-31T23:59:59Z')", true),
        ("timestamp('9999-12-31T23:59:59Z') > timestamp('9999-12-30T21:00:00Z')", true),
        ("request.time.getFullYear() == 2026", true),
        ("request.time.getMonth() == 5", true),
        ("request.time.getDate() == 1", true),
        ("request.time.getDayOfMonth() == 0", true),
        ("request.time.getDayOfWeek() == 1", true),
        ("request.time.getDayOfYear() == 151", true),
        ("request.time.getHours() == 12", true),
        ("request.time.getHours('+02:00') == 14", true),
        ("request.time.getHours('-13:00') == 23 && request.time.getDayOfWeek('-13:00') == 0", true),
        ("timestamp('2026-06-01T14:00:00+02:00').getHours() == 12", true),
        ("request.time.getMinutes('UTC') == 34", true),
        ("request.time.getSeconds() == 56", true),
        ("request.time.getMilliseconds() == 789", true),
        ("request.time in [date('2026-06-01'), request.time]", true),
        ("request.time in [request.time, request.time + duration('100000000h')]", false),
        ("!(request.time in [date('2026-06-01'), request.time + duration('100000000h')])", false),
        // Past the end of the calendar: an error, which does not hold, and which `||` and `&&` absorb.
        ("request.time + duration('100000000h') > timestamp('2026-06-01T00:00:00Z')", false),
        ("!(request.time + duration('100000000h') > timestamp('2026-06-01T00:00:00Z'))", false),
        ("request.time + duration('100000000h') > timestamp('2026-06-01T00:00:00Z') || true", true),
        ("true || request.time + duration('100000000h') > timestamp('2026-06-01T00:00:00Z')", true),
        ("!(false && request.time + duration('100000000h') > timestamp('2026-06-01T00:00:00Z'))", true),
        ("!(request.time + duration('100000000h') > timestamp('2026-06-01T00:00:00Z') && false)", true),
    ] {
        assert_eq!(holds(expression), expected, "{expression}");
    }
}

#[test]
fn what_is_no_condition_is_refused_when_it_is_set() {
    let deep = format!("{}true{}", "(".repeat(25), ")".repeat(25));
    let long = format!("request.time{} > request.time", " + duration('1s')".repeat(23));
    let many = vec!["true"; 14].join(" || ");
    let most = vec!["true"; 13].join(" || ");
    assert!(Expression::compile(&most).is_ok());
    for (expression, text) in [
        ("", "at character 1, a value is expected, but there is the end"),
        ("request.time <", "at character 15, a value is expected, but there is the end"),
        (
            "resource.name = 'x'",
            "at character 15, a name, a value or an operator is expected, but there is `=`",
        ),
        ("\"open", "at character 6, a closing quotation mark is expected, but there is the end"),
        (
            "'a\nb' == ''",
            "at character 4, a closing quotation mark on the same line is expected, but there is `b`",
        ),
        ("'\\q' == ''", "at character 4, an escape such as \\n or \\u00e9 is expected, but there is `\\'`"),
        ("(true", "at character 6, `)` is expected, but there is the end"),
        ("true)", "at character 5, an operator or the end is expected, but there is `)`"),
        ("true true", "at character 6, an operator or the end is expected, but there is `true`"),
        ("true ? false", "at character 13, `:` of `?:` is expected, but there is the end"),
        ("resource.", "at character 10, a name after `.` is expected, but there is the end"),
        (
            "99999999999999999999 == 1",
            "at character 1, a whole number of 64 bits is expected, but there is `99999999999999999999`",
        ),
        ("resource.name", "the expression is a text, and must be true or false"),
        ("1", "the expression is a number, and must be true or false"),
        ("request.time", "the expression is a time, and must be true or false"),
        (
            "resource.colour == 'red'",
            "`resource.colour` is unknown here: conditions see request.time, resource.name, resource.type and \
             resource.service",
        ),
        (
            "principal == 'a'",
            "`principal` is unknown here: conditions see request.time, resource.name, resource.type and resource.service",
        ),
        (
            "resource.name.a.b == 'x'",
            "`(…).b` is unknown here: conditions see request.time, resource.name, resource.type and resource.service",
        ),
        ("has(resource.name)", "`has` cannot be used in a condition"),
        ("['a'].all(x, true)", "`all` cannot be used in a condition"),
        ("[1, 2].exists(x, x > 1)", "`exists` cannot be used in a condition"),
        ("['a'] == ['a']", "`a list outside `in`` cannot be used in a condition"),
        ("{'a': true}['a']", "`{}` cannot be used in a condition"),
        ("resource.name.matches('.*')", "`matches` cannot be used in a condition"),
        ("size(resource.name) > 3", "`size` cannot be used in a condition"),
        ("1 + 1 == 2", "`+` cannot be applied to a number and a number"),
        ("1.5 > 1.0", "at character 1, a whole number of 64 bits is expected, but there is `1`"),
        ("1u < 2u", "at character 1, a whole number of 64 bits is expected, but there is `1u`"),
        ("b'a' == b'a'", "`a text of bytes` cannot be used in a condition"),
        ("null == null", "`null` cannot be used in a condition"),
        ("2 * 2 == 4", "`*` cannot be used in a condition"),
        ("resource.name == 1", "`==` cannot be applied to a text and a number"),
        ("resource.name && true", "`&&` cannot be applied to a text"),
        ("!resource.name", "`!` cannot be applied to a text"),
        ("true ? 'a' : true", "`?:` cannot be applied to true or false"),
        ("'a' in resource.name", "`in` cannot be applied to anything but a list, such as [\"a\", \"b\"]"),
        ("resource.name.startsWith(1)", "`startsWith` cannot be applied to a number"),
        ("request.time < '2026-01-01T00:00:00Z'", "`<` cannot be applied to a time and a text"),
        (
            "request.time < timestamp(resource.name)",
            "`timestamp` cannot be applied to anything but a text in quotes",
        ),
        (
            "request.time < timestamp('2026-01-01')",
            "\"2026-01-01\" is not a time such as 2026-01-31T08:00:00Z",
        ),
        (
            "request.time < timestamp('9999-12-31T99:00:00Z')",
            "\"9999-12-31T99:00:00Z\" is not a time such as 2026-01-31T08:00:00Z",
        ),
        ("request.time < date('yesterday')", "\"yesterday\" is not a date such as 2026-01-31"),
        (
            "request.time - duration('1 day') < request.time",
            "\"1 day\" is not a duration such as 90s or 1h30m",
        ),
        (
            "resource.name.extract('{a}{b}') == ''",
            "\"{a}{b}\" is not a template with one part in braces, such as keyRings/{ring}/",
        ),
        (
            "request.time.getHours('Europe/Berlin') < 17",
            "\"Europe/Berlin\" is not UTC or an offset such as +01:00; names of time zones are not known here, because their \
             rules change",
        ),
        (&deep, "the expression is nested deeper than 24 levels"),
        (&long, "the expression is nested deeper than 24 levels"),
        (&many, "the expression has more than 12 logical operators"),
        (&"a".repeat(2_049), "the expression is longer than 2048 bytes or 512 words and signs"),
    ] {
        let found = match Expression::compile(expression) {
            Ok(_) => panic!("{expression} is taken"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, text, "{expression}");
    }
}

/// What is made of them does not matter; that it comes back on a thread with a small stack does.
#[test]
fn hostile_expressions_end() {
    let hostile = [
        "(".repeat(2_048),
        "[".repeat(2_048),
        "!".repeat(2_048),
        "-".repeat(2_048),
        format!("{}1", "-".repeat(2_047)),
        format!("{}true", "!".repeat(2_044)),
        format!("a{}", ".a".repeat(1_023)),
        format!("a{}", "[a".repeat(1_023)),
        format!("a{}", "()".repeat(1_023)),
        format!("{}true", "true?".repeat(400)),
        format!("{}true{}", "true?".repeat(200), ":true".repeat(200)),
        vec!["true"; 300].join("||"),
        vec!["1"; 1_000].join("+"),
        vec!["1"; 1_000].join("<"),
        format!("'a' in [{}]", vec!["'b'"; 500].join(",")),
        "\"\\".repeat(1_000),
        "'''".repeat(600),
        "\u{0}\u{1}\u{feff}\u{202e}é".into(),
        "r'\\'".into(),
        "b'\\xff'".into(),
        "[1].map(x, [1].map(y, [1].map(z, true)))".into(),
    ];
    let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(move || {
        for expression in hostile {
            eprintln!("{}", expression.chars().take(20).collect::<String>());
            drop(Expression::compile(&expression));
        }
    });
    thread.expect("a thread").join().expect("no panic");
}

proptest! {
    #[test]
    fn any_text_is_a_condition_or_an_error(
        text in "\\PC{0,60}|(request|resource|time|name|type|[.(),'\"!&|<=>+?: ]|true|false|timestamp|duration|in|\\[|\\]|1){0,24}",
    ) {
        if let Err(error) = Expression::compile(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
