//! Reports that are signed, and what is nearly one.

use std::collections::BTreeMap;

use anyhow::Result;
use keystead_cluster::evidence::signed::{EvidenceError, check, sign};
use keystead_cluster::evidence::{Evidence, PromisedBy, Verification};
use keystead_cluster::executor::InUse;
use keystead_cluster::rollout::{
    Answer, Configuration, Count, Inventory, Loaded, Observed, Order, Pass, Plugin, Provider, Server, Stored,
    StoredAs,
};
use keystead_crypto::{SigningKey, SystemRandom};

fn new_key() -> SigningKey {
    SigningKey::from_pkcs8(SigningKey::generate(&SystemRandom).expect("a key").expose()).expect("a key")
}

fn kms() -> Provider {
    Provider::KmsV2 { name: "keystead".into() }
}

fn observed() -> Observed {
    let order = Configuration::Providers(Order { writer: kms(), readers: vec![Provider::Identity] });
    let count = |provider: Provider, key_id: Option<&str>, objects| Count {
        stored_as: StoredAs { provider, key_id: key_id.map(str::to_owned) },
        objects,
    };
    let plugin = Plugin {
        provider: kms(),
        unhealthy: None,
        reports: Some("key-1".into()),
        seen: Some("key-1".into()),
        unwraps: ["key-1".to_owned()].into(),
        unwraps_others: true,
        behind_cluster: None,
    };
    let server = |name: &str, loaded: Loaded| Server {
        name: name.into(),
        address: format!("https://{name}:6443"),
        answer: Answer::Ready,
        minor: Some(37),
        on_disk: Some(order.clone()),
        loaded,
        automatic_reload: true,
        epoch: Some("1-1-0".into()),
        plugins: vec![plugin.clone()],
    };
    Observed {
        servers: vec![server("cp-1", Loaded::Known(order.clone())), server("cp-2", Loaded::Unknown)],
        stored: vec![Stored {
            resource: "secrets".into(),
            inventory: Inventory::Counted {
                revision: 17,
                began_with: Vec::new(),
                counts: vec![count(Provider::Identity, None, 2), count(kms(), Some("key-1"), 5)],
                malformed: 1,
            },
            pass: Pass::NotRun,
            last_clean: None,
        }],
        ..Observed::default()
    }
}

fn evidence(findings: &[&str]) -> Evidence {
    let found = Verification {
        cluster: "uid-1".into(),
        promise: "enable encryption with kms:v2:keystead".into(),
        promised_by: PromisedBy::Rollout,
        findings: findings.iter().map(|it| (*it).to_owned()).collect(),
    };
    let in_use =
        InUse { version: Some("v1.37.2".into()), configuration: Some("aa".into()), file: Some("aa".into()) };
    let time = "2026-01-31T12:00:00Z".parse().expect("a time");
    Evidence::new(
        time,
        "keystead 0.0.0".into(),
        found,
        &observed(),
        &BTreeMap::from([("cp-1".into(), in_use)]),
    )
}

#[test]
fn a_report_says_what_was_seen_and_nothing_that_was_not() {
    let report = evidence(&["2 secrets are stored as identity"]);
    assert!(!report.holds && evidence(&[]).holds);
    let [first, second] = &report.api_servers[..] else { panic!("{report:?}") };
    assert_eq!(first.version.as_deref(), Some("v1.37.2"));
    assert_eq!(first.providers.as_deref(), Some(&["kms:v2:keystead".to_owned(), "identity".to_owned()][..]));
    assert_eq!(first.configuration_in_use.as_deref(), Some("aa"));
    assert_eq!(first.plugins[0].key_id.as_deref(), Some("key-1"));
    assert_eq!((&second.version, &second.providers, &second.configuration_in_use), (&None, &None, &None));
    let stored = &report.stored[0];
    assert_eq!((stored.revision, stored.objects, stored.plain, stored.unreadable), (Some(17), 8, 2, 1));

    let mut uncounted = observed();
    uncounted.stored[0].inventory = Inventory::NoAccess { reason: "no way".into() };
    let found = Verification {
        cluster: String::new(),
        promise: String::new(),
        promised_by: PromisedBy::Files,
        findings: vec!["secrets: etcd cannot be read: no way".into()],
    };
    let report = Evidence::new(report.time, String::new(), found, &uncounted, &BTreeMap::new());
    assert_eq!(report.stored[0].not_counted.as_deref(), Some("no way"));
    assert_eq!(report.stored[0].revision, None);
}

