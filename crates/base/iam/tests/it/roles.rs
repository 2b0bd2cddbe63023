use std::collections::{BTreeMap, BTreeSet};

use keystead_iam::Permission::*;
use keystead_iam::{CompiledPolicy, Permission, Query, ResourceKind, Role, decide};
use keystead_model::{Binding, Policy, Principal};

const ROLES: [&str; 33] = [
    "roles/keystead.destructionApprover",
    "roles/cloudkms.admin",
    "roles/cloudkms.viewer",
    "roles/cloudkms.cryptoKeyEncrypterDecrypter",
    "roles/cloudkms.cryptoKeyEncrypter",
    "roles/cloudkms.cryptoKeyDecrypter",
    "roles/cloudkms.cryptoKeyEncrypterDecrypterViaDelegation",
    "roles/cloudkms.cryptoKeyEncrypterViaDelegation",
    "roles/cloudkms.cryptoKeyDecrypterViaDelegation",
    "roles/cloudkms.cryptoOperator",
    "roles/cloudkms.publicKeyViewer",
    "roles/cloudkms.signer",
    "roles/cloudkms.verifier",
    "roles/cloudkms.signerVerifier",
    "roles/cloudkms.decapsulator",
    "roles/cloudkms.protectedResourcesViewer",
    "roles/container.admin",
    "roles/container.clusterAdmin",
    "roles/container.developer",
    "roles/container.viewer",
    "roles/container.clusterViewer",
    "roles/owner",
    "roles/editor",
    "roles/viewer",
    "roles/browser",
    "roles/resourcemanager.projectCreator",
    "roles/resourcemanager.projectIamAdmin",
    "roles/iam.securityReviewer",
    "roles/iam.securityAdmin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountKeyAdmin",
    "roles/iam.serviceAccountViewer",
    "roles/serviceusage.serviceUsageAdmin",
];

/// `role_permissions.txt`: permission -> roles, by their full names.
fn table() -> BTreeMap<&'static str, BTreeSet<String>> {
    let lines = include_str!("role_permissions.txt").lines();
    let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let (permission, roles) = line.split_once(": ").expect("permission: roles");
        let full = |role: &str| match role {
            "basic-viewer" => "roles/viewer".to_owned(),
            "owner" | "editor" | "browser" => format!("roles/{role}"),
            role if role.contains('.') => format!("roles/{role}"),
            role => format!("roles/cloudkms.{role}"),
        };
        (permission, roles.split(' ').map(full).collect())
    });
    rows.collect()
}

/// Asks with a policy that binds nothing but `role`.
fn may(role: &str, permission: Permission) -> bool {
    let policy = CompiledPolicy::compile(&Policy {
        version: 1,
        bindings: vec![Binding {
            role: role.into(),
            members: vec!["user:a@example.com".into()],
            condition: None,
        }],
    });
    let principal: Principal = "user:a@example.com".parse().expect("a principal");
    let query = Query {
        principal: &principal,
        groups: &[],
        permission,
        resource_name: "projects/key-project/locations/us/keyRings/r/cryptoKeys/k",
        resource_type: "cloudkms.googleapis.com/CryptoKey",
        service: "cloudkms.googleapis.com",
        time: "2026-06-01T12:00:00Z".parse().expect("a time"),
    };
    decide(&query, &[("projects/key-project", &policy)]).is_allowed()
}

