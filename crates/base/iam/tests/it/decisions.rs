use keystead_iam::{CompiledPolicy, Decision, Permission, Query, decide};
use keystead_model::{Binding, Condition, Policy, Principal};

const KEY: &str = "projects/key-project/locations/us/keyRings/r/cryptoKeys/k";
const PROJECT: &str = "projects/key-project";

fn binding(role: &str, members: &[&str]) -> Binding {
    Binding { role: role.into(), members: members.iter().map(|it| (*it).into()).collect(), condition: None }
}

fn policy(bindings: Vec<Binding>) -> CompiledPolicy {
    let compiled = CompiledPolicy::compile(&Policy { version: 3, bindings });
    assert_eq!(compiled.ignored(), [""; 0], "every binding is understood");
    compiled
}

/// Asks as `who` at noon of 2026-06-01, in UTC, about the key.
fn ask<'a>(
    who: &str,
    groups: &[&str],
    permission: Permission,
    policies: &[(&'a str, &CompiledPolicy)],
) -> Decision<'a> {
    let principal: Principal = who.parse().expect("a principal");
    let groups: Vec<String> = groups.iter().map(|it| (*it).into()).collect();
    let query = Query {
        principal: &principal,
        groups: &groups,
        permission,
        resource_name: KEY,
        resource_type: "cloudkms.googleapis.com/CryptoKey",
        service: "cloudkms.googleapis.com",
        time: "2026-06-01T12:00:00Z".parse().expect("a time"),
    };
    decide(&query, policies)
}

#[test]
fn without_a_policy_everything_is_denied() {
    for permission in Permission::ALL {
        assert_eq!(ask("user:a@example.com", &[], *permission, &[]), Decision::Denied, "{permission}");
    }
}

#[test]
fn the_answer_says_by_which_role_and_where() {
    let project = policy(vec![binding("roles/cloudkms.viewer", &["user:a@example.com"])]);
    let key = policy(vec![binding("roles/cloudkms.cryptoKeyEncrypter", &["user:a@example.com"])]);
    let policies = [(PROJECT, &project), (KEY, &key)];
    assert_eq!(
        ask("user:a@example.com", &[], Permission::CryptoKeysGet, &policies),
        Decision::Allowed { by: "roles/cloudkms.viewer", at: PROJECT }
    );
    assert_eq!(
        ask("user:a@example.com", &[], Permission::CryptoKeyVersionsUseToEncrypt, &policies),
        Decision::Allowed { by: "roles/cloudkms.cryptoKeyEncrypter", at: KEY }
    );
    assert_eq!(
        ask("user:a@example.com", &[], Permission::CryptoKeyVersionsUseToDecrypt, &policies),
        Decision::Denied
    );
    assert_eq!(ask("user:b@example.com", &[], Permission::CryptoKeysGet, &policies), Decision::Denied);
}

#[test]
fn a_user_a_service_account_and_a_group_of_one_address_are_three() {
    let user = policy(vec![binding("roles/viewer", &["user:a@example.com"])]);
    let account = policy(vec![binding("roles/viewer", &["serviceAccount:a@example.com"])]);
    let group = policy(vec![binding("roles/viewer", &["group:a@example.com"])]);
    let may = |who, groups: &[&str], policy| {
        ask(who, groups, Permission::ProjectsGet, &[(PROJECT, policy)]).is_allowed()
    };
    assert!(may("user:a@example.com", &[], &user));
    assert!(!may("serviceAccount:a@example.com", &[], &user));
    assert!(!may("user:b@example.com", &["a@example.com"], &user));
    assert!(may("serviceAccount:a@example.com", &[], &account));
    assert!(!may("user:a@example.com", &[], &account));
    assert!(!may("user:a@example.com", &[], &group));
    assert!(may("user:b@example.com", &["x@example.com", "a@example.com"], &group));
}

#[test]
fn addresses_are_compared_without_case() {
    let mixed = policy(vec![binding("roles/viewer", &["user:Alice@Example.COM", "group:Ops@Example.com"])]);
    let policies = [(PROJECT, &mixed)];
    assert!(ask("user:aLICE@example.com", &[], Permission::ProjectsGet, &policies).is_allowed());
    assert!(ask("user:b@example.com", &["ops@example.com"], Permission::ProjectsGet, &policies).is_allowed());
}

#[test]
fn all_authenticated_users_are_all_callers() {
    let open = policy(vec![binding("roles/cloudkms.publicKeyViewer", &["allAuthenticatedUsers"])]);
    let policies = [(KEY, &open)];
    for who in ["user:a@example.com", "serviceAccount:x@key-project.iam.gserviceaccount.com"] {
        assert!(ask(who, &[], Permission::CryptoKeyVersionsViewPublicKey, &policies).is_allowed());
        assert!(!ask(who, &[], Permission::CryptoKeysGet, &policies).is_allowed());
    }
}

#[test]
fn a_condition_limits_its_binding_only() {
    let mut limited = binding("roles/cloudkms.cryptoKeyEncrypterDecrypter", &["user:a@example.com"]);
    limited.condition = Some(Condition {
        expression: "request.time < timestamp(\"2026-06-01T12:00:00Z\")".into(),
        title: "until noon".into(),
        ..Condition::default()
    });
    let both = policy(vec![limited, binding("roles/cloudkms.cryptoKeyEncrypter", &["user:a@example.com"])]);
    let policies = [(KEY, &both)];
    assert!(
        !ask("user:a@example.com", &[], Permission::CryptoKeyVersionsUseToDecrypt, &policies).is_allowed()
    );
    assert_eq!(
        ask("user:a@example.com", &[], Permission::CryptoKeyVersionsUseToEncrypt, &policies),
        Decision::Allowed { by: "roles/cloudkms.cryptoKeyEncrypter", at: KEY }
    );
}

#[test]
fn what_is_not_understood_grants_nothing_and_is_said() {
    let mut broken = binding("roles/viewer", &["user:a@example.com"]);
    broken.condition =
        Some(Condition { expression: "resource.colour == 'red'".into(), ..Condition::default() });
    let compiled = CompiledPolicy::compile(&Policy {
        version: 3,
        bindings: vec![
            broken,
            binding("roles/future.role", &["user:a@example.com"]),
            binding("roles/viewer", &["robot:a@example.com", "allUsers"]),
        ],
    });
    assert_eq!(compiled.ignored().len(), 4, "{:?}", compiled.ignored());
    for permission in Permission::ALL {
        assert!(!ask("user:a@example.com", &[], *permission, &[(PROJECT, &compiled)]).is_allowed());
    }
}
