//! What the processes of a unit see of the host's files.

use std::path::Path;

/// Directories that are others inside of a unit, and those that are the host's own again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: String,
    kind: Kind,
}

/// The directive that is the reason, such as `PrivateTmp=yes`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Nobody may enter it, and systemd mounts nothing below it.
    Closed(String),
    /// Something else is there.
    Other(String),
    /// The host's own is there, whatever is there above it.
    Own,
}

impl View {
    pub(super) fn close(&mut self, paths: &[&str], by: &str) {
        paths.iter().for_each(|it| self.add(it, Kind::Closed(by.to_owned())));
    }

    pub(super) fn hide(&mut self, paths: &[&str], by: &str) {
        paths.iter().for_each(|it| self.add(it, Kind::Other(by.to_owned())));
    }

    pub(super) fn bind(&mut self, path: &str) {
        self.add(path, Kind::Own);
    }

    fn add(&mut self, path: &str, kind: Kind) {
        self.entries.push(Entry { path: path.to_owned(), kind });
    }

    /// The directive because of which this path is not seen, or is something else. The deepest entry counts, as it is mounted last
    /// (`systemd.exec`(5)); of two for the same directory the one that hides.
    pub fn hides(&self, path: &str) -> Option<&str> {
        let above = self.entries.iter().filter(|it| Path::new(path).starts_with(&it.path));
        let deepest = above.max_by_key(|it| {
            let depth = Path::new(&it.path).components().count();
            (matches!(it.kind, Kind::Closed(_)), depth, matches!(it.kind, Kind::Other(_)))
        });
        match &deepest?.kind {
            Kind::Closed(by) | Kind::Other(by) => Some(by),
            Kind::Own => None,
        }
    }
}
