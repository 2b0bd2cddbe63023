//! A host that does another driver's tasks, while its own operator's command runs there. They come in a Lease of kube-system: see
//! [`super::PeerHost`].
//!
//! Whoever may write Leases in kube-system could write tasks. So a part does what is asked only for the holder of the driver's Lease, asks no
//! sockets but those that its operator or its own file names, and changes only what leads to the goal of its operator, for the operator's
//! resources. When that is safe only the driver knows: it looks at all hosts and at what is stored.

use keystead_model::ErrorClass;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::driver_lease::{DURATION, Driving, RENEW, driving};
use super::host_access::HostReply;
use super::peer::{ANSWER, LONGEST, LOOK, Mail, Reply, TASK, VERSION, name, other_version};
use super::wants::Wants;
use crate::api::{ApiServer, CallError, Lease, delete_lease, get_lease, put_lease};
use crate::host::{Answer, Change, LocalHost, Report, Task};
use crate::rollout::Provider;

/// How often the removal of the host's Lease is tried, while a driver writes into it.
const REMOVALS: usize = 3;

/// What a host does for a driver elsewhere.
pub struct Part {
    /// This host.
    pub host: LocalHost,
    /// The API servers, any of which is asked.
    pub servers: Vec<ApiServer>,
    /// [`super::RecordFile::holder`]: one that is the same cannot be alive.
    pub holder: String,
    /// What its operator wants.
    pub wants: Wants,
}

/// Why a part ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Two hosts with one name, or two commands with different record files.
    #[error(
        "{holder} does the part of a host of the name {host} and renews its Lease in kube-system: each host needs a name of its own, by --node"
    )]
    Taken {
        /// This host.
        host: String,
        /// Who that is, as [`super::RecordFile::holder`] has it.
        holder: String,
    },
    /// The API servers refuse.
    #[error("the Lease of this host in kube-system cannot be kept, so no driver can ask it")]
    Call(#[from] CallError),
}

impl PartError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Taken { .. } => ErrorClass::FailedPrecondition,
            Self::Call(error) => error.class(),
        }
    }
}

/// What is told is told once, until something else is.
struct Teller<'t> {
    tell: &'t mut (dyn FnMut(&str) + Send),
    last: Option<String>,
}

impl Teller<'_> {
    fn say(&mut self, text: String) {
        if self.last.as_ref() != Some(&text) {
            (self.tell)(&text);
        }
        self.last = Some(text);
    }
}

impl Part {
    /// Does what is asked, until it is told to stop. An API server that does not answer is asked again.
    ///
    /// # Errors
    ///
    /// Another process does the part of this host, or the API servers deny.
    pub async fn serve(
        self,
        stop: &CancellationToken,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), PartError> {
        let mut teller = Teller { tell, last: None };
        let ended = match self.take(stop, &mut teller).await {
            Ok(true) => self.turns(stop, &mut teller).await,
            Ok(false) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.remove().await;
        ended
    }

    /// Takes the Lease of this host; whether it has it, or was told to stop before.
    async fn take(&self, stop: &CancellationToken, teller: &mut Teller<'_>) -> Result<bool, PartError> {
        let mut first: Option<(Option<String>, Instant)> = None;
        while !stop.is_cancelled() {
            match self.try_take(&mut first, teller).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(PartError::Call(error)) if error.may_pass() => teller.say(unheard(&error)),
                Err(error) => return Err(error),
            }
            pause(stop).await;
        }
        Ok(false)
    }

    async fn try_take(
        &self,
        first: &mut Option<(Option<String>, Instant)>,
        teller: &mut Teller<'_>,
    ) -> Result<bool, PartError> {
        let name = name(&self.host.name);
        let lease = get_lease(&self.servers, &name).await?.unwrap_or_else(|| Lease::new(&name));
        let is_free = match (self.other(&lease), &first) {
            (None, _) => true,
            (Some(other), None) => {
                teller.say(format!(
                    "waits until it is certain whether {other} still does the part of this host, at most half a minute"
                ));
                *first = Some((lease.spec.renew_time.clone(), Instant::now()));
                false
            }
            // Drivers write into it too, so that its version says nothing.
            (Some(holder), Some((seen, _))) if *seen != lease.spec.renew_time => {
                return Err(PartError::Taken { host: self.host.name.clone(), holder });
            }
            (Some(_), Some((_, since))) => since.elapsed() > DURATION,
        };
        Ok(is_free && put_lease(&self.servers, &lease.taken(&self.holder, DURATION)).await?.is_some())
    }

    /// Whose the Lease is, if not this part's.
    fn other(&self, lease: &Lease) -> Option<String> {
        lease.holder().filter(|it| *it != self.holder).map(str::to_owned)
    }

