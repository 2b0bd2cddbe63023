//! One list from its place to its end: pages are read ahead, objects are patched side by side, and what is done is told page by
//! page.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::pending;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::{ApiServer, CallError};

use super::Interrupted;
use super::objects::{self, Object, Page, Patch, Place};
use super::outcome::{Outcome, Verdict, judge, judge_patch};
use super::pace::Pace;
use super::progress::Reporter;
use super::room::{Advice, Watch};
use super::skip;
use super::tally::Tally;

/// Objects in a page: what client-go takes.
pub(super) const PAGE: usize = 500;
/// So many objects must be at hand, or the next page is asked for.
const READ_AHEAD: usize = 250;
/// Pages of which objects are still under way: an object that is tried again and again does not hold up the others.
const PAGES_MAX: usize = 8;
/// Attempts at an object whose patch fails with a server error, or at a list. With the pauses between them 8 s. There are more while
/// nothing else works either.
const ATTEMPTS: u32 = 6;
/// Attempts at a list of one object that cannot be read. The next pass tries it again.
const UNREADABLE: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Conflicts of one object after which it is clear that others write it all the time.
const CONFLICTS_MAX: u32 = 10;
/// Between two attempts at an object that somebody else was writing.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);
/// So many refusals for want of permission, and nothing else, at the start: the rest of the list would be the same.
const FORBIDDEN_MAX: u64 = 50;
/// For what is under way when the run is told to stop. It does no harm to leave it.
const FAREWELL: Duration = Duration::from_secs(5);

/// What all lists of a run share.
pub(super) struct Sending<'a> {
    pub(super) server: &'a ApiServer,
    pub(super) pace: Pace,
    /// How long nothing may work before the run gives up.
    pub(super) patience: Duration,
    pub(super) stop: CancellationToken,
    pub(super) reporter: Reporter<'a>,
    pub(super) room: Option<Watch>,
}

/// One list, and what is done to its objects.
pub(super) struct Walk<'a> {
    pub(super) place: Place<'a>,
    pub(super) patch: Patch<'a>,
    /// Namespaces that have had their turn.
    pub(super) skip: &'a [String],
}

/// How it ended without an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Complete,
    Stopped,
}

/// Goes on from `continue_token`, or from the start where it is empty. `done` gets each page's counts with the token that follows
/// it, in order.
pub(super) async fn walk(
    sending: &mut Sending<'_>,
    walk: &Walk<'_>,
    continue_token: &str,
    done: &mut (dyn FnMut(Tally, &str) -> Result<(), Interrupted> + Send),
) -> Result<Ended, Interrupted> {
    let (server, stop) = (sending.server, sending.stop.clone());
    let mut state = State::new(walk, continue_token);
    let mut under_way = FuturesUnordered::new();
    let mut listing: Option<Listing<'_>> = None;
    let mut farewell = None;
    loop {
        let now = Instant::now();
        let stopping = stop.is_cancelled() || state.fatal.is_some();
        let held = sending.pace.held(now);
        let asked = held.map(|_| WAITS.to_owned());
        sending.reporter.waits(state.no_room.clone().or(asked));
        sending.reporter.tick(now, sending.pace.limit());
        if stopping {
            listing = None;
            if under_way.is_empty() || farewell.is_some_and(|until| until <= now) {
                return state.fatal.map_or(Ok(Ended::Stopped), Err);
            }
            farewell.get_or_insert(now + FAREWELL);
        } else if held.is_none() && state.no_room.is_none() {
            state.recall(now);
            if listing.is_none() && state.wants_page() {
                let (limit, token) = (state.page_size, state.token.clone());
                listing = Some(Box::pin(list(server, walk.place, limit, token, state.is_last_attempt())));
            }
            while under_way.len() < sending.pace.limit()
                && let Some(task) = state.queue.pop_front()
            {
                let last = task.attempts + 1 >= ATTEMPTS || sending.pace.suspects_outage();
                under_way.push(send(server, walk, task, last));
            }
            if under_way.is_empty() && listing.is_none() && state.is_complete() {
                return Ok(Ended::Complete);
            }
        }
        let wake = [farewell, held, state.next_recall(), Some(now + Reporter::EVERY)];
        // What is due already waits for something else.
        let wake = wake.into_iter().flatten().filter(|it| *it > now).min().unwrap_or(now + Reporter::EVERY);
        tokio::select! {
            Some(sent) = under_way.next(), if !under_way.is_empty() => {
                state.sent(sending, sent, under_way.len() + 1);
                state.advance(done)?;
            }
            page = async { match &mut listing { Some(listing) => listing.await, None => pending().await } } => {
                listing = None;
                match page {
                    (Ok(page), _) => state.listed(sending, page),
                    (Err(error), works) => state.list_failed(sending, error, works),
                }
                state.advance(done)?;
            }
            advice = async { match &mut sending.room { Some(room) => room.advice().await, None => pending().await } }, if !stopping => {
                match advice {
                    Advice::GoOn => state.no_room = None,
                    Advice::Rest(reason) => state.no_room = Some(reason),
                    Advice::Stop(interrupted) => state.fatal = Some(interrupted),
                }
            }
            () = sleep_until(wake) => {}
            () = stop.cancelled(), if !stopping => {}
        }
    }
}

