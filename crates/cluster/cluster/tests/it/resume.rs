//! A run that was cut goes on where it was, and only there.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use keystead_cluster::reencrypt::{
    Control, Ending, Interrupted, Journal, JournalError, Outcome, Plan, Progress, Request, run,
};
use keystead_runtime::Failure;
use tokio::sync::watch;

use crate::fake::{Answer, Fake, Instead};
use crate::scene::secrets;

#[tokio::test]
async fn a_run_that_was_told_to_stop_goes_on_and_does_nothing_twice() -> Result<()> {
    let control = Control::default();
    let stop = control.stop.clone();
    let fake = Fake::start(3000, Some(at_patch(1200, move || stop.cancel()))).await?;
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("below").join("state.json");
    let plan = Plan::make(&fake.server, secrets()).await?;
    let most = control.concurrency_max;
    let first = run(&fake.server, &plan, Journal::open(Some(&state), &plan)?, control, &mut |_| ()).await;
    assert_eq!(first.report.ending, Ending::Stopped, "{first:?}");
    // Those that were under way are waited for.
    let patched = fake.rewritten();
    assert!((1200..=1200 + most).contains(&patched), "{patched}");
    assert_eq!(mode(&state)?, 0o600);

    let journal = Journal::open(Some(&state), &plan)?;
    let (pass, done) = journal.resumed().context("it goes on")?;
    assert!(pass == 1 && done >= 1000 && done % 500 == 0, "{done}");
    let second = run(&fake.server, &plan, journal, Control::default(), &mut |_| ()).await;
    assert_eq!((second.report.ending, second.report.resumed), (Ending::AllCurrent, true), "{second:?}");
    assert_eq!(second.report.passes[0].resources["secrets"].objects(), 3000);
    assert_eq!(fake.rewritten(), 3000);
    // Objects of pages that were done are not patched again in this pass; those of the page under way are.
    let patches = fake.state.lock().expect("not poisoned").patches.len();
    assert!(patches <= 3000 + 3000 + 500 + most, "{patches}");
    assert!(!state.exists(), "a finished run leaves no state");
    Ok(())
}

#[tokio::test]
async fn what_another_run_has_seen_is_not_taken_for_what_is() -> Result<()> {
    let control = Control::default();
    let stop = control.stop.clone();
    let fake = Fake::start(1000, Some(at_patch(700, move || stop.cancel()))).await?;
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state.json");
    let plan = Plan::make(&fake.server, secrets()).await?;
    let versions = |from, to| fake.state.lock().expect("not poisoned").versions[from..to].to_vec();
    let set = |from, to, version| fake.state.lock().expect("not poisoned").versions[from..to].fill(version);
    set(0, 1000, 1);
    let first = run(&fake.server, &plan, Journal::open(Some(&state), &plan)?, control, &mut |_| ()).await;
    assert_eq!((first.report.ending, first.report.rewritten()), (Ending::Stopped, 0), "{first:?}");

    // A new key, and one page is behind what the state says.
    set(0, 500, 2);
    let journal = Journal::open(Some(&state), &plan)?;
    assert_eq!(journal.resumed(), Some((1, 500)));
    let control = Control { passes_max: 2, ..Control::default() };
    let second = run(&fake.server, &plan, journal, control, &mut |_| ()).await;
    let rewritten: Vec<_> = second.report.passes.iter().map(|it| it.count(Outcome::Rewritten)).collect();
    assert_eq!((second.report.ending, rewritten), (Ending::AllCurrent, vec![0, 500, 0]), "{second:?}");
    assert!(versions(0, 500).iter().all(|it| *it == 3));
    Ok(())
}

