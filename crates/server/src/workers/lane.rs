//! Hands messages to one channel: as many at once as it takes, and no more in memory than a bound. What waits beyond it stands
//! in the books. What the channel did with a message is brought into the books before its place is given free, so that a walk
//! over the books never hands a message over a second time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_channels::{Handle, Handover, OutgoingMessage, Receipts};
use countersign_core::{AccountKey, Action, DeliveryState, Detail, LegName, Message, News, RequestId};
use countersign_store::{Lease, NamedMessage, RequestRef, SiteStore, Store, StoreError};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::news::{FollowUp, bring};
use super::{Worker, signalled, until_lost};
use crate::clock;
use crate::routes::{HandoverEnd, Leg, Routes};
use crate::traces::{Called, Traces};

/// Messages that may wait for a channel in memory; the books keep the rest.
const QUEUE: usize = 1_024;
/// Withdrawals that may wait; they are small, and the channel has them done soon.
const WITHDRAWALS: usize = 4_096;
/// Messages that may wait for their time to be tried again; the books keep the rest.
const MAX_LATER: usize = 4_096;
/// The longest that a channel may take with one message, or with a withdrawal.
const DELIVER_LIMIT: Duration = Duration::from_secs(90);
const WITHDRAW_LIMIT: Duration = Duration::from_secs(15);
/// How long a message is remembered after its hand-over was brought into the books: longer than a page of a walk takes.
const REMEMBERED: Duration = Duration::from_mins(1);
/// The shortest and the longest wait before a message is tried again: none lives longer.
const LATER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_hours(1));
/// Withdrawals under way at once, beside the deliveries.
const WITHDRAWALS_AT_ONCE: usize = 32;
/// A message that waited longer for its turn is looked up again before it goes: it may have been revoked meanwhile.
const FRESH: Duration = Duration::from_millis(100);
/// How often the other side's name of a message is written down again where the books failed for another reason than a full
/// disk, and how long is waited in between.
const NOTE_RETRIES: u32 = 25;
const NOTE_PAUSE: Duration = Duration::from_millis(200);

/// One message on one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) request: RequestRef,
    /// Which of its legs.
    pub(super) leg: u8,
}

/// What is under way, and what was brought into the books a moment ago.
#[derive(Debug, Default)]
struct Known {
    places: Mutex<HashMap<Place, Option<Instant>>>,
    /// At how many places the old ones are looked for.
    sweep_at: AtomicUsize,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Option<Instant>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a message is under way; `false` where it is already, or was done since `read_at`.
    fn take(&self, place: Place, read_at: Instant) -> bool {
        let mut known = self.lock();
        match known.get(&place) {
            Some(None) => false,
            Some(Some(done_at)) if *done_at >= read_at => false,
            _ => {
                known.insert(place, None);
                true
            }
        }
    }

    fn done(&self, place: Place) {
        let now = Instant::now();
        let mut known = self.lock();
        known.insert(place, Some(now));
        if known.len() > self.sweep_at.load(Ordering::Relaxed).max(2 * (QUEUE + MAX_LATER)) {
            known.retain(|_, done| done.is_none_or(|done| now - done < REMEMBERED));
            self.sweep_at.store(2 * known.len(), Ordering::Relaxed);
        }
    }

    fn forget(&self, place: Place) {
        self.lock().remove(&place);
    }
}

/// A job for a lane.
#[derive(Debug)]
struct Delivery {
    place: Place,
    message: OutgoingMessage,
    /// When it was read, or committed, at the earliest.
    read_at: Instant,
    /// Under which it is this node's to deliver.
    lease: Lease,
}

/// The dispatcher's end of a lane.
#[derive(Debug, Clone)]
pub(super) struct LaneEntry {
    deliveries: mpsc::Sender<Delivery>,
    withdrawals: mpsc::Sender<RequestRef>,
    known: Arc<Known>,
    /// Set where something was left in the books.
    behind: Arc<AtomicBool>,
    put_off: Arc<AtomicUsize>,
}

/// Whether a lane took a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It did, or has it already.
    Yes,
    /// There is no room: it waits in the books.
    Full,
}

impl LaneEntry {
    /// Hands a message in that was read, or committed, at `read_at` at the earliest.
    pub(super) fn deliver(&self, place: Place, message: OutgoingMessage, read_at: Instant, lease: Lease) -> Taken {
        let Ok(permit) = self.deliveries.try_reserve() else {
            self.behind.store(true, Ordering::Release);
            return Taken::Full;
        };
        if self.known.take(place, read_at) {
            permit.send(Delivery {
                place,
                message,
                read_at,
                lease,
            });
        }
        Taken::Yes
    }

