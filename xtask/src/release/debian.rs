//! Debian packages, by cargo-deb. What is in them is said in the `package.metadata.deb` of each crate.

use std::path::Path;

use anyhow::{Context, Result};

use crate::image::Commit;
use crate::static_build::{Architecture, Program};
use crate::tools::Tool;
use crate::{process, workspace};

const DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };

/// Packs `program`, which has been built.
pub fn package(
    program: Program,
    architecture: Architecture,
    profile: &str,
    commit: &Commit,
    output: &Path,
) -> Result<()> {
    let name = format!("{}_{}_{}.deb", program.name, workspace::version()?, architecture.name());
    println!("packing {name}");
    process::run(
        std::process::Command::new(DEB.program()?)
            // Stripped by the profile where it is to be.
            .args(["deb", "--quiet", "--locked", "--no-build", "--no-strip", "--package", program.name])
            .args(["--target", architecture.target(), "--profile", profile, "--output"])
            .arg(output.join(name))
            .env("SOURCE_DATE_EPOCH", commit.time.to_string())
            .current_dir(workspace::root()),
    )
    .with_context(|| format!("no Debian package of {}", program.name))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    const PACKAGES: [(&str, &str); 2] = [("plugin", "keystead-plugin"), ("server", "keystead-server")];

    /// A root directory in which systemd runs, and programs that answer in its place: whether they succeed, and what they were asked.
    struct Host {
        folder: tempfile::TempDir,
    }

    impl Host {
        fn new(systemctl_answers: u8) -> Self {
            let host = Self { folder: tempfile::tempdir().expect("a folder") };
            host.put("root/run/systemd/system/unit", "");
            host.put("root/etc/passwd", "");
            for (program, answer) in [("systemctl", systemctl_answers), ("getent", 2), ("useradd", 0)] {
                let path = host.put(
                    &format!("programs/{program}"),
                    &format!("#!/bin/sh\necho {program} \"$@\" >>\"$ASKED\"\nexit {answer}\n"),
                );
                fs::set_permissions(path, Permissions::from_mode(0o755)).expect("set");
            }
            host
        }

        fn put(&self, name: &str, text: &str) -> std::path::PathBuf {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, text).expect("written");
            path
        }

        /// Runs a script of `deploy/debian` as dpkg does. The answer is what it said to whoever runs apt.
        fn run(&self, package: &str, script: &str, argument: &str) -> String {
            let path = workspace::root().join("deploy/debian").join(package).join(script);
            let programs = self.folder.path().join("programs");
            let path_variable = format!("{}:/usr/bin:/bin", programs.display());
            let output = Command::new("sh")
                .arg(path)
                .args([argument, "1.0.0"])
                .env("DPKG_ROOT", self.folder.path().join("root"))
                .env("PATH", path_variable)
                .env("ASKED", self.folder.path().join("asked"))
                .output()
                .expect("sh starts");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{package} {script} fails apt: {said}");
            said
        }

        fn asked(&self) -> String {
            fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default()
        }
    }

    #[test]
    fn a_service_that_neither_starts_nor_stops_is_told_and_apt_goes_on() {
        for (folder, name) in PACKAGES {
            let host = Host::new(1);
            let said = host.run(folder, "postinst", "configure");
            assert!(said.contains(&format!("{name}.service did not start")), "{said}");
            assert!(said.contains("daemon-reload failed"), "{said}");
            let said = host.run(folder, "prerm", "remove");
            assert!(said.contains("it was not stopped"), "{said}");
        }
    }

    #[test]
    fn a_package_restarts_what_runs_and_says_nothing_where_all_is_well() {
        for (folder, name) in PACKAGES {
            let host = Host::new(0);
            assert_eq!(host.run(folder, "postinst", "configure"), "");
            let asked = host.asked();
            assert!(asked.contains("systemctl daemon-reload\n"), "{asked}");
            assert!(asked.contains(&format!("systemctl try-restart {name}.service\n")), "{asked}");
            assert!(host.folder.path().join("root/etc/keystead").is_dir());
            // An upgrade stops nothing.
            assert_eq!(host.run(folder, "prerm", "upgrade"), "");
            assert_eq!(host.asked(), asked);
            assert_eq!(host.run(folder, "prerm", "remove"), "");
            assert!(host.asked().contains("systemctl disable --now "), "{}", host.asked());
        }
    }

    #[test]
    fn instances_are_restarted_and_stopped_with_the_plugin() {
        let host = Host::new(0);
        assert_eq!(host.run("plugin", "postinst", "configure"), "");
        assert!(
            host.asked().contains("systemctl try-restart keystead-plugin@*.service\n"),
            "{}",
            host.asked()
        );
        let wants = host.folder.path().join("root/etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).expect("made");
        let unit = "keystead-plugin@new.service";
        std::os::unix::fs::symlink("/nowhere", wants.join(unit)).expect("linked");
        assert_eq!(host.run("plugin", "prerm", "remove"), "");
        let stopped =
            format!("systemctl disable --now keystead-plugin.socket keystead-plugin.service {unit}\n");
        assert!(host.asked().ends_with(&stopped), "{}", host.asked());
    }

    #[test]
    fn what_was_installed_by_hand_and_hides_the_package_is_told() {
        for (folder, name) in PACKAGES {
            for file in [format!("/usr/local/bin/{name}"), format!("/etc/systemd/system/{name}.service")] {
                let host = Host::new(0);
                host.put(&format!("root{file}"), "of an earlier day");
                let said = host.run(folder, "postinst", "configure");
                assert!(said.contains(&format!("{file} is used and not this package's")), "{said}");
            }
            // A unit that somebody has masked.
            let host = Host::new(0);
            let units = host.folder.path().join("root/etc/systemd/system");
            fs::create_dir_all(&units).expect("made");
            std::os::unix::fs::symlink("/dev/null", units.join(format!("{name}.service"))).expect("linked");
            assert_eq!(host.run(folder, "postinst", "configure"), "");
        }
    }
}
