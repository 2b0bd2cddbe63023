//! The socket rules on real directories. Whatever needs another user is in `tests/it`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use super::address::LONGEST_NAME;
use super::*;

#[test]
fn the_socket_and_its_directory_are_made_private() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("keystead/kms.sock");
    let listener = bind(&path).expect("a free path");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().expect("a parent")), 0o700);
    assert_eq!(listener.name(), path.display().to_string());
    UnixStream::connect(&path).expect("somebody listens");
}

#[test]
fn the_mode_is_the_one_asked_for_whatever_the_umask() {
    let place = tempfile::tempdir().expect("a directory");
    for asked in [0o600, 0o660, 0o666] {
        let path = place.path().join(format!("{asked:o}.sock"));
        let settings = SocketSettings { mode: asked, ..at(&path) };
        let _listener = Listener::bind(&settings, None).expect("a free path");
        assert_eq!(mode(&path), asked);
    }
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let place = tempfile::tempdir().expect("a directory");
    for bits in [0o770, 0o707, 0o1777] {
        set_mode(place.path(), bits);
        let error = bind(&place.path().join("kms.sock")).expect_err("refused");
        assert!(matches!(&error, SocketError::DirectoryWritable { mode, .. } if *mode == bits), "{error}");
        assert!(error.hint().is_some());
    }
    set_mode(place.path(), 0o755);
    bind(&place.path().join("kms.sock")).expect("others may look");
}

#[test]
fn every_directory_above_counts() {
    let place = tempfile::tempdir().expect("a directory");
    let (above, path) = (place.path().join("a"), place.path().join("a/b/kms.sock"));
    fs::create_dir_all(above.join("b")).expect("made");
    set_mode(&above, 0o777);
    assert!(matches!(bind(&path), Err(SocketError::DirectoryWritable { path, .. }) if path == real(&above)));
    set_mode(&above, 0o1777);
    bind(&path).expect("only owners replace what is in a sticky directory");
}

#[test]
fn a_foreign_owner_is_refused() {
    let place = tempfile::tempdir().expect("a directory");
    let real = real(place.path());
    let owner = fs::metadata(&real).expect("there").uid();
    let other = owner + 1;
    if owner == 0 {
        let inner = real.join("inner");
        fs::create_dir(&inner).expect("made");
        std::os::unix::fs::chown(&inner, Some(other), None).expect("root may");
        let error = bind(&inner.join("kms.sock")).expect_err("refused");
        assert!(matches!(error, SocketError::ForeignOwner { uid: 1, own_uid: 0, .. }), "{error}");
    } else {
        // Not root: look at our own directory with another user's eyes.
        let error = directory::prepare(&real, other).expect_err("refused");
        let SocketError::ForeignOwner { uid, own_uid, .. } = error else { panic!("{error}") };
        assert_eq!((uid, own_uid), (owner, other));
    }
}

#[test]
fn symbolic_links_are_followed_and_judged() {
    let place = tempfile::tempdir().expect("a directory");
    let (good, open) = (place.path().join("good"), place.path().join("open"));
    fs::create_dir(&good).expect("made");
    fs::create_dir(&open).expect("made");
    set_mode(&open, 0o777);

    symlink(&good, place.path().join("to-good")).expect("made");
    let listener = bind(&place.path().join("to-good/kms.sock")).expect("leads to a safe directory");
    assert_eq!(listener.name(), real(&good).join("kms.sock").display().to_string());

    symlink("open", place.path().join("to-open")).expect("made");
    let refused = bind(&place.path().join("to-open/kms.sock"));
    assert!(matches!(refused, Err(SocketError::DirectoryWritable { .. })));

    symlink(&good, open.join("back")).expect("made");
    let refused = bind(&open.join("back/kms.sock"));
    assert!(matches!(refused, Err(SocketError::DirectoryWritable { .. })), "others can turn the link around");

    symlink("loop", place.path().join("loop")).expect("made");
    assert!(matches!(bind(&place.path().join("loop/kms.sock")), Err(SocketError::TooManyLinks { .. })));
    bind(&good.join("../good/./dotted.sock")).expect("dots are followed");
}

#[test]
fn only_the_last_directory_is_made() {
    let place = tempfile::tempdir().expect("a directory");
    let error = bind(&place.path().join("no/such/kms.sock")).expect_err("refused");
    let SocketError::NoDirectory { path } = &error else { panic!("{error}") };
    assert_eq!(*path, real(place.path()).join("no"));
    assert!(!path.exists());
    fs::write(place.path().join("file"), "").expect("written");
    assert!(matches!(bind(&place.path().join("file/kms.sock")), Err(SocketError::NotADirectory { .. })));
}