const WAITS: &str = "the API server asks to wait, or cannot be reached";

/// A page that was asked for, and, where it failed for the last time, whether the API server works for all that.
type Listing<'a> = Pin<Box<dyn Future<Output = (Result<Page, CallError>, bool)> + Send + 'a>>;

async fn list(
    server: &ApiServer,
    place: Place<'_>,
    limit: usize,
    token: String,
    last: bool,
) -> (Result<Page, CallError>, bool) {
    let page = objects::list(server, place, limit, &token).await;
    let works = last && page.is_err() && server.works().await;
    (page, works)
}

struct Task {
    page: u64,
    object: Object,
    /// That failed, and not because nothing else worked either.
    attempts: u32,
    /// The last one that failed.
    failed: Option<Instant>,
}

struct Sent {
    task: Task,
    result: Result<Outcome, CallError>,
    latency: Duration,
    /// Where it failed for the last time: whether the API server works for all that.
    works: bool,
}

async fn send(server: &ApiServer, walk: &Walk<'_>, task: Task, last: bool) -> Sent {
    let start = Instant::now();
    let result = objects::patch(server, walk.place.resource, walk.patch, &task.object).await;
    let latency = start.elapsed();
    let retried = result.as_ref().is_err_and(|error| matches!(judge(error), Verdict::Retry(_)));
    let works = last && retried && server.works().await;
    Sent { task, result, latency, works }
}

/// A page of which objects are under way.
struct OpenPage {
    left: usize,
    tally: Tally,
    /// What comes after it.
    token: String,
}

struct State<'a> {
    walk: &'a Walk<'a>,
    /// Of the next page.
    token: String,
    page_size: usize,
    exhausted: bool,
    queue: VecDeque<Task>,
    /// To be tried again, not before a moment. Bounded as the pages are.
    later: Vec<(Instant, Task)>,
    pages: VecDeque<OpenPage>,
    /// Number of the first of `pages`.
    first: u64,
    list_failures: u32,
    /// Since when what a list needs does not answer.
    list_down: Option<Instant>,
    /// How often the list had to begin again.
    restarts: u32,
    /// Refusals for want of permission, as long as there was nothing else.
    forbidden: Option<u64>,
    fatal: Option<Interrupted>,
    /// Why nothing is sent, where that is for want of room in etcd.
    no_room: Option<String>,
}

impl<'a> State<'a> {
    fn new(walk: &'a Walk<'a>, continue_token: &str) -> Self {
        Self {
            walk,
            token: continue_token.to_owned(),
            page_size: PAGE,
            exhausted: false,
            queue: VecDeque::new(),
            later: Vec::new(),
            pages: VecDeque::new(),
            first: 0,
            list_failures: 0,
            list_down: None,
            restarts: 0,
            forbidden: Some(0),
            fatal: None,
            no_room: None,
        }
    }

    fn wants_page(&self) -> bool {
        !self.exhausted && self.queue.len() < READ_AHEAD && self.pages.len() < PAGES_MAX
    }

    /// Whether a list that fails once more is given up, if that is its own fault.
    fn is_last_attempt(&self) -> bool {
        self.list_failures >= ATTEMPTS || self.list_down.is_some()
    }

    fn is_complete(&self) -> bool {
        self.exhausted && self.queue.is_empty() && self.later.is_empty()
    }

    fn next_recall(&self) -> Option<Instant> {
        self.later.iter().map(|(due, _)| *due).min()
    }

    /// Puts what is due back into the queue, first in it, so that its page gets done.
    fn recall(&mut self, now: Instant) {
        let mut index = 0;
        while let Some((due, _)) = self.later.get(index) {
            if *due <= now {
                self.queue.push_front(self.later.swap_remove(index).1);
            } else {
                index += 1;
            }
        }
    }

    /// Tells the pages that are done.
    fn advance(
        &mut self,
        done: &mut (dyn FnMut(Tally, &str) -> Result<(), Interrupted> + Send),
    ) -> Result<(), Interrupted> {
        while let Some(page) = self.pages.pop_front_if(|page| page.left == 0) {
            self.first += 1;
            done(page.tally, &page.token)?;
        }
        Ok(())
    }