    /// Withdraws a message. Beyond the bound it is left to its end of life.
    pub(super) fn withdraw(&self, request: RequestRef) {
        if self.withdrawals.try_send(request).is_err() {
            tracing::warn!("too many messages are withdrawn at once: one is left to its end of life");
        }
    }

    /// How many messages wait to be tried again.
    fn put_off(&self) -> usize {
        self.put_off.load(Ordering::Relaxed)
    }

    /// Whether something was left in the books since this was last asked, and there is room again.
    pub(super) fn wants_more(&self) -> bool {
        self.behind.load(Ordering::Acquire)
            && self.deliveries.capacity() > QUEUE / 2
            && self.put_off() < MAX_LATER / 2
            && self.behind.swap(false, Ordering::AcqRel)
    }
}

/// The worker of one channel.
pub(super) struct Lane {
    name: LegName,
    routes: Arc<Routes>,
    traces: Traces,
    store: Arc<dyn Store>,
    site: Arc<dyn SiteStore>,
    deliveries: mpsc::Receiver<Delivery>,
    withdrawals: mpsc::Receiver<RequestRef>,
    known: Arc<Known>,
    behind: Arc<AtomicBool>,
    put_off: Arc<AtomicUsize>,
    later: BinaryHeap<Reverse<(Instant, Place)>>,
    waiting: HashMap<Place, Delivery>,
    draining: watch::Receiver<bool>,
}

/// What became of a job.
enum Done {
    Over,
    Later(Box<Delivery>, Duration),
}

impl Lane {
    /// A lane to a channel, and the dispatcher's end of it.
    pub(super) fn new(
        name: LegName,
        routes: Arc<Routes>,
        traces: Traces,
        store: Arc<dyn Store>,
        site: Arc<dyn SiteStore>,
        draining: watch::Receiver<bool>,
    ) -> (Self, LaneEntry) {
        let (delivery_sender, deliveries) = mpsc::channel(QUEUE);
        let (withdrawal_sender, withdrawals) = mpsc::channel(WITHDRAWALS);
        let entry = LaneEntry {
            deliveries: delivery_sender,
            withdrawals: withdrawal_sender,
            known: Arc::default(),
            behind: Arc::default(),
            put_off: Arc::default(),
        };
        let lane = Self {
            name,
            routes,
            traces,
            store,
            site,
            deliveries,
            withdrawals,
            known: Arc::clone(&entry.known),
            behind: Arc::clone(&entry.behind),
            put_off: Arc::clone(&entry.put_off),
            later: BinaryHeap::new(),
            waiting: HashMap::new(),
            draining,
        };
        (lane, entry)
    }

    fn put_off(&mut self, delivery: Delivery, wait: Duration) {
        if self.later.len() >= MAX_LATER {
            self.known.forget(delivery.place);
            self.behind.store(true, Ordering::Release);
            return;
        }
        let at = Instant::now() + wait.clamp(LATER.0, LATER.1);
        self.later.push(Reverse((at, delivery.place)));
        self.waiting.insert(delivery.place, delivery);
        self.put_off.store(self.later.len(), Ordering::Relaxed);
    }

    /// The next one whose time has come.
    fn due(&mut self) -> Option<Delivery> {
        let Reverse((at, _)) = self.later.peek()?;
        if *at > Instant::now() {
            return None;
        }
        let Reverse((_, place)) = self.later.pop()?;
        self.put_off.store(self.later.len(), Ordering::Relaxed);
        self.waiting.remove(&place)
    }
}

/// What the work on a message needs; cheap to clone.
#[derive(Clone)]
struct Tools {
    name: LegName,
    routes: Arc<Routes>,
    traces: Traces,
    store: Arc<dyn Store>,
    site: Arc<dyn SiteStore>,
    known: Arc<Known>,
    behind: Arc<AtomicBool>,
}

