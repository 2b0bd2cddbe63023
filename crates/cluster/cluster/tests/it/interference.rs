//! Others write, create and delete meanwhile, and the API server goes away and comes back: nothing is lost and nothing is left.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use keystead_cluster::reencrypt::{Control, Ending, Journal, Outcome, Plan, run};
use keystead_testkit::api::{Client, Kind, Object};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::scene::{Scene, secrets};

const SECRETS: usize = 1000;
/// Of the Secrets, so that each is written by others several times.
const COUNTED: usize = 200;

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p18_no_update_of_others_is_lost_and_their_writes_are_not_taken_for_stale() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.fill("default", SECRETS).await?;
    scene.encrypt_with(&["one"]).await?;

    let stop = CancellationToken::new();
    let client = scene.client();
    let writers = try_join_all((0..4).map(|writer| increment_until(&stop, client, writer)));
    let work = async {
        let run = scene.reencrypt(secrets(), Control::default()).await;
        stop.cancel();
        run
    };
    let (run, increments, churned) = tokio::join!(work, writers, churn_until(&stop, client));
    let (run, increments, churned) = (run?, increments?.into_iter().sum::<u64>(), churned?);
    println!("{increments} increments and {churned} creations and deletions meanwhile; {}", run.report);
    // Enough to be in each other's way; how many there are depends on the machine.
    assert!(increments > 20 && churned > 5, "{increments} {churned}");
    assert_eq!(run.report.ending, Ending::AllCurrent, "{}", run.report);
    assert_eq!(run.report.passes.len(), 2, "{}", run.report);
    assert_eq!(run.report.passes[1].count(Outcome::Rewritten), 0);

    let mut sum = 0;
    for index in 0..COUNTED {
        sum += count(&client.get(Kind::Secret, "default", &name(index)).await?)?;
    }
    assert_eq!(sum, increments, "updates were lost");
    let stored = scene.stored().await?;
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!(stored[0].0, "one");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn it_goes_on_after_the_api_server_was_killed() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.fill("default", SECRETS).await?;
    scene.encrypt_with(&["one"]).await?;
    let server = scene.connect().await?;
    let plan = Plan::make(&server, secrets()).await?;
    let journal = Journal::open(None, &plan)?;
    let (tell, mut progress) = watch::channel((0, false));
    let mut observer = |it: &keystead_cluster::reencrypt::Progress| {
        tell.send_replace((it.done, it.waits.is_some()));
    };
    let work = run(&server, &plan, journal, Control::default(), &mut observer);
    let kill = async {
        progress.wait_for(|(done, _)| *done > 100).await.context("it works")?;
        let api_server = &mut scene.control_plane.api_servers[0];
        api_server.kill().await?;
        progress.wait_for(|(_, waits)| *waits).await.context("it waits")?;
        api_server.start().await?;
        anyhow::Ok(progress.borrow().0)
    };
    let (run, killed_at) = tokio::join!(work, kill);
    let killed_at = killed_at?;
    assert!(killed_at < SECRETS as u64, "it was through when the API server was killed");
    assert_eq!(run.report.ending, Ending::AllCurrent, "{run:?}");
    assert_eq!(run.report.unsettled(), 0);
    assert_eq!(scene.stored().await?, [("one".to_owned(), SECRETS as u64)]);
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn it_gives_up_when_nobody_comes_back_and_says_how_to_go_on() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.fill("default", 20).await?;
    let server = scene.connect().await?;
    let plan = Plan::make(&server, secrets()).await?;
    let journal = Journal::open(None, &plan)?;
    scene.control_plane.api_servers[0].kill().await?;
    let control = Control { patience: Duration::from_secs(1), ..Control::default() };
    let run = run(&server, &plan, journal, control, &mut |_| ()).await;
    let interrupted = run.interrupted.context("it was interrupted")?;
    assert_eq!(interrupted.class().exit() as u8, 4, "{interrupted}");
    assert!(interrupted.hint().is_some_and(|it| it.contains("run the same command again")));
    Ok(())
}

/// Adds one to the counters of some Secrets, one after the other, as a careful controller does; how often it did.
async fn increment_until(stop: &CancellationToken, client: &Client, writer: usize) -> Result<u64> {
    let mut done = 0;
    let mut index = writer * 50;
    while !stop.is_cancelled() {
        let name = name(index % COUNTED);
        let mut secret = client.get(Kind::Secret, "default", &name).await?;
        let next = count(&secret)? + 1;
        secret.data.insert("count".to_owned(), next.to_string().into_bytes());
        match client.update(&secret).await {
            Ok(_) => {
                done += 1;
                index += 1;
            }
            Err(error) if error.status() == Some(409) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

async fn churn_until(stop: &CancellationToken, client: &Client) -> Result<u64> {
    let mut done = 0;
    while !stop.is_cancelled() {
        // In the middle of the others.
        let name = format!("s-00500-{done}");
        client.create(&Object::new(Kind::Secret, "default", &name, "key", b"value")).await?;
        let old = format!("s-{:05}", SECRETS - 1 - usize::try_from(done)?);
        if done < 100 {
            client.delete(Kind::Secret, "default", &old).await?;
        }
        done += 1;
    }
    Ok(done)
}

fn name(index: usize) -> String {
    format!("s-{index:05}")
}

fn count(secret: &Object) -> Result<u64> {
    Ok(std::str::from_utf8(secret.data.get("count").context("a counter")?)?.parse()?)
}
