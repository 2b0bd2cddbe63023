//! Each guard against a real directory.

use std::os::unix::fs::{chown, symlink};

use super::*;

struct Host {
    directory: tempfile::TempDir,
    places: Places,
    path: PathBuf,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("manifests")).expect("made");
        make(&directory.path().join("staging")).expect("made");
        let path = directory.path().join("manifests/kube-apiserver.yaml");
        fs::write(&path, "old").expect("written");
        let previous = directory.path().join("state/previous");
        Self { places: Places { staging: directory.path().join("staging"), previous }, path, directory }
    }

    fn read(&self) -> OwnedFile {
        OwnedFile::read(&self.path, 100).expect("read")
    }

    fn replace(&self) -> Result<Option<PathBuf>, OwnedFileError> {
        self.read().replace(b"new", &self.places)
    }

    /// The old text is there and nothing else was made beside it or on the way.
    fn is_untouched(&self) -> bool {
        let names = |name: &str| fs::read_dir(self.directory.path().join(name)).expect("listed").count();
        fs::read(&self.path).is_ok_and(|text| text == b"old")
            && names("manifests") == 1
            && names("staging") == 0
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").mode() & 0o7777
}

#[test]
fn the_new_text_keeps_the_mode_and_the_old_text_is_kept() {
    let host = Host::new();
    for bits in [0o600, 0o644, 0o640] {
        fs::write(&host.path, "old").expect("written");
        fs::set_permissions(&host.path, Permissions::from_mode(bits)).expect("set");
        let previous = host.replace().expect("replaced").expect("it was another text");
        assert_eq!((mode(&host.path), fs::read(&host.path).expect("read")), (bits, b"new".to_vec()));
        assert_eq!((mode(&previous), fs::read(&previous).expect("read")), (0o600, b"old".to_vec()));
        assert_eq!(mode(&host.places.previous), 0o700);
    }
    assert_eq!(host.read().replace(b"new", &host.places).expect("the same"), None);
    assert_eq!(fs::read_dir(&host.places.previous).expect("listed").count(), 1);
    assert_eq!(fs::read_dir(&host.places.staging).expect("listed").count(), 0);
}

#[test]
fn what_is_removed_is_kept_elsewhere() {
    let host = Host::new();
    fs::write(&host.path, "old").expect("written");
    let file = host.read();
    let kept = file.remove(&host.places).expect("removed");
    assert!(!host.path.exists());
    assert_eq!((mode(&kept), fs::read(&kept).expect("read")), (0o600, b"old".to_vec()));
    fs::write(&host.path, "another").expect("written");
    assert!(matches!(file.remove(&host.places), Err(OwnedFileError::Changed(_))));
    assert_eq!(fs::read(&host.path).expect("read"), b"another");
}

#[test]
#[ignore = "needs root"]
fn the_owner_stays() {
    let host = Host::new();
    chown(&host.path, Some(65534), Some(65533)).expect("changed");
    host.replace().expect("replaced");
    let metadata = fs::metadata(&host.path).expect("metadata");
    assert_eq!((metadata.uid(), metadata.gid()), (65534, 65533));
}

#[test]
#[ignore = "needs root"]
fn a_place_of_another_user_is_refused() {
    let host = Host::new();
    make(&host.places.previous).expect("made");
    for place in [&host.places.staging, &host.places.previous] {
        chown(place, Some(65534), None).expect("changed");
        let error = host.replace().expect_err("refused");
        assert!(matches!(error, OwnedFileError::NotOurs { owner: 65534, .. }), "{error}");
        chown(place, Some(0), None).expect("changed");
    }
    assert!(host.is_untouched());
}