    fn listed(&mut self, sending: &mut Sending<'_>, page: Page) {
        sending.pace.works(Instant::now());
        (self.list_failures, self.list_down) = (0, None);
        self.page_size = (self.page_size * 2).min(PAGE);
        let number = self.first + self.pages.len() as u64;
        let items = page.items.unwrap_or_default();
        let tasks =
            items.into_iter().map(|it| it.metadata).filter(|it| !self.walk.skip.contains(&it.namespace));
        let before = self.queue.len();
        self.queue.extend(tasks.map(|it| Task {
            page: number,
            object: Object {
                namespace: it.namespace,
                name: it.name,
                version: it.resource_version,
                conflicts: 0,
            },
            attempts: 0,
            failed: None,
        }));
        let left = self.queue.len() - before;
        self.open(left, Tally::default(), page.metadata.continue_token);
    }

    fn open(&mut self, left: usize, tally: Tally, next: String) {
        self.exhausted = next.is_empty();
        self.token.clone_from(&next);
        self.pages.push_back(OpenPage { left, tally, token: next });
    }

    /// `works`: whether the API server works for all that, where that was asked.
    fn list_failed(&mut self, sending: &mut Sending<'_>, error: CallError, works: bool) {
        let now = Instant::now();
        if let CallError::TooLong { .. } = error
            && self.page_size > 1
        {
            self.page_size = self.page_size.div_ceil(4);
            return;
        }
        // The list's revision was compacted. What comes after the place is read at the newest revision: an object that is
        // written meanwhile is written as the API server writes now.
        if let Some(refusal) = error.refusal()
            && refusal.status == 410
        {
            sending.reporter.token_expired();
            match &refusal.continue_token {
                Some(token) => {
                    self.token.clone_from(token);
                    self.list_failures += 1;
                }
                // From its start again, which costs time only.
                None => {
                    self.token.clear();
                    self.restarts += 1;
                }
            }
            if self.list_failures < ATTEMPTS && self.restarts < ATTEMPTS {
                return;
            }
        }
        match judge(&error) {
            Verdict::Throttled(after) => sending.pace.throttled(after, now),
            Verdict::Unreachable => sending.pace.unreachable(now),
            // All the rest works: other resources may not need it.
            Verdict::Down if works => match now - *self.list_down.get_or_insert(now) > sending.patience {
                true => return self.give_up(sending, &error),
                false => return sending.pace.unreachable(now),
            },
            Verdict::Down => {
                self.list_down.get_or_insert(now);
                sending.pace.unreachable(now);
            }
            Verdict::NoCredentials => return self.fatal = Some(Interrupted::Credentials(error)),
            Verdict::EtcdFull => return self.fatal = Some(Interrupted::EtcdFull(error)),
            Verdict::Retry(Outcome::Undecryptable) if self.page_size > 1 => {
                self.page_size = self.page_size.div_ceil(4);
            }
            Verdict::Retry(Outcome::Undecryptable) if self.list_failures >= UNREADABLE => {
                return self.skip_unreadable(sending, &error);
            }
            Verdict::Retry(_) if self.list_failures < ATTEMPTS => {
                sending.pace.pause(FIRST_PAUSE * (1 << self.list_failures), now);
                self.list_failures += 1;
            }
            Verdict::Retry(_) if !works => sending.pace.unreachable(now),
            Verdict::Retry(_) | Verdict::Final(_) | Verdict::Conflict => {
                return self.give_up(sending, &error);
            }
        }
        self.check_patience(sending, now, error);
    }

    /// One object that cannot be read makes every list that meets it fail. It was found by ever smaller pages; its name stands in
    /// the error, and the list goes on behind it.
    fn skip_unreadable(&mut self, sending: &mut Sending<'_>, error: &CallError) {
        let message = reason(error);
        let Some(behind) = skip::behind(&message, self.walk.place, &self.token) else {
            return self.give_up(sending, error);
        };
        let mut tally = Tally::default();
        tally.add_named(&behind.namespace, &behind.name, Outcome::Undecryptable, &message);
        sending.reporter.settled(Outcome::Undecryptable);
        // It does answer, however many there are.
        sending.pace.works(Instant::now());
        self.list_failures = 0;
        self.open(0, tally, behind.token);
    }

    /// The list ends here. What comes after it has nothing to do with that.
    fn give_up(&mut self, sending: &mut Sending<'_>, error: &CallError) {
        let mut tally = Tally::default();
        let namespace = self.walk.place.namespace.unwrap_or_default();
        tally.add_named(namespace, "*", Outcome::NotListed, &error.to_string());
        sending.reporter.not_listed();
        sending.pace.works(Instant::now());
        self.open(0, tally, String::new());
    }

