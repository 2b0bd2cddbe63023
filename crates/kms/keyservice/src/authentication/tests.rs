use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jiff::SignedDuration;
use keystead_crypto::{Random, SystemRandom};
use keystead_model::ErrorClass;

use super::*;
use crate::Detail;
use crate::fresh_server::FreshServer;
use crate::operations::{CreateToken, ListTokens, RevokeCertificate, RevokeToken};

const ALICE: &str = "user:alice@example.com";

fn reason(error: &KmsError) -> &str {
    match error.details() {
        [Detail::ErrorInfo { reason, domain, .. }] if domain == "googleapis.com" => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_administrators_token_counts_and_survives_a_restart() {
    let server = FreshServer::new().await;
    let call = server.admin().await;
    assert_eq!(call.caller().principal.to_string(), "user:admin@keystead.local");
    let server = server.reopen().await;
    server.bearer(&server.admin_token).await.expect("it counts");
}

#[tokio::test]
async fn k4_a_token_names_its_principal_and_its_public_id() {
    let server = FreshServer::new().await;
    let token = server.token(ALICE, None).await;
    let call = server.bearer(&token).await.expect("it counts");
    assert_eq!(call.caller().principal.to_string(), ALICE);
    assert_eq!(call.caller().credential, Credential::Token(token[3..19].to_owned()));
}

#[tokio::test]
async fn nothing_and_nonsense_are_unauthenticated() {
    let server = FreshServer::new().await;
    let nothing = server.service.authenticate(Presented::default(), Origin::default()).await;
    let error = nothing.expect_err("nothing was presented");
    assert_eq!((error.class(), reason(&error)), (ErrorClass::Unauthenticated, "CREDENTIALS_MISSING"));
    let long = "a".repeat(9000);
    for nonsense in ["", "ks_", "x", "a.b.c", "ks_0123456789abcdef_", "../../etc/passwd", long.as_str()] {
        let error = server.bearer(nonsense).await.expect_err("nonsense");
        assert_eq!(error.class(), ErrorClass::Unauthenticated, "{nonsense}");
        assert_eq!(reason(&error), "ACCESS_TOKEN_TYPE_UNSUPPORTED", "{nonsense}");
    }
}

#[tokio::test]
async fn a_token_expires_to_the_second() {
    let server = FreshServer::new().await;
    let token = server.token(ALICE, Some(SignedDuration::from_secs(3600))).await;
    server.clock.advance(std::time::Duration::from_secs(3599));
    server.bearer(&token).await.expect("a second is left");
    server.clock.advance(std::time::Duration::from_secs(1));
    let error = server.bearer(&token).await.expect_err("its time is over");
    assert_eq!(reason(&error), "ACCESS_TOKEN_EXPIRED");
    assert!(error.message().contains(&token[3..19]), "{error}");
    assert!(!error.message().contains(&token[20..]), "the secret is in the text");
}

#[tokio::test]
async fn two_tokens_count_at_once_and_a_revoked_one_stops_with_the_next_request() {
    let server = FreshServer::new().await;
    let (first, second) = (server.token(ALICE, None).await, server.token(ALICE, None).await);
    server.bearer(&first).await.expect("the first counts");
    server.bearer(&second).await.expect("the second counts");
    let command = RevokeToken::new(&server.service, &first[3..19]).await.expect("a command");
    server.run_as(&server.admin().await, command).await.expect("revoked");
    let error = server.bearer(&first).await.expect_err("it is revoked");
    assert_eq!(reason(&error), "ACCESS_TOKEN_REVOKED");
    server.bearer(&second).await.expect("the second still counts");
    let server = server.reopen().await;
    server.bearer(&first).await.expect_err("it stays revoked");

    // Who has the id and not the secret learns nothing, and what is known to others is not pushed out for it.
    let server = server.reopen().await;
    let forged = format!("{}{}", &first[..20], "A".repeat(43));
    let error = server.bearer(&forged).await.expect_err("another secret");
    assert_eq!(reason(&error), "ACCESS_TOKEN_TYPE_UNSUPPORTED");
    assert_eq!(server.service.remembered.tokens.len(), 0);
}

#[tokio::test]
async fn a_list_names_tokens_and_no_secret() {
    let server = FreshServer::new().await;
    let admin = server.admin().await;
    let tokens = [server.token(ALICE, None).await, server.token(ALICE, None).await];
    server.token("user:bob@example.com", None).await;
    let principal = Some(ALICE.parse().expect("a principal"));
    let command = ListTokens::new(&server.service, principal, 1, String::new()).await.expect("a command");
    let first = server.run_as(&admin, command).await.expect("a page");
    let principal = Some(ALICE.parse().expect("a principal"));
    let next = first.next_page_token.clone().expect("one more");
    let command = ListTokens::new(&server.service, principal, 1, next).await.expect("a command");
    let second = server.run_as(&admin, command).await.expect("a page");
    assert_eq!(second.next_page_token, None);
    let listed: Vec<&str> =
        first.tokens.iter().chain(&second.tokens).map(|token| token.id.as_str()).collect();
    let mut ids = tokens.each_ref().map(|token| &token[3..19]);
    ids.sort_unstable();
    assert_eq!(listed, ids);

    let command = ListTokens::new(&server.service, None, 0, String::new()).await.expect("a command");
    let all = server.run_as(&admin, command).await.expect("a page");
    assert_eq!(all.tokens.len(), 4, "two of Alice, one of Bob, one of the administrator");
    let audit = server.audit_text();
    for token in &tokens {
        assert!(!format!("{all:?}").contains(&token[20..]) && !audit.contains(&token[20..]));
        assert!(audit.contains(&token[3..19]), "the id is in the audit log");
    }
    assert!(audit.contains("neverExpires"));
}

#[tokio::test]
async fn who_has_no_right_to_make_tokens_makes_none() {
    let server = FreshServer::new().await;
    let alice = server.somebody(ALICE).await;
    let principal = ALICE.parse().expect("a principal");
    let command = CreateToken::new(&server.service, principal, String::new(), None).await.expect("a command");
    let error = server.run_as(&alice, command).await.map(drop).expect_err("no right");
    assert_eq!(error.class(), ErrorClass::Denied);
    let before = server.audit_text();
    for id in [&alice_id(&alice), "0123456789abcdef"] {
        let command = RevokeToken::new(&server.service, id).await.expect("a command");
        let error = server.run_as(&alice, command).await.expect_err("no right");
        assert_eq!(
            error.message(),
            "Permission 'keystead.tokens.revoke' denied on resource 'server' (or it may not exist)."
        );
    }
    assert!(server.audit_text().len() > before.len(), "refusals of known callers are recorded");
}

fn alice_id(call: &Call) -> String {
    match &call.caller().credential {
        Credential::Token(id) => id.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_life_that_makes_no_sense_is_refused() {
    let server = FreshServer::new().await;
    let admin = server.admin().await;
    for seconds in [0, -1, 59, i64::MAX] {
        let ttl = Some(SignedDuration::from_secs(seconds));
        let principal = ALICE.parse().expect("a principal");
        let command =
            CreateToken::new(&server.service, principal, String::new(), ttl).await.expect("a command");
        let error = server.run_as(&admin, command).await.map(drop).expect_err("refused");
        assert_eq!(error.class(), ErrorClass::Invalid, "{seconds}");
    }
}

/// 10,000 edits of a real token, of every kind that an attacker has: none authenticates.
#[tokio::test]
async fn forged_tokens_never_authenticate() {
    let server = FreshServer::new().await;
    let token = server.admin_token.clone();
    let other = server.token(ALICE, None).await;
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ";
    let mut counted = 0;
    for round in 0..10_000_usize {
        let mut dice = [0; 8];
        SystemRandom.fill(&mut dice).expect("random");
        let at = usize::from(dice[0]) % token.len();
        let mut forged = token.clone().into_bytes();
        match round % 6 {
            0 => forged[at] = alphabet[usize::from(dice[1]) % alphabet.len()],
            1 => forged.truncate(at),
            2 => forged.insert(at, alphabet[usize::from(dice[1]) % alphabet.len()]),
            3 => drop(forged.remove(at)),
            4 => forged.splice(20.., other.bytes().skip(20)).for_each(drop),
            _ => {
                let mut secret = [0; 32];
                SystemRandom.fill(&mut secret).expect("random");
                forged.splice(20.., BASE64URL.encode(secret).into_bytes()).for_each(drop);
            }
        }
        let forged = String::from_utf8(forged).expect("ascii");
        if forged != token {
            counted += 1;
            let error = server.bearer(&forged).await.map(drop).expect_err(&forged);
            assert_eq!(error.class(), ErrorClass::Unauthenticated, "{forged}");
        }
    }
    assert!(counted > 9_000, "only {counted} differed");
    server.bearer(&token).await.expect("the real one still counts");
}

#[tokio::test]
async fn a_certificate_counts_while_it_is_valid() {
    let server = FreshServer::new().await;
    let start = server.service.clock.now();
    let certificate = ClientIdentity {
        principal: ALICE.parse().expect("a principal"),
        serial: "0aff".to_owned(),
        not_before: start,
        not_after: start + SignedDuration::from_secs(60),
    };
    let presented = Presented { certificate: Some(&certificate), ..Presented::default() };
    let call = server.service.authenticate(presented, Origin::default()).await.expect("it counts");
    assert_eq!(call.caller().principal.to_string(), ALICE);
    assert_eq!(call.caller().credential, Credential::Certificate("0aff".to_owned()));
    // A bad token is not made good by a certificate.
    let both = Presented { bearer: Some("ks_no"), certificate: Some(&certificate), ..Presented::default() };
    server.service.authenticate(both, Origin::default()).await.expect_err("the token counts alone");
    server.clock.advance(std::time::Duration::from_secs(60));
    let error =
        server.service.authenticate(presented, Origin::default()).await.expect_err("its time is over");
    assert_eq!(reason(&error), "ACCESS_TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_certificate_is_revoked_by_its_number_and_no_other() {
    let server = FreshServer::new().await;
    let start = server.service.clock.now();
    let certificate = |serial: &str| ClientIdentity {
        principal: ALICE.parse().expect("a principal"),
        serial: serial.to_owned(),
        not_before: start,
        not_after: start + SignedDuration::from_secs(60),
    };
    // The second has the byte of zeros that DER puts before a high bit.
    let (first, second) = (certificate("0aff"), certificate("00c0ffee"));
    let counts = async |server: &FreshServer, certificate: &ClientIdentity| {
        let presented = Presented { certificate: Some(certificate), ..Presented::default() };
        server.service.authenticate(presented, Origin::default()).await
    };
    for certificate in [&first, &second] {
        counts(&server, certificate).await.expect("it counts, and that is remembered");
    }
    let admin = server.admin().await;
    for serial in ["", "xyz", &"a".repeat(43), "../x"] {
        let command = RevokeCertificate { serial: serial.to_owned() };
        let error = server.run_as(&admin, command).await.expect_err("no serial number");
        assert_eq!(error.class(), ErrorClass::Invalid, "{serial}");
    }
    for _ in 0..2 {
        let command = RevokeCertificate { serial: "C0:FF:EE".to_owned() };
        server.run_as(&admin, command).await.expect("revoked");
    }
    let error = counts(&server, &second).await.expect_err("it is revoked");
    assert_eq!(reason(&error), "ACCESS_TOKEN_REVOKED");
    counts(&server, &first).await.expect("the other still counts");
    let server = server.reopen().await;
    counts(&server, &second).await.expect_err("it stays revoked");
}

#[tokio::test]
async fn a_certificate_of_the_second_in_which_its_account_was_made_counts_and_an_older_one_does_not() {
    let server = FreshServer::new().await;
    server.clock.advance(std::time::Duration::from_millis(500));
    let account = server.key_file("key-project", "plugin").await;
    let second = Timestamp::from_second(server.service.clock.now().as_second()).expect("a time");
    for (not_before, counts) in [(second, true), (second - SignedDuration::from_secs(1), false)] {
        let certificate = ClientIdentity {
            principal: format!("serviceAccount:{}", account.client_email).parse().expect("a principal"),
            serial: "0aff".to_owned(),
            not_before,
            not_after: second + SignedDuration::from_secs(60),
        };
        let presented = Presented { certificate: Some(&certificate), ..Presented::default() };
        match server.service.authenticate(presented, Origin::default()).await {
            Ok(_) => assert!(counts),
            Err(error) => {
                assert!(!counts, "{error}");
                assert_eq!(reason(&error), "ACCESS_TOKEN_REVOKED");
            }
        }
    }
}
