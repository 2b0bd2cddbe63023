//! A run that was cut goes on where it was, and only there.

use std::path::Path;

use anyhow::{Context, Result};
use keystead_cluster::reencrypt::{
    Control, Ending, Journal, JournalError, Outcome, Plan, Progress, Request, run,
};
use keystead_runtime::Failure;

use crate::fake::Fake;
use crate::scene::secrets;

#[tokio::test]
async fn a_run_that_was_told_to_stop_goes_on_and_does_nothing_twice() -> Result<()> {
    let fake = Fake::start(3000, None).await?;
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("below").join("state.json");
    let plan = Plan::make(&fake.server, secrets()).await?;
    let control = Control::default();
    let stop = control.stop.clone();
    let mut observer = |it: &Progress| {
        if it.done > 1200 {
            stop.cancel();
        }
    };
    let first = run(&fake.server, &plan, Journal::open(Some(&state), &plan)?, control, &mut observer).await;
    assert_eq!(first.report.ending, Ending::Stopped, "{first:?}");
    let patched = fake.rewritten();
    assert!((1200..3000).contains(&patched), "{patched}");
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
    assert!(patches <= 3000 + 3000 + 4 * 500, "{patches}");
    assert!(!state.exists(), "a finished run leaves no state");
    Ok(())
}

#[tokio::test]
async fn a_run_that_was_killed_goes_on() -> Result<()> {
    let fake = Fake::start(20_000, None).await?;
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state.json");
    let plan = Plan::make(&fake.server, secrets()).await?;
    let mut kills = 0;
    let report = loop {
        let journal = Journal::open(Some(&state), &plan)?;
        let (tell, mut told) = tokio::sync::watch::channel(0);
        let before = journal.resumed().map_or(0, |(pass, done)| u64::from(pass - 1) * 20_000 + done);
        let mut observer = |it: &Progress| {
            tell.send_replace(u64::from(it.pass - 1) * 20_000 + it.done);
        };
        let work = run(&fake.server, &plan, journal, Control::default(), &mut observer);
        tokio::select! {
            run = work => break run.report,
            // Dropped at a page or in the middle of one: nothing more is written, as by SIGKILL.
            _ = told.wait_for(|done| *done > before + 7000) => kills += 1,
        }
    };
    assert!(kills >= 2, "{kills}");
    assert_eq!((report.ending, fake.rewritten()), (Ending::AllCurrent, 20_000));
    assert_eq!(report.passes[0].resources["secrets"].objects(), 20_000);
    let last = report.passes.last().context("a pass")?;
    assert_eq!((last.count(Outcome::Rewritten), last.count(Outcome::Current)), (0, 20_000));
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

fn mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}
