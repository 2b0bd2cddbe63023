//! Who gets in. Peers with another uid, and a process without file descriptors, are in `tests/it`.

use futures_util::{FutureExt, StreamExt};
use tokio::io::AsyncReadExt;

use super::*;

fn door(allowed_uids: Vec<u32>) -> (Door<()>, std::path::PathBuf, tempfile::TempDir) {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("kms.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let places = Arc::new(Places::new(own_uid()));
    (Door { keep: (), looks: looks(), listener, allowed_uids, places }, path, place)
}

impl Keep for () {
    fn look_after(&mut self) -> Option<UnixListener> {
        None
    }
}

impl Keep for tokio::sync::oneshot::Sender<()> {
    fn look_after(&mut self) -> Option<UnixListener> {
        None
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[tokio::test]
async fn who_is_not_on_the_list_is_closed_unread() {
    let (mut door, path, _place) = door(vec![own_uid() + 1]);
    let mut client = UnixStream::connect(&path).await.expect("listens");
    tokio::select! {
        _ = door.next() => panic!("admitted"),
        read = client.read_u8() => assert_eq!(read.expect_err("the end").kind(), io::ErrorKind::UnexpectedEof),
    }
}

#[tokio::test]
async fn the_peer_is_the_one_that_the_kernel_names() {
    let (mut door, path, _place) = door(vec![own_uid()]);
    let _client = UnixStream::connect(&path).await.expect("listens");
    let connection = door.next().await;
    let peer = tonic::transport::server::Connected::connect_info(&connection);
    assert_eq!(peer.uid, own_uid());
    assert_eq!(peer.pid.and_then(|pid| u32::try_from(pid).ok()), Some(std::process::id()));
}

#[tokio::test]
async fn a_full_house_says_so_at_once_and_has_room_again() {
    let (mut door, path, _place) = door(vec![own_uid()]);
    let mut taken: Vec<_> = std::iter::from_fn(|| door.places.take(own_uid()).ok()).collect();
    let mut refused = connect(&path).await;
    assert!(door.next().now_or_never().is_none());
    assert_eq!(refused.read(&mut [0; 1]).await.expect("a clean end"), 0);

    taken.pop();
    let _client = connect(&path).await;
    let admitted = door.next().await;
    assert!(door.places.take(own_uid()).is_err(), "the connection has the place");
    drop(admitted);
    assert!(door.places.take(own_uid()).is_ok());
}

#[tokio::test]
async fn what_is_kept_goes_with_the_stream() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let Door { listener, .. } = door(Vec::new()).0;
    let mut stream = Box::pin(connections(listener, vec![own_uid()], sender));
    assert!(stream.next().now_or_never().is_none());
    drop(stream);
    assert!(receiver.await.is_err());
}

async fn connect(path: &std::path::Path) -> UnixStream {
    UnixStream::connect(path).await.expect("listens")
}
