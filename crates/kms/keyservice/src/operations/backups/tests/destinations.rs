//! Backup destinations, from what is written to them to what comes back.

use super::*;

async fn server_with(destination: &Path) -> FreshServer {
    let backup_destinations = vec![destination.to_owned()];
    FreshServer::with(Settings { backup_destinations, ..Settings::default() }).await
}

#[tokio::test]
async fn a_version_newer_than_the_backup_comes_back_from_a_destination() {
    let destination = tempfile::tempdir().expect("a directory");
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    let (_, path) = back_up(&server, destination.path()).await;
    // After the backup: another version of the key, and another key.
    rotate(&server, &key).await;
    let late = encrypt(&server, &key, "late").await;
    let other = create_key(&server, "key-2").await;
    let later = encrypt(&server, &other, "later").await;
    // The emergency brake stays where it was pulled.
    rotate(&server, &key).await;
    let name = || format!("{key}/cryptoKeyVersions/3").parse().expect("a name");
    let disable = UpdateCryptoKeyVersion { name: name(), enabled: false };
    server.run_as(&server.admin().await, disable).await.expect("disabled");
    let server = restored(server, &path).await;
    assert_eq!(decrypt(&server, &key, &late).await.expect("opens"), "late");
    assert_eq!(decrypt(&server, &other, &later).await.expect("opens"), "later");
    assert!(server.audit_text().contains("RecoverCryptoKeyVersion"));
    let read =
        server.run_as(&server.admin().await, GetCryptoKeyVersion { name: name() }).await.expect("read");
    assert_eq!(read.state, VersionState::Disabled);
    // Numbers go on after the newest.
    assert_eq!(rotate(&server, &key).await.get(), 4);
}

#[tokio::test]
async fn a_version_is_not_made_while_a_destination_cannot_be_written() {
    let good = tempfile::tempdir().expect("a directory");
    let bad = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        backup_destinations: vec![good.path().to_owned(), bad.path().to_owned()],
        ..Settings::default()
    };
    let server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    // A file where the folder was: not even root can write into it.
    fs::rename(bad.path().join("versions"), bad.path().join("away")).expect("moved");
    fs::write(bad.path().join("versions"), "").expect("written");
    let command = CreateCryptoKeyVersion { key: key.clone() };
    let error = server.run_as(&server.admin().await, command).await.expect_err("one place is missing");
    assert_eq!(error.class(), ErrorClass::Unavailable);
    assert_eq!(server.service.store.count("version/").await.expect("counted"), 1);
    fs::remove_file(bad.path().join("versions")).expect("removed");
    fs::rename(bad.path().join("away"), bad.path().join("versions")).expect("moved");
    assert_eq!(rotate(&server, &key).await.get(), 2);
    // What the failed call left in the good place is gone.
    for place in [&good, &bad] {
        assert_eq!(kept_files(place.path()).len(), 2, "{:?}", kept_files(place.path()));
    }
}

#[tokio::test]
async fn a_destroyed_version_leaves_the_destinations_and_the_backups_that_hold_it_are_named() {
    let destination = tempfile::tempdir().expect("a directory");
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    let (before, _) = back_up(&server, destination.path()).await;
    server.clock.advance(Duration::from_secs(1));
    let key = create_key(&server, "key-1").await;
    let (holds, _) = back_up(&server, destination.path()).await;
    assert_eq!(kept_files(destination.path()).len(), 1);
    let name: CryptoKeyVersionName = format!("{key}/cryptoKeyVersions/1").parse().expect("a name");
    server.run_as(&server.admin().await, DestroyCryptoKeyVersion { name }).await.expect("scheduled");
    server.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(server.service.tick().await.destroyed, 1);
    assert_eq!(kept_files(destination.path()), Vec::<PathBuf>::new());
    let audit = server.audit_text();
    let record = audit.lines().find(|line| line.contains("backupsThatHoldIt")).expect("a record");
    assert!(record.contains(&holds.name) && !record.contains(&before.name), "{record}");
}

