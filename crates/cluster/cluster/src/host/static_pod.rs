//! An API server that the kubelet runs, by a manifest in a file: whatever changes that file starts another process.

use std::collections::BTreeSet;
use std::path::Path;

use super::files::digest;
use super::look::changed;
use super::{HostError, Process, process};
use crate::api_server_facts::Facts;
use crate::api_server_manifest::{ApiServerManifest, EncryptionSettings, ManifestError};
use crate::owned_file::{OwnedFile, Places};
use crate::pod_user::PodUser;
use crate::yaml::MAX_LEN;

/// What makes the kubelet start the API server anew: for it, a changed manifest is another pod.
const RESTART: &str = "keystead.io/restart-after";

/// Its manifest, read.
pub(crate) struct StaticPod {
    file: OwnedFile,
    manifest: ApiServerManifest,
}

impl StaticPod {
    pub(super) fn read(path: &Path) -> Result<Self, HostError> {
        let file = OwnedFile::read(path, MAX_LEN)?;
        let manifest = ApiServerManifest::read(file.bytes()).map_err(|error| file.located(error))?;
        Ok(Self { file, manifest })
    }

    pub(super) fn facts(&self) -> Result<Facts, HostError> {
        Ok(self.manifest.facts().map_err(|error| self.file.located(error))?)
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn flag(&self, name: &str) -> Option<String> {
        self.manifest.flag(name).ok().flatten()
    }

    pub(crate) fn users(&self) -> BTreeSet<PodUser> {
        self.manifest.users()
    }

    pub(super) fn digest(&self) -> String {
        digest(self.file.bytes())
    }

    pub(super) fn changed(&self) -> f64 {
        changed(self.file.path())
    }

    pub(super) fn process(&self, facts: &Facts) -> Option<Process> {
        process::find(facts.secure_port, &self.users())
    }

    /// Whether the kubelet has a process to end, or one to start: it was asked to, or the flag came or went.
    pub(super) fn is_restarting(&self, process: Option<&Process>, has_flag: bool) -> bool {
        let asked = self.manifest.annotation(RESTART);
        process.is_none_or(|it| asked == Some(&it.id) || it.has_flag != has_flag)
    }

    /// The text of a manifest that encrypts.
    pub(super) fn encrypting(&self, settings: &EncryptionSettings) -> Result<String, HostError> {
        self.edited(|manifest| manifest.edited(&manifest.plan_encryption(settings)?))
    }

    /// The text of a manifest with nothing of these settings.
    pub(super) fn plain(&self, settings: &EncryptionSettings) -> Result<String, HostError> {
        self.edited(|manifest| manifest.edited(&manifest.plan_removal(settings)?))
    }

    pub(super) fn check(&self, places: &Places) -> Result<(), HostError> {
        Ok(self.file.check(places)?)
    }

    /// Puts a text in its place. The kubelet does the rest.
    pub(super) fn put(&self, text: &str, places: &Places) -> Result<(), HostError> {
        self.file.replace(text.as_bytes(), places)?;
        Ok(())
    }

    pub(super) fn restart(&self, process: &str, places: &Places) -> Result<(), HostError> {
        let text = self.edited(|manifest| manifest.with_annotation(RESTART, process))?;
        self.put(&text, places)
    }

    fn edited(
        &self,
        edit: impl FnOnce(&ApiServerManifest) -> Result<ApiServerManifest, ManifestError>,
    ) -> Result<String, HostError> {
        let edited = edit(&self.manifest).map_err(|error| self.file.located(error))?;
        Ok(edited.text().to_owned())
    }
}
