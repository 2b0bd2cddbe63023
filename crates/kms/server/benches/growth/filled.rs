//! A server's data directory, filled and used by this process.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use keystead_audit::AuditLog;
use keystead_crypto::{Random, SystemRandom};
use keystead_keyservice::operations::{
    ListCryptoKeyVersions, ListCryptoKeys, ListKeyRings, ListOptions, ListProjects, ListRetiredResources,
    ListServiceAccounts, ListTokens,
};
use keystead_keyservice::{
    Call, Filling, KeyService, Origin, Parts, Presented, RootDirectory, Settings, SystemClock,
};
use keystead_provider_local::LocalProvider;
use keystead_runtime::Failure;
use keystead_server::{App, PartialSettings};
use keystead_store_sqlite::{SqliteSettings, SqliteStore};
use stats_alloc::Region;

use crate::COUNTING;
use crate::lists::{FIRST_KEY, Kind, PAGE};
use crate::stage::{PROJECT, RING};

/// How often each page is read; the least counts, because other tasks allocate, too.
const ROUNDS: usize = 5;

/// Adds a million records through the store, past calls.
pub(crate) async fn fill(data: &Path, filling: &Filling) -> Result<()> {
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let root = RootDirectory::open(&data.join("root"))?;
    let root_key = LocalProvider::open(&root.root_key_path(), Arc::clone(&random))?;
    // A commit has a thousand records here, and the names of the last 100,000 commits are kept.
    let settings = SqliteSettings { changes_kept: 64, ..SqliteSettings::default() };
    let service = KeyService::open(Parts {
        store: Arc::new(SqliteStore::open(&data.join("keystead.db"), settings)?),
        audit: Arc::new(AuditLog::open(&data.join("audit"), Default::default())?),
        root_key: Arc::new(root_key),
        root,
        clock: Arc::new(SystemClock),
        random,
        settings: Settings::default(),
        keep_admin_token: Box::new(|_| Err(std::io::Error::other("this is not the first start"))),
        new_admin_token: false,
        confirm_rollback: None,
    })
    .await?;
    Ok(service.fill(filling).await?)
}

/// How many bytes a page of each kind of list allocates, all in all, in a server in this process.
pub(crate) async fn allocated(data: &Path) -> Result<Vec<(Kind, usize)>> {
    let failed = |failure: Failure| anyhow!("{failure:?}");
    let settings = PartialSettings::read(&data.with_file_name("growth.yaml")).map_err(failed)?;
    let settings = PartialSettings::local(data).or(settings).complete().map_err(failed)?;
    let running = App::build(settings).await.and_then(App::spawn).map_err(failed)?;
    let service = running.keyservice();
    let token = std::fs::read_to_string(running.token_file())?;
    let presented = Presented { bearer: Some(token.trim()), ..Presented::default() };
    let admin = service.authenticate(presented, Origin::default()).await?;
    // What is due is known when all records were read; until then there is much else to allocate.
    service.tick().await;
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let mut least = usize::MAX;
        for _ in 0..=ROUNDS {
            let region = Region::new(COUNTING);
            page(service, &admin, kind).await?;
            least = least.min(region.change().bytes_allocated);
        }
        found.push((kind, least));
    }
    running.stop().await;
    Ok(found)
}

async fn page(service: &Arc<KeyService>, admin: &Call, kind: Kind) -> Result<usize> {
    let options = ListOptions { page_size: i32::try_from(PAGE)?, ..ListOptions::default() };
    let location = RING.rsplit_once("/keyRings/").map_or("", |(location, _)| location);
    let found = match kind {
        Kind::Rings => {
            service.run(admin, ListKeyRings { parent: location.parse()?, options }).await?.items.len()
        }
        Kind::Keys => {
            service.run(admin, ListCryptoKeys { parent: RING.parse()?, options }).await?.items.len()
        }
        Kind::Versions => {
            let parent = format!("{RING}/cryptoKeys/{FIRST_KEY}").parse()?;
            service.run(admin, ListCryptoKeyVersions { parent, options }).await?.items.len()
        }
        Kind::Retired => {
            service.run(admin, ListRetiredResources { parent: location.parse()?, options }).await?.items.len()
        }
        Kind::Projects => {
            let list = ListProjects { page_size: PAGE, page_token: String::new() };
            service.run(admin, list).await?.projects.len()
        }
        Kind::Accounts => {
            let list =
                ListServiceAccounts { project: PROJECT.parse()?, page_size: PAGE, page_token: String::new() };
            service.run(admin, list).await?.accounts.len()
        }
        Kind::Tokens => {
            let list = ListTokens::new(service, None, PAGE, String::new()).await?;
            service.run(admin, list).await?.tokens.len()
        }
    };
    anyhow::ensure!(found == PAGE, "a page of {kind:?} has {found} items");
    Ok(found)
}
