//! What other nodes do, as far as it shows here: the built-in inbox is the same on every node, and a page that waits for a sign-in goes on
//! wherever it was answered. Books that one process alone has never tell anything here.
//!
//! While somebody looks at the inbox here, what is told comes within milliseconds, and every few seconds the inbox is compared with the
//! books, since what is told may get lost. While nobody does, nothing is told of requests: a send costs other nodes nothing, and whoever
//! comes is shown what there is first: all that is under way, and what arrived in the last ten minutes. Waiting pages look at their sign-ins each second in any case.

use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{Channel as _, Inbox, LoginPrompt};
use countersign_core::{DeliveryState, LegName, VerificationRequest};
use countersign_store::{Elsewhere, Handed, NewsElsewhere, RequestRef, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::clocks::ClockOffsets;
use super::dispatch::outgoing;
use super::{Worker, signalled};
use crate::app::App;
use crate::{clock, login};

/// How often waiting pages look by themselves.
const LOOK: Duration = Duration::from_secs(1);
/// How often the inbox is compared with the books, in looks.
const LOOKS_BETWEEN_COMPARISONS: u32 = 3;
/// Messages of other nodes that one comparison brings, and messages here that it looks up again.
const MOST_BROUGHT: usize = 1_000;
const MOST_LOOKED_UP: usize = 100;
/// The same after nothing was heard for a while; as many as a list shows.
const MOST_AFTER_A_WHILE: usize = 10_000;
/// Requests of other nodes that are looked up a second as they are told. Under more than that the inbox follows by its comparisons: it is
/// for people, who read no thousand messages a second, and each look is a question to the books.
const LOOKS_A_SECOND: usize = 200;
/// How far back messages are looked for that arrived on other nodes while nothing was heard of them, and how many.
const ARRIVED_MS: i64 = 10 * 60_000;
const MOST_ARRIVED: usize = 1_000;

pub(super) struct FromElsewhere {
    app: Arc<App>,
    news: NewsElsewhere,
    clocks: ClockOffsets,
    draining: watch::Receiver<bool>,
    /// Looks that are left of this second, since its begin.
    looks_left: usize,
    second_began: Instant,
    compared_at: Option<Instant>,
    /// Whether nothing can have been missed since this node began to follow.
    is_whole: bool,
    /// Whether no other node was there at the last look.
    was_alone: bool,
}

impl FromElsewhere {
    pub(super) fn new(app: Arc<App>, news: NewsElsewhere) -> Self {
        Self {
            clocks: ClockOffsets::new(app.mode),
            draining: app.draining.clone(),
            app,
            news,
            looks_left: LOOKS_A_SECOND,
            second_began: Instant::now(),
            compared_at: None,
            is_whole: true,
            was_alone: true,
        }
    }

    async fn heed(&mut self, handed: Handed<Elsewhere>) -> Result<(), StoreError> {
        let mut requests = Vec::new();
        match handed {
            Handed::Missed => {
                self.app.login.told();
                if !self.app.onlookers.are_followed() || self.compared_at.is_some_and(|at| at.elapsed() < LOOK) {
                    return Ok(());
                }
                return self.catch_up().await;
            }
            Handed::Batch(batch) => {
                for news in batch {
                    match news {
                        Elsewhere::Request(request) => requests.push(request),
                        Elsewhere::LoginAsked(attempt) => {
                            // One that can't be looked up must not keep the others from it: its code can still be typed.
                            if let Err(error) = self.ask_here(attempt).await {
                                tracing::warn!(%error, "a sign-in that another node asks for is not shown here");
                            }
                        }
                        Elsewhere::LoginAnswered(attempt) => {
                            self.app.login.told();
                            // The question may stand on a leg of this node: beside what else is told.
                            let app = Arc::clone(&self.app);
                            tokio::spawn(async move { login::take_back(&app, attempt).await });
                        }
                    }
                }
            }
        }
        self.take_looks(&mut requests);
        self.look_up(requests.clone()).await?;
        if let Some(inbox) = &self.app.inbox {
            // What the inbox itself doesn't show may have changed: whether its code was checked.
            for request in requests {
                inbox.touch(request.account, request.id);
            }
        }
        Ok(())
    }

    /// Follows other nodes' requests while somebody looks, from what there is on.
    async fn follow(&mut self) -> Result<(), StoreError> {
        let Some(inbox) = &self.app.inbox else { return Ok(()) };
        let is_alone = self.app.store.is_alone();
        let is_looked_at = inbox.is_open() || self.app.onlookers.are_there();
        self.news.want_requests(is_looked_at && !is_alone);
        // Alone, this node delivers everything itself, once it shows what others did before.
        let follows = is_alone || is_looked_at;
        // Who comes has told nothing yet, and the last words of who goes may not have been heard.
        let others_changed = is_alone != self.was_alone;
        if follows && (others_changed || !self.app.onlookers.are_followed()) {
            self.catch_up().await?;
            // Until the others know that this node listens, they tell nothing: so the first comparison looks at everything once more.
            self.is_whole = is_alone;
        }
        self.was_alone = is_alone;
        self.app.onlookers.follow(follows);
        Ok(())
    }

    /// Leaves as many as may be looked up in this second.
    fn take_looks(&mut self, requests: &mut Vec<RequestRef>) {
        if self.second_began.elapsed() >= LOOK {
            (self.second_began, self.looks_left) = (Instant::now(), LOOKS_A_SECOND);
        }
        requests.truncate(self.looks_left);
        self.looks_left -= requests.len();
    }

    /// Shows a question that another node asks in this one's inbox, too.
    async fn ask_here(&self, attempt: i64) -> Result<(), StoreError> {
        let Some(inbox) = &self.app.inbox else { return Ok(()) };
        let Some((asked, code)) = self.app.site.login_question(attempt, clock::now()).await? else {
            return Ok(());
        };
        let prompt = LoginPrompt {
            attempt,
            phone: asked.phone,
            code,
            device: asked.device,
            address: asked.address,
            at: asked.created_at,
            expires_at: asked.expires_at,
        };
        inbox.deliver_login(prompt).await;
        // It may have been answered between the look and this.
        if self.app.site.login_question(attempt, clock::now()).await?.is_none() {
            inbox.withdraw_login(attempt).await;
        }
        Ok(())
    }

    /// Shows what happened while nothing was heard.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        self.show_arrived().await?;
        self.compare(MOST_AFTER_A_WHILE).await
    }

    /// Brings what other nodes have under way, and looks up again which of the newest here are shown as unread.
    async fn compare(&mut self, newest: usize) -> Result<(), StoreError> {
        let Some(inbox) = self.app.inbox.clone() else {
            return Ok(());
        };
        self.compared_at = Some(Instant::now());
        let brought = self.app.store.messages_elsewhere(clock::now(), MOST_BROUGHT).await?;
        for request in brought {
            self.show(&inbox, request).await?;
        }
        let shown = inbox.messages(None, newest).into_iter();
        let unread = shown.filter(|message| matches!(message.delivery, DeliveryState::Sent | DeliveryState::Delivered));
        let unread = unread.take(MOST_BROUGHT).map(|message| RequestRef {
            account: message.account,
            id: message.request,
        });
        self.look_up(unread.collect()).await
    }

    /// Shows requests as they stand in the books.
    async fn look_up(&mut self, mut requests: Vec<RequestRef>) -> Result<(), StoreError> {
        let Some(inbox) = self.app.inbox.clone() else {
            return Ok(());
        };
        requests.sort_unstable();
        requests.dedup();
        // One after the other: the connections for questions are for callers.
        for request in requests {
            if let Some(request) = self.app.store.request(request.account, request.id).await? {
                self.show(&inbox, request).await?;
            }
        }
        Ok(())
    }

    /// Shows what arrived on other nodes while nothing was heard of them.
    async fn show_arrived(&mut self) -> Result<(), StoreError> {
        let Some(inbox) = self.app.inbox.clone() else {
            return Ok(());
        };
        let since = clock::now().plus_millis(-ARRIVED_MS);
        for request in self.app.store.arrived_messages(since, MOST_ARRIVED).await? {
            self.show(&inbox, request).await?;
        }
        Ok(())
    }

    async fn show(&mut self, inbox: &Inbox, request: VerificationRequest) -> Result<(), StoreError> {
        let (account, id) = (request.account, request.id);
        if !goes_to_inbox(&request) {
            // It may have come here and have gone on to another leg.
            if inbox.message(account, id).is_some() {
                inbox.withdraw(account, id).await;
            }
            return Ok(());
        }
        let delivery = request.delivery;
        match delivery {
            DeliveryState::Sent | DeliveryState::Delivered | DeliveryState::Read => {}
            DeliveryState::Expired | DeliveryState::Revoked => {
                inbox.withdraw(account, id).await;
                return Ok(());
            }
            DeliveryState::Admitted | DeliveryState::Unreachable | DeliveryState::Checked => return Ok(()),
        }
        let Some(message) = outgoing(request, &mut self.clocks, &*self.app.store).await else {
            return Ok(());
        };
        // Whoever withdraws it on this node between the look and this finds nothing to withdraw: so it is looked at once more.
        if inbox.show(message, delivery)
            && delivery == DeliveryState::Sent
            && let Some(request) = self.app.store.request(account, id).await?
            && (request.delivery != DeliveryState::Sent || !goes_to_inbox(&request))
        {
            inbox.withdraw(account, id).await;
        }
        Ok(())
    }
}