#[tokio::test]
async fn the_next_pass_is_over_what_is_there_now() -> Result<()> {
    let control = Control::default();
    let stop = control.stop.clone();
    let fake = Fake::start(1000, Some(at_patch(700, move || stop.cancel()))).await?;
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state.json");
    let plan = Plan::make(&fake.server, secrets()).await?;
    run(&fake.server, &plan, Journal::open(Some(&state), &plan)?, control, &mut |_| ()).await;
    // The same request on another day: the version of then is no longer served.
    let text = std::fs::read_to_string(&state)?;
    let old = text.replacen("\"version\":\"v1\"", "\"version\":\"v1beta1\"", 1);
    assert_ne!(text, old);
    std::fs::write(&state, old)?;
    let second =
        run(&fake.server, &plan, Journal::open(Some(&state), &plan)?, Control::default(), &mut |_| ()).await;
    let passes = &second.report.passes;
    // It is not taken for done, and not for what is there now either.
    assert_eq!(passes[0].count(Outcome::NotListed), 1, "{second:?}");
    assert_eq!(
        (second.report.ending, passes.len(), fake.rewritten()),
        (Ending::AllCurrent, 3, 1000),
        "{second:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_run_that_was_killed_goes_on() -> Result<()> {
    const OBJECTS: usize = 6000;
    // Where it is slowed down, for longer than there is between two saves; and where it is killed.
    const SLOW: [usize; 2] = [1000, 3000];
    const CUT: [usize; 2] = [2000, 4000];
    let (tell, mut cuts) = watch::channel(0);
    let killed = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&killed);
    let instead: Instead = Box::new(move |method, _, patches| {
        if method != "PATCH" {
            return None;
        }
        let due = CUT.iter().filter(|it| patches >= **it).count();
        if due > seen.load(Ordering::Relaxed) {
            // No more is done for a run that is to be killed: however fast, it cannot end before.
            tell.send_replace(due);
            return Some(Answer { retry_after: Some(60), ..Answer::new(429, "too many requests") });
        }
        let slow = SLOW.contains(&patches);
        slow.then(|| Answer { retry_after: Some(2), ..Answer::new(429, "too many requests") })
    });
    let fake = Fake::start(OBJECTS, Some(instead)).await?;
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state.json");
    let plan = Plan::make(&fake.server, secrets()).await?;
    let mut before = 0;
    for cut in 1..=CUT.len() {
        let journal = Journal::open(Some(&state), &plan)?;
        let mut observer = |_: &Progress| ();
        let work = run(&fake.server, &plan, journal, Control::default(), &mut observer);
        tokio::select! {
            run = work => anyhow::bail!("it ended before it was killed: {run:?}"),
            // Dropped in the middle of a page: nothing more is written, as by SIGKILL.
            told = cuts.wait_for(|it| *it >= cut) => drop(told?),
        }
        killed.store(cut, Ordering::Relaxed);
        let (pass, done) = Journal::open(Some(&state), &plan)?.resumed().context("it goes on")?;
        assert!(pass == 1 && done > before && done % 500 == 0, "{pass} {done} after {before}");
        before = done;
    }
    let report =
        run(&fake.server, &plan, Journal::open(Some(&state), &plan)?, Control::default(), &mut |_| ())
            .await
            .report;
    assert_eq!((report.ending, fake.rewritten()), (Ending::AllCurrent, OBJECTS));
    let objects = OBJECTS as u64;
    assert_eq!(report.passes[0].resources["secrets"].objects(), objects);
    let last = report.passes.last().context("a pass")?;
    assert_eq!((last.count(Outcome::Rewritten), last.count(Outcome::Current)), (0, objects));
    Ok(())
}