/// Two calls may be told to a place in another order than they were committed in.
#[tokio::test]
async fn a_destination_is_told_in_its_turn_what_a_version_is_then() {
    let destination = tempfile::tempdir().expect("a directory");
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    let (store, record) = (&server.service.store, record_name::version(&version_name(&key, 1)));
    let stored = || async { store.get(&record).await.expect("read").expect("a version").value };
    let enabled = stored().await;
    let (admin, place) = (server.admin().await, &server.service.ledger.destinations().places()[0]);
    let turn = place.turn().await;
    let disable = UpdateCryptoKeyVersion { name: version_name(&key, 1), enabled: false };
    let enable = async {
        while !server.audit_text().contains("UpdateCryptoKeyVersion") {
            tokio::task::yield_now().await;
        }
        // The place comes after the record, and reads what it needs in the order of these.
        for _ in 0..20 {
            assert_ne!(stored().await, enabled);
        }
        store.commit(Batch::default().put(record.clone(), enabled.clone())).await.expect("committed");
        drop(turn);
    };
    let (disabled, ()) = tokio::join!(server.run_as(&admin, disable), enable);
    disabled.expect("disabled");
    let file = kept_files(destination.path()).pop().expect("kept");
    assert!(fs::read_to_string(file).expect("read").contains("\"ENABLED\""));
}

/// The server anew, with these destinations.
async fn reopen_with(server: FreshServer, destinations: &[&Path]) -> FreshServer {
    let admin_token = server.admin_token.clone();
    let (clock, mut files) = server.close();
    files.settings.backup_destinations = destinations.iter().map(|it| it.to_path_buf()).collect();
    let (service, _) = files.open(&clock).await.expect("opens");
    FreshServer { clock, service, admin_token, files }
}

/// What is wrong with the only destination, after a look at it.
async fn wrong(server: &FreshServer) -> Option<String> {
    server.service.look_at_destination(0).await;
    let protection = server.service.protection();
    assert_eq!((protection.destinations, protection.is_none()), (1, !protection.incomplete.is_empty()));
    protection.incomplete.into_iter().next()
}

fn version_name(key: &CryptoKeyName, number: u32) -> CryptoKeyVersionName {
    format!("{key}/cryptoKeyVersions/{number}").parse().expect("a name")
}

#[tokio::test]
async fn versions_older_than_a_destination_are_written_to_it_and_come_back() {
    let server = FreshServer::new().await;
    server.ring("key-project").await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (_, path) = back_up(&server, elsewhere.path()).await;
    let key = create_key(&server, "key-1").await;
    let old = encrypt(&server, &key, "old").await;
    rotate(&server, &key).await;
    let destroy = DestroyCryptoKeyVersion { name: version_name(&key, 2) };
    server.run_as(&server.admin().await, destroy).await.expect("scheduled");

    let destination = tempfile::tempdir().expect("a directory");
    let server = reopen_with(server, &[destination.path()]).await;
    assert!(server.service.protection().is_none(), "before it was compared");
    assert_eq!(kept_files(destination.path()), Vec::<PathBuf>::new());
    assert_eq!(wrong(&server).await, None);
    assert_eq!(kept_files(destination.path()).len(), 2);

    let server = restored(server, &path).await;
    assert_eq!(decrypt(&server, &key, &old).await.expect("opens"), "old");
    let command = GetCryptoKeyVersion { name: version_name(&key, 2) };
    let read = server.run_as(&server.admin().await, command).await.expect("read");
    assert_eq!(read.state, VersionState::DestroyScheduled);
}

