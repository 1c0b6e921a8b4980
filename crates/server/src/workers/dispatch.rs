//! Hands messages to the channel, right after their commit or, after a restart, out of the books. On the path of every send:
//! a batch is worked off in one loop, without a task, and with an allocation only where a channel really waits for something.

use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{Channel, Handover, Inbox, OutgoingMessage, Receipts};
use countersign_core::{AccountKey, Action, DAY_MS, DeliveryState, News, RequestId, VerificationRequest, Work};
use countersign_store::{Committed, CommittedWork, Handed, MessageRef, Store, StoreError};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::clocks::ClockOffsets;
use super::news::FollowUp;
use super::{Worker, signalled};
use crate::vitals::Vitals;
use crate::{Mode, clock};

/// Hand-overs that a channel is still busy with. Beyond it the dispatcher waits; the books keep the rest.
const MAX_UNDER_WAY: usize = 256;
/// Messages read at once out of the books.
const RECOVERY_PAGE: usize = 500;
/// Batches that are worked off between two of those reads, so that new messages don't wait for old ones.
const BATCHES_BETWEEN_PAGES: usize = 64;
/// How long a recovery rests after the books failed.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// How far back the inbox shows messages that had arrived before a restart, and at most how many in all.
const RESTORED_MS: i64 = DAY_MS;
const MAX_RESTORED: usize = 10_000;

/// What the dispatcher works with.
pub(super) struct Dispatch {
    store: Arc<dyn Store>,
    /// The channel that messages go to. None: they stay in the books until they expire.
    inbox: Option<Arc<Inbox>>,
    vitals: Arc<Vitals>,
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

/// A channel with what it is still busy with.
struct Busy<'c> {
    channel: &'c dyn Channel,
    under_way: FuturesUnordered<BoxFuture<'c, Done>>,
}

/// What a channel was busy with, and is done.
#[derive(Debug, Clone)]
enum Done {
    HandedOver(HandedOver),
    Withdrawn,
}

/// What a channel made of a message.
#[derive(Debug, Clone)]
struct HandedOver {
    account: AccountKey,
    request: RequestId,
    handover: Handover,
}

