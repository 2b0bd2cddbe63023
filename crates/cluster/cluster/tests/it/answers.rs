//! Answers that no real API server gives on demand.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use keystead_cluster::reencrypt::{Control, Ending, Interrupted, Journal, Outcome, Plan, Progress, Run, run};

use crate::fake::{Answer, Fake, Instead};
use crate::scene::secrets;

#[tokio::test]
async fn an_expired_token_goes_on_where_the_answer_says() -> Result<()> {
    let mut expired = false;
    let instead: Instead = Box::new(move |method, path, _| {
        let hit = method == "GET" && path.contains("continue=i500") && !expired;
        expired |= hit;
        hit.then(|| Answer {
            // Another token than the one that was asked with.
            continue_token: Some("ii500".to_owned()),
            ..Answer::new(410, "The provided continue parameter is too old")
        })
    });
    let fake = Fake::start(1200, Some(instead)).await?;
    let (run, seen) = reencrypt(&fake, Control::default()).await?;
    assert_eq!(run.report.ending, Ending::AllCurrent, "{run:?}");
    assert_eq!(run.report.passes[0].count(Outcome::Rewritten), 1200);
    assert_eq!((run.report.passes[0].resources["secrets"].objects(), seen.tokens_expired), (1200, 1));
    assert!(fake.state.lock().expect("not poisoned").lists.iter().any(|it| it.contains("continue=ii500")));
    Ok(())
}

#[tokio::test]
async fn a_token_that_expires_without_another_starts_the_list_again() -> Result<()> {
    let mut expired = false;
    let instead: Instead = Box::new(move |_, path, _| {
        let hit = path.contains("continue=i500") && !expired;
        expired |= hit;
        hit.then(|| Answer::new(410, "too old"))
    });
    let fake = Fake::start(700, Some(instead)).await?;
    let (run, _) = reencrypt(&fake, Control::default()).await?;
    assert_eq!((run.report.ending, fake.rewritten()), (Ending::AllCurrent, 700), "{run:?}");
    // And one that always does is not asked for for ever.
    let instead: Instead =
        Box::new(|_, path, _| path.contains("continue=i500").then(|| Answer::new(410, "too old")));
    let fake = Fake::start(700, Some(instead)).await?;
    let (run, _) = reencrypt(&fake, Control::default()).await?;
    assert_eq!((run.report.ending, fake.rewritten()), (Ending::Refused, 500), "{run:?}");
    assert_eq!(run.report.passes[0].count(Outcome::NotListed), 1);
    Ok(())
}

#[tokio::test]
async fn retry_after_is_obeyed_by_all() -> Result<()> {
    let instead: Instead = Box::new(|method, _, patches| {
        let throttled = method == "PATCH" && (100..104).contains(&patches);
        throttled.then(|| Answer { retry_after: Some(1), ..Answer::new(429, "too many requests") })
    });
    let fake = Fake::start(300, Some(instead)).await?;
    let (run, _) = reencrypt(&fake, Control::default()).await?;
    assert_eq!((run.report.ending, fake.rewritten()), (Ending::AllCurrent, 300), "{run:?}");
    let patches = fake.state.lock().expect("not poisoned").patches.clone();
    let pauses = patches.windows(2).map(|it| it[1] - it[0]);
    let longest = pauses.max().context("many patches")?;
    assert!(longest > Duration::from_millis(900), "the longest pause was {longest:?}");
    assert!(run.report.passes[0].resources["secrets"].retries >= 4);
    Ok(())
}

#[tokio::test]
async fn what_fails_is_tried_again_and_then_named() -> Result<()> {
    let mut failures = 0;
    let instead: Instead = Box::new(move |method, path, _| {
        if method != "PATCH" {
            return None;
        }
        if path.ends_with("/o-7") {
            failures += 1;
            return (failures <= 3).then(|| Answer::new(500, "etcdserver: request timed out"));
        }
        match path.rsplit('/').next() {
            Some("o-8") => Some(Answer::new(503, "the server is not ready")),
            Some("o-9") => Some(Answer::new(500, "etcdserver: request is too large")),
            Some("o-10") => Some(Answer::missing("o-10")),
            // Of a path, or of something else.
            Some("o-13") => Some(Answer::new(404, "404 page not found")),
            Some("o-14") => Some(Answer::missing("n")),
            Some("o-15") => Some(Answer::new(405, "the server does not allow this method")),
            Some("o-11") => Some(Answer::new(422, "Secret \"o-11\" is invalid: data[x]: Required value")),
            Some("o-12") => Some(Answer::new(409, "the object has been modified")),
            _ => None,
        }
    });
    let fake = Fake::start(50, Some(instead)).await?;
    let (run, _) = reencrypt(&fake, Control::default()).await?;
    let first = &run.report.passes[0].resources["secrets"];
    assert_eq!(run.report.ending, Ending::Refused, "{run:?}");
    for (outcome, count) in [
        (Outcome::Rewritten, 42),
        (Outcome::Failed, 4),
        (Outcome::TooLarge, 1),
        (Outcome::Deleted, 1),
        (Outcome::Invalid, 1),
        (Outcome::ChangedMeanwhile, 1),
    ] {
        assert_eq!(first.count(outcome), count, "{outcome:?}: {first:?}");
    }
    let mut names: Vec<_> = first.named.iter().map(|it| it.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["o-11", "o-13", "o-14", "o-15", "o-8", "o-9"]);
    Ok(())
}

