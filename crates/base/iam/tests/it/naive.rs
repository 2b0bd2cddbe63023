//! Decisions beside the plainest way to make them: every binding of every policy, one after the other.

use keystead_iam::{CompiledPolicy, Decision, Permission, Query, Role, decide};
use keystead_model::{Binding, Condition, Policy, Principal};
use proptest::prelude::*;

const PLACES: [&str; 4] = [
    "",
    "projects/key-project",
    "projects/key-project/locations/us/keyRings/r",
    "projects/key-project/locations/us/keyRings/r/cryptoKeys/k",
];

/// Conditions that are true or false for every query here.
const CONDITIONS: [(&str, bool); 4] = [
    ("resource.service == 'cloudkms.googleapis.com'", true),
    ("resource.name.endsWith('/other')", false),
    ("request.time < timestamp('2026-06-01T12:00:00Z')", false),
    ("request.time >= timestamp('2026-06-01T12:00:00Z')", true),
];

const MEMBERS: [&str; 7] = [
    "user:a@example.com",
    "user:b@example.com",
    "serviceAccount:a@example.com",
    "group:a@example.com",
    "group:ops@example.com",
    "group:dev@example.com",
    "allAuthenticatedUsers",
];

/// Indices of a role, of members and perhaps of a condition.
type Drawn = (prop::sample::Index, Vec<usize>, Option<usize>);

fn drawn() -> impl Strategy<Value = Vec<Vec<Drawn>>> {
    let binding = (
        any::<prop::sample::Index>(),
        proptest::collection::vec(0..MEMBERS.len(), 0..3),
        proptest::option::of(0..CONDITIONS.len()),
    );
    proptest::collection::vec(proptest::collection::vec(binding, 0..6), PLACES.len())
}

fn policy(drawn: &[Drawn]) -> Policy {
    let binding = |(role, members, condition): &Drawn| Binding {
        role: Role::all()[role.index(Role::all().len())].name.into(),
        members: members.iter().map(|it| MEMBERS[*it].into()).collect(),
        condition: condition.map(|it| Condition {
            expression: CONDITIONS[it].0.into(),
            title: "t".into(),
            ..Condition::default()
        }),
    };
    Policy { version: 3, bindings: drawn.iter().map(binding).collect() }
}

proptest! {
    #[test]
    fn a_decision_is_what_reading_all_bindings_gives(
        drawn in drawn(),
        who in 0..3_usize,
        groups in proptest::sample::subsequence(vec!["ops@example.com", "dev@example.com", "a@example.com"], 0..=3),
        permission in prop::sample::select(Permission::ALL),
    ) {
        let principal: Principal = MEMBERS[who].parse().expect("a principal");
        let group_names: Vec<String> = groups.iter().map(|it| (*it).to_owned()).collect();
        let query = Query {
            principal: &principal,
            groups: &group_names,
            permission,
            resource_name: PLACES[3],
            resource_type: "cloudkms.googleapis.com/CryptoKey",
            service: "cloudkms.googleapis.com",
            time: "2026-06-01T12:00:00Z".parse().expect("a time"),
        };
        let policies: Vec<Policy> = drawn.iter().map(|it| policy(it)).collect();
        let grants = |policy: &Policy, role: Option<&str>| policy.bindings.iter().any(|binding| {
            let is_member = binding.members.iter().any(|member| {
                member == MEMBERS[who]
                    || member == "allAuthenticatedUsers"
                    || member.strip_prefix("group:").is_some_and(|group| groups.contains(&group))
            });
            let holds = binding.condition.as_ref().is_none_or(|it| {
                CONDITIONS.contains(&(it.expression.as_str(), true))
            });
            let has = Role::find(&binding.role).is_some_and(|it| it.grants.contains(&permission));
            is_member && holds && has && role.is_none_or(|role| role == binding.role)
        });
        let first = policies.iter().position(|policy| grants(policy, None));

        let compiled: Vec<_> = policies.iter().map(CompiledPolicy::compile).collect();
        let placed: Vec<_> = PLACES.iter().copied().zip(&compiled).collect();
        match (decide(&query, &placed), first) {
            (Decision::Denied, None) => {}
            (Decision::Allowed { by, at }, Some(first)) => {
                prop_assert_eq!(at, PLACES[first], "the first from the root that grants it");
                prop_assert!(grants(&policies[first], Some(by)), "{} does not grant it", by);
            }
            (decision, expected) => prop_assert!(false, "{:?}, but {:?} is expected", decision, expected),
        }
    }
}
