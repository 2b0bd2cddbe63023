use std::time::Duration;

use keystead_model::ErrorClass;

use super::*;
use crate::fresh_server::FreshServer;
use crate::operations::RevokeToken;
use crate::{Call, Credential, Detail, KmsError, Origin, Presented};

const ALICE: &str = "user:alice@example.com";
const HOUR: Duration = Duration::from_secs(3600);

fn from(address: &str) -> Origin {
    Origin { address: Some(address.parse().expect("an address")), user_agent: Some("a browser".to_owned()) }
}

/// Somebody with a token, who has logged in with it.
async fn logged_in(server: &FreshServer) -> (String, String) {
    let token = server.token(ALICE, None).await;
    let cookie = log_in(server, &token).await;
    (token, cookie)
}

async fn log_in(server: &FreshServer, token: &str) -> String {
    let new = server.service.begin_session(token, from("192.0.2.1")).await.expect("a session");
    String::from_utf8(new.cookie.into_exposed()).expect("text")
}

async fn with_cookie(server: &FreshServer, cookie: &str) -> Result<Call, KmsError> {
    let presented = Presented { session: Some(cookie), ..Presented::default() };
    server.service.authenticate(presented, from("192.0.2.2")).await
}

fn reason(error: &KmsError) -> &str {
    match error.details() {
        [Detail::ErrorInfo { reason, .. }] => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_is_its_tokens_owner_and_survives_a_restart() {
    let server = FreshServer::new().await;
    let (token, cookie) = logged_in(&server).await;
    let server = server.reopen().await;
    let call = with_cookie(&server, &cookie).await.expect("it counts");
    assert_eq!(call.caller().principal.to_string(), ALICE);
    let sessions = server.run_as(&call, ListSessions::of_caller(&call)).await.expect("a list");
    let [session] = sessions.as_slice() else { panic!("{sessions:?}") };
    assert_eq!(call.caller().credential, Credential::Session(session.id.clone()));
    assert_eq!(session.token_id, token[3..19]);
    assert_eq!(session.user_agent.as_deref(), Some("a browser"));
    let audit = server.audit_text();
    assert!(audit.contains("BeginSession") && audit.contains(&session.id), "{audit}");
    assert!(!audit.contains(&cookie[cookie.len() - 43..]), "the secret is in the audit log");
}

#[tokio::test]
async fn a_session_ends_an_hour_after_its_last_use_and_half_a_day_after_its_first() {
    let server = FreshServer::new().await;
    let (token, cookie) = logged_in(&server).await;
    for _ in 0..12 {
        server.clock.advance(HOUR - Duration::from_secs(1));
        with_cookie(&server, &cookie).await.expect("it was used within the hour");
    }
    server.clock.advance(Duration::from_secs(12));
    let error = with_cookie(&server, &cookie).await.expect_err("half a day is over");
    assert_eq!(reason(&error), "ACCESS_TOKEN_EXPIRED");

    let cookie = log_in(&server, &token).await;
    server.clock.advance(HOUR - Duration::from_secs(1));
    with_cookie(&server, &cookie).await.expect("a second is left");
    // The use is in the store: another process counts from it.
    let server = server.reopen().await;
    server.clock.advance(HOUR - Duration::from_secs(1));
    with_cookie(&server, &cookie).await.expect("a second is left");
    server.clock.advance(HOUR);
    let error = with_cookie(&server, &cookie).await.expect_err("nobody used it for an hour");
    assert_eq!(reason(&error), "ACCESS_TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_when_its_owner_says_so() {
    let server = FreshServer::new().await;
    let (token, first) = logged_in(&server).await;
    let second = log_in(&server, &token).await;
    let call = with_cookie(&server, &first).await.expect("it counts");
    let Credential::Session(id) = call.caller().credential.clone() else { panic!("{call:?}") };
    for _ in 0..2 {
        let end = EndSession::of_caller(&call, id.clone());
        server.run_as(&call, end).await.expect("ended, or ended already");
    }
    with_cookie(&server, &first).await.map(drop).expect_err("it was ended");
    with_cookie(&server, &second).await.expect("the other goes on");
    let revoke = RevokeToken::new(&server.service, &token[3..19]).await.expect("a command");
    server.run_as(&server.admin().await, revoke).await.expect("revoked");
    let error = with_cookie(&server, &second).await.expect_err("its token was revoked");
    assert_eq!(reason(&error), "ACCESS_TOKEN_REVOKED");
}

#[tokio::test]
async fn nobody_ends_or_sees_the_sessions_of_others() {
    let server = FreshServer::new().await;
    let (_, cookie) = logged_in(&server).await;
    let alice = with_cookie(&server, &cookie).await.expect("it counts");
    let Credential::Session(id) = alice.caller().credential.clone() else { panic!("{alice:?}") };
    let bob = server.somebody("user:bob@example.com").await;
    server.run_as(&bob, EndSession::of_caller(&bob, id)).await.expect("nothing of that id is his");
    assert_eq!(server.run_as(&bob, ListSessions::of_caller(&bob)).await.expect("a list"), []);
    with_cookie(&server, &cookie).await.expect("it goes on");
}

#[tokio::test]
async fn no_other_text_is_a_cookie_and_a_cookie_is_no_token() {
    let server = FreshServer::new().await;
    let (token, cookie) = logged_in(&server).await;
    server.bearer(&cookie).await.map(drop).expect_err("a cookie in an Authorization header");
    with_cookie(&server, &token).await.map(drop).expect_err("a token in a cookie");
    let other = FreshServer::new().await;
    with_cookie(&other, &cookie).await.map(drop).expect_err("another server's");
    for at in 0..cookie.len() {
        for letter in ["A", "b", "0", "-", "."] {
            let mut forged = cookie.clone();
            forged.replace_range(at..=at, letter);
            if forged != cookie {
                let error = with_cookie(&server, &forged).await.expect_err(&forged);
                assert_eq!(error.class(), ErrorClass::Unauthenticated, "{forged}");
            }
        }
        with_cookie(&server, &cookie[..at]).await.map(drop).expect_err("cut off");
    }
    let bob = server.token("user:bob@example.com", None).await;
    let bobs = log_in(&server, &bob).await;
    let (head, tail) = (&bobs[..bobs.len() - 60], &cookie[cookie.len() - 60..]);
    with_cookie(&server, &format!("{head}{tail}")).await.map(drop).expect_err("one's name, another's secret");
}

#[tokio::test]
async fn a_principal_has_sixteen_sessions_and_the_least_used_gives_way() {
    let server = FreshServer::new().await;
    let (token, first) = logged_in(&server).await;
    server.clock.advance(Duration::from_secs(1));
    let second = log_in(&server, &token).await;
    for _ in 0..14 {
        server.clock.advance(Duration::from_secs(60));
        log_in(&server, &token).await;
    }
    let call = with_cookie(&server, &first).await.expect("sixteen are allowed");
    log_in(&server, &token).await;
    with_cookie(&server, &second).await.map(drop).expect_err("it was not used for the longest time");
    with_cookie(&server, &first).await.expect("it was used a moment ago");
    assert_eq!(server.run_as(&call, ListSessions::of_caller(&call)).await.expect("a list").len(), 16);
}

#[tokio::test]
async fn only_a_token_begins_a_session() {
    let server = FreshServer::new().await;
    let (_, cookie) = logged_in(&server).await;
    for nothing in ["", "ks_", "x", cookie.as_str()] {
        let refused = server.service.begin_session(nothing, Origin::default()).await;
        assert_eq!(refused.map(drop).expect_err(nothing).class(), ErrorClass::Unauthenticated);
    }
}

#[tokio::test]
async fn ended_sessions_leave_no_record() {
    let server = FreshServer::new().await;
    let (_, cookie) = logged_in(&server).await;
    let records = async || server.service.store.count("sessions/").await.expect("a count");
    assert_eq!(records().await, 1);
    let call = with_cookie(&server, &cookie).await.expect("it counts");
    let Credential::Session(id) = call.caller().credential.clone() else { panic!("{call:?}") };
    server.run_as(&call, EndSession::of_caller(&call, id)).await.expect("ended");
    assert_eq!(records().await, 0);
    logged_in(&server).await;
    server.clock.advance(2 * HOUR);
    server.service.tick().await;
    assert_eq!(records().await, 0);
}
