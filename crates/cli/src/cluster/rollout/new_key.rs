//! The key to which a rotation goes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use keystead_cluster::executor::{Executor, Preview};
use keystead_cluster::rollout::{Inventory, Observed, Provider};
use keystead_runtime::Failure;
use tokio_util::sync::CancellationToken;

use super::looks::{BETWEEN_LOOKS, look};
use super::stop::pause;
use crate::cluster::reencrypt::exit;

/// The KMS v2 entry that writes, and the key id that its plugins report.
pub(super) fn new_key(observed: &Observed, to: Option<&str>) -> Result<(Provider, String), Failure> {
    let provider = writer(observed)?;
    if let Some(to) = to {
        return Ok((provider, to.to_owned()));
    }
    let reported: Vec<String> = reported(observed, &provider).into_iter().collect();
    match reported.as_slice() {
        [one] => Ok((provider, one.clone())),
        [] => Err(Failure::new(format!("no plugin of {provider} says which key it uses"))
            .hint("`keystead cluster status` says what is wrong with them".to_owned())),
        several => Err(Failure::new(format!(
            "the plugins of {provider} report different key ids: {}",
            several.join(", ")
        ))
        .hint("name the new one with --to, or wait until all of them report it".to_owned())),
    }
}

pub(super) fn writer(observed: &Observed) -> Result<Provider, Failure> {
    let writers = observed.servers.iter().filter_map(|it| it.on_disk.as_ref()).map(|it| it.order().writer);
    let provider = writers.clone().next().filter(|first| writers.clone().all(|it| it == *first));
    provider.filter(|it| matches!(it, Provider::KmsV2 { .. })).ok_or_else(|| {
        Failure::new("the API servers do not all write with one KMS v2 entry, so there is no key to rotate")
            .hint("use `keystead cluster migrate` to get there".to_owned())
    })
}

fn reported(observed: &Observed, provider: &Provider) -> BTreeSet<String> {
    let plugins = observed.servers.iter().flat_map(|it| &it.plugins).filter(|it| it.provider == *provider);
    plugins.filter_map(|it| it.reports.clone()).collect()
}

/// Whether there is a key that not everything is under already.
pub(super) enum NewKey {
    /// This is what was seen with it.
    There(Box<Preview>),
    /// Why not, for somebody who wants one.
    None(Failure),
}

/// Looks until the plugins report a key id that not everything is under already. They take up a new key by themselves, a moment after it was
/// made.
pub(super) async fn await_new_key(
    executor: &mut Executor<'_>,
    stop: &CancellationToken,
) -> Result<NewKey, Failure> {
    executor.count().await.map_err(|error| Failure::from_error(error.as_ref()).exit(exit(error.class())))?;
    let deadline = Instant::now() + TAKE_UP;
    loop {
        let seen = look(executor).await?;
        let observed = &seen.observed;
        let provider = writer(observed)?;
        let keys = reported(observed, &provider);
        // Those that differ are on their way.
        let is_new = |to: &String| {
            let counts = observed.stored.iter().filter_map(|it| match &it.inventory {
                Inventory::Counted { counts, .. } => Some(counts),
                _ => None,
            });
            let mut ways = counts.flatten().filter(|it| it.objects > 0).map(|it| &it.stored_as);
            ways.any(|it| it.provider != provider || it.key_id.as_ref() != Some(to))
        };
        if keys.len() < 2 && keys.first().is_none_or(is_new) {
            return Ok(NewKey::There(Box::new(seen)));
        }
        if Instant::now() > deadline {
            let Some(key) = keys.first().filter(|_| keys.len() == 1) else {
                return Ok(NewKey::There(Box::new(seen)));
            };
            return Ok(NewKey::None(Failure::new(format!(
                "there is no new key: everything is under {key}, which the plugins of {provider} report"
            ))
            .hint(
                "make a new version the primary one first: `keystead kms keys versions create --primary`, `keystead plugin key rotate`, or in your own KMS"
                    .to_owned(),
            )));
        }
        pause(stop, BETWEEN_LOOKS).await?;
    }
}

/// Our plugin asks its provider every 10 s.
const TAKE_UP: Duration = Duration::from_secs(30);