#[test]
fn c5_every_role_grants_what_the_table_says_and_nothing_else() {
    let table = table();
    let known: BTreeSet<&str> = Permission::ALL.iter().map(|it| it.as_str()).collect();
    assert_eq!(table.keys().copied().collect::<BTreeSet<_>>(), known, "the table has each permission once");
    let mut wrong = Vec::new();
    for role in ROLES.into_iter().chain(["roles/keystead.admin"]) {
        for permission in Permission::ALL {
            let expected = table[permission.as_str()].contains(role);
            if may(role, *permission) != expected {
                wrong.push(format!("{role} {permission}: should be {expected}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn every_role_is_in_the_table() {
    let known: BTreeSet<&str> = Role::all().iter().map(|role| role.name).collect();
    let expected: BTreeSet<&str> = ROLES.into_iter().chain(["roles/keystead.admin"]).collect();
    assert_eq!(known, expected);
    assert_eq!(Role::all().len(), expected.len(), "no name twice");
    let named: BTreeSet<String> = table().into_values().flatten().collect();
    assert!(named.iter().all(|role| expected.contains(role.as_str())), "{named:?}");
}

/// The separations that the product promises, once more in words.
#[test]
fn who_administers_cannot_decrypt_and_who_decrypts_cannot_look() {
    for role in ["roles/cloudkms.admin", "roles/keystead.admin", "roles/editor", "roles/viewer"] {
        assert!(!may(role, CryptoKeyVersionsUseToEncrypt), "{role}");
        assert!(!may(role, CryptoKeyVersionsUseToDecrypt), "{role}");
    }
    let user = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
    assert!(may(user, CryptoKeyVersionsUseToEncrypt) && may(user, CryptoKeyVersionsUseToDecrypt));
    for permission in
        [CryptoKeysGet, CryptoKeysList, CryptoKeyVersionsGet, KeyRingsGet, CryptoKeysGetIamPolicy]
    {
        assert!(!may(user, permission), "{permission}");
    }
    for permission in [KeyRingsGetIamPolicy, CryptoKeysGetIamPolicy, ProjectsGetIamPolicy] {
        assert!(!may("roles/cloudkms.viewer", permission), "{permission}");
    }
    assert!(!may("roles/cloudkms.cryptoKeyEncrypter", CryptoKeyVersionsUseToDecrypt));
    assert!(!may("roles/cloudkms.cryptoKeyDecrypter", CryptoKeyVersionsUseToEncrypt));
}

#[test]
fn permissions_are_read_as_they_are_written() {
    for permission in Permission::ALL {
        assert_eq!(permission.as_str().parse(), Ok(*permission));
        assert_eq!(permission.to_string(), permission.as_str());
    }
    for wrong in ["", "cloudkms.cryptoKeys", "cloudkms.cryptoKeys.Get", "cloudkms.cryptoKeys.get ", "*"] {
        let error = wrong.parse::<Permission>().expect_err(wrong);
        assert_eq!(error.to_string(), format!("Permission {wrong} is not valid for this resource."));
    }
}

#[test]
fn roles_are_bound_where_google_binds_them() {
    use ResourceKind::{CryptoKey, KeyRing, Project, Server, ServiceAccount};
    for (role, places) in [
        ("roles/owner", &[Server, Project][..]),
        ("roles/cloudkms.admin", &[Server, Project, KeyRing, CryptoKey]),
        ("roles/cloudkms.cryptoKeyEncrypterDecrypter", &[Server, Project, KeyRing, CryptoKey]),
        ("roles/iam.serviceAccountKeyAdmin", &[Server, Project, ServiceAccount]),
        ("roles/resourcemanager.projectCreator", &[Server]),
        ("roles/keystead.admin", &[Server]),
    ] {
        assert_eq!(Role::find(role).expect(role).bound_at, places, "{role}");
    }
    assert!(Role::find("roles/cloudkms").is_none());
}

#[test]
fn the_document_has_every_role_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/reference/iam.md");
    let text = std::fs::read_to_string(path).expect("the document");
    // Those in the first cell of a row; a sentence may name a role again.
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |").map(|it| it.0));
    let mut named: Vec<&str> =
        cells.flat_map(|it| it.split('`')).filter(|it| it.starts_with("roles/")).collect();
    named.sort_unstable();
    let mut known: Vec<&str> = Role::all().iter().map(|role| role.name).collect();
    known.sort_unstable();
    assert_eq!(named, known);
}
