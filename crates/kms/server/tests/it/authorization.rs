//! Who may do what: every served method, by every role, bound at every place, over REST and gRPC, against a table that was
//! written by hand from the published definitions of the roles (`table.txt`).

mod calls;
mod existence;
mod table;

use std::collections::BTreeSet;

use crate::api::Server;
use calls::{Transport, World};
use table::{Level, Row, rows};

/// Where a role is bound, seen from the key `key-1` in `ring-1` of `key-project`.
const PLACES: [(&str, &str); 6] = [
    ("key", "projects/key-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1"),
    ("sibling", "projects/key-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-2"),
    ("ring", "projects/key-project/locations/us-central1/keyRings/ring-1"),
    ("other-ring", "projects/key-project/locations/us-central1/keyRings/ring-2"),
    ("project", "projects/key-project"),
    ("other-project", "projects/other-project"),
];

/// Every role of the table, and what else a caller may be.
const ROLES: [&str; 21] = [
    "roles/cloudkms.admin",
    "roles/cloudkms.viewer",
    "roles/cloudkms.cryptoKeyEncrypterDecrypter",
    "roles/cloudkms.cryptoKeyEncrypter",
    "roles/cloudkms.cryptoKeyDecrypter",
    "roles/cloudkms.cryptoOperator",
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
    "roles/resourcemanager.projectIamAdmin",
    "roles/serviceusage.serviceUsageAdmin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountKeyAdmin",
    "roles/keystead.destructionApprover",
];

#[tokio::test(flavor = "multi_thread")]
async fn p13_p15_every_cell_of_the_matrix_is_as_written() {
    let world = World::new().await;
    let mut cells = 0;
    let mut wrong = Vec::new();
    for row in rows() {
        if row.is_free() {
            continue;
        }
        for role in ROLES {
            for (place, _) in PLACES {
                let expected = row.roles.contains(role) && binds(role, place) && inherits(row.level, place);
                for transport in [Transport::Rest, Transport::Grpc] {
                    let allowed = world.is_allowed(&row, role, place, transport).await;
                    cells += 1;
                    if allowed != expected {
                        wrong.push(format!(
                            "{} by {role} at {place} over {transport:?}: {allowed}",
                            row.method
                        ));
                    }
                }
            }
        }
    }
    println!("{cells} cells");
    assert!(wrong.is_empty(), "{} of {cells} cells are not as written:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cells > 5_000, "the matrix has shrunk to {cells} cells");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_unknown_gets_anywhere_and_nobody_without_a_role_learns_what_exists() {
    let world = World::new().await;
    for row in rows() {
        for transport in [Transport::Rest, Transport::Grpc] {
            for bearer in ["", "ks_0000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "a.b.c"] {
                let code = world.code(&row, bearer, transport, calls::EXISTING).await;
                assert_eq!(
                    code,
                    tonic::Code::Unauthenticated,
                    "{} over {transport:?} with {bearer:?}",
                    row.method
                );
            }
            if row.is_free() {
                continue;
            }
            // The same answer whether or not there is such a thing.
            let stranger = world.stranger();
            for names in [calls::EXISTING, calls::ABSENT] {
                let code = world.code(&row, stranger, transport, names).await;
                assert_eq!(code, tonic::Code::PermissionDenied, "{} over {transport:?}", row.method);
            }
        }
    }
}

#[tokio::test]
async fn every_route_has_a_row_and_every_row_a_route() {
    let server = Server::new().await;
    let served: BTreeSet<String> = server
        .gateway_routes()
        .filter(|route| route.served)
        .map(|route| format!("{}/{}", route.service, route.method))
        .collect();
    let written: BTreeSet<String> = rows().into_iter().map(|row| row.method).collect();
    let bad = rows().into_iter().filter_map(|row| {
        let error = calls::message(&row, calls::EXISTING).err()?;
        Some(format!("{}: {error}", row.method))
    });
    assert_eq!(bad.collect::<Vec<_>>(), Vec::<String>::new(), "messages that do not fit their methods");
    let without_row: Vec<_> = served.difference(&written).collect();
    let without_route: Vec<_> = written.difference(&served).collect();
    assert!(
        without_row.is_empty() && without_route.is_empty(),
        "no row: {without_row:#?}\nno route: {without_route:#?}"
    );
}

/// Roles of whole projects are refused on keys and rings, so they count for nothing there.
fn binds(role: &str, place: &str) -> bool {
    let is_of_keys = role.starts_with("roles/cloudkms.") && role != "roles/cloudkms.protectedResourcesViewer";
    is_of_keys || place.ends_with("project")
}

/// What a binding at `place` covers: what it is bound to and all below.
fn inherits(level: Level, place: &str) -> bool {
    match level {
        Level::Key => matches!(place, "key" | "ring" | "project"),
        Level::Ring => matches!(place, "ring" | "project"),
        Level::Project => place == "project",
        Level::Server => false,
    }
}

impl Row {
    fn is_free(&self) -> bool {
        self.roles.contains("*")
    }
}