impl Tools {
    async fn deliver(self, delivery: Delivery) -> Done {
        let Some(leg) = self.routes.leg(&self.name) else {
            return Done::Over;
        };
        if delivery.read_at.elapsed() > FRESH {
            match self.still_waits(delivery.place).await {
                Some(true) => {}
                Some(false) => {
                    self.known.done(delivery.place);
                    return Done::Over;
                }
                None => return Done::Later(Box::new(delivery), NOTE_PAUSE),
            }
        }
        if !self.store.holds(delivery.lease) {
            return self.let_go(delivery.place);
        }
        leg.health.began();
        let began = Instant::now();
        // A panic of a channel is its failure, and no other message's.
        let handing = AssertUnwindSafe(leg.channel.deliver(delivery.message.clone())).catch_unwind();
        let handed = tokio::select! {
            handed = tokio::time::timeout(DELIVER_LIMIT, handing) => handed,
            // What waits in the channel for its turn must not go out later: by then it may have gone out elsewhere.
            () = until_lost(&*self.store, delivery.lease) => {
                leg.health.never_began();
                return self.let_go(delivery.place);
            }
        };
        let handover = match handed {
            Ok(Ok(handover)) => handover,
            Ok(Err(_)) => {
                tracing::error!(leg = %self.name, "a channel failed: please report this bug");
                Handover::Failed(Detail::new("the channel failed"))
            }
            Err(_) => Handover::Failed(Detail::new("the channel did not answer in time")),
        };
        if let Handover::Later(wait) = handover {
            leg.health.never_began();
            return Done::Later(Box::new(delivery), wait);
        }
        let request = delivery.place.request.id;
        self.watch(leg, request, &handover, began.elapsed());
        let accepted = matches!(handover, Handover::Accepted(_));
        self.note(&delivery, leg.channel.receipts(), handover).await;
        self.known.done(delivery.place);
        if accepted && self.is_not_wanted_any_more(delivery.place).await {
            return self
                .withdraw(delivery.place.request.account, delivery.place.request.id)
                .await;
        }
        Done::Over
    }

    /// The message is another node's by now, or this one's again under a new lease: then a walk finds it.
    fn let_go(&self, place: Place) -> Done {
        self.known.forget(place);
        self.behind.store(true, Ordering::Release);
        Done::Over
    }

    /// Whether a message that was just accepted was revoked, or arrived on another leg, while it was handed over: whoever
    /// withdrew it then found nothing to withdraw.
    async fn is_not_wanted_any_more(&self, place: Place) -> bool {
        match self.store.request(place.request.account, place.request.id).await {
            Ok(Some(request)) => match request.delivery {
                DeliveryState::Sent => false,
                // Perhaps here: then the other side refuses the withdrawal.
                DeliveryState::Delivered | DeliveryState::Read => request.plan.is_some_and(|plan| plan.legs.len() > 1),
                _ => true,
            },
            _ => false,
        }
    }

    /// Whether a message is still to be sent on this leg; `None` where the books don't say.
    async fn still_waits(&self, place: Place) -> Option<bool> {
        match self.store.request(place.request.account, place.request.id).await {
            Ok(Some(request)) => {
                let waits = request.delivery == DeliveryState::Sent;
                let here = |message: Message| !message.accepted && message.legs.leg == place.leg;
                Some(waits && request.message.is_some_and(here))
            }
            Ok(None) => Some(false),
            Err(_) => None,
        }
    }

    fn watch(&self, leg: &Leg, request: RequestId, handover: &Handover, took: Duration) {
        let now = clock::now();
        let end = match handover {
            Handover::Accepted(_) | Handover::Waiting => HandoverEnd::Accepted,
            Handover::CannotReach(why) => HandoverEnd::CannotReach(why.clone()),
            Handover::Refused(why) => HandoverEnd::Refused(why.clone()),
            Handover::Failed(why) => {
                tracing::warn!(leg = %self.name, %why, "a message failed on its leg");
                HandoverEnd::Failed(why.clone())
            }
            Handover::Later(_) => return,
        };
        let failure = match &end {
            HandoverEnd::Accepted => None,
            HandoverEnd::CannotReach(_) => Some("cannot reach"),
            HandoverEnd::Refused(_) => Some("refused"),
            HandoverEnd::Failed(_) => Some("failed"),
        };
        self.traces.called(Called {
            name: "hand over",
            request,
            took,
            more: &[
                ("countersign.leg", self.name.as_str()),
                ("countersign.channel", leg.channel.kind()),
            ],
            failure: failure.map(str::to_owned),
        });
        if let Some(until) = leg.health.ended(end, took, now) {
            let seconds = (until - Instant::now()).as_secs();
            tracing::warn!(leg = %self.name, seconds, "a leg failed several times in a row and rests");
        }
    }