    fn sent(&mut self, sending: &mut Sending<'_>, sent: Sent, under_way: usize) {
        let Sent { mut task, result, latency, works } = sent;
        let now = Instant::now();
        let error = match result {
            Ok(outcome) => {
                sending.pace.answered(latency, under_way, now);
                self.forbidden = None;
                return self.settle(&mut sending.reporter, &task, outcome, "");
            }
            Err(error) => error,
        };
        let verdict = judge_patch(&error, &self.walk.place.resource.name, &task.object.name);
        match verdict {
            Verdict::Final(outcome) => {
                sending.pace.answered(latency, under_way, now);
                self.count_forbidden(outcome, &error);
                self.settle(&mut sending.reporter, &task, outcome, &reason(&error));
            }
            Verdict::Conflict => {
                sending.pace.answered(latency, under_way, now);
                task.object.conflicts += 1;
                self.count(&task, |tally| tally.conflicts += 1);
                if task.object.conflicts < CONFLICTS_MAX {
                    self.later.push((now + CONFLICT_PAUSE * task.object.conflicts, task));
                } else {
                    // Whoever wrote it wrote it as the API server writes now. Only our annotation is not there.
                    let outcome = match self.walk.patch.annotate {
                        None => Outcome::ChangedMeanwhile,
                        Some(_) => Outcome::Failed,
                    };
                    self.settle(&mut sending.reporter, &task, outcome, &reason(&error));
                }
            }
            Verdict::Throttled(after) => {
                sending.pace.throttled(after, now);
                self.again(task);
                self.check_patience(sending, now, error);
            }
            Verdict::Unreachable => {
                sending.pace.unreachable(now);
                self.again(task);
                self.check_patience(sending, now, error);
            }
            Verdict::Retry(_) | Verdict::Down => {
                let outage = sending.pace.failed(now);
                if works {
                    sending.pace.works(now);
                }
                task.attempts += u32::from(!outage || works);
                let before = task.failed.replace(now);
                // It is the object's own fault only if something else worked meanwhile.
                if task.attempts >= ATTEMPTS && before.is_some_and(|it| sending.pace.worked_since(it)) {
                    let outcome = match verdict {
                        Verdict::Retry(outcome) => outcome,
                        _ => Outcome::Failed,
                    };
                    return self.settle(&mut sending.reporter, &task, outcome, &reason(&error));
                }
                self.count(&task, |tally| tally.retries += 1);
                let pauses = task.attempts.clamp(1, ATTEMPTS) - 1;
                self.later.push((now + FIRST_PAUSE * (1 << pauses), task));
                self.check_patience(sending, now, error);
            }
            Verdict::NoCredentials => self.stop_for(task, Interrupted::Credentials(error)),
            Verdict::EtcdFull => self.stop_for(task, Interrupted::EtcdFull(error)),
        }
    }

    fn again(&mut self, task: Task) {
        self.count(&task, |tally| tally.retries += 1);
        self.queue.push_front(task);
    }

    fn stop_for(&mut self, task: Task, why: Interrupted) {
        self.queue.push_front(task);
        self.fatal.get_or_insert(why);
    }

    fn count_forbidden(&mut self, outcome: Outcome, error: &CallError) {
        match (outcome, &mut self.forbidden) {
            (Outcome::Forbidden, Some(count)) => {
                *count += 1;
                if *count >= FORBIDDEN_MAX {
                    let resource = self.walk.place.resource.full_name();
                    self.fatal.get_or_insert(Interrupted::Denied { resource, reason: reason(error) });
                }
            }
            _ => self.forbidden = None,
        }
    }

    fn check_patience(&mut self, sending: &Sending<'_>, now: Instant, error: CallError) {
        if sending.pace.failing_for(now) > sending.patience && self.fatal.is_none() {
            self.fatal = Some(Interrupted::Unreachable { waited: sending.patience, source: Some(error) });
        }
    }

    fn page(&mut self, task: &Task) -> Option<&mut OpenPage> {
        // A page is there as long as one of its tasks is.
        self.pages.get_mut(usize::try_from(task.page.checked_sub(self.first)?).ok()?)
    }

    fn count(&mut self, task: &Task, count: impl FnOnce(&mut Tally)) {
        if let Some(page) = self.page(task) {
            count(&mut page.tally);
        }
    }

    fn settle(&mut self, reporter: &mut Reporter<'_>, task: &Task, outcome: Outcome, reason: &str) {
        reporter.settled(outcome);
        if let Some(page) = self.page(task) {
            page.left = page.left.saturating_sub(1);
            page.tally.add_named(&task.object.namespace, &task.object.name, outcome, reason);
        }
    }
}

fn reason(error: &CallError) -> String {
    error.refusal().map_or_else(|| error.to_string(), |refusal| refusal.message.clone())
}
