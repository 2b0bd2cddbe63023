//! The key service is put back to an older copy of its files, and so has lost what the plugin encrypts with.

use anyhow::Result;
use tonic::Code;

use super::plugged::{OFTEN, Plugged};
use super::service::KeyService;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_was_restored_and_rotated_again_has_another_key_under_the_id_in_use() -> Result<()> {
    let mut service = KeyService::start().await?;
    let token = service.create_token().await?;
    let mut plugin = Plugged::ready(&service, &[&token], OFTEN).await?;
    let first = plugin.key_id().await?;
    service.stop().await?;
    let copy = service.copy_files()?;
    service.start_again().await?;
    service.rotate().await?;
    plugin.until("version 2", async || plugin.key_id().await.is_ok_and(|id| id != first)).await?;
    let second = plugin.key_id().await?;
    let sealed = plugin.encrypt().await?;

    service.stop().await?;
    service.restore_files(&copy)?;
    service.start_again().await?;
    plugin.until("version 1", async || plugin.key_id().await.is_ok_and(|id| id == first)).await?;
    let told = format!("the key backend has lost {second}: ");
    let (status, text) = plugin.readyz();
    assert!(status == 200 && text.contains(&told), "{status} {text}");
    assert_eq!(plugin.metric("keystead_plugin_keys_lost"), 1.0);
    plugin.decrypt(&plugin.encrypt().await?).await?;
    plugin.decrypt(&sealed).await?;

    // The same number and the same count of primaries, and so the same key id.
    service.rotate().await?;
    plugin
        .until("a refusal", async || plugin.key_id().await.is_err_and(|it| it.code() == Code::DataLoss))
        .await?;
    let (status, text) = plugin.readyz();
    assert!(status == 503 && text.contains(&told), "{status} {text}");
    assert!(plugin.encrypt().await.is_err());

    service.rotate().await?;
    plugin.until("version 3", async || plugin.key_id().await.is_ok_and(|id| id != second)).await?;
    assert!(plugin.readyz().1.contains(&told));
    plugin.decrypt(&plugin.encrypt().await?).await?;
    plugin.stop().await
}
