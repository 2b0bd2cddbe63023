use keystead_iam::{MAX_CONDITIONAL_BINDINGS, MAX_MEMBERS, ResourceKind, as_requested, etag, validate};
use keystead_model::{Binding, Condition, ErrorClass, Policy};

fn binding(role: &str, members: &[&str], expression: Option<&str>) -> Binding {
    Binding {
        role: role.into(),
        members: members.iter().map(|it| (*it).into()).collect(),
        condition: expression.map(|expression| Condition {
            expression: expression.into(),
            title: "a title".into(),
            description: String::new(),
        }),
    }
}

/// The error of a policy of version 3 with this binding, on a key.
fn refused(binding: Binding) -> String {
    let policy = Policy { version: 3, bindings: vec![binding] };
    let error = validate(&policy, ResourceKind::CryptoKey).expect_err("a bad policy");
    assert_eq!(error.class(), ErrorClass::Invalid);
    error.to_string()
}

#[test]
fn a_policy_is_stored_in_one_form() {
    let given = Policy {
        version: 0,
        bindings: vec![
            binding("roles/cloudkms.viewer", &["user:Bob@Example.com", "group:ops@example.com"], None),
            binding("roles/cloudkms.admin", &["user:a@example.com"], None),
            binding("roles/cloudkms.viewer", &["user:bob@example.com", "allAuthenticatedUsers"], None),
            binding("roles/cloudkms.signer", &[], None),
        ],
    };
    let stored = validate(&given, ResourceKind::CryptoKey).expect("a good policy");
    assert_eq!(
        stored,
        Policy {
            version: 1,
            bindings: vec![
                binding("roles/cloudkms.admin", &["user:a@example.com"], None),
                binding(
                    "roles/cloudkms.viewer",
                    &["user:bob@example.com", "group:ops@example.com", "allAuthenticatedUsers"],
                    None
                ),
            ],
        }
    );
    assert_eq!(validate(&stored, ResourceKind::CryptoKey), Ok(stored), "it stays as it is");
}

#[test]
fn bindings_of_one_role_under_different_conditions_stay_apart() {
    let given = Policy {
        version: 3,
        bindings: vec![
            binding("roles/cloudkms.viewer", &["user:a@example.com"], None),
            binding(
                "roles/cloudkms.viewer",
                &["user:b@example.com"],
                Some("request.time < timestamp('2030-01-01T00:00:00Z')"),
            ),
            binding(
                "roles/cloudkms.viewer",
                &["user:c@example.com"],
                Some("request.time < timestamp('2030-01-01T00:00:00Z')"),
            ),
        ],
    };
    let stored = validate(&given, ResourceKind::KeyRing).expect("a good policy");
    assert_eq!(stored.version, 3);
    let members: Vec<_> = stored.bindings.iter().map(|it| it.members.len()).collect();
    assert_eq!(members, [1, 2]);

    let empty = Condition::default();
    let unconditional = Policy {
        version: 1,
        bindings: vec![Binding { condition: Some(empty), ..given.bindings[0].clone() }],
    };
    let stored = validate(&unconditional, ResourceKind::KeyRing).expect("an empty condition is none");
    assert_eq!((stored.version, stored.bindings[0].condition.as_ref()), (1, None));
}

#[test]
fn versions_are_0_1_and_3_and_conditions_need_3() {
    for version in [0, 1, 3] {
        assert!(validate(&Policy { version, bindings: vec![] }, ResourceKind::Project).is_ok());
    }
    for version in [-1, 2, 4, i32::MAX] {
        let error =
            validate(&Policy { version, bindings: vec![] }, ResourceKind::Project).expect_err("unknown");
        assert_eq!(
            error.to_string(),
            format!("Policy version {version} is not supported: 1, or 3 for a policy with conditions.")
        );
    }
    for version in [0, 1] {
        let bindings = vec![binding("roles/cloudkms.viewer", &["user:a@example.com"], Some("true"))];
        let error = validate(&Policy { version, bindings }, ResourceKind::KeyRing).expect_err("version 1");
        assert_eq!(
            error.to_string(),
            "The policy has a condition for role roles/cloudkms.viewer: set the policy version to 3."
        );
    }
}

#[test]
fn unknown_and_unfit_roles_are_refused() {
    for role in
        ["roles/x", "", "cloudkms.admin", "projects/p/roles/custom", "roles/owner", "roles/keystead.admin"]
    {
        assert_eq!(
            refused(binding(role, &["user:a@example.com"], None)),
            format!("Role {role} is not supported for this resource.")
        );
    }
    let owner = Policy { version: 1, bindings: vec![binding("roles/owner", &["user:a@example.com"], None)] };
    assert!(validate(&owner, ResourceKind::Project).is_ok());
}

#[test]
fn members_that_cannot_be_served_are_refused_each_in_its_words() {
    for (member, text) in [
        ("allUsers", "The member allUsers is not supported: this server answers authenticated callers only."),
        (
            "domain:example.com",
            "The member domain:example.com is not supported: this server does not know who belongs to a domain. Use a group.",
        ),
        (
            "deleted:user:a@example.com?uid=1",
            "The member deleted:user:a@example.com?uid=1 is deleted. Remove it from the policy.",
        ),
        ("user:a", "The member user:a does not have a valid e-mail address."),
        ("user:a@b@c", "The member user:a@b@c does not have a valid e-mail address."),
        ("group:", "The member group: does not have a valid e-mail address."),
        ("serviceAccount:x y@z", "The member serviceAccount:x y@z does not have a valid e-mail address."),
    ] {
        assert_eq!(refused(binding("roles/cloudkms.viewer", &[member], None)), text);
    }
    for member in [
        "",
        "a@example.com",
        "User:a@example.com",
        "USER:a@example.com",
        "principalSet://x",
        "projectOwner:p",
        "allauthenticatedusers",
        " user:a@example.com",
    ] {
        assert_eq!(
            refused(binding("roles/cloudkms.viewer", &[member], None)),
            format!(
                "The member {member} is of an unknown type. Please set a valid type prefix for the member: user:, \
                 serviceAccount: or group:, or allAuthenticatedUsers."
            )
        );
    }
}

