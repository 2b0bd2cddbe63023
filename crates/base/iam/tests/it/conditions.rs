use keystead_iam::{CompiledPolicy, Expression, Permission, Query, decide};
use keystead_model::{Binding, Condition, Policy, Principal};

/// Whether `expression` holds for the key `k` of the ring `prod` on Monday, 2026-06-01, 12:34:56.789 UTC.
fn holds(expression: &str) -> bool {
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
        ("request.time.getFullYear() == 2026", true),
        ("request.time.getMonth() == 5", true),
        ("request.time.getDate() == 1", true),
        ("request.time.getDayOfMonth() == 0", true),
        ("request.time.getDayOfWeek() == 1", true),
        ("request.time.getDayOfYear() == 151", true),
        ("request.time.getHours() == 12", true),
        ("request.time.getHours('+02:00') == 14", true),
        ("request.time.getHours('-13:00') == 23 && request.time.getDayOfWeek('-13:00') == 0", true),
        ("request.time.getMinutes('UTC') == 34", true),
        ("request.time.getSeconds() == 56", true),
        ("request.time.getMilliseconds() == 789", true),
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
