//! What `systemctl show` says of a unit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::View;

/// What is asked for.
pub const PROPERTIES: &str = "LoadState,ActiveState,Job,MainPID,NeedDaemonReload,FragmentPath,DropInPaths,Environment,EnvironmentFiles,User,DynamicUser,Group,SupplementaryGroups,RootDirectory,RootImage,PrivateTmp,ProtectHome,InaccessiblePaths,TemporaryFileSystem,BindPaths,BindReadOnlyPaths,RestrictAddressFamilies";

/// A unit, as systemd has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `LoadState`, such as `loaded` or `not-found`.
    pub load_state: String,
    /// `ActiveState`, such as `active`, `activating` or `failed`.
    pub active_state: String,
    /// Whether something is to be done with it.
    pub has_job: bool,
    /// Its process.
    pub main_process: Option<u32>,
    /// Whether its files were changed since they were loaded.
    pub needs_reload: bool,
    /// Its file.
    pub fragment: Option<PathBuf>,
    /// Its drop-ins, in the order in which they count.
    pub drop_ins: Vec<PathBuf>,
    /// Variables of the unit itself, as they are printed.
    pub environment: String,
    /// Files with more of them, which count more.
    pub environment_files: Vec<PathBuf>,
    /// What its processes do not see, or not as the host does.
    pub view: View,
    /// Whom its processes run as.
    pub runs_as: RunsAs,
    /// Whether its processes may use UNIX sockets.
    pub has_unix_sockets: bool,
}

/// Whom a unit starts its processes as, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunsAs {
    /// `User=`, a name or a number. None: root.
    pub user: Option<String>,
    /// `DynamicUser=`: nobody knows whom before it runs.
    pub is_dynamic: bool,
    /// `Group=`, if that is not the user's own.
    pub group: Option<String>,
    /// `SupplementaryGroups=`, besides those of the user.
    pub groups: Vec<String>,
}

impl Shown {
    /// Of the text that `systemctl show --property` prints: one line for each property, of a list with several entries perhaps more.
    pub fn parse(text: &str) -> Self {
        let mut lines: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in text.lines().filter_map(|it| it.split_once('=')) {
            lines.entry(name).or_default().push(value);
        }
        let all = |name: &str| lines.get(name).into_iter().flatten().copied().filter(|it| !it.is_empty());
        let one = |name: &str| all(name).next().unwrap_or_default();
        let words = |name: &str| all(name).flat_map(str::split_whitespace).collect::<Vec<_>>();
        let is = |name: &str| one(name) == "yes";
        let mut view = View::default();
        for name in ["RootDirectory", "RootImage"] {
            if !one(name).is_empty() {
                view.hide(&["/"], &format!("{name}={}", one(name)));
            }
        }
        // Newer ones say `connected` and `disconnected` too.
        if is("DynamicUser") || !matches!(one("PrivateTmp"), "" | "no") {
            view.hide(&["/tmp", "/var/tmp"], &format!("PrivateTmp={}", one("PrivateTmp")));
        }
        const HOMES: &[&str] = &["/home", "/root", "/run/user"];
        match one("ProtectHome") {
            "yes" => view.close(HOMES, "ProtectHome=yes"),
            "tmpfs" => view.hide(HOMES, "ProtectHome=tmpfs"),
            _ => {}
        }
        for word in words("InaccessiblePaths") {
            view.close(&[word.trim_start_matches(['-', '+'])], &format!("InaccessiblePaths={word}"));
        }
        for word in words("TemporaryFileSystem") {
            let path = word.trim_start_matches(['-', '+']);
            let path = path.split_once(':').map_or(path, |(path, _)| path);
            view.hide(&[path], &format!("TemporaryFileSystem={word}"));
        }
        // SOURCE:DESTINATION:OPTIONS, of which the destination is another thing inside, or the host's own.
        for name in ["BindPaths", "BindReadOnlyPaths"] {
            for word in words(name) {
                let mut parts = word.trim_start_matches('-').split(':');
                let source = parts.next().unwrap_or_default();
                let destination = parts.next().filter(|it| !it.is_empty()).unwrap_or(source);
                match destination == source {
                    true => view.bind(source),
                    false => view.hide(&[destination], &format!("{name}={word}")),
                }
            }
        }
        let families = one("RestrictAddressFamilies");
        let has_unix = families.split_whitespace().any(|it| it.trim_start_matches('~') == "AF_UNIX");
        let path = |text: &str| PathBuf::from(text);
        Self {
            load_state: one("LoadState").to_owned(),
            active_state: one("ActiveState").to_owned(),
            has_job: !matches!(one("Job"), "" | "0"),
            main_process: one("MainPID").parse().ok().filter(|it| *it != 0),
            needs_reload: is("NeedDaemonReload"),
            fragment: all("FragmentPath").next().map(path),
            drop_ins: words("DropInPaths").into_iter().map(path).collect(),
            environment: one("Environment").to_owned(),
            environment_files: all("EnvironmentFiles")
                .map(|it| path(it.rsplit_once(" (").map_or(it, |(path, _)| path)))
                .collect(),
            view,
            runs_as: RunsAs {
                user: all("User").next().map(str::to_owned),
                is_dynamic: is("DynamicUser"),
                group: all("Group").next().map(str::to_owned),
                groups: words("SupplementaryGroups").into_iter().map(str::to_owned).collect(),
            },
            // Nothing and `~` with nothing behind it forbid nothing; behind `~` stands what is forbidden.
            has_unix_sockets: families.is_empty() || families.starts_with('~') != has_unix,
        }
    }

