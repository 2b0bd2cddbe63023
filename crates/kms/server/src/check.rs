//! `--check-config`: reads what a start would read and changes nothing, so that it can run beside a server that serves.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use keystead_audit::{Export, ExportSettings, OtlpSettings, SyslogAddress};
use keystead_keyservice::{OpenError, RootDirectory, check_groups};
use keystead_runtime::Failure;
use keystead_store_sqlite::SqliteStore;
use rustix::fs::{Access, access};

use crate::app::{check_room, refused_dir, refused_open, refused_root, refused_tls};
use crate::data_dir::DataDir;
use crate::pki::Pki;
use crate::root_key;
use crate::settings::Settings;
use crate::tls::read_chain;

/// Says every fault, not only the first one.
pub(crate) fn check(settings: &Settings) -> Result<(), Failure> {
    let mut faults = Vec::new();
    let mut note = |checked: Result<(), Failure>| faults.extend(checked.err());
    note(check_room(settings));
    let own_certificates = || Pki::check(&settings.data_dir.join("tls"));
    note(match DataDir::check(&settings.data_dir) {
        Err(error) => Err(refused_dir(&error)),
        Ok(()) => own_certificates().map_err(|error| refused_tls(&error.into())),
    });
    settings.tls.check().into_iter().for_each(|error| note(Err(refused_tls(&error))));
    note(RootDirectory::check(&settings.root_dir).map_err(|error| refused_root(&error)));
    note(root_key::check(settings, &RootDirectory::root_key_in(&settings.root_dir)));
    note(database(&settings.database));
    if let Some(path) = &settings.groups_file {
        note(check_groups(path).map_err(|error| refused_open(&OpenError::Groups(error))));
    }
    for directory in &settings.backup_destinations {
        note(writable(directory).map_err(|error| refused_open(&OpenError::Destination(error))));
    }
    if let Some(local) = &settings.local_clusters {
        note(local.check().map(drop));
    }
    for webhook in &settings.webhooks {
        note(webhook.check());
    }
    for export in &settings.audit.exports {
        note(check_export(export));
    }
    faults.into_iter().reduce(Failure::and).map_or(Ok(()), Err)
}

fn check_export(export: &ExportSettings) -> Result<(), Failure> {
    let named =
        |failure: Failure| failure.hint(format!("check the export `{}` of the audit log", export.name));
    match &export.to {
        Export::File(path) => {
            let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
            writable(folder).map_err(|error| named(Failure::new(error.to_string())))
        }
        Export::Syslog(SyslogAddress::Unix(path)) => readable(path, fs::metadata(path)).map_err(named),
        Export::Syslog(_) => Ok(()),
        Export::Otlp(OtlpSettings { ca_file, token_file, .. }) => {
            if let Some(path) = ca_file {
                read_chain(path).map_err(|error| named(Failure::from_error(&error)))?;
            }
            token_file.iter().try_for_each(|path| readable(path, fs::read_to_string(path))).map_err(named)
        }
    }
}

/// A first start makes it. What is in it is not read: the server that runs has it locked.
fn database(path: &Path) -> Result<(), Failure> {
    SqliteStore::check(path).map_err(|error| {
        Failure::from_error(&error).hint("check --database, and who may use it and its directory".to_owned())
    })?;
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        opened => readable(path, opened),
    }
}

fn readable<T>(path: &Path, read: io::Result<T>) -> Result<(), Failure> {
    read.map(drop).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
}

/// A directory in which this user may make files.
fn writable(directory: &Path) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
    if !fs::metadata(directory).map_err(named)?.is_dir() {
        return Err(named(io::ErrorKind::NotADirectory.into()));
    }
    access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| named(error.into()))
}