#[test]
fn what_somebody_else_changed_stays() {
    type Change = fn(&Path);
    let changes: [Change; 5] = [
        |path| fs::write(path, "another").expect("written"),
        |path| fs::write(path, "olD").expect("written"),
        |path| fs::set_permissions(path, Permissions::from_mode(0o666)).expect("set"),
        |path| fs::remove_file(path).expect("removed"),
        |path| {
            let other = path.with_extension("other");
            fs::rename(path, &other).expect("renamed");
            symlink(other, path).expect("linked");
        },
    ];
    for change in changes {
        let host = Host::new();
        let file = host.read();
        change(&host.path);
        let before = fs::read(&host.path).ok();
        let error = file.replace(b"new", &host.places).expect_err("refused");
        assert!(matches!(error, OwnedFileError::Changed(_)), "{error}");
        assert_eq!(fs::read(&host.path).ok(), before);
        assert_eq!(fs::read_dir(&host.places.staging).expect("listed").count(), 0);
    }
}

#[test]
fn what_cannot_be_replaced_is_refused_before_anything_is_made() {
    let host = Host::new();
    fs::set_permissions(&host.path, Permissions::from_mode(0o444)).expect("set");
    assert!(matches!(host.replace(), Err(OwnedFileError::ReadOnly(_))));
    fs::set_permissions(&host.path, Permissions::from_mode(0o644)).expect("set");

    let link = host.path.with_file_name("link");
    symlink(&host.path, &link).expect("linked");
    assert!(matches!(OwnedFile::read(&link, 100), Err(OwnedFileError::Link { .. })));
    fs::remove_file(&link).expect("removed");

    let inside =
        Places { staging: host.directory.path().join("staging/../manifests"), ..host.places.clone() };
    assert!(matches!(host.read().replace(b"new", &inside), Err(OwnedFileError::Inside(_))));
    // Of another file system, on every Linux.
    let elsewhere = Places { staging: PathBuf::from("/proc"), ..host.places.clone() };
    assert!(matches!(host.read().replace(b"new", &elsewhere), Err(OwnedFileError::OtherFileSystem { .. })));
    let inside =
        Places { previous: host.directory.path().join("staging/../manifests"), ..host.places.clone() };
    fs::set_permissions(host.path.with_file_name("."), Permissions::from_mode(0o700)).expect("set");
    assert!(matches!(host.read().replace(b"new", &inside), Err(OwnedFileError::Inside(_))));
    let open = host.directory.path().join("open");
    for bits in [0o755, 0o710, 0o701, 0o720] {
        make(&open).expect("made");
        fs::set_permissions(&open, Permissions::from_mode(bits)).expect("set");
        let staging = Places { staging: open.clone(), ..host.places.clone() };
        let previous = Places { previous: open.clone(), ..host.places.clone() };
        for places in [staging, previous] {
            let error = host.read().replace(b"new", &places).expect_err("refused");
            assert!(matches!(error, OwnedFileError::NotOurs { mode, .. } if mode == bits), "{error}");
        }
        assert_eq!(fs::read_dir(&open).expect("listed").count(), 0);
    }
    let file = Places { staging: host.path.clone(), ..host.places.clone() };
    assert!(matches!(host.read().replace(b"new", &file), Err(OwnedFileError::Io { .. })));
    let occupied = Places { previous: host.path.clone(), ..host.places.clone() };
    assert!(matches!(host.read().replace(b"new", &occupied), Err(OwnedFileError::Io { .. })));
    assert!(matches!(OwnedFile::read(&host.path, 2), Err(OwnedFileError::File(FileError::TooLong { .. }))));
    assert!(host.is_untouched());
}

#[test]
fn a_file_that_cannot_be_read_again_was_not_changed() {
    let host = Host::new();
    let file = host.read();
    let manifests = host.path.with_file_name("");
    fs::rename(&manifests, manifests.with_file_name("aside")).expect("renamed");
    fs::write(host.directory.path().join("manifests"), "no directory").expect("written");
    let error = file.replace(b"new", &host.places).expect_err("refused");
    assert!(matches!(error, OwnedFileError::File(FileError::Io { .. })), "{error}");
}