    /// Whether systemd is about to start or end its process.
    pub fn is_changing(&self) -> bool {
        self.has_job || matches!(self.active_state.as_str(), "activating" | "deactivating" | "reloading")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As systemd 252 prints it.
    const TEXT: &str = "MainPID=0\nEnvironmentFiles=/etc/a b (ignore_errors=yes)\nEnvironmentFiles=/etc/c (ignore_errors=no)\nRootDirectory=\nUser=nobody\nInaccessiblePaths=-/srv +/opt\nPrivateTmp=yes\nProtectHome=read-only\nRestrictAddressFamilies=~\nBindPaths=/a:/b:rbind /c:/c:rbind\nTemporaryFileSystem=/var:ro\nLoadState=loaded\nActiveState=inactive\nFragmentPath=/etc/systemd/system/ka.service\nDropInPaths=/etc/systemd/system/ka.service.d/10-a.conf /run/systemd/system/ka.service.d/x.conf\nJob=\nNeedDaemonReload=no\n";

    #[test]
    fn each_property_is_what_systemd_says() {
        let shown = Shown::parse(TEXT);
        assert_eq!((shown.main_process, shown.has_job, shown.needs_reload), (None, false, false));
        assert_eq!(shown.environment_files, [PathBuf::from("/etc/a b"), PathBuf::from("/etc/c")]);
        assert_eq!(shown.drop_ins.len(), 2);
        for (path, by) in [
            ("/tmp/x", Some("PrivateTmp=yes")),
            ("/tmpx", None),
            ("/var/tmp", Some("PrivateTmp=yes")),
            ("/srv/x", Some("InaccessiblePaths=-/srv")),
            ("/opt", Some("InaccessiblePaths=+/opt")),
            ("/var/lib/x", Some("TemporaryFileSystem=/var:ro")),
            ("/b", Some("BindPaths=/a:/b:rbind")),
            ("/a", None),
            ("/c", None),
            ("/home", None),
        ] {
            assert_eq!(shown.view.hides(path), by, "{path}");
        }
        assert_eq!(shown.runs_as.user.as_deref(), Some("nobody"));
        assert!(shown.has_unix_sockets && !shown.is_changing());
        let shown =
            Shown::parse("Job=71\nMainPID=12\nNeedDaemonReload=yes\nDynamicUser=yes\nProtectHome=yes\n");
        assert_eq!((shown.main_process, shown.needs_reload, shown.is_changing()), (Some(12), true, true));
        assert!(["/tmp", "/home", "/run/user/1"].iter().all(|it| shown.view.hides(it).is_some()));
        assert!(shown.runs_as.is_dynamic && shown.runs_as.user.is_none());
        assert!(Shown::parse("ActiveState=activating").is_changing());
        assert_eq!(Shown::parse("RootImage=/x.raw").view.hides("/etc"), Some("RootImage=/x.raw"));
        let shown = Shown::parse("User=7\nGroup=kube\nSupplementaryGroups=a b\n");
        let groups = vec!["a".to_owned(), "b".to_owned()];
        let (user, group) = (Some("7".to_owned()), Some("kube".to_owned()));
        assert_eq!(shown.runs_as, RunsAs { user, is_dynamic: false, group, groups });
    }

    /// As systemd mounts them: what is deeper comes later, and nothing comes below what nobody may enter.
    #[test]
    fn what_is_bound_below_something_hidden_is_seen() {
        let shown = Shown::parse(
            "TemporaryFileSystem=/var /srv/keys\nBindReadOnlyPaths=/var/lib/kubernetes /srv /home/k /run/x\nInaccessiblePaths=/run/x\nProtectHome=tmpfs\n",
        );
        for (path, seen) in [
            ("/var/lib/kubernetes/encryption.yaml", true),
            ("/var/lib/other", false),
            ("/srv/a", true),
            ("/srv/keys/a", false),
            ("/home/k/a", true),
            ("/home/l", false),
            ("/run/x/a", false),
        ] {
            assert_eq!(shown.view.hides(path).is_none(), seen, "{path}");
        }
        let closed = Shown::parse("ProtectHome=yes\nBindPaths=/home/k\n");
        assert!(closed.view.hides("/home/k").is_some());
    }

    #[test]
    fn what_is_forbidden_stands_behind_a_tilde() {
        for (families, may) in [
            ("", true),
            ("~", true),
            ("AF_INET AF_UNIX", true),
            ("AF_INET AF_INET6", false),
            ("~AF_PACKET", true),
            ("~AF_UNIX AF_PACKET", false),
        ] {
            let shown = Shown::parse(&format!("RestrictAddressFamilies={families}\n"));
            assert_eq!(shown.has_unix_sockets, may, "{families}");
        }
    }
}
