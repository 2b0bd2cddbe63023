//! A host that is asked through the cluster: a command that an operator runs there finds its tasks in a Lease of kube-system, and answers in the
//! same place. [`Part`] is that command's side, [`PeerHost`] the driver's.
//!
//! Whoever may write Leases in kube-system could write tasks. So a part does what is asked only for the holder of the driver's Lease, and
//! changes nothing that does not lead to what its own operator asked for.

use std::time::Duration;

use keystead_crypto::{Random, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::driver_lease::{self, DURATION, RENEW};
use super::host_access::{AccessError, HostReply};
use crate::api::{ApiServer, CallError, Lease, delete_lease, get_lease, put_lease};
use crate::host::{Answer, Change, LocalHost, Task};
use crate::provider_order::KmsPlugin;
use crate::rollout::{Configuration, Goal};

/// Before the host's name: one Lease for each host, while its part runs.
const PREFIX: &str = "keystead-host-";
const TASK: &str = "keystead.io/task";
const ANSWER: &str = "keystead.io/answer";
/// How often a part looks for a task, and a driver for an answer.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes of the longest task or answer: kube-apiserver takes 256 KiB of annotations, and both are in one object.
const LONGEST: usize = 120 << 10;

/// A control-plane host whose part of the rollout another process does.
#[derive(Clone, Debug)]
pub struct PeerHost {
    /// The name of its Node.
    pub name: String,
    /// The API servers, any of which is asked.
    pub servers: Vec<ApiServer>,
    /// [`super::DriverLease::driver`].
    pub driver: String,
    /// How long an answer is waited for.
    pub limit: Duration,
}

#[derive(Serialize, Deserialize)]
struct Mail {
    id: String,
    driver: String,
    task: Task,
}

#[derive(Serialize, Deserialize)]
struct Reply {
    id: String,
    reply: HostReply,
}

impl PeerHost {
    /// Whether its part runs: it is asked for a look, and answers in time.
    pub async fn is_there(&self) -> bool {
        let look = Task::Look { resources: Vec::new(), plugins: Vec::new() };
        let ask = Self { limit: THERE, ..self.clone() };
        !matches!(ask.perform(&look).await, Err(AccessError::NoAnswer { .. }))
    }

    pub(super) async fn perform(&self, task: &Task) -> Result<Answer, AccessError> {
        let destination = || self.name.clone();
        let no_answer = |reason: String| AccessError::NoAnswer { destination: destination(), reason };
        let mut id = [0; 16];
        SystemRandom.fill(&mut id).map_err(|error| no_answer(error.to_string()))?;
        let mail = Mail { id: hex::encode(id), driver: self.driver.clone(), task: task.clone() };
        let text = serde_json::to_string(&mail).map_err(|error| no_answer(error.to_string()))?;
        if text.len() > LONGEST {
            return Err(no_answer(format!(
                "the task has {} bytes, and {LONGEST} go this way: use --over ssh",
                text.len()
            )));
        }
        let reply = self.exchange(&mail.id, &text).await.map_err(no_answer)?;
        match reply {
            HostReply::Answer(answer) => Ok(answer),
            HostReply::Changed => Err(AccessError::RemoteChanged { destination: destination() }),
            HostReply::Failed(message) => Err(AccessError::Remote { destination: destination(), message }),
        }
    }

    /// Waits for a part that was ended and begins again, too.
    async fn exchange(&self, id: &str, text: &str) -> Result<HostReply, String> {
        let began = Instant::now();
        let mut reason = NOT_THERE.to_owned();
        loop {
            match get_lease(&self.servers, &name(&self.name)).await {
                Ok(Some(mut lease)) => {
                    NO_WORD.clone_into(&mut reason);
                    let annotations = &mut lease.metadata.annotations;
                    let answer = annotations.get(ANSWER).and_then(|it| serde_json::from_str(it).ok());
                    if let Some(Reply { reply, .. }) = answer.filter(|it: &Reply| it.id == id) {
                        return Ok(reply);
                    }
                    if annotations.get(TASK).map(String::as_str) != Some(text) {
                        annotations.insert(TASK.to_owned(), text.to_owned());
                        // One that was not written is written at the next look.
                        drop(put_lease(&self.servers, &lease).await);
                    }
                }
                Ok(None) => NOT_THERE.clone_into(&mut reason),
                Err(error) => reason = keystead_model::ErrorChain(&error).to_string(),
            }
            if began.elapsed() > self.limit {
                return Err(reason);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What the operator of a host wants.
#[derive(Clone, Debug)]
pub enum Wants {
    /// Exactly this, with these plugins on this host.
    Goal(Goal, Vec<KmsPlugin>),
    /// Any rotation.
    Rotate,
    /// Back, wherever that is.
    Undo,
    /// What the driver wants.
    Continue,
}

/// What a host does for a driver elsewhere.
pub struct Part {
    /// This host.
    pub host: LocalHost,
    /// The API servers, any of which is asked.
    pub servers: Vec<ApiServer>,
    /// What its operator wants.
    pub wants: Wants,
}

impl Part {
    /// Does what is asked, until it is told to stop. An API server that does not answer is asked again.
    pub async fn serve(self, stop: CancellationToken) {
        let mut renewed: Option<Instant> = None;
        while !stop.is_cancelled() {
            let due = renewed.is_none_or(|it| it.elapsed() > RENEW);
            if let Ok(true) = self.turn(due).await {
                renewed = Some(Instant::now());
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        drop(delete_lease(&self.servers, &name(&self.host.name)).await);
    }

    /// One look for a task; whether the Lease was written.
    async fn turn(&self, due: bool) -> Result<bool, CallError> {
        let found = get_lease(&self.servers, &name(&self.host.name)).await?;
        let mut lease = found.unwrap_or_else(|| Lease::new(&name(&self.host.name)));
        let mail: Option<Mail> =
            lease.metadata.annotations.get(TASK).and_then(|it| serde_json::from_str(it).ok());
        let answered: Option<Reply> =
            lease.metadata.annotations.get(ANSWER).and_then(|it| serde_json::from_str(it).ok());
        let open = mail.filter(|mail| answered.is_none_or(|it| it.id != mail.id));
        let reply = match open {
            Some(mail) => self.answer(mail).await?,
            None => None,
        };
        if reply.is_none() && !due && lease.metadata.resource_version.is_some() {
            return Ok(false);
        }
        if let Some(text) = reply {
            lease.metadata.annotations.insert(ANSWER.to_owned(), text);
        }
        // If a new task was written meanwhile, this answer is of no use to anybody.
        let renewed = lease.renewed(&self.host.name, DURATION);
        Ok(put_lease(&self.servers, &renewed).await?.is_some())
    }

    /// None: whoever asks does not drive.
    async fn answer(&self, mail: Mail) -> Result<Option<String>, CallError> {
        let Some((driver, record)) = driver_lease::driver(&self.servers).await? else { return Ok(None) };
        if driver != mail.driver {
            return Ok(None);
        }
        let reply = match self.refusal(&mail.task, record.map(|it| it.goal)).await {
            Some(reason) => HostReply::Failed(reason),
            None => HostReply::of(self.host.perform(&mail.task).await),
        };
        let text = |reply| serde_json::to_string(&Reply { id: mail.id.clone(), reply }).unwrap_or_default();
        let answer = text(reply);
        if answer.len() <= LONGEST {
            return Ok(Some(answer));
        }
        let message =
            format!("the answer has {} bytes, and {LONGEST} go this way: use --over ssh", answer.len());
        Ok(Some(text(HostReply::Failed(message))))
    }

    /// Why a task is none that this host's operator wants done.
    async fn refusal(&self, task: &Task, goal: Option<Goal>) -> Option<String> {
        let change = match task {
            Task::Look { .. } | Task::Unwrap { .. } => return None,
            Task::Under { asked, .. } => return Box::pin(self.refusal(asked, goal)).await,
            Task::Prepare { .. } => return Some("no files are taken this way".to_owned()),
            Task::Change { change, .. } => change,
        };
        let Some(goal) = goal.filter(|it| self.wants.takes(it)) else {
            return Some("the command that runs on this host has another goal".to_owned());
        };
        let Change::Write { resources, .. } = change else {
            return self.wants.refusal(change, &goal, None, &[]);
        };
        let look = Task::Look { resources: resources.clone(), plugins: Vec::new() };
        let Ok(Answer::Report(report)) = self.host.perform(&look).await else {
            return Some("the files of this host cannot be read".to_owned());
        };
        let there: Vec<_> = report.plugins.iter().map(|it| it.provider.clone()).collect();
        self.wants.refusal(change, &goal, report.on_disk.as_ref().ok(), &there)
    }
}

impl Wants {
    fn takes(&self, goal: &Goal) -> bool {
        match self {
            Self::Goal(wanted, _) => wanted == goal,
            Self::Rotate => matches!(goal, Goal::Rotate { .. }),
            Self::Undo => matches!(goal, Goal::Undo { .. }),
            Self::Continue => true,
        }
    }

    /// Why a change does not lead to the goal. `there` are the KMS entries of the file.
    fn refusal(
        &self,
        change: &Change,
        goal: &Goal,
        on_disk: Option<&Configuration>,
        there: &[crate::rollout::Provider],
    ) -> Option<String> {
        let (order, plugins) = match change {
            Change::Restart { .. } => return None,
            Change::RemoveFlag { .. } => {
                return goal.sets_flag().then(|| format!("to {goal}, the flag is not taken away"));
            }
            Change::Write { order, plugins, .. } => (order, plugins),
        };
        let now = on_disk.map(|it| it.order().writer);
        if order.writer != goal.writer() && now.as_ref() != Some(&order.writer) {
            return Some(format!("to {goal}, nothing is written with {}", order.writer));
        }
        let ours = match self {
            Self::Goal(_, plugins) => plugins.as_slice(),
            _ => &[],
        };
        let is_new = |it: &&KmsPlugin| order.reads(&it.provider) && !there.contains(&it.provider);
        let unknown = plugins.iter().filter(is_new).find(|it| !ours.contains(it))?;
        Some(format!(
            "the command that runs on this host names no plugin of {} at {}",
            unknown.provider, unknown.endpoint
        ))
    }
}

fn name(host: &str) -> String {
    format!("{PREFIX}{host}")
}

const NOT_THERE: &str = "its part of the rollout does not run: run the same command there";
const NO_WORD: &str =
    "its part of the rollout does not answer: look whether the same command still runs there";
/// A look asks plugins that may each take some seconds.
const THERE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::Wants;
    use crate::host::Change;
    use crate::provider_order::KmsPlugin;
    use crate::rollout::{Configuration, Goal, Order, Provider};

    #[test]
    fn a_part_does_nothing_that_its_operator_did_not_ask_for() {
        let kms = |name: &str| Provider::KmsV2 { name: name.to_owned() };
        let plugin = |name: &str, path: &str| KmsPlugin {
            provider: kms(name),
            endpoint: format!("unix://{path}"),
            timeout: None,
        };
        let goal = Goal::Enable { to: kms("a"), keep_identity: false };
        let wants = Wants::Goal(goal.clone(), vec![plugin("a", "/a.sock")]);
        assert!(wants.takes(&goal) && !wants.takes(&Goal::Disable) && !Wants::Undo.takes(&goal));
        let write = |writer: &Provider, readers: Vec<Provider>, plugins: Vec<KmsPlugin>| Change::Write {
            resources: vec!["secrets".to_owned()],
            order: Order { writer: writer.clone(), readers },
            plugins,
        };
        let now = Configuration::Providers(Order { writer: Provider::Identity, readers: Vec::new() });
        let refused = |change: &Change| wants.refusal(change, &goal, Some(&now), &[]).is_some();
        let ours = || vec![plugin("a", "/a.sock")];
        assert!(!refused(&write(&Provider::Identity, vec![kms("a")], ours())));
        assert!(!refused(&write(&kms("a"), vec![Provider::Identity], ours())));
        assert!(refused(&write(&kms("b"), vec![kms("a")], ours())), "another provider writes");
        let elsewhere = vec![plugin("a", "/elsewhere.sock")];
        assert!(refused(&write(&kms("a"), vec![], elsewhere)), "the plugin is somewhere else");
        assert!(refused(&Change::RemoveFlag { resources: Vec::new() }), "it is to be set");
        // Encrypted already, nobody asked for plain values.
        let encrypts = Configuration::Providers(Order { writer: kms("a"), readers: Vec::new() });
        let back = write(&Provider::Identity, vec![kms("a")], ours());
        assert!(wants.refusal(&back, &goal, Some(&encrypts), &[kms("a")]).is_some());
        let remove = Change::RemoveFlag { resources: Vec::new() };
        assert_eq!(Wants::Continue.refusal(&remove, &Goal::Disable, Some(&encrypts), &[]), None);
    }
}