#[tokio::test]
async fn an_empty_directory_in_place_of_a_destination_is_told_and_what_was_missed_is_written_when_it_is_back()
{
    let places = tempfile::tempdir().expect("a directory");
    let (destination, away) = (places.path().join("destination"), places.path().join("away"));
    fs::create_dir(&destination).expect("made");
    let mut server = server_with(&destination).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    rotate(&server, &key).await;
    rotate(&server, &key).await;
    assert_eq!(wrong(&server).await, None);
    assert_eq!(kept_files(&destination).len(), 3);

    // The directory is not there, or an empty one is, or one in which somebody has made the folder.
    fs::rename(&destination, &away).expect("moved");
    for (directories, said) in [
        (&[][..], "is not there"),
        (&[""], "has no file keystead-destination"),
        (&["versions"], "has no file"),
    ] {
        directories.iter().for_each(|it| fs::create_dir(destination.join(it)).expect("made"));
        let told = wrong(&server).await.expect("told");
        assert!(told.contains(said) && told.contains(destination.to_str().expect("text")), "{told}");
        let command = CreateCryptoKeyVersion { key: key.clone() };
        let refused =
            server.run_as(&server.admin().await, command).await.expect_err("it would be unprotected");
        assert_eq!(refused.class(), ErrorClass::Unavailable);
        // A start goes on, takes it for no new destination, and leaves it empty.
        server = server.reopen().await;
        assert!(wrong(&server).await.expect("told").contains(said));
    }
    assert_eq!(kept_files(&destination), Vec::<PathBuf>::new());

    // Meanwhile one version is disabled, and another one ends.
    let admin = server.admin().await;
    let disable = UpdateCryptoKeyVersion { name: version_name(&key, 2), enabled: false };
    server.run_as(&admin, disable).await.expect("disabled");
    let destroy = DestroyCryptoKeyVersion { name: version_name(&key, 1) };
    server.run_as(&admin, destroy).await.expect("scheduled");
    server.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(server.service.tick().await.destroyed, 1);

    fs::remove_dir_all(&destination).expect("removed");
    fs::rename(&away, &destination).expect("moved back");
    assert_eq!(kept_files(&destination).len(), 3);
    assert_eq!(wrong(&server).await, None);
    let files = kept_files(&destination);
    assert_eq!(files.len(), 2, "{files:?}");
    let disabled = |it: &PathBuf| fs::read_to_string(it).expect("read").contains("\"DISABLED\"");
    assert_eq!(files.iter().filter(|it| disabled(it)).count(), 1);
    assert_eq!(rotate(&server, &key).await.get(), 4);
}

#[tokio::test]
async fn a_destination_is_begun_anew_by_its_marker_and_another_servers_is_refused() {
    let (destination, other) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = FreshServer::new().await;
    server.ring("key-project").await;
    create_key(&server, "key-1").await;
    let server = reopen_with(server, &[destination.path()]).await;
    assert_eq!(wrong(&server).await, None);

    let marker = destination.path().join("keystead-destination");
    let line = fs::read_to_string(&marker).expect("a marker");
    fs::remove_dir_all(destination.path()).expect("removed");
    fs::create_dir(destination.path()).expect("made");
    let told = wrong(&server).await.expect("told");
    assert!(told.contains(line.trim()), "it says what to write: {told}");
    fs::write(&marker, &line).expect("written");
    assert_eq!(wrong(&server).await, None);
    assert_eq!(kept_files(destination.path()).len(), 1);

    // Of another server: told while this one runs, and refused where it would be a new destination.
    drop(server_with(other.path()).await);
    fs::copy(other.path().join("keystead-destination"), &marker).expect("copied");
    let server = server.reopen().await;
    assert!(wrong(&server).await.expect("told").contains("belongs to another server"));
    assert_eq!(kept_files(destination.path()).len(), 1);
    let (clock, mut files) = server.close();
    files.settings.backup_destinations = vec![other.path().to_owned()];
    let refused = files.open(&clock).await.map(drop).expect_err("not ours");
    assert!(matches!(refused, OpenError::Destination(_)), "{refused}");
    files.settings.backup_destinations = vec![other.path().join("nowhere")];
    let refused = files.open(&clock).await.map(drop).expect_err("not there");
    assert!(refused.to_string().contains("make or mount it first"), "{refused}");
}

#[tokio::test]
async fn nothing_is_restored_while_a_destination_that_was_used_is_away() {
    let places = tempfile::tempdir().expect("a directory");
    let (destination, away) = (places.path().join("destination"), places.path().join("away"));
    fs::create_dir(&destination).expect("made");
    let server = server_with(&destination).await;
    server.ring("key-project").await;
    let (_, path) = back_up(&server, places.path()).await;
    let key = create_key(&server, "key-1").await;
    let late = encrypt(&server, &key, "late").await;
    let token = server.admin_token.clone();
    let (clock, files) = server.close();
    let lost = machine(&files, &path);
    fs::rename(&destination, &away).expect("moved");
    fs::create_dir(&destination).expect("made");
    let refused = lost.open(&clock).await.map(drop).expect_err("its versions would be lost");
    assert!(refused.to_string().contains("has no file keystead-destination"), "{refused}");
    fs::remove_dir(&destination).expect("removed");
    fs::rename(&away, &destination).expect("moved back");
    let (service, _) = lost.open(&clock).await.expect("opens");
    let server = FreshServer { clock, service, admin_token: token, files: lost };
    assert_eq!(decrypt(&server, &key, &late).await.expect("opens"), "late");
}

