//! The worker's round over the books: finds lanes with due reports that nobody told it of, after a restart, an overflow, or
//! what an operator did by hand. It goes account by account and costs one look a lane, however many reports wait there.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use countersign_core::{AccountKey, Timestamp};
use countersign_store::{ReportLane, Store, StoreError};
use tokio::time::Instant;

/// Accounts read at once, and lanes of one account in one round; a later round goes on behind them.
const ACCOUNTS: usize = 64;
const LANES: usize = 128;
/// The least rest between two rounds. It is longer where a round takes long, so that they cost a twentieth of the time at most.
const REST: Duration = Duration::from_secs(1);
const REST_FACTOR: u32 = 20;
/// Accounts whose place is remembered between rounds; beyond it they begin anew.
const MAX_PLACES: usize = 4_096;

/// The round.
pub(super) struct Sweep {
    /// Accounts of this round that are still to be looked at, and the last that was read.
    accounts: VecDeque<AccountKey>,
    last: Option<AccountKey>,
    is_last_page: bool,
    /// Whether busy lanes are looked at too: something was missed.
    thorough: bool,
    /// Where to go on in accounts with many lanes.
    places: HashMap<AccountKey, Arc<str>>,
    /// When the next step is due.
    next: Instant,
    /// What this round has taken so far.
    took: Duration,
}

impl Sweep {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            accounts: VecDeque::new(),
            last: None,
            is_last_page: false,
            thorough: true,
            places: HashMap::new(),
            next: now,
            took: Duration::ZERO,
        }
    }

    /// When [`Self::step`] is due.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// Begins a round at once that looks at busy lanes too.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.accounts.clear();
        self.last = None;
        self.is_last_page = false;
        self.thorough = true;
        self.next = now;
    }

    /// Whether busy lanes are looked at too.
    pub(super) const fn is_thorough(&self) -> bool {
        self.thorough
    }

    /// Looks at one account; answers its lanes, each with the time at which its first report is due.
    pub(super) async fn step(&mut self, store: &dyn Store) -> Result<Vec<(ReportLane, Timestamp)>, StoreError> {
        let began = Instant::now();
        let found = self.look(store).await;
        let now = Instant::now();
        self.took += now.duration_since(began);
        match &found {
            Ok(_) if !(self.accounts.is_empty() && self.is_last_page) => self.next = now,
            Ok(_) => {
                self.next = now + REST.max(self.took * REST_FACTOR);
                self.last = None;
                self.is_last_page = false;
                self.thorough = false;
                self.took = Duration::ZERO;
            }
            Err(_) => self.next = now + REST,
        }
        found
    }

    async fn look(&mut self, store: &dyn Store) -> Result<Vec<(ReportLane, Timestamp)>, StoreError> {
        if self.accounts.is_empty() {
            let page = store.report_accounts(self.last, ACCOUNTS).await?;
            self.is_last_page = page.len() < ACCOUNTS;
            self.last = page.last().copied();
            self.accounts = page.into();
        }
        let Some(account) = self.accounts.front().copied() else {
            return Ok(Vec::new());
        };
        let place = self.places.get(&account).cloned();
        let lanes = store.report_lanes(account, place, LANES).await?;
        self.accounts.pop_front();
        match lanes.last() {
            Some((lane, _)) if lanes.len() == LANES => {
                if self.places.len() >= MAX_PLACES {
                    self.places.clear();
                }
                self.places.insert(account, Arc::clone(&lane.host));
            }
            _ => {
                self.places.remove(&account);
            }
        }
        Ok(lanes)
    }
}