    /// Brings into the books what the channel did with a message.
    async fn note(&self, delivery: &Delivery, receipts: Receipts, handover: Handover) {
        match handover {
            Handover::Waiting | Handover::Later(_) => {}
            Handover::Accepted(handle) => {
                if let Some(handle) = handle {
                    self.note_handle(delivery.place, &handle).await;
                }
                self.bring(delivery, News::Accepted, None, receipts == Receipts::Reported)
                    .await;
                if receipts == Receipts::AssumedOnAcceptance {
                    self.bring(delivery, News::Delivered, None, false).await;
                }
            }
            Handover::CannotReach(why) => self.bring(delivery, News::CannotReach, Some(why), false).await,
            Handover::Refused(why) => self.bring(delivery, News::Refused, Some(why), false).await,
            Handover::Failed(why) => self.bring(delivery, News::Failed, Some(why), false).await,
        }
    }

    async fn note_handle(&self, place: Place, handle: &Handle) {
        let named = NamedMessage {
            channel: self.name.clone(),
            handle: handle.as_str().to_owned(),
            request: place.request,
        };
        let mut tries = 0;
        while tries < NOTE_RETRIES {
            let noted = self.site.note_handle(named.clone(), clock::now()).await;
            match noted {
                Ok(()) | Err(StoreError::Closing) => return,
                // Without it no receipt finds its message after a restart: it is waited for like the message's own news.
                Err(StoreError::DiskFull | StoreError::Busy | StoreError::Unavailable | StoreError::TryAgain) => {}
                Err(error) => {
                    tries += 1;
                    tracing::warn!(leg = %self.name, %error, "a message’s name could not be written down");
                }
            }
            tokio::time::sleep(NOTE_PAUSE).await;
        }
    }

    async fn bring(&self, delivery: &Delivery, news: News, detail: Option<Detail>, receipts: bool) {
        let place = delivery.place;
        let follow_up = FollowUp {
            lease: Some(delivery.lease),
            account: place.request.account,
            action: Action::News {
                request: place.request.id,
                leg: Some(self.name.clone()),
                news,
                detail,
                receipts,
            },
            at: clock::now(),
        };
        bring(&*self.store, follow_up).await;
    }

    async fn withdraw(self, account: AccountKey, request: RequestId) -> Done {
        if let Some(leg) = self.routes.leg(&self.name)
            && tokio::time::timeout(WITHDRAW_LIMIT, leg.channel.withdraw(account, request))
                .await
                .is_err()
        {
            tracing::warn!(leg = %self.name, "a message could not be withdrawn in time");
        }
        Done::Over
    }
}

impl Worker for Lane {
    const NAME: &'static str = "lane";

    async fn run(&mut self) {
        // After a panic, what was under way or queued is read out of the books again.
        while self.deliveries.try_recv().is_ok() {}
        let left = {
            let mut known = self.known.lock();
            let before = known.len();
            known.retain(|place, done| done.is_some() || self.waiting.contains_key(place));
            before - known.len()
        };
        if left > 0 {
            self.behind.store(true, Ordering::Release);
        }
        let tools = Tools {
            name: self.name.clone(),
            routes: Arc::clone(&self.routes),
            traces: self.traces.clone(),
            store: Arc::clone(&self.store),
            site: Arc::clone(&self.site),
            known: Arc::clone(&self.known),
            behind: Arc::clone(&self.behind),
        };
        let at_once = tools
            .routes
            .leg(&self.name)
            .map_or(1, |leg| leg.channel.concurrency().max(1));
        let mut draining = self.draining.clone();
        let mut under_way: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        // Apart from the deliveries: a slow withdrawal must not keep codes waiting.
        let mut withdrawing: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        let mut ending = false;
        while !(ending && under_way.is_empty() && withdrawing.is_empty()) {
            let room = !ending && under_way.len() < at_once;
            if room && let Some(delivery) = self.due() {
                under_way.push(tools.clone().deliver(delivery).boxed());
                continue;
            }
            let next_later = self.later.peek().map(|Reverse((at, _))| *at);
            tokio::select! {
                biased;
                () = signalled(&mut draining), if !ending => ending = true,
                Some(done) = under_way.next(), if !under_way.is_empty() => {
                    if let Done::Later(delivery, wait) = done {
                        self.put_off(*delivery, wait);
                    }
                }
                Some(_) = withdrawing.next(), if !withdrawing.is_empty() => {}
                Some(request) = self.withdrawals.recv(), if !ending && withdrawing.len() < WITHDRAWALS_AT_ONCE => {
                    withdrawing.push(tools.clone().withdraw(request.account, request.id).boxed());
                }
                Some(delivery) = self.deliveries.recv(), if room => {
                    under_way.push(tools.clone().deliver(delivery).boxed());
                }
                () = tokio::time::sleep_until(next_later.unwrap_or_else(Instant::now)), if room && next_later.is_some() => {}
            }
        }
    }
}
