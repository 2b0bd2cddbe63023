//! The changes of a host's files.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use keystead_runtime::whole_file::{self, FileError};

use super::files::{ConfigurationFile, Files};
use super::plugins::{self, PluginAt};
use super::settings::socket_directories;
use super::{Change, HostError, LocalHost, Seen, systemd};
use crate::encryption_configuration::GroupResource;
use crate::owned_file::{self, OwnedFile, OwnedFileError};
use crate::provider_order::{self, KmsPlugin};
use crate::rollout::Order;
use crate::yaml::MAX_LEN;

type ReadConfiguration = Result<Option<ConfigurationFile>, HostError>;

impl LocalHost {
    pub(super) fn change(&self, change: &Change, seen: &Seen, tenure: Option<u64>) -> Result<(), HostError> {
        let _lock = self.lock()?;
        tenure.map_or(Ok(()), |it| self.is_followed(it))?;
        let (mut files, mut file) = self.as_seen(seen)?;
        if files.api_server.is_unread() {
            systemd::reload()?;
            (files, file) = self.as_seen(seen)?;
        }
        // What a process that was killed left half-written may hold keys.
        let cleaned = self.places.remove_unfinished();
        cleaned.map_err(|source| HostError::Places { path: self.places.staging.clone(), source })?;
        match change {
            Change::Write { resources, order, plugins } => {
                let resources: Vec<GroupResource> =
                    resources.iter().map(|it| GroupResource::parse(it)).collect();
                match file? {
                    Some(file) => self.rewrite(&files, &file, &resources, order, plugins),
                    None => self.switch_on(&files, &resources, order, plugins),
                }
            }
            Change::RemoveFlag { resources } => self.switch_off(&files, file?.as_ref(), resources),
            Change::Restart { process } => files.api_server.restart(process, &self.places),
        }
    }

    /// The files, if they are as they were when the change was decided on.
    fn as_seen(&self, seen: &Seen) -> Result<(Files, ReadConfiguration), HostError> {
        let files = self.files()?;
        let file = files.configuration();
        let now = files.seen(file.as_ref().ok().and_then(Option::as_ref));
        if now == *seen {
            return Ok((files, file));
        }
        let configuration = file.ok().flatten().map(|it| it.file.path().to_owned());
        let changed = configuration.filter(|_| now.start == seen.start);
        Err(HostError::Changed(changed.unwrap_or_else(|| files.api_server.path().to_owned())))
    }

    /// One change at a time: what another command has half-written must not be removed under it.
    pub(super) fn lock(&self) -> Result<File, HostError> {
        let places = |source| HostError::Places { path: self.places.staging.clone(), source };
        // Others may have to go through what is above it.
        let above = whole_file::directory_of(&self.places.staging);
        DirBuilder::new().recursive(true).mode(0o755).create(above).map_err(places)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.places.staging).map_err(places)?;
        let path = self.places.staging.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(places)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(HostError::Busy(path)),
            Err(TryLockError::Error(source)) => Err(places(source)),
        }
    }

    /// The flag is set already.
    fn rewrite(
        &self,
        files: &Files,
        file: &ConfigurationFile,
        resources: &[GroupResource],
        order: &Order,
        plugins: &[KmsPlugin],
    ) -> Result<(), HostError> {
        let new = provider_order::write(Some(&file.text), resources, order, plugins, &files.taker());
        let new = new.map_err(|error| file.file.located(error))?;
        let plugins = plugins::known(Some(&new), &[]);
        if let Some(error) = plugins.iter().find_map(|it| files.api_server.refusal(it)) {
            return Err(error);
        }
        for directory in socket_directories(&plugins, &files.facts) {
            if files.facts.host_path(&directory.path).is_none() {
                return Err(HostError::SocketHidden(directory.path));
            }
        }
        file.file.replace(new.text().as_bytes(), &self.places)?;
        Ok(())
    }

    /// The file first: an API server that is started in between does not look at it.
    fn switch_on(
        &self,
        files: &Files,
        resources: &[GroupResource],
        order: &Order,
        plugins: &[KmsPlugin],
    ) -> Result<(), HostError> {
        let used: Vec<PluginAt> =
            plugins::known(None, plugins).into_iter().filter(|it| order.reads(&it.provider)).collect();
        let settings = self.new_settings(files, &used);
        let mut server = files.taker();
        if settings.kms_v1 {
            server.kms_v1 = Some(true);
        }
        server.automatic_reload |= settings.automatic_reload.unwrap_or_default();
        let text = provider_order::write(None, resources, order, plugins, &server);
        let text = text.map_err(|error| files.api_server.located(error))?;
        // From here to the first file that is written, all is judged.
        if let Some(error) = used.iter().find_map(|it| files.api_server.refusal(it)) {
            return Err(error);
        }
        let start = files.api_server.encrypting(&settings)?;
        let bytes = text.text().as_bytes();
        let leftover = match OwnedFile::read(&self.configuration, MAX_LEN) {
            Ok(leftover) => Some(leftover),
            Err(OwnedFileError::File(FileError::Missing(_))) => None,
            Err(error) => return Err(error.into()),
        };
        let reader = files.api_server.reader(leftover.as_ref())?;
        match &leftover {
            Some(leftover) if leftover.bytes() == bytes && reader.is_none() => {}
            Some(leftover) => leftover.check(&self.places)?,
            None => owned_file::check_new(&self.configuration, &self.places)?,
        }
        files.api_server.check(&self.places)?;
        // kubeadm makes it in this way too; where nothing of it is, somebody has to.
        let directory = whole_file::directory_of(&self.configuration);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(|source| HostError::Places { path: directory.to_owned(), source })?;
        match leftover {
            Some(leftover) => drop(leftover.replace_for(bytes, &self.places, reader)?),
            None => owned_file::create(&self.configuration, bytes, &self.places, reader)?,
        }
        files.api_server.put(&start, &self.places)
    }

    /// The configuration stays where it is: nothing reads it any more, and it may hold keys.
    fn switch_off(
        &self,
        files: &Files,
        file: Option<&ConfigurationFile>,
        resources: &[String],
    ) -> Result<(), HostError> {
        let others = file.map(|it| it.others(resources)).unwrap_or_default();
        if !others.is_empty() {
            return Err(HostError::OthersNeedFlag(others));
        }
        let Some(settings) = file.and_then(|it| files.settings(it)) else { return Ok(()) };
        files.api_server.put(&files.api_server.plain(&settings)?, &self.places)
    }
}
