//! Brings news to the books: what channels say of messages, and what the dispatcher has to say after a hand-over. Many
//! commands are under way at once, so that they share batches; a busy store holds the queue up, in order, and loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_channels::ChannelNews;
use countersign_core::{AccountKey, Action, Command, Timestamp};
use countersign_store::{Lease, Outcome, Store, StoreError};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, watch};

use super::{Worker, signalled};
use crate::clock;

/// Commands under way at once.
const MAX_UNDER_WAY: usize = 512;
/// The first wait after the books were busy; doubled up to [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(2);
const MAX_BACKOFF: Duration = Duration::from_millis(500);
/// How long what a full disk, or a database that can't be reached, refused waits until it is handed in again.
const DISK_FULL_PAUSE: Duration = Duration::from_millis(250);
/// How often a command is tried again that failed for another reason than a busy store: half a minute, about.
const MAX_RETRIES: u32 = 60;

/// A command that follows from work done.
#[derive(Debug, Clone)]
pub(super) struct FollowUp {
    /// Under which the work that it follows from was done; `None` for what channels say by themselves, which is true whoever hears it.
    pub(super) lease: Option<Lease>,
    pub(super) account: AccountKey,
    pub(super) action: Action,
    /// When it happened, real time: what came in time stays in time, however busy the books are.
    pub(super) at: Timestamp,
}

impl From<ChannelNews> for FollowUp {
    fn from(news: ChannelNews) -> Self {
        Self {
            lease: None,
            account: news.account,
            action: Action::News {
                request: news.request,
                leg: Some(news.leg),
                news: news.news,
                detail: news.detail,
                receipts: true,
            },
            at: clock::now(),
        }
    }
}

impl FollowUp {
    fn command(&self) -> Command {
        Command {
            now: self.at,
            token: None,
            idempotency: None,
            action: self.action.clone(),
        }
    }
}

pub(super) struct News {
    store: Arc<dyn Store>,
    from_channels: mpsc::Receiver<ChannelNews>,
    follow_ups: mpsc::Receiver<FollowUp>,
    /// Given once nothing more will come.
    ending: watch::Receiver<bool>,
}

impl News {
    pub(super) fn new(
        store: Arc<dyn Store>,
        from_channels: mpsc::Receiver<ChannelNews>,
        follow_ups: mpsc::Receiver<FollowUp>,
        ending: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            from_channels,
            follow_ups,
            ending,
        }
    }
}

impl Worker for News {
    const NAME: &'static str = "news";

    async fn run(&mut self) {
        let store = &*self.store;
        let mut under_way = FuturesUnordered::new();
        // What a full disk or an absent database refused, by its place in the order in which it came.
        let mut postponed = BTreeMap::new();
        let mut came = 0_u64;
        let mut ended = false;
        loop {
            if under_way.is_empty() {
                if !postponed.is_empty() {
                    tokio::time::sleep(DISK_FULL_PAUSE).await;
                    for (place, follow_up) in std::mem::take(&mut postponed) {
                        under_way.extend(begin(store, place, follow_up).await);
                    }
                    continue;
                }
                if ended {
                    return;
                }
            }
            let room = !ended && postponed.is_empty() && under_way.len() < MAX_UNDER_WAY;
            let follow_up = tokio::select! {
                biased;
                Some((place, again)) = under_way.next(), if !under_way.is_empty() => {
                    postponed.extend(again.map(|follow_up| (place, follow_up)));
                    continue;
                }
                Some(news) = self.from_channels.recv(), if room => FollowUp::from(news),
                Some(follow_up) = self.follow_ups.recv(), if room => follow_up,
                // Last, so that what has come already is still taken.
                () = signalled(&mut self.ending), if room => {
                    ended = true;
                    continue;
                }
            };
            came += 1;
            under_way.extend(begin(store, came, follow_up).await);
        }
    }
}

/// Hands a command in; answers what is left to be waited for: its place in the order, and the command itself where it must be
/// handed in again.
async fn begin(store: &dyn Store, place: u64, follow_up: FollowUp) -> Option<BoxFuture<'_, (u64, Option<FollowUp>)>> {
    let answer = hand_in(store, &follow_up).await?;
    Some(async move { (place, see_through(store, follow_up, answer).await) }.boxed())
}

/// Brings one command into the books, however long a full disk, an absent database or a busy store takes, and waits until it is durable.
pub(super) async fn bring(store: &dyn Store, follow_up: FollowUp) {
    let mut next = Some(follow_up);
    while let Some(follow_up) = next.take() {
        let Some(answer) = hand_in(store, &follow_up).await else {
            return;
        };
        next = see_through(store, follow_up, answer).await;
        if next.is_some() {
            tokio::time::sleep(DISK_FULL_PAUSE).await;
        }
    }
}

type Answering<'a> = BoxFuture<'a, Result<Outcome, StoreError>>;

/// Puts a command into the books' queue; answers its pending answer, or `None` where it was answered at once. While the
/// books are busy it waits, and everything behind it waits too: a request's news stays in order.
async fn hand_in<'a>(store: &'a dyn Store, follow_up: &FollowUp) -> Option<Answering<'a>> {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let mut answer = submit(store, follow_up);
        match (&mut answer).now_or_never() {
            None => return Some(answer),
            Some(Err(StoreError::Busy)) => {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
            Some(result) => return Some(std::future::ready(result).boxed()),
        }
    }
}

/// Waits for a command's answer, and tries it again where the books failed. Where the disk is full or the
/// database away it answers the command: all that waits for that is handed in again in its order, however long it takes.
async fn see_through(store: &dyn Store, follow_up: FollowUp, answer: Answering<'_>) -> Option<FollowUp> {
    let mut result = answer.await;
    let mut backoff = FIRST_BACKOFF;
    let mut retries = 0;
    loop {
        match result {
            // A refusal by the rules is an answer: the news came too late, or the request is none of that account's. What became of
            // work that another node took over, that one brings.
            Ok(_) | Err(StoreError::Closing | StoreError::NotFound(_) | StoreError::Stale) => return None,
            Err(StoreError::DiskFull | StoreError::Unavailable | StoreError::TryAgain) => return Some(follow_up),
            Err(StoreError::Busy) => {}
            Err(error) if retries >= MAX_RETRIES => {
                tracing::error!(%error, "news of a message could not be written down and is dropped");
                return None;
            }
            Err(error) => {
                if retries == 0 {
                    tracing::warn!(%error, "news of a message could not be written down; it is tried again");
                }
                retries += 1;
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
        result = submit(store, &follow_up).await;
    }
}

fn submit<'a>(store: &'a dyn Store, follow_up: &FollowUp) -> Answering<'a> {
    match follow_up.lease {
        Some(lease) => store.submit_under(lease, follow_up.account, follow_up.command()),
        None => store.submit(follow_up.account, follow_up.command()),
    }
}