#[test]
fn a_stale_file_is_removed_and_a_live_one_is_not() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("kms.sock");
    drop(UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "a listener that dies leaves its file");
    drop(bind(&path).expect("the stale file is replaced"));

    let other = UnixListener::bind(&path).expect("bound");
    let error = bind(&path).expect_err("refused");
    let own_pid = std::process::id();
    assert!(matches!(error, SocketError::InUse { pid: Some(pid), .. } if pid == own_pid), "{error}");
    assert!(error.to_string().starts_with(&format!("another process (pid {own_pid}) is listening on ")));
    UnixStream::connect(&path).expect("still there");
    drop(other);
}

#[test]
fn a_listener_that_hangs_is_alive() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("kms.sock");
    let address = rustix::net::SocketAddrUnix::new(&path).expect("short");
    let hanging =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None)
            .expect("a socket");
    rustix::net::bind(&hanging, &address).expect("bound");
    rustix::net::listen(&hanging, 0).expect("listens");
    let _queued = UnixStream::connect(&path).expect("the queue has one place");
    assert!(matches!(bind(&path), Err(SocketError::InUse { .. })));
    assert!(path.exists());
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let place = tempfile::tempdir().expect("a directory");
    let path = |name: &str| place.path().join(name);
    fs::write(path("file"), "precious").expect("written");
    fs::create_dir(path("directory")).expect("made");
    symlink(path("file"), path("link")).expect("made");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), fifo, rustix::fs::Mode::RUSR, 0).expect("made");
    for name in ["file", "directory", "link", "fifo"] {
        let error = bind(&path(name)).expect_err(name);
        assert!(matches!(error, SocketError::NotASocket { .. }), "{error}");
        fs::symlink_metadata(path(name)).expect("still there");
    }
    let datagrams = UnixDatagram::bind(path("datagrams")).expect("bound");
    assert!(matches!(bind(&path("datagrams")), Err(SocketError::InUse { .. })));
    drop(datagrams);
}

#[test]
fn two_plugins_cannot_start_at_once() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("kms.sock");
    let first = bind(&path).expect("free");
    // Even where the socket itself looks free: the first one may be between its checks and its `bind`.
    fs::remove_file(&path).expect("removed");
    assert!(matches!(bind(&path), Err(SocketError::InUse { .. })));
    drop(first);
    bind(&path).expect("free again");
}

#[test]
fn the_socket_file_is_removed_only_while_it_is_ours() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("kms.sock");
    let listener = bind(&path).expect("free");
    assert!(fs::symlink_metadata(&path).expect("there").file_type().is_socket());
    drop(listener);
    assert!(!path.exists());

    let listener = bind(&path).expect("free");
    // Made before the old one is removed, so that it cannot get the same inode.
    let successor = place.path().join("successor");
    let _other = UnixListener::bind(&successor).expect("bound");
    fs::rename(&successor, &path).expect("renamed");
    drop(listener);
    assert!(path.exists(), "it belongs to another process now");
}

#[test]
fn a_name_has_at_most_107_bytes() {
    let place = tempfile::tempdir().expect("a directory");
    let base = real(place.path());
    let room = LONGEST_NAME - base.as_os_str().len() - 1;
    bind(&base.join("x".repeat(room))).expect("107 bytes fit");
    let error = bind(&base.join("x".repeat(room + 1))).expect_err("108 do not");
    assert!(matches!(error, SocketError::TooLong { length: 108, .. }), "{error}");
    symlink(&base, base.join("l")).expect("made");
    let deep = base.join("d".repeat(80));
    fs::create_dir(&deep).expect("made");
    symlink(&deep, base.join("short")).expect("made");
    let error = bind(&base.join("short/kms-with-a-long-name.sock")).expect_err("its real path is too long");
    assert!(matches!(error, SocketError::TooLong { .. }), "{error}");
}

#[test]
fn an_abstract_name_needs_the_option() {
    let name = format!("keystead-test-{}", std::process::id());
    for endpoint in [format!("@{name}"), format!("unix:///@{name}")] {
        let settings = SocketSettings { endpoint: Some(endpoint.clone()), ..Default::default() };
        let error = Listener::bind(&settings, None).expect_err("refused");
        assert!(error.to_string().contains("--allow-abstract-socket"), "{error}");

        let settings = SocketSettings { allow_abstract_socket: true, ..settings };
        let listener = Listener::bind(&settings, None).expect("allowed");
        assert_eq!(listener.name(), format!("@{name}"));
        assert!(matches!(Listener::bind(&settings, None), Err(SocketError::InUse { .. })));
    }
}

#[test]
fn endpoints_are_read_as_kube_apiserver_reads_them() {
    let parse = |endpoint: &str| {
        Address::parse(&SocketSettings { endpoint: Some(endpoint.into()), ..Default::default() })
    };
    assert_eq!(Address::parse(&SocketSettings::default()).ok(), Some(Address::Path(DEFAULT_SOCKET.into())));
    for (endpoint, path) in
        [("/run/a.sock", "/run/a.sock"), ("unix:///run/a.sock", "/run/a.sock"), ("/a%20b", "/a%20b")]
    {
        assert_eq!(parse(endpoint).expect(endpoint), Address::Path(path.into()));
    }
    let invalid = [
        "",
        "/",
        "relative.sock",
        "/run/",
        "/run/..",
        "unix:/run/a",
        "unix://a/b",
        "unix:///a%20b",
        "tcp://a:1",
        "@",
        "/a\0b",
    ];
    for endpoint in invalid {
        assert!(matches!(parse(endpoint), Err(SocketError::Invalid { .. })), "{endpoint}");
    }
    assert!(matches!(parse(&format!("@{}", "x".repeat(107))), Err(SocketError::TooLong { length: 108, .. })));
}