#[tokio::test]
async fn what_was_deleted_or_is_damaged_does_not_come_back_and_keeps_nothing_else_away() {
    let (destination, backups) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    rotate(&server, &key).await;
    let kept = kept_files(destination.path());
    let first = kept.iter().find(|it| it.to_string_lossy().contains("/0000000001-")).expect("kept").clone();
    let copy = fs::read(&first).expect("read");
    let admin = server.admin().await;
    let destroy = DestroyCryptoKeyVersion { name: version_name(&key, 1) };
    server.run_as(&admin, destroy).await.expect("scheduled");
    // What a process that was killed left of it, goes with it.
    let unfinished =
        first.with_file_name(format!(".keystead-Ab12Cd-{}", first.file_name().unwrap().to_str().unwrap()));
    fs::write(&unfinished, &copy).expect("written");
    server.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(server.service.tick().await.destroyed, 1);
    assert!(!unfinished.exists() && !first.exists());
    let delete = DeleteCryptoKeyVersion { name: version_name(&key, 1) };
    server.run_as(&admin, delete).await.expect("deleted");
    let (_, path) = back_up(&server, backups.path()).await;
    let (late, damaged) = (create_key(&server, "late").await, create_key(&server, "damaged").await);
    rotate(&server, &key).await;
    let sealed = encrypt(&server, &late, "late").await;

    // A place that was away when the version ended has it still, and one file is damaged.
    private_file::replace(&first, &copy).expect("written");
    for file in kept_files(destination.path()) {
        let text = fs::read_to_string(&file).expect("read");
        if text.contains("cryptoKeys/damaged/") || text.contains("cryptoKeys/key-1/cryptoKeyVersions/3") {
            let mut kept: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            kept["material"] = "00".repeat(64).into();
            fs::write(&file, kept.to_string()).expect("written");
        }
    }
    let server = restored(server, &path).await;
    assert_eq!(decrypt(&server, &late, &sealed).await.expect("opens"), "late");
    let admin = server.admin().await;
    for gone in [version_name(&key, 1), version_name(&damaged, 1)] {
        let read = server.run_as(&admin, GetCryptoKeyVersion { name: gone.clone() }).await;
        assert_eq!(read.err().map(|it| it.class()), Some(ErrorClass::NotFound), "{gone}");
    }
    // There may be ciphertexts of the damaged one.
    assert_eq!(rotate(&server, &key).await.get(), 4);
}

/// A process that ends anywhere in a recovery, which its commits have told the witness of by then.
#[tokio::test]
async fn a_recovery_that_is_cut_anywhere_is_gone_on_with_by_the_next_start() {
    let (destination, backups) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    let old = create_key(&server, "old").await;
    let (_, path) = back_up(&server, backups.path()).await;
    let new = create_key(&server, "new").await;
    let mut sealed = Vec::new();
    for key in [&old, &new, &old, &new] {
        rotate(&server, key).await;
        sealed.push((key, encrypt(&server, key, "text").await));
    }
    let token = server.admin_token.clone();
    let (clock, files) = server.close();
    let mut cut = 0;
    for polls in 1.. {
        let lost = machine(&files, &path);
        let opened = polled(lost.open(&clock), polls).await;
        let whole = opened.is_some();
        drop(opened);
        let (service, _) = lost.open(&clock).await.expect("opens");
        let server =
            FreshServer { clock: Arc::clone(&clock), service, admin_token: token.clone(), files: lost };
        for (key, sealed) in &sealed {
            let opened = decrypt(&server, key, sealed).await;
            assert_eq!(opened.ok().as_deref(), Some("text"), "{key} cut after {polls} polls");
        }
        assert_eq!(server.service.store.count("version/").await, Ok(6), "cut after {polls} polls");
        if whole {
            break;
        }
        cut += 1;
    }
    assert!(cut > 20, "{cut} starts were cut");
}

#[tokio::test]
async fn a_destination_that_is_emptied_under_the_server_is_told_and_filled() {
    let destination = tempfile::tempdir().expect("a directory");
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    create_key(&server, "key-1").await;
    assert_eq!(wrong(&server).await, None);
    fs::remove_dir_all(destination.path().join("versions")).expect("removed");
    assert_eq!(wrong(&server).await, None);
    assert_eq!(kept_files(destination.path()).len(), 1, "filled by the look that found it");
}

