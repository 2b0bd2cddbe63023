//! The process behind a plugin's socket, by the kernel's word.

use std::fs;

use crate::kms_socket::listener;

/// systemd, which listens for the services that it starts.
const INIT: u32 = 1;
/// Bytes of the longest table of sockets that is looked at: each has some hundred.
const SOCKETS_MAX: u64 = 16 << 20;
/// `SO_ACCEPTCON` in a column of `/proc/net/unix`: accepted connections have the same path.
const LISTENS: &str = "00010000";

/// The process that answers at a socket; none where nobody does.
pub(crate) async fn process_at(socket: &str) -> Option<u32> {
    match listener(socket).await? {
        INIT => heir(socket),
        process => Some(process),
    }
}

/// Whoever has the socket open that systemd made.
fn heir(socket: &str) -> Option<u32> {
    let link = format!("socket:[{}]", inode(&read("/proc/net/unix")?, socket)?);
    let entries = fs::read_dir("/proc").ok()?;
    let processes = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.filter(|process| *process != INIT).find(|process: &u32| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        files.filter_map(|it| fs::read_link(it.path()).ok()).any(|it| it.as_os_str() == link.as_str())
    })
}

fn inode<'t>(table: &'t str, socket: &str) -> Option<&'t str> {
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        let listens = columns.nth(3)? == LISTENS;
        let inode = columns.nth(2)?;
        // The rest of the line, because a path may have spaces.
        let (_, path) = line.split_once(&format!(" {inode} "))?;
        (listens && path == socket).then_some(inode)
    })
}

fn read(path: &str) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path).ok()?.take(SOCKETS_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::{heir, inode, process_at};

    #[tokio::test]
    async fn this_process_listens_here() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a b.sock").display().to_string();
        assert_eq!(process_at(&path).await, None);
        let _listener = UnixListener::bind(&path).expect("bound");
        assert_eq!(process_at(&path).await, Some(std::process::id()));
        assert_eq!(heir(&path), Some(std::process::id()));
        assert_eq!(heir("/nowhere.sock"), None);
    }

    #[test]
    fn a_connection_is_no_listener() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff: 00000003 00000000 00000000 0001 03 71 /run/kms.sock\n\
            ffff: 00000002 00000000 00010000 0001 01 70 /run/kms.sock\n\
            ffff: 00000002 00000000 00010000 0001 01 72\n";
        assert_eq!(inode(table, "/run/kms.sock"), Some("70"));
        assert_eq!(inode(table, "/run/kms"), None);
    }
}