/// Whether the leg under way is the built-in inbox.
fn goes_to_inbox(request: &VerificationRequest) -> bool {
    let Some(plan) = &request.plan else { return true };
    let leg = request.message.as_ref().map_or(0, |message| message.legs.leg);
    plan.legs
        .get(usize::from(leg))
        .is_some_and(|leg| leg.name == LegName::INBOX)
}

impl Worker for FromElsewhere {
    const NAME: &'static str = "elsewhere";

    async fn run(&mut self) {
        let mut draining = self.draining.clone();
        let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0_u32;
        let app = Arc::clone(&self.app);
        loop {
            let heeded = tokio::select! {
                biased;
                () = signalled(&mut draining) => return,
                // Once a second at most, so news wait no longer for it than it takes.
                _ = look.tick() => {
                    let followed = self.follow().await;
                    if self.app.store.is_alone() {
                        continue;
                    }
                    looks = looks.wrapping_add(1);
                    self.app.login.told();
                    if self.app.onlookers.are_followed() && looks.is_multiple_of(LOOKS_BETWEEN_COMPARISONS) {
                        let compared = if self.is_whole {
                            self.compare(MOST_LOOKED_UP).await
                        } else {
                            self.catch_up().await
                        };
                        self.is_whole |= compared.is_ok();
                        followed.and(compared)
                    } else {
                        followed
                    }
                }
                () = app.onlookers.come() => self.follow().await,
                handed = self.news.next() => match handed {
                    Some(handed) => self.heed(handed).await,
                    // The books have ended.
                    None => return,
                },
            };
            if let Err(error) = heeded {
                tracing::debug!(%error, "what other nodes do could not be looked up: it is compared later");
            }
        }
    }
}