#[tokio::test]
async fn two_runs_do_not_share_a_state() -> Result<()> {
    let (tell, mut told) = watch::channel(false);
    let instead: Instead = Box::new(move |method, _, patches| {
        let hit = method == "PATCH" && patches == 700;
        if hit {
            tell.send_replace(true);
        }
        // Longer than the second one takes to be refused.
        hit.then(|| Answer { retry_after: Some(60), ..Answer::new(429, "too many requests") })
    });
    let fake = Fake::start(1000, Some(instead)).await?;
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state.json");
    let plan = Plan::make(&fake.server, secrets()).await?;
    let mut observer = |_: &Progress| ();
    let journal = Journal::open(Some(&state), &plan)?;
    let mut first = Box::pin(run(&fake.server, &plan, journal, Control::default(), &mut observer));
    tokio::select! {
        run = &mut first => anyhow::bail!("it ended: {run:?}"),
        told = told.wait_for(|it| *it) => drop(told?),
    }

    // It is replaced when it is written.
    let file = std::fs::metadata(&state)?.ino();
    let journal = Journal::open(Some(&state), &plan)?;
    let second = run(&fake.server, &plan, journal, Control::default(), &mut |_| ()).await;
    let error = second.interrupted.context("refused")?;
    assert!(matches!(error, Interrupted::Journal(JournalError::InUse(_))), "{error}");
    assert!(error.to_string().ends_with(&state.display().to_string()) && error.hint().is_some(), "{error}");
    assert_eq!((std::fs::metadata(&state)?.ino(), second.report.objects_sent), (file, 0));

    // Killed: nothing keeps out the next one. What that one has read before it had the file counts no more.
    drop(first);
    let before = Journal::open(Some(&state), &plan)?;
    assert!(before.resumed().is_some());
    std::fs::remove_file(&state)?;
    let third = run(&fake.server, &plan, before, Control::default(), &mut |_| ()).await;
    assert_eq!((third.report.ending, third.report.resumed), (Ending::AllCurrent, false), "{third:?}");
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0, "a finished run leaves nothing");
    Ok(())
}

#[tokio::test]
async fn a_state_of_another_cluster_or_request_or_none_at_all_is_refused() -> Result<()> {
    let fake = Fake::start(1000, None).await?;
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state.json");
    let plan = Plan::make(&fake.server, secrets()).await?;
    let control = Control::default();
    control.stop.cancel();
    run(&fake.server, &plan, Journal::open(Some(&state), &plan)?, control, &mut |_| ()).await;

    let other = Fake::start_as("cluster-b", 10, None).await?;
    let foreign = Plan::make(&other.server, secrets()).await?;
    let error = Journal::open(Some(&state), &foreign).expect_err("another cluster");
    assert!(matches!(error, JournalError::OtherCluster { .. }), "{error}");
    assert!(error.to_string().contains("cluster-a"), "{error}");

    let annotate = Some("now".to_owned());
    let changed = Plan::make(&fake.server, Request { annotate, ..secrets() }).await?;
    let error = Journal::open(Some(&state), &changed).expect_err("other options");
    assert!(matches!(error, JournalError::OtherRequest { .. }), "{error}");
    assert!(Failure::from_error(&error).hint(error.hint()).to_string().contains("hint: finish that one"));

    let good = std::fs::read_to_string(&state)?;
    let damage = [
        String::new(),
        "{}".to_owned(),
        good[..good.len() / 2].to_owned(),
        good.replace("\"format\":1", "\"format\":2"),
        good.replace("\"step\":0", "\"step\":7"),
        good.replace("\"pass\":1", "\"pass\":0"),
        good.replace("\"pass\":1", "\"pass\":4000000000"),
    ];
    for text in damage {
        assert_ne!(text, good);
        std::fs::write(&state, &text)?;
        let error = Journal::open(Some(&state), &plan).expect_err("damaged");
        assert!(matches!(error, JournalError::Damaged(_)), "{error}: {text}");
    }
    // A place where nothing can be written is found out before anything is changed.
    let nowhere = Path::new("/proc/nowhere/state.json");
    let run =
        run(&fake.server, &plan, Journal::open(Some(nowhere), &plan)?, Control::default(), &mut |_| ()).await;
    assert!(run.interrupted.is_some_and(|it| it.to_string().contains("cannot write the state file")));
    assert_eq!(fake.rewritten(), 0);
    Ok(())
}

/// Does something when so many patches have come.
fn at_patch(number: usize, mut act: impl FnMut() + Send + 'static) -> Instead {
    Box::new(move |method, _, patches| {
        if method == "PATCH" && patches + 1 == number {
            act();
        }
        None
    })
}

fn mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}
