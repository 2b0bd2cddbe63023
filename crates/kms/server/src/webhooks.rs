//! Tells receivers over HTTPS what the key service has for them. Each has a task, a client and a queue in the store of its own, so that
//! none holds up another one, nor any call. The form of a notice and of its signature: docs/reference/webhooks.md.

mod secret;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keystead_crypto::{Random, SystemRandom};
use keystead_keyservice::{EventKind, KeyService, KmsError, Notice, Webhook};
use keystead_model::ErrorChain;
use keystead_runtime::{Failure, print_result};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocking_work::BlockingWork;
use crate::metrics::Metrics;
use secret::{Secrets, read_secrets};

/// How soon a notice is seen that a commit has left, whichever process has made it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A receiver that needs longer does its work before it answers, and is told again.
const SEND_LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// A file system that needs longer does not answer.
const FILE_LIMIT: Duration = Duration::from_secs(10);
/// After the first failure; it doubles with each, up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(15 * 60);

/// A receiver, as it is configured.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Its name here.
    pub name: String,
    /// Where notices are posted to. It may hold a token, so it is in no log.
    pub url: Url,
    /// The secrets that sign, one a line.
    pub secret_file: PathBuf,
    /// A certificate authority in PEM, besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// What it is told of.
    pub events: Vec<EventKind>,
}

/// The address of a receiver: https, or http on this host, without a user and a password.
///
/// # Errors
///
/// What is wrong with it, without what it holds.
pub(crate) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("no address: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address with a user or a password".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let is_local = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_local => Ok(url),
        "http" => Err("an address without TLS that is not on this host".to_owned()),
        scheme => Err(format!("an address that begins with {scheme}:")),
    }
}

impl WebhookSettings {
    /// What the key service is told of it.
    pub(crate) fn subscription(&self) -> Webhook {
        Webhook { name: self.name.clone(), events: self.events.clone() }
    }

    /// Reads what it names.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.client().map(drop)?;
        read_secrets(&self.secret_file).map(drop).map_err(|failure| self.named(failure))
    }

    fn named(&self, failure: Failure) -> Failure {
        failure.hint(format!("check the webhook `{}`", self.name))
    }

    fn client(&self) -> Result<Client, Failure> {
        // A redirect would carry the notice to somebody else; a proxy from the environment is nothing that was asked for.
        let mut client = Client::builder()
            .user_agent(concat!("keystead-server/", env!("CARGO_PKG_VERSION")))
            .timeout(SEND_LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            .redirect(Policy::none())
            .no_proxy();
        if let Some(path) = &self.ca_file {
            let read = std::fs::read(path).map_err(|error| error.to_string());
            let certificates = read.and_then(|pem| {
                let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
                Some(certificates)
                    .filter(|it| !it.is_empty())
                    .ok_or("there is no certificate in PEM in it".to_owned())
            });
            let certificates = certificates
                .map_err(|error| self.named(Failure::new(format!("{}: {error}", path.display()))))?;
            client = client.tls_certs_merge(certificates);
        }
        client.build().map_err(|error| self.named(Failure::from_error(&error)))
    }
}

/// A receiver that is told what waits for it.
pub(crate) struct Receiver {
    settings: WebhookSettings,
    client: Client,
    secrets: BlockingWork<Result<Secrets, Failure>>,
    keyservice: Arc<KeyService>,
    metrics: Arc<Metrics>,
}

/// What became of a notice.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It was taken: 2xx.
    Delivered,
    /// This one was not, others may be: 4xx. The text says what was answered.
    Refused(String),
    /// Nothing is taken now.
    Failed(String),
}

/// How far a receiver was told, by this process.
struct Progress {
    /// The record of the newest notice that was tried.
    tried: String,
    /// Tries of everything in a row that left something.
    failures: u32,
    /// When everything that waits is tried again.
    retry: Instant,
    /// Nothing is tried before, because nothing is taken.
    away: bool,
}