#[test]
fn a_passed_socket_is_used_and_never_removed() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("passed.sock");
    let passed = UnixListener::bind(&path).expect("bound");
    let listener = Listener::bind(&SocketSettings::default(), Some(passed)).expect("taken");
    assert_eq!(listener.name(), path.display().to_string());
    drop(listener);
    assert!(path.exists());
}

fn at(path: &Path) -> SocketSettings {
    SocketSettings { endpoint: Some(path.to_str().expect("UTF-8").into()), ..Default::default() }
}

fn bind(path: &Path) -> Result<Listener, SocketError> {
    Listener::bind(&at(path), None)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().expect("there")
}

/// What a look at a listener finds: whether it was made anew, and why clients cannot reach it.
fn look(listener: &mut Listener) -> (bool, Option<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let anew = runtime.block_on(async {
        let socket = listener.kept.look_after().map(|socket| socket.into_std().expect("a socket"));
        socket.map(|socket| listener.socket = socket).is_some()
    });
    (anew, listener.watch().lost())
}

#[test]
fn a_removed_socket_or_directory_is_made_anew() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("keystead/kms.sock");
    let mut listener = bind(&path).expect("a free path");
    assert_eq!(look(&mut listener), (false, None));

    fs::remove_file(&path).expect("removed");
    assert_eq!(look(&mut listener), (true, None));
    assert_eq!(mode(&path), 0o600);
    UnixStream::connect(&path).expect("somebody listens");
    let second = bind(&path).expect_err("the place is still locked");
    assert!(matches!(second, SocketError::InUse { .. }), "{second}");

    fs::remove_dir_all(path.parent().expect("a parent")).expect("removed");
    assert_eq!(look(&mut listener), (true, None));
    assert_eq!(mode(path.parent().expect("a parent")), 0o700);
    UnixStream::connect(&path).expect("somebody listens");
    let second = bind(&path).expect_err("the place is locked again");
    assert!(matches!(second, SocketError::InUse { .. }), "{second}");

    assert_eq!((look(&mut listener), listener.watch().rebinds()), ((false, None), 2));
    drop(listener);
    assert!(!path.exists(), "the last file is removed at the end");
}

#[test]
fn what_took_the_sockets_place_is_never_replaced_while_it_lives() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("keystead/kms.sock");
    let mut listener = bind(&path).expect("a free path");

    fs::remove_file(&path).expect("removed");
    let other = UnixListener::bind(&path).expect("a free path");
    for _ in 0..2 {
        let (anew, lost) = look(&mut listener);
        assert!(!anew && lost.as_ref().is_some_and(|it| it.contains("is listening on")), "{lost:?}");
    }
    drop(other);
    assert_eq!(look(&mut listener), (true, None), "nobody listens there any more");

    fs::remove_file(&path).expect("removed");
    fs::write(&path, "something").expect("written");
    let (anew, lost) = look(&mut listener);
    assert!(!anew && lost.as_ref().is_some_and(|it| it.contains("is a file")), "{lost:?}");
    assert_eq!(fs::read(&path).expect("left alone"), b"something");
    drop(listener);
    assert!(path.exists(), "nor is it removed at the end");
}

#[test]
fn a_directory_that_became_unsafe_is_not_used_again() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("keystead/kms.sock");
    let directory = path.parent().expect("a parent").to_owned();
    let mut listener = bind(&path).expect("a free path");

    fs::remove_dir_all(&directory).expect("removed");
    fs::create_dir(&directory).expect("made by somebody else");
    set_mode(&directory, 0o777);
    let (anew, lost) = look(&mut listener);
    assert!(!anew && lost.as_ref().is_some_and(|it| it.contains("has mode 0777")), "{lost:?}");
    assert!(!path.exists());
    set_mode(&directory, 0o700);
    assert_eq!(look(&mut listener), (true, None));
}

#[test]
fn a_passed_socket_that_is_gone_is_reported_and_never_made() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("passed.sock");
    let passed = UnixListener::bind(&path).expect("a free path");
    let mut listener = Listener::bind(&at(&path), Some(passed)).expect("taken");
    assert_eq!(look(&mut listener), (false, None));
    fs::remove_file(&path).expect("removed");
    let (anew, lost) = look(&mut listener);
    assert!(!anew && lost.as_ref().is_some_and(|it| it.contains("restart its .socket unit")), "{lost:?}");
    assert!(!path.exists());
}