#[tokio::test]
async fn a_full_etcd_stops_the_run_at_once() -> Result<()> {
    let instead: Instead = Box::new(|method, _, patches| {
        (method == "PATCH" && patches >= 40)
            .then(|| Answer::new(500, "etcdserver: mvcc: database space exceeded"))
    });
    let fake = Fake::start(5000, Some(instead)).await?;
    let (run, _) = reencrypt(&fake, Control::default()).await?;
    let interrupted = run.interrupted.context("interrupted")?;
    assert!(matches!(interrupted, Interrupted::EtcdFull(_)), "{interrupted}");
    assert!(interrupted.hint().is_some_and(|it| it.contains("alarm disarm")));
    let patches = fake.state.lock().expect("not poisoned").patches.len();
    assert!(patches < 40 + 33, "{patches} patches were sent to a full etcd");
    Ok(())
}

#[tokio::test]
async fn passes_end_where_the_api_server_never_agrees_with_itself() -> Result<()> {
    // Each list sees stale objects: as behind a load balancer with an API server that has another key.
    let fake = Fake::start(20, None).await?;
    let state = std::sync::Arc::clone(&fake.state);
    let plan = Plan::make(&fake.server, secrets()).await?;
    let mut pass = 0;
    let mut observer = move |it: &Progress| {
        if it.pass != pass {
            pass = it.pass;
            state.lock().expect("not poisoned").versions.fill(u64::from(pass) * 2);
        }
    };
    let run = run(&fake.server, &plan, Journal::open(None, &plan)?, Control::default(), &mut observer).await;
    assert_eq!((run.report.ending, run.report.passes.len()), (Ending::StillRewriting, 4), "{run:?}");
    assert!(run.report.next_step().contains("do not agree on the key"));
    Ok(())
}

#[tokio::test]
async fn many_objects_take_no_more_requests_than_they_must() -> Result<()> {
    let fake = Fake::start(20_000, None).await?;
    let start = Instant::now();
    let control = Control { passes_max: 1, ..Control::default() };
    let (run, seen) = reencrypt(&fake, control).await?;
    println!("{} objects a second, {:?}", run.report.rate() as u64, start.elapsed());
    assert_eq!((run.report.rewritten(), seen.total), (20_000, Some(20_000)));
    let state = fake.state.lock().expect("not poisoned");
    // One for the plan's count.
    assert_eq!((state.patches.len(), state.lists.len()), (20_000, 41));
    Ok(())
}

/// A whole run, and the last that was seen of it.
async fn reencrypt(fake: &Fake, control: Control) -> Result<(Run, Progress)> {
    let plan = Plan::make(&fake.server, secrets()).await?;
    let mut seen = Progress::default();
    let mut observer = |it: &Progress| seen = it.clone();
    let run = run(&fake.server, &plan, Journal::open(None, &plan)?, control, &mut observer).await;
    Ok((run, seen))
}

/// It may have ended between the two questions.
#[tokio::test]
async fn an_api_server_that_is_ready_and_has_no_metrics_is_not_ready() -> Result<()> {
    let instead: Instead = Box::new(|_, path, _| match path {
        "/readyz?verbose" => Some(Answer::new(200, "ok")),
        "/metrics" => Some(Answer::new(503, "apiserver is shutting down")),
        _ => None,
    });
    let fake = Fake::start(1, Some(instead)).await?;
    let facts = fake.server.facts().await;
    assert_eq!(facts.reloads, None);
    let reason = facts.not_ready.context("what it uses is not known")?;
    assert!(reason.contains("/metrics") && reason.contains("shutting down"), "{reason}");
    Ok(())
}
