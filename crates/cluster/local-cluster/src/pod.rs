//! What a static pod's manifest has run here.

use serde::Deserialize;

/// As much of a pod as counts.
#[derive(Deserialize)]
struct Pod {
    spec: PodSpec,
}

#[derive(Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    #[serde(default)]
    value: String,
}

/// What is run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PodProgram {
    /// One of Kubernetes' own programs.
    ControlPlane {
        /// A word of [`CONTROL_PLANE`].
        program: &'static str,
        args: Vec<String>,
    },
    /// `keystead plugin run`.
    Plugin {
        args: Vec<String>,
        /// Ids: a manifest holds no secrets.
        environment: Vec<(String, String)>,
    },
}

/// What may be a command's first word: nothing else is run, whatever a manifest says.
const CONTROL_PLANE: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// What names of manifests begin with that `keystead plugin install` writes.
const PLUGIN: &str = "keystead-kms-plugin-";

impl PodProgram {
    /// Reads a manifest by the name of its file and its text, or says why it is not run.
    pub(crate) fn read(file: &str, text: &str) -> Result<Self, String> {
        let pod: Pod = serde_saphyr::from_str(text).map_err(|error| format!("it is no pod: {error}"))?;
        let mut containers = pod.spec.containers.into_iter();
        let (Some(container), None) = (containers.next(), containers.next()) else {
            return Err("it is not a pod of one container".to_owned());
        };
        let Some((program, words)) = container.command.split_first() else {
            if !file.starts_with(PLUGIN) {
                return Err(format!("it has no command, and is not called {PLUGIN}NAME"));
            }
            let environment = container.env.into_iter().map(|it| (it.name, it.value)).collect();
            return Ok(Self::Plugin {
                args: container.args.into_iter().map(on_any_port).collect(),
                environment,
            });
        };
        let Some(program) = CONTROL_PLANE.into_iter().find(|it| it == program) else {
            return Err(format!("its command is none of {}", CONTROL_PLANE.join(", ")));
        };
        Ok(Self::ControlPlane { program, args: words.iter().cloned().chain(container.args).collect() })
    }
}

/// Each real host has a loopback address of its own. Here they share one, so a port that is right on each host would be taken on the next.
fn on_any_port(arg: String) -> String {
    match arg.starts_with("--admin=") {
        true => "--admin=127.0.0.1:0".to_owned(),
        false => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn kubernetes_own_programs_and_our_plugins_are_run() {
        let text = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --a=1\n    - \"--b=2\"\n    args: [--c]\n    image: i\n  hostNetwork: true\n";
        let read = PodProgram::read("kube-apiserver.yaml", text).expect("a pod");
        let args = words(&["--a=1", "--b=2", "--c"]);
        assert_eq!(read, PodProgram::ControlPlane { program: "kube-apiserver", args });
        let text = "spec:\n  containers:\n  - args: [--socket=/s, '--admin=127.0.0.1:10277']\n    env:\n    - {name: KEYSTEAD_PLUGIN_KEY, value: k}\n";
        let read = PodProgram::read("keystead-kms-plugin-keystead-0123456789-pod.yaml", text).expect("a pod");
        let args = words(&["--socket=/s", "--admin=127.0.0.1:0"]);
        let environment = vec![("KEYSTEAD_PLUGIN_KEY".to_owned(), "k".to_owned())];
        assert_eq!(read, PodProgram::Plugin { args, environment });
    }

    #[test]
    fn nothing_else_is_run() {
        let of = |container: &str| format!("spec:\n  containers:\n  - {container}\n");
        for (file, text) in [
            ("other.yaml", of("{command: [sh, -c, reboot]}")),
            ("kube-apiserver.yaml", of("{command: [/tmp/kube-apiserver]}")),
            ("keystead-kms-plugin-x-pod.yaml", of("{command: [/bin/sh]}")),
            ("other.yaml", of("{args: [--socket=/s]}")),
            ("two.yaml", of("{command: [kube-scheduler]}\n  - {command: [kube-scheduler]}")),
            ("none.yaml", "{".to_owned()),
        ] {
            PodProgram::read(file, &text).expect_err(&text);
        }
    }
}