#[test]
fn what_a_killed_process_left_goes_and_nothing_else() {
    let host = Host::new();
    assert_eq!(host.places.remove_unfinished().expect("one of them is absent"), 0);
    let previous = host.replace().expect("replaced").expect("it was another text");
    for directory in [&host.places.staging, &host.places.previous] {
        let file = whole_file::elsewhere(directory, &host.path, 0o600).expect("made");
        file.keep().expect("left");
        fs::write(directory.join("another"), "text").expect("written");
    }
    assert_eq!(host.places.remove_unfinished().expect("removed"), 2);
    assert!(previous.exists());
    assert_eq!(fs::read_dir(&host.places.staging).expect("listed").count(), 1);
    assert_eq!(fs::read_dir(&host.places.previous).expect("listed").count(), 2);
}

#[test]
fn a_new_file_is_for_its_owner_and_replaces_nothing() {
    let host = Host::new();
    assert!(matches!(create(&host.path, b"new", &host.places, None), Err(OwnedFileError::Exists(_))));
    assert!(host.is_untouched());
    let path = host.path.with_file_name("encryption.yaml");
    create(&path, b"new", &host.places, None).expect("made");
    assert_eq!((mode(&path), fs::read(&path).expect("read")), (0o600, b"new".to_vec()));
    let link = host.path.with_file_name("dangling");
    symlink("nowhere", &link).expect("linked");
    assert!(matches!(create(&link, b"new", &host.places, None), Err(OwnedFileError::Exists(_))));
}

#[test]
fn an_error_names_the_file() {
    let host = Host::new();
    let error =
        crate::encryption_configuration::EncryptionConfiguration::read(b"a: [\n").err().expect("refused");
    let said = host.read().located(error).to_string();
    assert!(
        said.starts_with(&format!("{}: line 1, column 4: not valid YAML", host.path.display())),
        "{said}"
    );
}

/// The group is there before the name is: whoever owns the directory finds nothing to put a link in the place of.
#[test]
#[ignore = "needs root"]
fn a_new_file_is_for_a_group_from_its_first_moment() {
    let host = Host::new();
    let path = host.path.with_file_name("encryption.yaml");
    let looks = |path: &Path| {
        let found = fs::symlink_metadata(path).expect("metadata");
        (found.mode() & 0o7777, found.uid(), found.gid())
    };
    create(&path, b"new", &host.places, Some(65533)).expect("made");
    assert_eq!(looks(&path), (0o640, 0, 65533));
    // One that was left there for root alone, with the same text.
    fs::remove_file(&path).expect("removed");
    create(&path, b"new", &host.places, None).expect("made");
    let left = OwnedFile::read(&path, 100).expect("read");
    left.replace_for(b"new", &host.places, Some(65533)).expect("replaced");
    assert_eq!(looks(&path), (0o640, 0, 65533));
    let left = OwnedFile::read(&path, 100).expect("read");
    assert_eq!(left.replace_for(b"new", &host.places, Some(65533)).expect("the same"), None);
}

#[test]
fn what_is_made_beside_its_place_needs_no_staging() {
    let host = Host::new();
    let places = Places { staging: PathBuf::from("/proc"), ..host.places.clone() };
    host.read().check_beside(&places).expect("fit");
    assert!(matches!(host.read().check(&places), Err(OwnedFileError::OtherFileSystem { .. })));
    host.read().replace_beside(b"new", &places).expect("replaced");
    let path = host.path.with_file_name("new.conf");
    create_beside(&path, b"new").expect("made");
    assert!(matches!(create_beside(&path, b"again"), Err(OwnedFileError::Exists(_))));
    assert_eq!((mode(&path), fs::read(&host.path).expect("read")), (0o600, b"new".to_vec()));
    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("set");
    let file = OwnedFile::read(&path, 100).expect("read");
    file.remove(&places).expect("removed");
    file.put_back().expect("put back");
    assert_eq!((mode(&path), fs::read(&path).expect("read")), (0o640, b"new".to_vec()));
    assert!(matches!(file.put_back(), Err(OwnedFileError::Exists(_))));
    let names = fs::read_dir(host.path.with_file_name("")).expect("listed").count();
    assert_eq!(names, 2, "nothing else is left there");
}
