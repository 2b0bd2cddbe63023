//! What a person is told while a rollout runs, and how it ended.

use keystead_cluster::executor::{Ended, Event, ExecuteError, KubeadmPatch};
use keystead_cluster::rollout::Next;
use keystead_model::Exit;
use keystead_runtime::Failure;

use crate::cluster::reencrypt::{Bar, exit};
use crate::output::{say, visible};

/// Names and key ids are whatever plugins say and whoever can write to etcd wrote.
pub(super) fn tell(text: &str) {
    text.trim_end().lines().for_each(|line| say(&visible(line)));
}

pub(super) fn show(event: Event<'_>, bar: &mut Option<Bar>) {
    match event {
        Event::Plan(plan) => {
            *bar = None;
            if let Next::Steps(steps) = &plan.next {
                for planned in steps {
                    tell(&format!("next: {planned}"));
                }
            }
        }
        Event::Step(planned) => tell(&format!("now: {}", planned.step)),
        Event::Remark { host, text } => tell(&format!("{host}: {text}")),
        Event::Kubeadm(patch) => say_kubeadm("changed", patch),
        Event::Reencrypt(progress) => bar.get_or_insert_with(Bar::new).show(progress),
        Event::Rewritten(report) => {
            *bar = None;
            tell(report);
        }
    }
}

pub(super) fn say_kubeadm(word: &str, patch: &KubeadmPatch) {
    say(&format!("ClusterConfiguration in the ConfigMap kubeadm-config, {word}:"));
    patch.lines().iter().for_each(|line| tell(line));
}

pub(super) fn finished(ended: Result<Ended, ExecuteError>) -> Result<(), Failure> {
    match ended {
        Ok(Ended::Reached(remarks)) => {
            say("done");
            remarks.iter().for_each(|it| tell(it));
            Ok(())
        }
        Ok(Ended::Blocked(obstacles)) => {
            let failure = Failure::new("nothing more is safe now; what runs goes on as it is");
            let failure = obstacles
                .iter()
                .fold(failure, |failure, it| failure.caused_by(visible(&format!("{}. {}", it.reason, it.action))));
            Err(failure.hint("settle that, then run `keystead cluster continue --yes`".to_owned()))
        }
        Ok(Ended::Stopped) => Err(Failure::new("stopped on the way, at a point where everything is readable")
            .exit(Exit::Partly)
            .hint("go on with `keystead cluster continue --yes`, or take it back with `keystead cluster undo --yes`".to_owned())),
        Err(error) => Err(Failure::from_error(&error)
            .exit(exit(error.class()))
            .hint("settle that, then run `keystead cluster continue --yes`".to_owned())),
    }
}