#[tokio::test]
async fn a_damaged_record_is_told_and_keeps_no_other_version_from_a_destination() {
    let destination = tempfile::tempdir().expect("a directory");
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    let damaged = [create_key(&server, "key-1").await, create_key(&server, "key-2").await];
    create_key(&server, "key-3").await;
    let records = damaged.map(|key| record_name::version(&version_name(&key, 1)));
    let [unreadable, material] = [&records[0], &records[1].replace("version/", "material/")];
    let store = &server.service.store;
    let read_at = store.get(material).await.expect("read").expect("a material").revision;
    let batch = Batch::default().put(unreadable, b"{".to_vec()).delete(material, read_at);
    store.commit(batch).await.expect("damaged");
    fs::remove_dir_all(destination.path().join("versions")).expect("removed");
    for _ in 0..2 {
        let told = wrong(&server).await.expect("told");
        assert!(told.contains("is damaged") || told.contains("is missing"), "{told}");
        assert_eq!(kept_files(destination.path()).len(), 1);
    }
    // Not every few seconds: it reads the whole database.
    assert_eq!(server.service.look_at_destination(0).await, Duration::from_secs(60));
}

#[tokio::test]
async fn a_destruction_in_the_middle_of_a_comparison_is_no_damage() {
    let destination = tempfile::tempdir().expect("a directory");
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    let name = version_name(&create_key(&server, "key-1").await, 1);
    let (record, material) = (record_name::version(&name), record_name::material(&name));
    let store = &server.service.store;
    let read = async |name: &str| store.get(name).await.expect("read").expect("a record").value;
    let (enabled, sealed) = (read(&record).await, read(&material).await);
    let mut version: CryptoKeyVersion = decode(&record, &enabled).expect("a version");
    version.state = VersionState::Destroyed;
    let destroyed = encode(&version).expect("a record");
    let destinations = server.service.ledger.destinations();
    // An answer that is there at once takes no poll: one round may miss the place between two reads.
    for _ in 0..8 {
        for polls in 1.. {
            let enabled = Batch::default().put(record.clone(), enabled.clone());
            store.commit(enabled.put(material.clone(), sealed.clone())).await.expect("as it was");
            destinations.doubt("compare it");
            let mut look = Box::pin(server.service.look_at_destination(0));
            let whole = polled(&mut look, polls).await.is_some();
            let read_at = store.get(&material).await.expect("read").expect("a material").revision;
            let destroyed = Batch::default().put(record.clone(), destroyed.clone());
            store.commit(destroyed.delete(material.clone(), read_at)).await.expect("destroyed");
            if whole {
                break;
            }
            assert_eq!(look.await, Duration::from_secs(5));
            assert_eq!(destinations.places()[0].problem(), None, "destroyed after {polls} polls");
        }
    }
}

#[tokio::test]
async fn the_number_of_a_version_that_has_two_materials_is_not_given_again() {
    let (destination, backups) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    let (_, path) = back_up(&server, backups.path()).await;
    rotate(&server, &key).await;
    // Of both versions, so that nothing of the key is left that could come back.
    for file in kept_files(destination.path()) {
        let mut kept: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
        kept["material"] = "00".repeat(64).into();
        let number = &file.file_name().expect("a name").to_str().expect("text")[..10];
        let other = file.with_file_name(format!("{number}-00000000.json"));
        private_file::replace(&other, kept.to_string().as_bytes()).expect("written");
    }
    let server = restored(server, &path).await;
    assert_eq!(rotate(&server, &key).await.get(), 3);
    assert_eq!(wrong(&server).await, None);
    let second = |it: &PathBuf| it.to_string_lossy().contains("/0000000002-");
    assert_eq!(kept_files(destination.path()).iter().filter(|it| second(it)).count(), 2);
}

