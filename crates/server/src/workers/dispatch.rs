//! Hands messages to their channels, right after their commit or, after a restart, out of the books. On the path of every send:
//! a batch is worked off in one loop. The built-in inbox takes its messages here, without a task or an allocation; every other
//! channel has a lane of its own (`lane`), so that a slow one holds up nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{Channel as _, Inbox, OutgoingMessage};
use countersign_core::{AccountKey, Action, DAY_MS, DeliveryState, Detail, LegName, News, VerificationRequest, Work};
use countersign_store::{
    Committed, CommittedWork, Handed, Lease, MessageRef, RequestRef, SiteStore, Store, StoreError,
};
use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::clocks::ClockOffsets;
use super::lane::{LaneEntry, Place, Taken};
use super::leg_log::LegLog;
use super::news::FollowUp;
use super::{Worker, signalled};
use crate::{Mode, clock};

/// Messages read at once out of the books.
const RECOVERY_PAGE: usize = 500;
/// Batches that are worked off between two of those reads, so that new messages don't wait for old ones.
const BATCHES_BETWEEN_PAGES: usize = 64;
/// How long a recovery rests after the books failed.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// How long a walk rests where a channel had no room for more, and how often it is looked whether one has room again.
const FULL_PAUSE: Duration = Duration::from_millis(250);
/// How far back the inbox shows messages that had arrived before a restart, and at most how many in all.
const RESTORED_MS: i64 = DAY_MS;
const MAX_RESTORED: usize = 10_000;

/// What the dispatcher works with.
pub(super) struct Dispatch {
    store: Arc<dyn Store>,
    /// The built-in messenger. With neither it nor a channel, messages stay in the books until they expire.
    inbox: Option<Arc<Inbox>>,
    /// All other channels.
    lanes: BTreeMap<LegName, LaneEntry>,
    leg_log: LegLog,
    committed: CommittedWork,
    /// To the worker that brings commands into the books.
    follow_ups: mpsc::Sender<FollowUp>,
    draining: watch::Receiver<bool>,
    clocks: ClockOffsets,
    /// Whether the inbox shows again what it showed before the restart.
    restored: bool,
    recovery: Option<Recovery>,
    /// Whether a batch is being worked off. Still set at the start of a run only after a panic: then the rest of that batch
    /// is read out of the books.
    in_batch: bool,
}

/// What the dispatcher needs besides the books' hand-over.
pub(super) struct DispatchParts {
    pub(super) store: Arc<dyn Store>,
    pub(super) site: Arc<dyn SiteStore>,
    pub(super) inbox: Option<Arc<Inbox>>,
    pub(super) lanes: BTreeMap<LegName, LaneEntry>,
    pub(super) mode: Mode,
    pub(super) follow_ups: mpsc::Sender<FollowUp>,
    pub(super) draining: watch::Receiver<bool>,
}

/// A walk over all messages that stand in the books and that no channel has accepted.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    after: Option<MessageRef>,
    not_before: Instant,
}

impl Recovery {
    fn new() -> Self {
        Self {
            after: None,
            not_before: Instant::now(),
        }
    }
}

/// Which of a request's legs is under way. Requests without a plan have one, the inbox.
fn leg_under_way(request: &VerificationRequest) -> Option<(&LegName, u8)> {
    let (plan, message) = (request.plan.as_ref()?, request.message.as_ref()?);
    let leg = message.legs.leg;
    Some((&plan.legs.get(usize::from(leg))?.name, leg))
}

impl Dispatch {
    pub(super) fn new(parts: DispatchParts, committed: CommittedWork) -> Self {
        Self {
            leg_log: LegLog::new(parts.site, parts.lanes.is_empty()),
            store: parts.store,
            inbox: parts.inbox,
            lanes: parts.lanes,
            committed,
            follow_ups: parts.follow_ups,
            draining: parts.draining,
            clocks: ClockOffsets::new(parts.mode),
            restored: false,
            recovery: Some(Recovery::new()),
            in_batch: false,
        }
    }

    async fn handed(&mut self, handed: Handed<Committed>) {
        match handed {
            Handed::Batch(batch) => self.work_off(batch).await,
            Handed::Missed => {
                tracing::warn!("there is work that wasn’t handed over: it is read out of the books");
                self.recovery = Some(Recovery::new());
            }
        }
    }

