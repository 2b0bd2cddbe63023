//! How a host is asked: itself, over ssh, or through the cluster.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::peer::PeerHost;
use crate::host::{Answer, HostError, LocalHost, Task};

/// A look asks plugins that may each take some seconds.
const REMOTE: Duration = Duration::from_secs(120);
/// Bytes of the longest answer: a look at a host with a hundred plugins has some megabytes.
const ANSWER_MAX: u64 = 64 << 20;
/// Characters of what a remote program complained that are kept.
const COMPLAINT_MAX: usize = 1000;

/// A host that can be asked.
#[derive(Clone, Debug)]
pub enum HostAccess {
    /// This one.
    Local(LocalHost),
    /// Another one.
    Ssh(SshHost),
    /// Another one, on which an operator runs the same command.
    Peer(PeerHost),
}

/// A host that the system's ssh reaches. Keys, jump hosts and users are ssh's own configuration.
#[derive(Clone, Debug)]
pub struct SshHost {
    /// As for ssh: a host, or USER@HOST.
    pub destination: String,
    /// What runs there: this program's `cluster host` with its flags. It reads a task and writes an answer.
    pub command: Vec<String>,
}

/// Why a host did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It said so.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It said so, elsewhere.
    #[error("{destination}: {message}")]
    Remote {
        /// The host.
        destination: String,
        /// Its words.
        message: String,
    },
    /// It was changed meanwhile, elsewhere.
    #[error("{destination}: what was decided on is not so any more")]
    RemoteChanged {
        /// The host.
        destination: String,
    },
    /// There was no answer.
    #[error("{destination} cannot be asked: {reason}")]
    NoAnswer {
        /// The host.
        destination: String,
        /// Why not.
        reason: String,
    },
}

/// What `cluster host` writes.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostReply {
    /// It was done.
    Answer(Answer),
    /// It was not: the files are not as they were when it was decided on.
    Changed,
    /// It was not, for this reason.
    Failed(String),
}

impl HostAccess {
    /// The name that plans have for it.
    pub fn name(&self) -> &str {
        match self {
            Self::Local(host) => &host.name,
            Self::Ssh(host) => &host.destination,
            Self::Peer(host) => &host.name,
        }
    }

    /// Has it do something.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or did not do it.
    pub async fn perform(&self, task: &Task) -> Result<Answer, AccessError> {
        match self {
            Self::Local(host) => Ok(host.perform(task).await?),
            Self::Ssh(host) => host.perform(task).await,
            Self::Peer(host) => host.perform(task).await,
        }
    }
}

impl AccessError {
    /// Whether the host is not as it was when the task was made.
    pub fn is_stale(&self) -> bool {
        matches!(
            self,
            Self::Host(HostError::Changed(_) | HostError::Changing(_)) | Self::RemoteChanged { .. }
        )
    }
}

impl HostReply {
    /// What a host says of its own attempt.
    pub fn of(result: Result<Answer, HostError>) -> Self {
        match result {
            Ok(answer) => Self::Answer(answer),
            Err(HostError::Changed(_) | HostError::Changing(_)) => Self::Changed,
            Err(error) => Self::Failed(keystead_model::ErrorChain(&error).to_string()),
        }
    }
}

impl SshHost {
    async fn perform(&self, task: &Task) -> Result<Answer, AccessError> {
        let destination = || self.destination.clone();
        let no_answer = |reason: String| AccessError::NoAnswer { destination: destination(), reason };
        // It may hold keys.
        let text = Zeroizing::new(serde_json::to_vec(task).map_err(|error| no_answer(error.to_string()))?);
        let output = match tokio::time::timeout(REMOTE, self.exchange(&text)).await {
            Ok(output) => output.map_err(|error| no_answer(error.to_string()))?,
            Err(_) => return Err(no_answer(format!("no answer within {} s", REMOTE.as_secs()))),
        };
        let reply: HostReply = serde_json::from_slice(&output.stdout).map_err(|_| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let seen = complaint.trim().chars().map(|it| if it.is_control() { ' ' } else { it });
            let complaint: String = seen.take(COMPLAINT_MAX).collect();
            no_answer(if complaint.is_empty() { output.status.to_string() } else { complaint })
        })?;
        match reply {
            HostReply::Answer(answer) => Ok(answer),
            HostReply::Changed => Err(AccessError::RemoteChanged { destination: destination() }),
            HostReply::Failed(message) => Err(AccessError::Remote { destination: destination(), message }),
        }
    }

    /// What is changed there ends whether or not anybody still waits: the program reads its task to the end before it begins.
    async fn exchange(&self, task: &[u8]) -> std::io::Result<Output> {
        let mut child = Command::new("ssh")
            // Nobody is there to type a password.
            .args(["-o", "BatchMode=yes", "--", &self.destination])
            .args(self.command.iter().map(|it| quoted(it)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let give = async {
            if let Some(mut stdin) = stdin {
                // Whoever ends before it has read all says why elsewhere.
                drop(stdin.write_all(task).await);
            }
        };
        let (answer, complaint) = (child.stdout.take(), child.stderr.take());
        let ((), stdout, stderr) =
            tokio::join!(give, read(answer, ANSWER_MAX), read(complaint, COMPLAINT_MAX as u64 * 4));
        let (stdout, stderr) = (stdout?, stderr?);
        Ok(Output { status: child.wait().await?, stdout, stderr })
    }
}

/// As much of it as is worth reading. The other end notices when nobody reads on.
async fn read(from: Option<impl AsyncRead + Unpin>, longest: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(longest).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// ssh gives all its arguments to the other host's shell as one text.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_stay_words() {
        assert_eq!(quoted("a b;c"), "'a b;c'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