impl Dispatch {
    pub(super) fn new(
        store: Arc<dyn Store>,
        inbox: Option<Arc<Inbox>>,
        vitals: Arc<Vitals>,
        mode: Mode,
        committed: CommittedWork,
        follow_ups: mpsc::Sender<FollowUp>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            inbox,
            vitals,
            committed,
            follow_ups,
            draining,
            clocks: ClockOffsets::new(mode),
            restored: false,
            recovery: Some(Recovery::new()),
            in_batch: false,
        }
    }

    async fn handed(&mut self, busy: &mut Option<Busy<'_>>, handed: Handed<Committed>) {
        match handed {
            Handed::Batch(batch) => self.work_off(busy, batch).await,
            Handed::Missed => {
                tracing::warn!("more was committed than could be handed over; the rest is read out of the books");
                self.recovery = Some(Recovery::new());
            }
        }
    }

    async fn work_off(&mut self, busy: &mut Option<Busy<'_>>, batch: Vec<Committed>) {
        self.in_batch = true;
        for Committed { work, request } in batch {
            let (account, id) = (request.account, request.id);
            match work {
                Some(Work::Deliver) => self.deliver(busy, request).await,
                Some(Work::Wake) => {
                    // Scripted numbers are shown in the inbox too; what becomes of them is the script's affair.
                    self.deliver(busy, request).await;
                    self.follow_up(account, Action::Wake { request: id }).await;
                }
                Some(Work::Withdraw | Work::WithdrawOthers { .. }) => self.withdraw(busy, account, id).await,
                None => {
                    if let Some(inbox) = &self.inbox {
                        inbox.touch(account, id);
                    }
                }
            }
        }
        self.in_batch = false;
    }

    async fn deliver(&mut self, busy: &mut Option<Busy<'_>>, request: VerificationRequest) {
        let Some(busy) = busy else { return };
        let Some((message, _)) = self.outgoing(request).await else {
            return;
        };
        let (account, request) = (message.account, message.request);
        let mut handing = busy.channel.deliver(message);
        if let Some(handover) = (&mut handing).now_or_never() {
            let handed_over = HandedOver {
                account,
                request,
                handover,
            };
            self.note(busy.channel.receipts(), handed_over).await;
        } else {
            let handing = handing.map(move |handover| {
                Done::HandedOver(HandedOver {
                    account,
                    request,
                    handover,
                })
            });
            self.wait_for(busy, handing.boxed()).await;
        }
    }

    async fn withdraw(&mut self, busy: &mut Option<Busy<'_>>, account: AccountKey, request: RequestId) {
        let Some(busy) = busy else { return };
        let mut withdrawing = busy.channel.withdraw(account, request);
        if (&mut withdrawing).now_or_never().is_none() {
            self.wait_for(busy, withdrawing.map(|()| Done::Withdrawn).boxed()).await;
        }
    }

    /// Lets the channel be busy with it, once there is room.
    async fn wait_for<'c>(&self, busy: &mut Busy<'c>, handing: BoxFuture<'c, Done>) {
        while busy.under_way.len() >= MAX_UNDER_WAY {
            if let Some(Done::HandedOver(handed_over)) = busy.under_way.next().await {
                self.note(busy.channel.receipts(), handed_over).await;
            }
        }
        busy.under_way.push(handing);
    }

    /// Brings what a channel made of a message into the books.
    async fn note(&self, receipts: Receipts, handed_over: HandedOver) {
        let HandedOver {
            account,
            request,
            handover,
        } = handed_over;
        match handover {
            Handover::Waiting | Handover::Later(_) => {}
            Handover::Accepted(_) => {
                self.vitals.message_accepted();
                self.follow_up(account, Action::news(request, News::Accepted)).await;
                if receipts == Receipts::AssumedOnAcceptance {
                    self.follow_up(account, Action::news(request, News::Delivered)).await;
                }
            }
            Handover::CannotReach(_) | Handover::Refused(_) | Handover::Failed(_) => {
                self.vitals.message_failed(clock::now());
                let failed = Action::news(request, News::Failed);
                self.follow_up(account, failed).await;
            }
        }
    }

    async fn follow_up(&self, account: AccountKey, action: Action) {
        // The other end outlives this worker. Were it gone, a restart would find the same work in the books.
        let _ = self
            .follow_ups
            .send(FollowUp {
                account,
                action,
                at: clock::now(),
            })
            .await;
    }

    /// The message of a request as a channel takes it, and its state; `None` where nothing was sent.
    async fn outgoing(&mut self, request: VerificationRequest) -> Option<(OutgoingMessage, DeliveryState)> {
        let message = request.message?;
        let account = request.account;
        let offset_ms = self
            .clocks
            .offset_ms(&*self.store, account.id, message.sent_at, clock::now())
            .await;
        let outgoing = OutgoingMessage {
            account,
            request: request.id,
            phone: request.phone,
            code: message.code,
            sender: message.sender,
            sent_at: message.sent_at,
            expires_at: message.expires_at,
            clock_offset_ms: offset_ms,
        };
        Some((outgoing, request.delivery))
    }

    /// Goes one step on with the recovery. Batches are worked off only between steps: a message that is withdrawn while a
    /// page is read is withdrawn again after the page was delivered, never before.
    async fn recover(&mut self, busy: &mut Option<Busy<'_>>, recovery: Recovery) {
        // Should a message of the page make it panic, the recovery ends there, and new messages still go out.
        self.recovery = None;
        self.recovery = match self.recover_page(busy, recovery.after).await {
            Ok(after) => after.map(|after| Recovery {
                after: Some(after),
                not_before: Instant::now(),
            }),
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
            self.handed(busy, handed).await;
        }
    }

    /// Delivers one page of what waits in the books; answers where the next one begins, if there is one.
    async fn recover_page(
        &mut self,
        busy: &mut Option<Busy<'_>>,
        after: Option<MessageRef>,
    ) -> Result<Option<MessageRef>, StoreError> {
        if busy.is_none() {
            return Ok(None);
        }
        self.restore().await?;
        let page = self.store.waiting_messages(clock::now(), after, RECOVERY_PAGE).await?;
        let next = page
            .last()
            .map(|(place, _)| *place)
            .filter(|_| page.len() == RECOVERY_PAGE);
        for (_, request) in page {
            self.deliver(busy, request).await;
        }
        Ok(next)
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

impl Worker for Dispatch {
    const NAME: &'static str = "dispatch";

    async fn run(&mut self) {
        let inbox = self.inbox.clone();
        let mut draining = self.draining.clone();
        let mut busy = inbox.as_deref().map(|inbox| Busy {
            channel: inbox,
            under_way: FuturesUnordered::new(),
        });
        if std::mem::take(&mut self.in_batch) {
            self.recovery = Some(Recovery::new());
        }
        while !*draining.borrow() {
            if let Some(recovery) = self.recovery.filter(|recovery| recovery.not_before <= Instant::now()) {
                self.recover(&mut busy, recovery).await;
                continue;
            }
            let resume_at = self.recovery.map(|recovery| recovery.not_before);
            tokio::select! {
                biased;
                () = signalled(&mut draining) => break,
                handed = self.committed.next() => match handed {
                    Some(handed) => self.handed(&mut busy, handed).await,
                    // The books have ended: there will be no more work.
                    None => break,
                },
                Some(done) = finished(&mut busy) => {
                    let receipts = busy.as_ref().map(|busy| busy.channel.receipts());
                    if let (Done::HandedOver(handed_over), Some(receipts)) = (done, receipts) {
                        self.note(receipts, handed_over).await;
                    }
                }
                () = tokio::time::sleep_until(resume_at.unwrap_or_else(Instant::now)), if resume_at.is_some() => {}
            }
        }
    }
}

/// The next thing that the channel is done with; `None` at once where it is busy with nothing.
async fn finished(busy: &mut Option<Busy<'_>>) -> Option<Done> {
    busy.as_mut()?.under_way.next().await
}
