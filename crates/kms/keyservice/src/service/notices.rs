//! What receivers of webhooks are to be told: in the store from the commit of the change until it was delivered or given up.

use jiff::{SignedDuration, Timestamp};
use keystead_model::ErrorClass;
use keystead_store::{Batch, Entry};

use crate::records::notice::{Dropped, Event, EventKind, Notice};
use crate::records::{decode, encode, record_name};
use crate::{KeyService, KmsError, Webhook};

/// Notices that wait for one receiver; with more the oldest are given up. 4 MiB at most.
const MOST_WAITING: u64 = 1000;
/// A notice that was not delivered by then is given up: a receiver may be away over a weekend.
const KEPT: SignedDuration = SignedDuration::from_hours(72);
/// Notices that are read at once.
const READ: usize = 100;
/// Notices that are given up with one commit.
const DROPPED_TOGETHER: usize = 64;
/// Before all others, which are named after a time: a receiver that is back hears first what it has missed.
const ABOUT_DROPPED: &str = "0-dropped";

/// A notice that is to be delivered.
#[derive(Clone, Debug)]
pub struct WaitingNotice {
    /// What is sent.
    pub notice: Notice,
    /// The record that holds it; later ones sort behind it.
    pub record: String,
    revision: keystead_store::Revision,
}

/// How far a receiver was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookFigures {
    /// Its name.
    pub name: String,
    /// Notices that wait.
    pub waiting: u64,
    /// Notices that were given up since it was first set up.
    pub dropped: u64,
}

impl KeyService {
    /// Adds to a batch what receivers are to be told of it, so that neither is there without the other.
    pub(crate) fn telling(&self, mut batch: Batch, events: &[Event]) -> Result<Batch, KmsError> {
        for event in events {
            let (id, time) = self.new_notice_id()?;
            let notice = encode(&Notice::new(id.clone(), event, time))?;
            for webhook in self.settings.webhooks.iter().filter(|it| it.events.contains(&event.kind)) {
                batch = batch.create(record_name::notice(&webhook.name, &id), notice.clone());
            }
        }
        Ok(batch)
    }

    /// What waits for a receiver and sorts behind the record `after` (empty: from the oldest on), at most 100.
    ///
    /// # Errors
    ///
    /// The store does not answer, or a record is damaged.
    pub async fn waiting_notices(&self, webhook: &str, after: &str) -> Result<Vec<WaitingNotice>, KmsError> {
        let entries = self.store.list(&record_name::notices(webhook), after, READ).await?;
        let waiting = |entry: Entry| {
            let notice = decode(&entry.name, &entry.value)?;
            Ok(WaitingNotice { notice, record: entry.name, revision: entry.revision })
        };
        entries.into_iter().map(waiting).collect()
    }

    /// A receiver has taken a notice, so that it is not sent again.
    ///
    /// # Errors
    ///
    /// The store does not take it: the notice is sent once more, under the same id.
    pub async fn delivered(&self, notice: &WaitingNotice) -> Result<(), KmsError> {
        let batch = Batch::default().delete(notice.record.clone(), notice.revision);
        match self.ledger.commit(batch, None).await {
            Ok(committed) => committed.complete().map(drop),
            // Given up meanwhile, or delivered by another process.
            Err(uncommitted) if uncommitted.error.class() == ErrorClass::Aborted => Ok(()),
            Err(uncommitted) => Err(uncommitted.error),
        }
    }

    /// Gives up what is too old or too much, and answers how far each receiver was told.
    pub(crate) async fn limit_notices(&self) -> Result<Vec<WebhookFigures>, KmsError> {
        let mut figures = Vec::new();
        for Webhook { name, .. } in &self.settings.webhooks {
            let dropped = self.limit_notices_for(name).await?;
            let waiting = self.store.count(&record_name::notices(name)).await?;
            figures.push(WebhookFigures { name: name.clone(), waiting, dropped });
        }
        Ok(figures)
    }

    /// Answers how many were ever given up.
    async fn limit_notices_for(&self, webhook: &str) -> Result<u64, KmsError> {
        let oldest_kept = self.clock.now().checked_sub(KEPT).unwrap_or(Timestamp::MIN);
        let oldest_kept = record_name::notice(webhook, &time_text(oldest_kept));
        let about_dropped = record_name::notice(webhook, ABOUT_DROPPED);
        loop {
            let record = record_name::dropped_notices(webhook);
            let known = self.read::<Dropped>(&record).await?;
            let dropped = known.as_ref().map(|it| it.value).unwrap_or_default();
            let waiting = self.store.count(&record_name::notices(webhook)).await?;
            let too_many = usize::try_from(waiting.saturating_sub(MOST_WAITING)).unwrap_or(usize::MAX);
            let oldest =
                self.store.list(&record_name::notices(webhook), &about_dropped, DROPPED_TOGETHER).await?;
            let is_given_up = |(index, entry): &(usize, Entry)| *index < too_many || entry.name < oldest_kept;
            let given_up: Vec<Entry> =
                oldest.into_iter().enumerate().take_while(is_given_up).map(|(_, entry)| entry).collect();
            if given_up.is_empty() {
                return Ok(dropped.notices);
            }
            let dropped = Dropped { notices: dropped.notices.saturating_add(given_up.len() as u64) };
            tracing::error!(
                webhook,
                notices = given_up.len(),
                "notices were not delivered, and are given up"
            );
            let text = format!(
                "{} notices for this webhook were given up since it was set up, because more than {MOST_WAITING} waited or they were {} hours \
                 old. The audit log has what they were about.",
                dropped.notices,
                KEPT.as_hours()
            );
            let (id, time) = self.new_notice_id()?;
            let event = Event::new(EventKind::NoticesDropped, format!("webhooks/{webhook}"), text);
            let delete = |batch: Batch, entry: Entry| batch.delete(entry.name, entry.revision);
            let batch = given_up.into_iter().fold(Batch::default(), delete);
            let batch = batch.put(about_dropped.clone(), encode(&Notice::new(id, &event, time))?);
            let batch = match known {
                Some(known) => batch.replace(record, known.revision, encode(&dropped)?),
                None => batch.create(record, encode(&dropped)?),
            };
            self.ledger.commit(batch, None).await.map_err(|it| it.error)?.complete()?;
        }
    }

    fn new_notice_id(&self) -> Result<(String, Timestamp), KmsError> {
        let time = self.clock.now();
        Ok((format!("{}-{}", time_text(time), hex::encode(self.random_bytes::<8>()?)), time))
    }
}

/// Fourteen digits, so that names are in the order of time.
fn time_text(time: Timestamp) -> String {
    format!("{:014}", time.as_millisecond().max(0))
}
