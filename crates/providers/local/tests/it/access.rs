//! Whose files are used, and what is not a file.

use std::os::unix::fs::{chown, symlink};

use keystead_crypto::SystemRandom;
use keystead_provider_local::{
    DiskError, FileError, Identity, LocalProvider, SealedError, create, edit, load, store,
};

use crate::fixed::{NOW, Place, fresh, in_time, make_fifo, mode, numbers, set_mode};

#[test]
fn files_that_others_can_use_are_refused() {
    for bits in [0o640, 0o604, 0o666, 0o601, 0o610, 0o620] {
        let place = Place::with_key_file();
        let before = std::fs::read(place.key_file()).expect("read");
        set_mode(&place.key_file(), bits);
        let refused = load(&place.key_file()).err().expect("refused");
        assert!(
            matches!(refused, DiskError::File(FileError::Mode { mode, .. }) if mode == bits),
            "{refused}"
        );
        assert!(refused.hint().is_some_and(|hint| hint.contains("chmod 0600")));
        assert!(edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).is_err());
        assert!(store(&place.key_file(), fresh()).is_err());
        assert!(LocalProvider::open(&place.key_file(), std::sync::Arc::new(SystemRandom)).is_err());
        assert_eq!(std::fs::read(place.key_file()).expect("read"), before);
    }
}

#[test]
fn files_for_the_owner_alone_are_used() {
    for bits in [0o600, 0o400, 0o700] {
        let place = Place::with_key_file();
        set_mode(&place.key_file(), bits);
        load(&place.key_file()).expect("loaded");
    }
}

#[test]
fn everything_written_has_mode_0600() {
    let place = Place::with_key_file();
    assert_eq!(mode(&place.key_file()), 0o600);
    edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).expect("edited");
    assert_eq!(mode(&place.key_file()), 0o600);
    assert_eq!(mode(&place.path("kek.lock")), 0o600);
}

/// Only root can give a file away.
#[test]
#[ignore = "needs root"]
fn file_of_another_user_is_refused() {
    let place = Place::with_key_file();
    chown(place.key_file(), Some(65_533), None).expect("given away");
    let refused = load(&place.key_file()).err().expect("refused");
    assert!(matches!(refused, DiskError::File(FileError::Owner { owner: 65_533, .. })), "{refused}");
    assert!(edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).is_err());
}

#[test]
fn missing_file_is_named() {
    let place = Place::new();
    let missing = load(&place.key_file()).err().expect("missing");
    assert!(matches!(missing, DiskError::File(FileError::Missing(_))), "{missing}");
    assert!(missing.hint().is_some_and(|hint| hint.contains("key create") && hint.contains("another host")));
}

#[test]
fn link_is_followed_for_reading_and_refused_for_writing() {
    let place = Place::with_key_file();
    let link = place.path("link");
    symlink("kek", &link).expect("linked");
    assert_eq!(load(&link).expect("loaded").id(), load(&place.key_file()).expect("loaded").id());

    let file = load(&place.key_file()).expect("loaded");
    let refusals = [
        edit(&link, |file| file.add(NOW, &SystemRandom)).err(),
        create(&link, &file).err(),
        store(&link, file).err(),
    ];
    for refused in refusals {
        assert!(matches!(refused, Some(DiskError::Link(_))), "{refused:?}");
    }
    assert!(link.symlink_metadata().expect("metadata").is_symlink());
    assert_eq!(numbers(&load(&place.key_file()).expect("loaded")), [1]);
}

#[test]
fn link_to_a_file_that_others_can_read_is_refused() {
    let place = Place::with_key_file();
    set_mode(&place.key_file(), 0o644);
    symlink("kek", place.path("link")).expect("linked");
    assert!(matches!(load(&place.path("link")), Err(DiskError::File(FileError::Mode { mode: 0o644, .. }))));
}

#[test]
fn directory_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.key_file()).expect("made");
    set_mode(&place.key_file(), 0o700);
    assert!(matches!(load(&place.key_file()), Err(DiskError::File(FileError::NotAFile(_)))));
    assert!(create(&place.key_file(), &fresh()).is_err());
}

#[test]
fn fifo_is_refused_and_waits_for_nobody() {
    let place = Place::new();
    let fifo = place.key_file();
    make_fifo(&fifo);
    for refused in in_time(move || {
        [
            load(&fifo).err(),
            edit(&fifo, |file| file.add(NOW, &SystemRandom)).err(),
            store(&fifo, fresh()).err(),
        ]
    }) {
        assert!(matches!(refused, Some(DiskError::File(FileError::NotAFile(_)))), "{refused:?}");
    }
}

#[test]
fn fifo_as_identity_is_refused_and_waits_for_nobody() {
    let place = Place::new();
    let fifo = place.path("identity");
    make_fifo(&fifo);
    let refused = in_time(move || Identity::load(&fifo).err());
    assert!(matches!(refused, Some(SealedError::File(FileError::NotAFile(_)))), "{refused:?}");
}

#[test]
fn longer_than_a_key_file_can_be_is_refused() {
    let place = Place::with_key_file();
    std::fs::write(place.key_file(), vec![b'#'; 10_000_000]).expect("written");
    let refused = load(&place.key_file()).err().expect("refused");
    assert!(refused.to_string().ends_with("it may have 65536 bytes at most"), "{refused}");
}