    async fn work_off(&mut self, batch: Vec<Committed>) {
        self.in_batch = true;
        let now = Instant::now();
        for Committed { work, request, lease } in batch {
            let (account, id) = (request.account, request.id);
            match work {
                // What finds no room waits in the books: its lane says so once there is some.
                Some(Work::Deliver) => drop(self.deliver(request, now, lease).await),
                Some(Work::Wake) => {
                    // Scripted numbers are shown in the inbox too; what becomes of them is the script's affair.
                    self.deliver_to_inbox(request, lease).await;
                    self.follow_up(account, Action::Wake { request: id }, lease).await;
                }
                Some(Work::Withdraw) => self.withdraw(&request, None),
                Some(Work::WithdrawOthers { arrived_on }) => self.withdraw(&request, Some(arrived_on)),
                None => {
                    if let Some(inbox) = &self.inbox {
                        inbox.touch(account, id);
                    }
                }
            }
        }
        self.in_batch = false;
    }

    /// Hands a message to the leg that is under way. It was read, or committed, at `read_at` at the earliest.
    async fn deliver(&mut self, request: VerificationRequest, read_at: Instant, lease: Lease) -> Taken {
        let Some((name, leg)) = leg_under_way(&request).filter(|(name, _)| **name != LegName::INBOX) else {
            self.deliver_to_inbox(request, lease).await;
            return Taken::Yes;
        };
        let place = Place {
            request: RequestRef {
                account: request.account,
                id: request.id,
            },
            leg,
        };
        let Some(lane) = self.lanes.get(name).cloned() else {
            // The operator took the channel away while the message was under way.
            self.no_channel(&request, name.clone(), lease).await;
            return Taken::Yes;
        };
        match self.outgoing(request).await {
            Some((message, _)) => lane.deliver(place, message, read_at, lease),
            None => Taken::Yes,
        }
    }

    /// The inbox keeps what it has: nothing needs to be noted, and a second hand-over changes nothing.
    async fn deliver_to_inbox(&mut self, request: VerificationRequest, lease: Lease) {
        let Some(inbox) = self.inbox.clone() else {
            if let Some((name, _)) = leg_under_way(&request) {
                self.no_channel(&request, name.clone(), lease).await;
            }
            return;
        };
        if let Some((message, _)) = self.outgoing(request).await {
            inbox.deliver(message).await;
        }
    }

    async fn no_channel(&self, request: &VerificationRequest, leg: LegName, lease: Lease) {
        let failed = Action::News {
            request: request.id,
            leg: Some(leg),
            news: News::Failed,
            detail: Some(Detail::new("there is no such channel any more")),
            receipts: false,
        };
        self.follow_up(request.account, failed, lease).await;
    }

    /// Takes a message back from every leg that it went over, but for the one on which it arrived.
    fn withdraw(&self, request: &VerificationRequest, arrived_on: Option<u8>) {
        self.leg_log.tell(request, arrived_on);
        let place = RequestRef {
            account: request.account,
            id: request.id,
        };
        let Some(plan) = &request.plan else {
            self.withdraw_from_inbox(request);
            return;
        };
        let under_way = request.message.as_ref().map_or(0, |message| message.legs.leg);
        for (number, leg) in (0..=under_way).zip(&plan.legs) {
            if arrived_on == Some(number) {
                continue;
            }
            match self.lanes.get(&leg.name) {
                Some(lane) => lane.withdraw(place),
                None if leg.name == LegName::INBOX => self.withdraw_from_inbox(request),
                None => {}
            }
        }
    }

    fn withdraw_from_inbox(&self, request: &VerificationRequest) {
        if let Some(inbox) = &self.inbox {
            // It has nothing to wait for.
            let _ = inbox.withdraw(request.account, request.id).now_or_never();
        }
    }

    async fn follow_up(&self, account: AccountKey, action: Action, lease: Lease) {
        // The other end outlives this worker. Were it gone, a restart would find the same work in the books.
        let _ = self
            .follow_ups
            .send(FollowUp {
                lease: Some(lease),
                account,
                action,
                at: clock::now(),
            })
            .await;
    }

    /// The message of a request as a channel takes it, and its state; `None` where nothing was sent.
    async fn outgoing(&mut self, request: VerificationRequest) -> Option<(OutgoingMessage, DeliveryState)> {
        let delivery = request.delivery;
        let message = outgoing(request, &mut self.clocks, &*self.store).await?;
        Some((message, delivery))
    }