#[tokio::test]
async fn what_nobody_was_told_of_does_not_win_over_a_key_that_counts() {
    let (destination, backups) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    let (_, path) = back_up(&server, backups.path()).await;
    let key = create_key(&server, "key-1").await;
    let sealed = encrypt(&server, &key, "text").await;
    let file = kept_files(destination.path()).pop().expect("kept");
    // Processes that were killed between the file and the commit have left this: other keys of the same name, of whatever id, and
    // another material of the same version.
    let real: serde_json::Value = serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
    let pending = |folder: &Path, kept: &serde_json::Value| {
        fs::create_dir_all(folder).expect("made");
        let name = folder.join("0000000001-00000000.json.pending");
        private_file::replace(&name, kept.to_string().as_bytes()).expect("written");
    };
    for uid in [[0; 16], [255; 16]] {
        let mut kept = real.clone();
        kept["key"]["uid"] = serde_json::json!(uid);
        let sealed = server
            .service
            .sealing
            .generate(KeyUid(uid), VersionNumber::FIRST, &SystemRandom)
            .expect("sealed");
        kept["material"] = hex::encode(sealed).into();
        pending(&destination.path().join("versions").join(hex::encode(uid)), &kept);
    }
    let mut kept = real.clone();
    kept["material"] = "00".repeat(64).into();
    pending(file.parent().expect("a folder"), &kept);
    // And this one was committed, and its process ended before the file was told.
    fs::rename(&file, file.with_extension("json.pending")).expect("renamed");
    private_file::replace(&file, &fs::read(file.with_extension("json.pending")).expect("read"))
        .expect("written");

    let server = restored(server, &path).await;
    assert_eq!(decrypt(&server, &key, &sealed).await.expect("opens"), "text");
    assert_eq!(wrong(&server).await, None);
    let of_the_key = fs::read_dir(file.parent().expect("a folder")).expect("a folder").count();
    assert_eq!(of_the_key, 1, "what lost is removed");
}

#[tokio::test]
async fn a_commit_that_a_destination_was_not_told_of_comes_back_all_the_same() {
    let (destination, backups) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = server_with(destination.path()).await;
    server.ring("key-project").await;
    let (_, path) = back_up(&server, backups.path()).await;
    let key = create_key(&server, "key-1").await;
    let sealed = encrypt(&server, &key, "text").await;
    let file = kept_files(destination.path()).pop().expect("kept");
    fs::rename(&file, file.with_extension("json.pending")).expect("renamed");
    let server = restored(server, &path).await;
    assert_eq!(decrypt(&server, &key, &sealed).await.expect("opens"), "text");
    assert_eq!(kept_files(destination.path()), [file]);
}

#[tokio::test]
async fn a_restored_server_takes_no_empty_directory_for_a_new_destination_unless_somebody_says_so() {
    let (destination, backups) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = FreshServer::new().await;
    server.ring("key-project").await;
    create_key(&server, "key-1").await;
    // The backup is older than the destination, whose mount is away when it is put back.
    let (_, path) = back_up(&server, backups.path()).await;
    let (clock, files) = server.close();
    let mut machine = machine(&files, &path);
    machine.settings.backup_destinations = vec![destination.path().join(".")];
    let refused = machine.open(&clock).await.map(drop).expect_err("nobody can know").to_string();
    assert!(refused.contains("has no file keystead-destination"), "{refused}");
    assert_eq!(fs::read_dir(destination.path()).expect("a directory").count(), 0);
    let line = refused.split("the line ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a line");
    fs::write(destination.path().join("keystead-destination"), line).expect("written");
    let (service, _) = machine.open(&clock).await.expect("opens");
    service.look_at_destination(0).await;
    assert_eq!(kept_files(destination.path()).len(), 1);
    drop(service);
    machine.settings.backup_destinations.push(destination.path().to_owned());
    let refused = machine.open(&clock).await.map(drop).expect_err("one directory").to_string();
    assert!(refused.contains("is named twice"), "{refused}");
}

#[tokio::test]
async fn a_version_that_no_place_may_lack_leaves_nothing_where_one_is_away() {
    let places = tempfile::tempdir().expect("a directory");
    let (here, away) = (places.path().join("here"), places.path().join("away"));
    fs::create_dir(&here).expect("made");
    fs::create_dir(&away).expect("made");
    let settings = Settings { backup_destinations: vec![here.clone(), away.clone()], ..Settings::default() };
    let server = FreshServer::with(settings).await;
    server.ring("key-project").await;
    let key = create_key(&server, "key-1").await;
    fs::rename(&away, places.path().join("elsewhere")).expect("moved");
    let command = CreateCryptoKeyVersion { key };
    let refused = server.run_as(&server.admin().await, command).await.expect_err("it would be lost there");
    assert_eq!(refused.class(), ErrorClass::Unavailable);
    assert_eq!(kept_files(&here).len(), 1);
}

fn kept_files(destination: &Path) -> Vec<PathBuf> {
    let keys = fs::read_dir(destination.join("versions")).expect("a directory");
    keys.flat_map(|key| {
        let files = fs::read_dir(key.expect("an entry").path()).expect("a directory");
        files.map(|file| file.expect("an entry").path()).collect::<Vec<_>>()
    })
    .collect()
}
