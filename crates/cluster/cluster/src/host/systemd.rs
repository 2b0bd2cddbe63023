//! systemd, asked and told with its own programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{process, program};
use crate::api_server_unit::{NAME, PROPERTIES, Shown, UnitError, is_kube_apiserver};

/// Where an administrator's units are, and their drop-ins.
pub(super) const UNITS: &str = "/etc/systemd/system";
/// For one answer. systemd's own programs wait up to 90 s for it, or 25 s.
const LIMIT: Duration = Duration::from_secs(120);
/// The unit of every guide and installer.
const USUAL: &str = "kube-apiserver.service";

/// What systemd says of a unit.
pub(super) fn show(unit: &str) -> Result<Shown, UnitError> {
    let property = format!("--property={PROPERTIES}");
    let shown = Shown::parse(&run("systemctl", &["show", "--no-pager", &property, "--", unit])?);
    match shown.load_state.as_str() {
        "loaded" => Ok(shown),
        state => Err(UnitError::NotLoaded { unit: unit.to_owned(), state: state.to_owned() }),
    }
}

/// The command of a unit, word by word: `systemctl show` leaves out where words end.
pub(super) fn command(unit: &str) -> Result<Vec<String>, UnitError> {
    const SERVICE: &str = "org.freedesktop.systemd1.Service";
    let words =
        ["--json=short", "get-property", "org.freedesktop.systemd1", &object(unit), SERVICE, "ExecStartEx"];
    let text = run("busctl", &words)?;
    let property: Property = serde_json::from_str(&text).map_err(|error| UnitError::Systemd {
        command: format!("busctl {}", words.join(" ")),
        reason: format!("what it prints is not understood: {error}"),
    })?;
    let other = |found: String| Err(UnitError::Command { unit: unit.to_owned(), found });
    let mut commands = property.data.into_iter();
    let (Some((path, words, marks, ..)), None) = (commands.next(), commands.next()) else {
        return other("no command, or several".to_owned());
    };
    if !is_kube_apiserver(&path) || words.first() != Some(&path) {
        return other(path);
    }
    match marks.is_empty() {
        true => Ok(words),
        false => other(format!("a command with marks in front of it ({})", marks.join(", "))),
    }
}

/// `busctl` gives arrays. Times and exit codes of the last run stand behind the marks.
#[derive(Deserialize)]
struct Property {
    data: Vec<Exec>,
}

type Exec = (
    String,
    Vec<String>,
    Vec<String>,
    IgnoredAny,
    IgnoredAny,
    IgnoredAny,
    IgnoredAny,
    IgnoredAny,
    IgnoredAny,
    IgnoredAny,
);

/// Has systemd read all units again.
pub(super) fn reload() -> Result<(), UnitError> {
    run("systemctl", &["daemon-reload"]).map(drop)
}

/// Begins a restart. Its end is seen at the next look.
pub(super) fn restart(unit: &str) -> Result<(), UnitError> {
    run("systemctl", &["restart", "--no-block", "--", unit]).map(drop)
}

/// The units that may run the API server of this host, one as a rule; none: there is none. First counts our drop-in, which stays where it is
/// while nothing runs; then the kube-apiserver that runs, by its cgroup and by systemd's word; then the commands of all units that systemd
/// knows; and at last the usual name.
pub(super) fn find() -> BTreeSet<String> {
    let (ours, running) = (with_drop_in(), running());
    let both: BTreeSet<String> = ours.intersection(&running).cloned().collect();
    let all = [both, ours, running, with_command()].into_iter().find(|it| !it.is_empty());
    all.unwrap_or_else(|| show(USUAL).is_ok().then(|| USUAL.to_owned()).into_iter().collect())
}

/// Units of which systemd knows and that have our drop-in.
fn with_drop_in() -> BTreeSet<String> {
    let entries = fs::read_dir(UNITS).into_iter().flatten().flatten();
    let folders = entries.filter(|it| it.path().join(NAME).symlink_metadata().is_ok());
    let names = folders.filter_map(|it| Some(it.file_name().to_str()?.strip_suffix(".d")?.to_owned()));
    names.filter(|it| it.ends_with(".service") && show(it).is_ok()).collect()
}