#[test]
fn conditions_have_a_title_and_basic_roles_have_none() {
    let mut untitled = binding("roles/cloudkms.viewer", &["user:a@example.com"], Some("true"));
    let texts = "The condition for role roles/cloudkms.viewer must have a title of 1 to 100 characters and a description of \
                 at most 256.";
    for (title, description) in [("", ""), (&*"t".repeat(101), ""), ("t", &*"d".repeat(257))] {
        let condition = untitled.condition.as_mut().expect("a condition");
        (condition.title, condition.description) = (title.into(), description.into());
        assert_eq!(refused(untitled.clone()), texts);
    }
    let policy =
        Policy { version: 3, bindings: vec![binding("roles/editor", &["user:a@example.com"], Some("true"))] };
    let error = validate(&policy, ResourceKind::Project).expect_err("a basic role");
    assert_eq!(
        error.to_string(),
        "Role roles/editor cannot be granted under a condition. Use a role of the service."
    );
}

#[test]
fn sizes_are_bounded() {
    let members: Vec<String> = (0..=MAX_MEMBERS).map(|it| format!("user:u{it}@example.com")).collect();
    let of = |members: &[String]| Policy {
        version: 1,
        bindings: vec![Binding {
            role: "roles/cloudkms.viewer".into(),
            members: members.to_vec(),
            condition: None,
        }],
    };
    assert!(validate(&of(&members[1..]), ResourceKind::KeyRing).is_ok());
    let error = validate(&of(&members), ResourceKind::KeyRing).expect_err("one too many");
    assert_eq!(
        error.to_string(),
        "The policy has 1501 members in all its bindings; at most 1500 are allowed."
    );
    // Spread over bindings, they count all the same; and so do bindings without members.
    let bindings: Vec<_> = members.iter().map(|it| binding("roles/cloudkms.viewer", &[it], None)).collect();
    assert!(validate(&Policy { version: 1, bindings }, ResourceKind::KeyRing).is_err());
    let bindings = vec![binding("roles/cloudkms.viewer", &[], None); MAX_MEMBERS + 1];
    assert!(validate(&Policy { version: 1, bindings }, ResourceKind::KeyRing).is_err());

    let conditional = binding("roles/cloudkms.viewer", &["user:a@example.com"], Some("true"));
    let many = |count| Policy { version: 3, bindings: vec![conditional.clone(); count] };
    assert!(validate(&many(MAX_CONDITIONAL_BINDINGS), ResourceKind::KeyRing).is_ok());
    let error = validate(&many(101), ResourceKind::KeyRing).expect_err("one too many");
    assert_eq!(error.to_string(), "The policy has 101 bindings with a condition; at most 100 are allowed.");
}

/// A client that does not know conditions must neither see a conditional role as a plain one nor write it back as one.
#[test]
fn a_client_of_version_1_does_not_see_conditional_roles_as_plain_ones() {
    let stored = Policy {
        version: 3,
        bindings: vec![
            binding("roles/cloudkms.admin", &["user:a@example.com"], None),
            binding("roles/cloudkms.viewer", &["user:a@example.com"], Some("true")),
        ],
    };
    assert_eq!(as_requested(stored.clone(), 3), stored);
    let seen = as_requested(stored.clone(), 1);
    assert_eq!((seen.version, &seen.bindings[0]), (1, &stored.bindings[0]));
    let role = &seen.bindings[1].role;
    assert!(role.starts_with("roles/cloudkms.viewer_withcond_"), "{role}");
    assert_eq!(seen.bindings[1].condition, None);
    assert!(validate(&seen, ResourceKind::KeyRing).is_err(), "it cannot be written back");
    let plain = Policy { version: 1, bindings: vec![stored.bindings[0].clone()] };
    assert_eq!(as_requested(plain.clone(), 0), plain);
}

#[test]
fn an_etag_is_of_one_policy_at_one_revision() {
    let a = binding("roles/cloudkms.viewer", &["user:a@example.com", "user:b@example.com"], None);
    let b = binding("roles/cloudkms.viewer", &["user:a@example.com"], Some("true"));
    let policies = [
        Policy::default(),
        Policy { version: 1, bindings: vec![a.clone()] },
        Policy { version: 3, bindings: vec![a.clone()] },
        Policy { version: 3, bindings: vec![b.clone()] },
        Policy { version: 3, bindings: vec![a.clone(), b.clone()] },
        Policy { version: 3, bindings: vec![b, a] },
    ];
    let mut seen = std::collections::BTreeSet::new();
    for policy in &policies {
        for revision in [0, 1, u64::MAX] {
            assert_eq!(etag(policy, revision), etag(&policy.clone(), revision));
            assert!(seen.insert(etag(policy, revision)), "{policy:?} at {revision}");
        }
    }
}
