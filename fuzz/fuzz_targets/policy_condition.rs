//! Any text as the condition of an IAM binding: no panic when it is compiled and none when it decides.
#![no_main]

use keystead_iam::{CompiledPolicy, Permission, Query, decide};
use keystead_model::{Binding, Condition, Policy, Principal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|expression: &str| {
    let condition = Condition { expression: expression.to_owned(), ..Condition::default() };
    let member = "user:a@example.com".to_owned();
    let policy = CompiledPolicy::compile(&Policy {
        version: 3,
        bindings: vec![Binding {
            role: "roles/cloudkms.viewer".into(),
            members: vec![member.clone()],
            condition: Some(condition),
        }],
    });
    let principal: Principal = member.parse().expect("a principal");
    let query = Query {
        principal: &principal,
        groups: &[],
        permission: Permission::CryptoKeysGet,
        resource_name: "projects/key-project/locations/us/keyRings/r/cryptoKeys/k",
        resource_type: "cloudkms.googleapis.com/CryptoKey",
        service: "cloudkms.googleapis.com",
        time: "2026-06-01T12:00:00Z".parse().expect("a time"),
    };
    let decision = decide(&query, &[("projects/key-project", &policy)]);
    assert!(policy.ignored().is_empty() || !decision.is_allowed(), "what is not understood grants nothing");
});
