//! How long one decision takes: `cargo run --release -p keystead-iam --example decide`.

use std::hint::black_box;
use std::time::Instant;

use keystead_iam::{CompiledPolicy, Permission, Query, decide};
use keystead_model::{Binding, Condition, Policy, Principal};

const KEY: &str = "projects/key-project/locations/us/keyRings/r/cryptoKeys/k";
const ROLE: &str = "roles/cloudkms.cryptoKeyEncrypterDecrypter";

fn main() {
    let plain = |member: String| Binding { role: ROLE.into(), members: vec![member], condition: None };
    let kinds = ["user:u", "group:g"];
    let thousand = (0..500).flat_map(|it| kinds.map(|kind| plain(format!("{kind}{it}@example.com"))));
    let limited = |it: usize, member: &str| Binding {
        role: ROLE.into(),
        members: vec![member.into()],
        condition: Some(Condition {
            expression: format!(
                "resource.name.startsWith('projects/key-project/') && request.time < timestamp('2020-01-01T00:00:00Z') || \
                 resource.type == 'none{it}'"
            ),
            title: "t".into(),
            ..Condition::default()
        }),
    };
    let many = Policy { version: 3, bindings: thousand.collect() };
    let hard =
        Policy { version: 3, bindings: (0..100).map(|it| limited(it, "user:hard@example.com")).collect() };

    let start = Instant::now();
    let (many, hard) = (CompiledPolicy::compile(&many), CompiledPolicy::compile(&hard));
    report("compile 1,000 bindings and 100 conditions", start.elapsed().as_nanos());

    let levels = [("", &many), ("projects/key-project", &many), ("ring", &many), (KEY, &many)];
    let groups: Vec<String> = (0..10).map(|it| format!("other{it}@example.com")).collect();
    measure("granted at the root, 1,000 bindings", "user:u250@example.com", &[], &levels);
    measure("denied, four policies of 1,000 bindings", "user:nobody@example.com", &[], &levels);
    measure("denied, the same and in 10 groups", "user:nobody@example.com", &groups, &levels);
    measure("denied after 100 conditions", "user:hard@example.com", &[], &[(KEY, &hard)]);
}

fn measure(what: &str, who: &str, groups: &[String], policies: &[(&str, &CompiledPolicy)]) {
    const ROUNDS: u32 = 200_000;
    let (Ok(principal), Ok(time)) = (who.parse::<Principal>(), "2026-06-01T12:00:00Z".parse()) else {
        return;
    };
    let query = Query {
        principal: &principal,
        groups,
        permission: Permission::CryptoKeyVersionsUseToEncrypt,
        resource_name: KEY,
        resource_type: "cloudkms.googleapis.com/CryptoKey",
        service: "cloudkms.googleapis.com",
        time,
    };
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(decide(black_box(&query), black_box(policies)));
    }
    report(what, start.elapsed().as_nanos() / u128::from(ROUNDS));
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn report(what: &str, nanoseconds: u128) {
    println!("{what}: {nanoseconds} ns");
}
