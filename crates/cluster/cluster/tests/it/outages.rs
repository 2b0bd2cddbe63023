//! What fails by itself is told from what fails because nothing works, and neither holds up the rest for ever. Time is played too.

use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystead_cluster::reencrypt::{Control, Ending, Interrupted, Journal, Outcome, Plan, Request, Run, run};
use tokio::time::Instant;

use crate::fake::{Answer, Fake, Instead};
use crate::scene::secrets;

const NOT_READY: &str = "apiserver not ready";
/// Longer than all attempts at one object or list together.
const OUTAGE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn an_outage_at_the_last_objects_is_waited_for() -> Result<()> {
    // Fewer than make an outage by their number.
    let fake = Fake::start(5, Some(down(at_the_end, OUTAGE))).await?;
    let (run, waited) = reencrypt(&fake, secrets()).await?;
    assert_eq!((run.report.ending, fake.rewritten()), (Ending::AllCurrent, 5), "{run:?}");
    // By the first pass: nothing was given up.
    assert_eq!(run.report.passes[0].count(Outcome::Rewritten), 5, "{run:?}");
    assert!(waited >= OUTAGE, "{waited:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_outage_at_a_list_is_waited_for() -> Result<()> {
    let fake = Fake::start(700, Some(down(at_a_list, OUTAGE))).await?;
    let (run, waited) = reencrypt(&fake, secrets()).await?;
    assert_eq!((run.report.ending, fake.rewritten()), (Ending::AllCurrent, 700), "{run:?}");
    // By the first pass: nothing was given up.
    assert_eq!(run.report.passes[0].count(Outcome::Rewritten), 700, "{run:?}");
    assert!(waited >= OUTAGE, "{waited:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_outage_without_an_end_is_waited_for_as_long_as_patience_says() -> Result<()> {
    for (objects, from) in [(5, at_the_end as From), (700, at_a_list), (700, at_the_start)] {
        let fake = Fake::start(objects, Some(down(from, Duration::MAX))).await?;
        let (run, waited) = reencrypt(&fake, secrets()).await?;
        assert!(matches!(run.interrupted, Some(Interrupted::Unreachable { source: Some(_), .. })), "{run:?}");
        let patience = Control::default().patience;
        assert!((patience..patience + OUTAGE).contains(&waited), "{waited:?}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_kms_plugin_that_is_away_is_waited_for() -> Result<()> {
    let says = "unable to transform key \"/registry/secrets/n/o-500\": failed to decrypt DEK, error: rpc error: code = Unavailable";
    for (lasts, ending) in [(OUTAGE, Ending::AllCurrent), (Duration::MAX, Ending::Refused)] {
        let mut since = None;
        let instead: Instead = Box::new(move |method, path, _| {
            let hit = method == "GET" && path.contains("continue=i500");
            hit.then(|| *since.get_or_insert_with(Instant::now))
                .filter(|since| since.elapsed() < lasts)
                .map(|_| Answer::new(500, says))
        });
        let fake = Fake::start(700, Some(instead)).await?;
        let (run, waited) = reencrypt(&fake, secrets()).await?;
        assert_eq!(run.report.ending, ending, "{run:?}");
        // No object is said to be lost.
        assert_eq!(run.report.passes[0].count(Outcome::Undecryptable), 0, "{run:?}");
        assert!(waited >= lasts.min(Control::default().patience), "{waited:?}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_cannot_be_listed_holds_up_no_other() -> Result<()> {
    for (status, message) in
        [(500, "conversion webhook failed"), (404, "404 page not found"), (400, "no"), (403, "no")]
    {
        let mut planned = false;
        let instead: Instead = Box::new(move |_, path, _| {
            let hit = path.starts_with("/api/v1/configmaps");
            // The plan's count is answered, which would otherwise say so.
            let answers = hit && !planned;
            planned |= hit;
            (hit && !answers).then(|| Answer::new(status, message))
        });
        let fake = Fake::start(700, Some(instead)).await?;
        let both =
            Request { resources: vec!["configmaps".to_owned(), "secrets".to_owned()], ..Request::default() };
        let (run, waited) = reencrypt(&fake, both).await?;
        assert_eq!((run.report.ending, fake.rewritten()), (Ending::Refused, 700), "{status}: {run:?}");
        let tally = &run.report.passes[1].resources["configmaps"];
        assert_eq!((tally.count(Outcome::NotListed), tally.objects(), run.report.unsettled()), (1, 0, 1));
        assert!(tally.named[0].reason.contains(&format!("HTTP {status}")), "{tally:?}");
        assert!(
            run.report.to_string().contains("configmaps: 1 not listed; see in the reason"),
            "{}",
            run.report
        );
        assert!(waited < Control::default().patience, "{waited:?}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn many_objects_that_cannot_be_read_are_not_taken_for_an_outage() -> Result<()> {
    // At so many attempts each, for longer than patience.
    const UNREADABLE: usize = 500;
    let instead: Instead = Box::new(|_, path, _| {
        let query = path.strip_prefix("/api/v1/secrets?limit=")?;
        let token = query.split_once("continue=").map_or("", |it| it.1);
        let next = match token {
            "" => 0,
            token => {
                // One of the API server that is played: behind them all.
                let token = URL_SAFE_NO_PAD.decode(token).ok()?;
                let token: serde_json::Value = serde_json::from_slice(&token).ok()?;
                let start = token["start"].as_str()?.trim_start_matches("n/u-").trim_end_matches('\0');
                start.parse::<usize>().ok()? + 1
            }
        };
        (next < UNREADABLE).then(|| {
            Answer::new(
                500,
                format!(
                    "unable to transform key \"/registry/secrets/n/u-{next:05}\": no matching prefix found"
                ),
            )
        })
    });
    let fake = Fake::start(3, Some(instead)).await?;
    let (run, waited) = reencrypt(&fake, secrets()).await?;
    let first = &run.report.passes[0];
    assert_eq!(run.report.ending, Ending::Refused, "{run:?}");
    assert_eq!(
        (first.count(Outcome::Undecryptable), first.count(Outcome::Rewritten)),
        (UNREADABLE as u64, 3)
    );
    assert!(waited > Control::default().patience, "{waited:?}");
    Ok(())
}

/// Whether a path, after so many patches, is the first that does not work.
type From = fn(&str, usize) -> bool;

fn at_the_start(path: &str, _: usize) -> bool {
    // The plan asks for one object.
    path.contains("limit=500")
}

fn at_a_list(path: &str, _: usize) -> bool {
    path.contains("continue=i500")
}

fn at_the_end(_: &str, patches: usize) -> bool {
    patches >= 2
}

/// Nothing works from there on, for so long.
fn down(from: From, lasts: Duration) -> Instead {
    let mut since = None;
    Box::new(move |_, path, patches| {
        if from(path, patches) {
            since.get_or_insert_with(Instant::now);
        }
        since.filter(|since| since.elapsed() < lasts).map(|_| Answer::new(503, NOT_READY))
    })
}

/// A whole run, and how long it took.
async fn reencrypt(fake: &Fake, request: Request) -> Result<(Run, Duration)> {
    let plan = Plan::make(&fake.server, request).await?;
    let start = Instant::now();
    let run = run(&fake.server, &plan, Journal::open(None, &plan)?, Control::default(), &mut |_| ()).await;
    Ok((run, start.elapsed()))
}
