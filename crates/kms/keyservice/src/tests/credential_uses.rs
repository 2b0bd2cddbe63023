//! When and from where credentials were last used, and what becomes of their records in the end.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::fresh_server::FreshServer;
use crate::operations::{
    IssueCertificate, ListCertificates, ListTokens, RevokeCertificate, RevokeToken, SignedCertificate,
};
use crate::records::record_name;
use crate::{CertificateState, ClientIdentity, LastUse, Origin, Presented, Token};

const ALICE: &str = "user:alice@example.com";
const HOME: &str = "192.0.2.7";
const AWAY: &str = "2001:db8::7";
const AN_HOUR: Duration = Duration::from_secs(3600);
const A_DAY: Duration = Duration::from_secs(86_400);

impl FreshServer {
    /// Somebody calls with a credential from an address.
    async fn used(&self, presented: Presented<'_>, from: &str) {
        let origin = Origin { address: Some(from.parse().unwrap()), user_agent: None };
        self.service.authenticate(presented, origin).await.map(drop).expect("it counts");
    }

    async fn token_used(&self, token: &str, from: &str) {
        self.used(Presented { bearer: Some(token), ..Presented::default() }, from).await;
    }

    async fn listed_tokens(&self) -> Vec<Token> {
        let command = ListTokens::new(&self.service, Some(ALICE.parse().unwrap()), 0, String::new());
        self.run_as(&self.admin().await, command.await.unwrap()).await.unwrap().tokens
    }

    async fn last_use(&self) -> Option<LastUse> {
        self.listed_tokens().await.first().expect("a token").last_use
    }

    async fn revision_of(&self, record: &str) -> Option<u64> {
        self.service.store.get(record).await.unwrap().map(|entry| entry.revision.0)
    }

    /// A certificate for Alice with this serial number.
    async fn certificate(&self, serial: &'static str, ttl: SignedDuration) -> ClientIdentity {
        let not_before = self.clock_now();
        let not_after = not_before + ttl;
        let sign = Box::new(move |_: &str, _: Timestamp, _: SignedDuration| {
            Ok(SignedCertificate { pem: String::new(), serial: serial.to_owned(), not_after })
        });
        let principal = ALICE.parse().unwrap();
        let command = IssueCertificate::new(&self.service, principal, Some(ttl), sign).await.unwrap();
        self.run_as(&self.admin().await, command).await.unwrap();
        let principal = ALICE.parse().unwrap();
        ClientIdentity { principal, serial: serial.to_owned(), not_before, not_after }
    }

    async fn listed_certificates(&self) -> Vec<(String, CertificateState)> {
        let command = ListCertificates::new(&self.service, None, 0, String::new()).await.unwrap();
        let page = self.run_as(&self.admin().await, command).await.unwrap();
        page.certificates.into_iter().map(|it| (it.serial, it.state)).collect()
    }

    fn clock_now(&self) -> Timestamp {
        use crate::Clock as _;
        self.clock.now()
    }
}

fn at(time: Timestamp, address: &str) -> Option<LastUse> {
    Some(LastUse { time, address: Some(address.parse::<IpAddr>().unwrap()) })
}

#[tokio::test]
async fn a_use_of_a_token_is_written_at_most_once_an_hour_and_outlives_a_restart() {
    let server = FreshServer::new().await;
    let token = server.token(ALICE, None).await;
    let record = record_name::token(&token[3..19]);
    let first = server.clock_now();
    assert_eq!(server.last_use().await, None);
    server.token_used(&token, HOME).await;
    server.service.write_credential_uses().await.unwrap();
    assert_eq!(server.last_use().await, at(first, HOME));

    let written = server.revision_of(&record).await;
    server.clock.advance(AN_HOUR - Duration::from_secs(1));
    server.token_used(&token, AWAY).await;
    server.service.write_credential_uses().await.unwrap();
    assert_eq!(server.revision_of(&record).await, written, "less than an hour later nothing is written");

    // What was in memory is gone, and the hour is still counted.
    let server = server.reopen().await;
    assert_eq!(server.last_use().await, at(first, HOME));
    server.token_used(&token, AWAY).await;
    server.service.write_credential_uses().await.unwrap();
    assert_eq!(server.revision_of(&record).await, written);

    server.clock.advance(Duration::from_secs(1));
    server.token_used(&token, AWAY).await;
    server.service.write_credential_uses().await.unwrap();
    assert_eq!(server.last_use().await, at(server.clock_now(), AWAY));
    let stored = server.service.store.get(&record).await.unwrap().unwrap().value;
    assert!(!String::from_utf8(stored).unwrap().contains(&token[20..]), "no secret is in the record");
    server.token_used(&token, HOME).await;

    // Whoever has not called for an hour needs no memory.
    server.clock.advance(AN_HOUR);
    server.service.write_credential_uses().await.unwrap();
    server.service.write_credential_uses().await.unwrap();
    assert_eq!(server.service.remembered.credential_uses.len(), 0);
}