    /// Goes one step on with the recovery. Batches are worked off only between steps: a message that is withdrawn while a
    /// page is read is withdrawn again after the page was delivered, never before.
    async fn recover(&mut self, recovery: Recovery) {
        // Should a message of the page make it panic, the recovery ends there, and new messages still go out.
        self.recovery = None;
        self.recovery = match self.recover_page(recovery.after).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "messages could not be read out of the books; it is tried again");
                Some(Recovery {
                    after: recovery.after,
                    not_before: Instant::now() + ERROR_PAUSE,
                })
            }
        };
        for _ in 0..BATCHES_BETWEEN_PAGES {
            let Some(Some(handed)) = self.committed.next().now_or_never() else {
                return;
            };
            self.handed(handed).await;
        }
    }

    /// Delivers one page of what waits in the books; answers where it goes on, if there is more. What a full lane doesn't take
    /// is passed over: the lane asks for another walk once it has room.
    async fn recover_page(&mut self, after: Option<MessageRef>) -> Result<Option<Recovery>, StoreError> {
        if self.inbox.is_none() && self.lanes.is_empty() {
            return Ok(None);
        }
        self.restore().await?;
        let read_at = Instant::now();
        let lease = self.store.lease();
        let page = self.store.waiting_messages(clock::now(), after, RECOVERY_PAGE).await?;
        let last = page.last().map(|(place, _)| *place);
        let full = page.len() == RECOVERY_PAGE;
        for (_, request) in page {
            self.deliver(request, read_at, lease).await;
        }
        Ok(last.filter(|_| full).map(|after| Recovery {
            after: Some(after),
            not_before: Instant::now(),
        }))
    }

    /// Begins a walk where a lane has room for what it left in the books.
    fn look_at_lanes(&mut self) {
        if self.recovery.is_none() && self.lanes.values().any(LaneEntry::wants_more) {
            self.recovery = Some(Recovery::new());
        }
    }

    /// Lets the inbox show again what had arrived before the restart.
    async fn restore(&mut self) -> Result<(), StoreError> {
        let Some(inbox) = self.inbox.clone().filter(|_| !self.restored) else {
            return Ok(());
        };
        let since = clock::now().plus_millis(-RESTORED_MS);
        // Many rows are unsealed: not on a thread that answers callers.
        let store = Arc::clone(&self.store);
        let runtime = Handle::current();
        let read = tokio::task::spawn_blocking(move || runtime.block_on(store.arrived_messages(since, MAX_RESTORED)));
        let arrived = read.await.map_err(|_| StoreError::Lost)??;
        for request in arrived {
            if let Some((message, delivery)) = self.outgoing(request).await {
                inbox.restore(message, delivery);
            }
        }
        self.restored = true;
        Ok(())
    }
}

/// The message of a request as a channel takes it; `None` where nothing was sent, and where its code has ended and is gone: then nobody
/// waits for it.
pub(super) async fn outgoing(
    request: VerificationRequest,
    clocks: &mut ClockOffsets,
    store: &dyn Store,
) -> Option<OutgoingMessage> {
    let message = request.message?;
    let code = *message.code.whole()?;
    let account = request.account;
    let offset_ms = clocks.offset_ms(store, account.id, message.sent_at, clock::now()).await;
    Some(OutgoingMessage {
        account,
        request: request.id,
        phone: request.phone,
        code,
        sender: message.sender,
        locale: message.locale,
        email: message.email,
        sent_at: message.sent_at,
        expires_at: message.expires_at,
        clock_offset_ms: offset_ms,
    })
}

impl Worker for Dispatch {
    const NAME: &'static str = "dispatch";

    async fn run(&mut self) {
        let mut draining = self.draining.clone();
        if std::mem::take(&mut self.in_batch) {
            self.recovery = Some(Recovery::new());
        }
        while !*draining.borrow() {
            if let Some(recovery) = self.recovery.filter(|recovery| recovery.not_before <= Instant::now()) {
                self.recover(recovery).await;
                continue;
            }
            let resume_at = self.recovery.map(|recovery| recovery.not_before);
            let look_at = (!self.lanes.is_empty()).then(|| Instant::now() + FULL_PAUSE);
            let wake_at = resume_at.or(look_at);
            tokio::select! {
                biased;
                () = signalled(&mut draining) => break,
                handed = self.committed.next() => match handed {
                    Some(handed) => self.handed(handed).await,
                    // The books have ended: there will be no more work.
                    None => break,
                },
                () = tokio::time::sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {
                    self.look_at_lanes();
                }
            }
        }
    }
}