impl Receiver {
    pub(crate) fn new(
        settings: &WebhookSettings,
        keyservice: Arc<KeyService>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Failure> {
        settings.check()?;
        metrics.may_send_notices(&settings.name);
        let (settings, client) = (settings.clone(), settings.client()?);
        Ok(Self { settings, client, secrets: BlockingWork::default(), keyservice, metrics })
    }

    /// Sends what waits until it is told to stop. What is on its way then is sent once more by whoever goes on.
    pub(crate) async fn keep_telling(self, stopping: CancellationToken) {
        let mut progress = Progress { tried: String::new(), failures: 0, retry: Instant::now(), away: false };
        let tell = async {
            loop {
                self.tell(&mut progress).await;
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = tell => {}
            () = stopping.cancelled() => {}
        }
    }

    /// Sends what is new, or everything that waits once that is due.
    async fn tell(&self, progress: &mut Progress) {
        let everything = Instant::now() >= progress.retry;
        if progress.away && !everything {
            return;
        }
        let from = if everything { String::new() } else { progress.tried.clone() };
        let left = match self.send_after(from, progress).await {
            Ok(left) => left,
            Err(error) => Some(format!("the notices that wait cannot be read: {error}")),
        };
        let webhook = &self.settings.name;
        match left {
            None if everything && progress.failures > 0 => {
                tracing::info!(webhook, "the receiver takes notices again");
                progress.failures = 0;
            }
            None => {}
            Some(reason) => {
                if progress.failures == 0 {
                    tracing::warn!(webhook, reason, "a notice was not delivered; it is tried again");
                }
                if everything || progress.failures == 0 {
                    progress.failures = progress.failures.saturating_add(1);
                    progress.retry = Instant::now() + jittered(pause(progress.failures));
                }
            }
        }
    }

    /// Sends what sorts behind this record, the oldest first, until nothing is taken any more. Answers why something is left.
    async fn send_after(
        &self,
        mut after: String,
        progress: &mut Progress,
    ) -> Result<Option<String>, KmsError> {
        let mut left = None;
        loop {
            let waiting = self.keyservice.waiting_notices(&self.settings.name, &after).await?;
            let Some(last) = waiting.last() else { return Ok(left) };
            after.clone_from(&last.record);
            for notice in waiting {
                let answer = self.send(&notice.notice).await;
                progress.away = matches!(answer, Answer::Failed(_));
                progress.tried = progress.tried.clone().max(notice.record.clone());
                match answer {
                    Answer::Delivered => self.keyservice.delivered(&notice).await?,
                    Answer::Refused(reason) => left = Some(reason),
                    Answer::Failed(reason) => return Ok(Some(reason)),
                }
            }
        }
    }

    async fn send(&self, notice: &Notice) -> Answer {
        let path = self.settings.secret_file.clone();
        let secrets = match self.secrets.ask(FILE_LIMIT, move || read_secrets(&path)).await {
            Some(Ok(secrets)) => Ok(secrets),
            Some(Err(failure)) => Err(failure.to_string()),
            None => Err("the file of its secret is not read in time".to_owned()),
        };
        let answer = match secrets {
            Ok(secrets) => post(&self.client, &self.settings.url, &secrets, notice).await,
            Err(reason) => Answer::Failed(reason),
        };
        let result = match &answer {
            Answer::Delivered => "delivered",
            Answer::Refused(_) => "refused",
            Answer::Failed(_) => "failed",
        };
        self.metrics.notice_sent(&self.settings.name, result);
        answer
    }
}

/// Posts one notice. The status is all that is read of the answer.
async fn post(client: &Client, url: &Url, secrets: &Secrets, notice: &Notice) -> Answer {
    let time = Timestamp::now().as_second().to_string();
    let request = client
        .post(url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", &notice.id)
        .header("webhook-timestamp", &time)
        .header("webhook-signature", secrets.sign(&notice.id, &time, &notice.body))
        .body(notice.body.clone());
    match request.send().await {
        Ok(answer) => of_status(answer.status()),
        Err(error) => Answer::Failed(ErrorChain(&error.without_url()).to_string()),
    }
}

fn of_status(status: StatusCode) -> Answer {
    let answered = format!("the receiver answers {status}");
    match status {
        status if status.is_success() => Answer::Delivered,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Answer::Failed(answered),
        status if status.is_client_error() => Answer::Refused(answered),
        status if status.is_redirection() => {
            Answer::Failed(format!("{answered}; redirects are not followed"))
        }
        _ => Answer::Failed(answered),
    }
}

fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_RETRY.saturating_mul(doubled).min(LONGEST_RETRY)
}

/// A fifth more or less, so that servers that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    let random = SystemRandom.fill(&mut byte).map_or(128, |()| u32::from(byte[0]));
    pause * (205 + random * 102 / 255) / 256
}

/// `--test-webhooks`: beside a server that serves, and without its database.
pub(crate) async fn test(webhooks: &[WebhookSettings]) -> Result<(), Failure> {
    if webhooks.is_empty() {
        let failure = Failure::new("the settings have no webhooks").usage();
        return Err(failure.hint("name them as `webhooks` in the file that --config names".to_owned()));
    }
    let mut faults = Vec::new();
    for webhook in webhooks {
        let (client, secrets) = (webhook.client(), read_secrets(&webhook.secret_file));
        let answer = match (client, secrets) {
            (Ok(client), Ok(secrets)) => {
                post(&client, &webhook.url, &secrets, &Notice::test(&webhook.name, Timestamp::now())).await
            }
            (Err(failure), _) | (_, Err(failure)) => {
                faults.push(webhook.named(failure));
                continue;
            }
        };
        match answer {
            Answer::Delivered => print_result(&format!("{}: delivered\n", webhook.name))?,
            Answer::Refused(reason) | Answer::Failed(reason) => {
                faults.push(webhook.named(Failure::new(format!("{}: {reason}", webhook.name))));
            }
        }
    }
    faults.into_iter().reduce(Failure::and).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_keep_a_notice_private_are_taken() {
        for good in [
            "https://hooks.example.com/a?token=b",
            "http://127.0.0.1:80",
            "http://[::1]:1/",
            "http://localhost/a",
        ] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "hooks.example.com",
            "http://hooks.example.com/",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "https://user:hunter2@hooks.example.com/",
            "https://user@hooks.example.com/",
            "ftp://127.0.0.1/",
            "https://",
        ] {
            let said = address(bad).expect_err(bad);
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn an_answer_says_whether_it_is_about_the_notice_or_the_receiver() {
        for (status, wanted) in [
            (200, "delivered"),
            (204, "delivered"),
            (400, "refused"),
            (404, "refused"),
            (410, "refused"),
            (408, "failed"),
            (429, "failed"),
            (301, "failed"),
            (500, "failed"),
            (503, "failed"),
        ] {
            let found = match of_status(StatusCode::from_u16(status).expect("a status")) {
                Answer::Delivered => "delivered",
                Answer::Refused(_) => "refused",
                Answer::Failed(_) => "failed",
            };
            assert_eq!(found, wanted, "{status}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_quarter_of_an_hour() {
        assert_eq!([1, 2, 3].map(pause), [5, 10, 20].map(Duration::from_secs));
        assert_eq!([9, 40, u32::MAX].map(pause), [LONGEST_RETRY; 3]);
        let (least, most) = (LONGEST_RETRY * 4 / 5, LONGEST_RETRY * 6 / 5);
        assert!((0..100).all(|_| (least..=most + Duration::from_secs(1)).contains(&jittered(LONGEST_RETRY))));
    }
}