#[tokio::test]
async fn a_use_does_not_bring_a_revoked_token_back() {
    let server = FreshServer::new().await;
    let token = server.token(ALICE, None).await;
    server.token_used(&token, HOME).await;
    let command = RevokeToken::new(&server.service, &token[3..19]).await.unwrap();
    server.run_as(&server.admin().await, command).await.unwrap();
    server.service.write_credential_uses().await.unwrap();
    server.bearer(&token).await.map(drop).expect_err("it is revoked");
}

#[tokio::test]
async fn certificates_that_were_issued_or_revoked_here_are_listed_with_their_last_use() {
    let server = FreshServer::new().await;
    let issued_at = server.clock_now();
    let identity = server.certificate("0a1b", SignedDuration::from_hours(24)).await;
    let revoke = |serial: &str| RevokeCertificate { serial: serial.to_owned() };
    server.run_as(&server.admin().await, revoke("C0:FF:EE")).await.unwrap();
    server.clock.advance(Duration::from_secs(60));
    server.used(Presented { certificate: Some(&identity), ..Presented::default() }, HOME).await;
    server.service.write_credential_uses().await.unwrap();
    let used = CertificateState {
        principal: Some(ALICE.parse().unwrap()),
        issue_time: Some(issued_at),
        expire_time: Some(identity.not_after),
        revoke_time: None,
        last_use: at(server.clock_now(), HOME),
    };
    let other = CertificateState { revoke_time: Some(issued_at), ..CertificateState::default() };
    let server = server.reopen().await;
    let both = vec![("0a1b".to_owned(), used.clone()), ("c0ffee".to_owned(), other)];
    assert_eq!(server.listed_certificates().await, both);

    // Revoked, it keeps what is known of it, and does not count.
    server.run_as(&server.admin().await, revoke("0A1B")).await.unwrap();
    let revoked = CertificateState { revoke_time: Some(server.clock_now()), ..used };
    assert_eq!(server.listed_certificates().await[0].1, revoked);
    let presented = Presented { certificate: Some(&identity), ..Presented::default() };
    let refused = server.service.authenticate(presented, Origin::default()).await;
    refused.map(drop).expect_err("it is revoked");
}

#[tokio::test]
async fn memory_for_uses_is_bounded_whoever_calls() {
    let server = FreshServer::new().await;
    let uses = &server.service.remembered.credential_uses;
    let now = LastUse { time: server.clock_now(), address: None };
    for number in 0..30_000 {
        uses.note(record_name::token(&format!("{number:016x}")), now);
    }
    assert_eq!(uses.len(), 10_000);
    // None of them is stored, so that nothing is left to remember.
    server.service.write_credential_uses().await.unwrap();
    assert_eq!(uses.len(), 0);
}

#[tokio::test]
async fn records_of_tokens_and_certificates_do_not_stay_for_ever_after_their_end() {
    let server = FreshServer::new().await;
    let lasting = server.token(ALICE, None).await;
    let expiring = server.token(ALICE, Some(SignedDuration::from_hours(24))).await;
    let revoked = server.token(ALICE, None).await;
    let command = RevokeToken::new(&server.service, &revoked[3..19]).await.unwrap();
    server.run_as(&server.admin().await, command).await.unwrap();
    let day = SignedDuration::from_hours(24);
    server.certificate("01", day).await;
    server.certificate("02", day).await;
    server.run_as(&server.admin().await, RevokeCertificate { serial: "02".to_owned() }).await.unwrap();
    let ids = [&lasting, &expiring, &revoked].map(|token| record_name::token(&token[3..19]));
    let records = [&ids[0], &ids[1], &ids[2], "certificate/1", "certificate/2"];
    let left = async || {
        let mut left = Vec::new();
        for record in records {
            left.push(server.revision_of(record).await.is_some());
        }
        left
    };
    // A quarter of a year after the revocation, and a day less after what ended by itself.
    server.clock.advance(A_DAY * 90);
    server.service.tick().await;
    assert_eq!(left().await, [true; 5]);
    let told = server.bearer(&revoked).await.map(drop).expect_err("revoked");
    assert!(told.message().contains("was revoked"), "{told}");
    server.clock.advance(Duration::from_secs(1));
    server.service.tick().await;
    assert_eq!(left().await, [true, true, false, true, true]);
    server.clock.advance(A_DAY);
    server.service.tick().await;
    assert_eq!(left().await, [true, false, false, false, true], "a revocation of a certificate stays");
    for token in [&expiring, &revoked] {
        server.bearer(token).await.map(drop).expect_err("unknown");
    }
    server.bearer(&lasting).await.map(drop).expect("it counts");
}