    async fn turns(&self, stop: &CancellationToken, teller: &mut Teller<'_>) -> Result<(), PartError> {
        let mut renewed = Instant::now();
        while !stop.is_cancelled() {
            match self.turn(renewed.elapsed() > RENEW, teller).await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => {}
                Err(PartError::Call(error)) if error.may_pass() => teller.say(unheard(&error)),
                Err(error) => return Err(error),
            }
            pause(stop).await;
        }
        Ok(())
    }

    /// One look for a task; whether the Lease was written.
    async fn turn(&self, due: bool, teller: &mut Teller<'_>) -> Result<bool, PartError> {
        let name = name(&self.host.name);
        let mut lease = get_lease(&self.servers, &name).await?.unwrap_or_else(|| Lease::new(&name));
        if let Some(holder) = self.other(&lease) {
            return Err(PartError::Taken { host: self.host.name.clone(), holder });
        }
        let annotations = &mut lease.metadata.annotations;
        let mail: Option<Mail> = annotations.get(TASK).and_then(|it| serde_json::from_str(it).ok());
        let answered: Option<Reply> = annotations.get(ANSWER).and_then(|it| serde_json::from_str(it).ok());
        let reply = match mail.filter(|mail| answered.is_none_or(|it| it.id != mail.id)) {
            Some(mail) => self.answer(mail, teller).await?,
            None => None,
        };
        if reply.is_none() && !due && lease.metadata.resource_version.is_some() {
            return Ok(false);
        }
        if let Some(text) = reply {
            lease.metadata.annotations.insert(ANSWER.to_owned(), text);
        }
        // If a new task was written meanwhile, this answer is of no use to anybody.
        let renewed = lease.renewed(&self.holder, DURATION);
        Ok(put_lease(&self.servers, &renewed).await?.is_some())
    }

    /// None: whoever asks does not drive.
    async fn answer(&self, mail: Mail, teller: &mut Teller<'_>) -> Result<Option<String>, CallError> {
        let driving = driving(&self.servers).await?.filter(|it| it.driver == mail.driver);
        let Some(driving) = driving else { return Ok(None) };
        let reply = match serde_json::from_value(mail.task) {
            Ok(task) => self.reply(task, &driving).await,
            Err(_) => HostReply::Failed(other_version(&mail.version)),
        };
        if let HostReply::Failed(reason) = &reply {
            teller.say(format!("{} asked for something that was not done here: {reason}", driving.driver));
        }
        let text = |reply: &HostReply| {
            let reply = serde_json::to_value(reply).unwrap_or(Value::Null);
            let reply = Reply { id: mail.id.clone(), version: VERSION.to_owned(), reply };
            serde_json::to_string(&reply).unwrap_or_default()
        };
        let answer = text(&reply);
        if answer.len() <= LONGEST {
            return Ok(Some(answer));
        }
        let message =
            format!("the answer has {} bytes, and {LONGEST} go this way: use --over ssh", answer.len());
        Ok(Some(text(&HostReply::Failed(message))))
    }

    async fn reply(&self, task: Task, driving: &Driving) -> HostReply {
        match self.allowed(task, driving).await {
            Ok(task) => HostReply::of(self.host.perform(&task).await),
            Err(reason) => HostReply::Failed(reason),
        }
    }

    /// The task as it may be done here, or why it is not.
    async fn allowed(&self, task: Task, driving: &Driving) -> Result<Task, String> {
        let (tenure, asked) = match task {
            Task::Under { tenure, asked } if tenure == driving.tenure => (Some(tenure), *asked),
            Task::Under { .. } => return Err("whoever asks has not the number of the driver".to_owned()),
            task => (None, task),
        };
        let asked = match asked {
            Task::Look { resources, plugins } => {
                let plugins = self.wants.known(&plugins, &self.entries());
                Task::Look { resources, plugins }
            }
            Task::Unwrap { provider, plugins, wrapped } => {
                let plugins = self.wants.known(&plugins, &self.entries());
                Task::Unwrap { provider, plugins, wrapped }
            }
            // Without a number it would be done for a driver that was overtaken, however late it comes.
            Task::Change { .. } if tenure.is_none() => {
                return Err("a change comes with the number of the driver".to_owned());
            }
            Task::Change { change, seen } => {
                self.refusal(&change, driving).await.map_or(Ok(()), Err)?;
                Task::Change { change, seen }
            }
            Task::Under { .. } => return Err("a task has one number of a driver".to_owned()),
            Task::Prepare { .. } => return Err("no files are taken this way".to_owned()),
        };
        Ok(match tenure {
            Some(tenure) => Task::Under { tenure, asked: Box::new(asked) },
            None => asked,
        })
    }

    /// The KMS entries of this host's own file. One that cannot be read has none.
    fn entries(&self) -> Vec<Provider> {
        self.host.kms_entries().unwrap_or_default().into_iter().map(|(provider, _)| provider).collect()
    }

    /// Why a change is none that this host's operator wants done.
    async fn refusal(&self, change: &Change, driving: &Driving) -> Option<String> {
        let record = match &driving.record {
            Ok(Some(record)) => record,
            Ok(None) => return Some("the driver shares no record of its rollout".to_owned()),
            Err(error) => {
                return Some(format!(
                    "{error}. Install the same version of keystead on all control-plane hosts"
                ));
            }
        };
        if let Some(reason) = self.wants.mismatch(record) {
            return Some(reason);
        }
        match self.look().await {
            Ok(here) => self.wants.refusal(change, &record.goal, &here),
            Err(reason) => Some(format!("the files of this host cannot be read: {reason}")),
        }
    }

    async fn look(&self) -> Result<Report, String> {
        let look = Task::Look { resources: self.wants.resources.clone(), plugins: Vec::new() };
        match self.host.perform(&look).await {
            Ok(Answer::Report(report)) => Ok(*report),
            Ok(_) => Err("it gives no report".to_owned()),
            Err(error) => Err(keystead_model::ErrorChain(&error).to_string()),
        }
    }

    /// So that a driver sees that the part has ended. One that stays is taken again, by the same command at once.
    async fn remove(&self) {
        for _ in 0..REMOVALS {
            let Ok(Some(lease)) = get_lease(&self.servers, &name(&self.host.name)).await else { return };
            if self.other(&lease).is_some() || !matches!(delete_lease(&self.servers, &lease).await, Ok(false))
            {
                return;
            }
        }
    }
}

fn unheard(error: &CallError) -> String {
    let error = keystead_model::ErrorChain(error);
    format!("no driver can ask this host as long as no API server answers: {error}")
}

async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LOOK) => {}
    }
}