fn running() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let processes = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut units = BTreeSet::new();
    for pid in processes {
        let Some(running) = process::running(pid) else { continue };
        if !running.words.first().is_some_and(|it| is_kube_apiserver(it)) {
            continue;
        }
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let unit = cgroup.lines().find_map(unit_of_cgroup);
        // Anybody may call a program so, in a service of whatever name.
        units.extend(
            unit.filter(|it| show(it).is_ok_and(|it| it.main_process == Some(pid))).map(str::to_owned),
        );
    }
    units
}

/// Units with kube-apiserver as their command, whether they run or not.
fn with_command() -> BTreeSet<String> {
    // Without `--all` those that are inactive are left out.
    let args = ["show", "--all", "--no-pager", "--property=Id,ExecStart", "--", "*.service"];
    run("systemctl", &args).map(|it| units_of_commands(&it)).unwrap_or_default()
}

/// Of what `systemctl show` prints: a paragraph for each unit, and a line `ExecStart={ path=/k ; argv[]=...` for each command.
fn units_of_commands(text: &str) -> BTreeSet<String> {
    let is_command = |line: &str| {
        let path = line.strip_prefix("ExecStart={ path=").and_then(|it| it.split(" ; ").next());
        path.is_some_and(is_kube_apiserver)
    };
    let units = text.split("\n\n").filter(|it| it.lines().any(is_command));
    units.filter_map(|it| it.lines().find_map(|it| it.strip_prefix("Id="))).map(str::to_owned).collect()
}

/// `0::/system.slice/kube-apiserver.service`, or with `name=systemd` in cgroups of version 1.
fn unit_of_cgroup(line: &str) -> Option<&str> {
    let mut parts = line.splitn(3, ':').skip(1);
    let _: &str = parts.next().filter(|it| it.is_empty() || *it == "name=systemd")?;
    parts.next()?.rsplit('/').next().filter(|it| it.ends_with(".service"))
}

/// A unit's object: all but letters and digits as `_` and two digits.
fn object(unit: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (index, byte) in unit.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit());
        match is_plain {
            true => path.push(char::from(byte)),
            false => path.push_str(&format!("_{byte:02x}")),
        }
    }
    path
}

fn run(program: &str, words: &[&str]) -> Result<String, UnitError> {
    let answer = program::told(Command::new(program).args(words).env("LC_ALL", "C"), LIMIT);
    answer.map_err(|reason| UnitError::Systemd { command: format!("{program} {}", words.join(" ")), reason })
}

/// Whether systemd runs this machine.
pub(super) fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

#[cfg(test)]
mod tests {
    use super::{object, unit_of_cgroup, units_of_commands};

    #[test]
    fn a_unit_is_the_end_of_a_cgroup() {
        for (line, unit) in [
            ("0::/system.slice/kube-apiserver.service", Some("kube-apiserver.service")),
            ("1:name=systemd:/system.slice/a@b.service", Some("a@b.service")),
            ("4:memory:/system.slice/a.service", None),
            ("0::/system.slice/containerd.service/kubepods/pod1/x", None),
            ("0::/kubepods.slice/cri-containerd-aa.scope", None),
            ("0::/", None),
        ] {
            assert_eq!(unit_of_cgroup(line), unit, "{line}");
        }
    }

    #[test]
    fn a_command_is_found_by_its_program() {
        let of = |unit: &str, path: &str| {
            format!(
                "ExecStart={{ path={path} ; argv[]={path} --a=kube-apiserver ; ignore_errors=no }}\nId={unit}\n"
            )
        };
        let text =
            [of("a.service", "/bin/x"), of("b.service", "/opt/kube-apiserver"), "Id=c.service\n".to_owned()]
                .join("\n");
        assert_eq!(units_of_commands(&text).into_iter().collect::<Vec<_>>(), ["b.service"]);
    }

    #[test]
    fn an_object_is_named_as_systemd_does() {
        assert!(object("kube-apiserver.service").ends_with("/kube_2dapiserver_2eservice"));
        assert!(object("1a@2.service").ends_with("/_31a_402_2eservice"));
    }
}