#[test]
fn only_what_the_key_signed_is_taken_byte_for_byte() -> Result<()> {
    let (key, other) = (new_key(), new_key());
    let text = sign(evidence(&["one"]), &key)?;
    let public = key.public_key();
    let read = check(text.as_bytes(), &public)?;
    assert_eq!(read, Evidence { signer: read.signer.clone(), ..evidence(&["one"]) });

    for at in 0..text.len() {
        for bit in [0, 1, 5] {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1 << bit;
            assert!(check(&changed, &public).is_err(), "byte {at}, bit {bit}");
        }
        assert!(check(&text.as_bytes()[..at], &public).is_err(), "cut off at {at}");
        let mut longer = text.clone().into_bytes();
        longer.insert(at, b' ');
        assert!(check(&longer, &public).is_err(), "a space at {at}");
    }
    let error = check(text.as_bytes(), &other.public_key()).expect_err("another key");
    assert!(matches!(&error, EvidenceError::OtherKey { .. }), "{error}");
    assert!(error.to_string().contains(&read.signer), "{error}");
    Ok(())
}

#[test]
fn what_is_wrong_is_said_exactly() -> Result<()> {
    let key = new_key();
    let text = sign(evidence(&[]), &key)?;
    let (report, signature) = text.split_once('\n').expect("two lines");
    let error = |text: &str| check(text.as_bytes(), &key.public_key()).expect_err("refused");
    let signed = |report: String| {
        let signed = sign(evidence(&[]), &key).expect("signed");
        let line = format!("{report}\n");
        let signature = base64(&key.sign(line.as_bytes()));
        assert_ne!(line, signed);
        format!("{line}{{\"signature\":\"{signature}\"}}\n")
    };

    assert!(matches!(error(""), EvidenceError::CutOff));
    assert!(matches!(error(report), EvidenceError::CutOff));
    assert!(matches!(error(&format!("{report}\n")), EvidenceError::CutOff));
    assert!(matches!(error(text.trim_end()), EvidenceError::CutOff));
    assert!(matches!(error(&format!("{text}\n")), EvidenceError::More(1)));
    assert!(matches!(error("# Something else"), EvidenceError::NotEvidence { line: 1 }));
    assert!(matches!(error("not\nJSON\n"), EvidenceError::NotEvidence { line: 1 }));
    assert!(matches!(error("{}\n{}\n"), EvidenceError::NotEvidence { line: 1 }));
    assert!(matches!(error(&format!("{report}\n{{}}\n")), EvidenceError::NotEvidence { line: 2 }));
    assert!(matches!(error(&format!("{report}\r\n{signature}")), EvidenceError::Changed));
    assert!(matches!(error(&text.replace("uid-1", "uid-2")), EvidenceError::Changed));
    // Even its own key does not make it one of this format.
    let later = report.replace("\"format\":1", "\"format\":2");
    assert!(matches!(error(&signed(later)), EvidenceError::OtherFormat(2)));
    let more = report.replace("\"format\":1", "\"format\":1,\"note\":1");
    assert!(matches!(error(&signed(more)), EvidenceError::Report(_)));
    let lies = report.replace("\"findings\":[]", "\"findings\":[\"one\"]");
    assert!(matches!(error(&signed(lies)), EvidenceError::Contradiction(_)));
    // As the script for openssl and jq has it.
    let all_read = report.replace("\"unreadable\":1", "\"unreadable\":0");
    let other = all_read.replace("\"signer\":\"SHA256:", "\"signer\":\"SHA256:0");
    assert!(matches!(error(&signed(other)), EvidenceError::Contradiction(_)));
    assert!(check(signed(all_read).as_bytes(), &key.public_key()).is_ok());
    assert!(matches!(error(&text), EvidenceError::Contradiction(_)));
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}
