//! Which due report goes next. Reports of one account to one destination form a lane; accounts take turns, and so do the lanes
//! of one. A lane has its limit and its circuit; an account may have as many under way as there are free places left, so a
//! newcomer always finds one, and what waits in memory is shared in the same way. What doesn't fit waits in the books, and is
//! read lane by lane. Pure book-keeping, no I/O: the worker beside it reads, sends and records.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use countersign_core::AccountKey;
use countersign_store::{DuePlace, DueReport, ReportKey, ReportLane};
use tokio::time::Instant;

use super::circuit::{Circuit, CircuitSettings};
use super::limiter::Limiter;
use crate::vitals::{NAMED_CIRCUITS, OpenCircuit, ReportFigures};

mod rooms;

/// Bounds of what is under way and in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Attempts under way in all. Each takes a socket and some 20 KiB; at 20 ms an answer they make 50,000 reports a second,
    /// more than the books record, and a hundred destinations that hang at once still leave nine tenths free.
    pub(super) under_way: usize,
    /// Reports that wait in memory in all, of some hundred bytes each, and of one lane.
    pub(super) waiting: usize,
    pub(super) lane_waiting: usize,
    /// Lanes that are remembered.
    pub(super) lanes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            under_way: 1_024,
            waiting: 16_384,
            lane_waiting: 256,
            lanes: 32_768,
        }
    }
}

/// Places in an account's share that only lanes with nothing under way may take: many destinations of one account that hang
/// don't delay its others.
const FIRST_PLACES: usize = 64;
/// A lane is read on once fewer than this wait, and so many at a time.
const READ_BELOW: usize = 64;
const PAGE: usize = 128;
/// How long a lane with nothing to do is remembered, and one whose circuit is open.
const QUIET_LIFE: Duration = Duration::from_mins(1);
const OPEN_LIFE: Duration = Duration::from_mins(15);
/// A busy lane is looked at from its beginning this often: what the worker was never told of is found by that.
const FRESH_LOOK_EVERY: Duration = Duration::from_secs(30);

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// It waits for its turn.
    Taken,
    /// It is here already.
    Known,
    /// Its circuit is open: it is known here until it is recorded as held back.
    Held { until: Instant },
    /// There is no room: it is read from the books later.
    Full,
}

/// A report that goes out now.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) report: DueReport,
    pub(super) ticket: Ticket,
}

/// What an attempt brings back.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) key: ReportKey,
    pub(super) lane: ReportLane,
    falls: u32,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was acknowledged, within this time.
    Acknowledged(Duration),
    /// It failed.
    Failed,
    /// Nothing was sent; it is still due.
    NothingSent,
}

/// Reports that are held back, since their circuit has just opened.
#[derive(Debug)]
pub(super) struct HeldBack {
    pub(super) until: Instant,
    pub(super) reports: Vec<DueReport>,
}

/// A page that is to be read from the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) lane: ReportLane,
    pub(super) after: Option<DuePlace>,
    pub(super) limit: usize,
}

/// All lanes.
pub(super) struct Lanes {
    bounds: Bounds,
    circuits: CircuitSettings,
    by_name: HashMap<ReportLane, Lane>,
    accounts: HashMap<AccountKey, Account>,
    /// Accounts that may have something to start, and those that have something to read; each once, in their turn.
    starting: VecDeque<AccountKey>,
    reading: VecDeque<AccountKey>,
    /// All reports here, so that one is never sent twice at once: those that wait, those under way, those being recorded.
    known: HashSet<ReportKey>,
    under_way: usize,
    waiting: usize,
}

/// One account's share, and its lanes in their turn.
#[derive(Debug, Default)]
struct Account {
    starting: VecDeque<Arc<str>>,
    reading: VecDeque<Arc<str>>,
    has_start_turn: bool,
    has_read_turn: bool,
    under_way: usize,
    waiting: usize,
    lanes: usize,
    /// Lanes with nothing to do, and since when: they are forgotten in this order.
    quiet: VecDeque<(Instant, Arc<str>)>,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says in which list it stands, independently of the others"
)]
struct Lane {
    waiting: VecDeque<DueReport>,
    under_way: usize,
    /// Neither waiting nor under way, but not written down yet.
    recording: usize,
    limiter: Limiter,
    circuit: Circuit,
    /// The books may hold more than is known here; read on after this place.
    has_more: bool,
    after: Option<DuePlace>,
    looked_at: Option<Instant>,
    /// Whether it stands in its account's `starting` and `reading`, and in `quiet`.
    has_start_turn: bool,
    has_read_turn: bool,
    is_listed_quiet: bool,
    used: Instant,
}

impl Lane {
    fn new(circuits: CircuitSettings, now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            under_way: 0,
            recording: 0,
            limiter: Limiter::default(),
            circuit: Circuit::new(circuits),
            has_more: false,
            after: None,
            looked_at: None,
            has_start_turn: false,
            has_read_turn: false,
            is_listed_quiet: false,
            used: now,
        }
    }

    fn can_start(&self, now: Instant) -> bool {
        !self.waiting.is_empty() && self.under_way < self.limiter.limit() && self.circuit.lets_through(now)
    }

    fn wants_read(&self, now: Instant) -> bool {
        let has_room = if self.circuit.wants_probe() {
            self.waiting.is_empty()
        } else {
            self.waiting.len() < READ_BELOW
        };
        self.has_more && has_room && self.circuit.lets_through(now)
    }

    fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0 && self.recording == 0 && !self.has_more
    }
}

impl Lanes {
    pub(super) fn new(bounds: Bounds, circuits: CircuitSettings) -> Self {
        Self {
            bounds,
            circuits,
            by_name: HashMap::new(),
            accounts: HashMap::new(),
            starting: VecDeque::new(),
            reading: VecDeque::new(),
            known: HashSet::new(),
            under_way: 0,
            waiting: 0,
        }
    }

    /// What the operator's console shows. It looks at every lane, when somebody asks.
    pub(super) fn figures(&self, now: Instant) -> ReportFigures {
        let mut named: Vec<OpenCircuit> = self
            .by_name
            .iter()
            .filter(|(_, lane)| lane.circuit.wants_probe())
            .map(|(name, lane)| OpenCircuit {
                account: name.account,
                host: Arc::clone(&name.host),
                rest: lane.circuit.open_until(now).map_or(Duration::ZERO, |until| until - now),
            })
            .collect();
        let open_circuits = named.len();
        named.sort_unstable_by(|one, other| other.rest.cmp(&one.rest).then_with(|| one.host.cmp(&other.host)));
        named.truncate(NAMED_CIRCUITS);
        ReportFigures {
            lanes: self.by_name.len(),
            waiting: self.waiting,
            under_way: self.under_way,
            open_circuits,
            named,
        }
    }

    /// Takes in a report that is due.
    pub(super) fn offer(&mut self, report: DueReport, now: Instant) -> (Offered, Option<DueReport>) {
        let offered = self.place_for(&report, now);
        let report = match offered {
            Offered::Taken => {
                let key = report.lane();
                if let Some(lane) = self.by_name.get_mut(&key) {
                    lane.waiting.push_back(report);
                }
                self.waiting += 1;
                if let Some(account) = self.accounts.get_mut(&key.account) {
                    account.waiting += 1;
                }
                self.give_start_turn(&key, now);
                None
            }
            Offered::Known | Offered::Full => None,
            Offered::Held { .. } => Some(report),
        };
        (offered, report)
    }

    fn place_for(&mut self, report: &DueReport, now: Instant) -> Offered {
        if self.known.contains(&report.key) {
            return Offered::Known;
        }
        let key = report.lane();
        let room = self.room_of(key.account);
        // What can't wait here needs no lane of its own yet: the books are gone through lane by lane.
        let is_known_lane = self.by_name.contains_key(&key);
        if !is_known_lane && (room == 0 || !self.make_lane(&key, now)) {
            return Offered::Full;
        }
        let Some(lane) = self.by_name.get_mut(&key) else {
            return Offered::Full;
        };
        if let Some(until) = lane.circuit.open_until(now) {
            lane.recording += 1;
            self.known.insert(report.key);
            return Offered::Held { until };
        }
        if room == 0 || lane.waiting.len() >= self.bounds.lane_waiting {
            lane.has_more = true;
            self.give_read_turn(&key, now);
            return Offered::Full;
        }
        self.known.insert(report.key);
        Offered::Taken
    }

    /// How many more reports of an account may wait in memory: it may have as many as there is room left.
    fn room_of(&self, account: AccountKey) -> usize {
        let free = self.bounds.waiting.saturating_sub(self.waiting);
        let waiting = self.accounts.get(&account).map_or(0, |account| account.waiting);
        // Half: what it takes leaves less room for all.
        free.saturating_sub(waiting).div_ceil(2).min(free)
    }

    /// The next report to send, which is under way from now on.
    pub(super) fn start(&mut self, now: Instant) -> Option<Start> {
        for _ in 0..self.starting.len() {
            let free = self.bounds.under_way.saturating_sub(self.under_way);
            if free == 0 {
                return None;
            }
            let account_key = self.starting.pop_front()?;
            let start = self.start_of_account(account_key, free, now);
            let Some(account) = self.accounts.get_mut(&account_key) else {
                continue;
            };
            account.has_start_turn = !account.starting.is_empty();
            if account.has_start_turn {
                self.starting.push_back(account_key);
            }
            if start.is_some() {
                return start;
            }
        }
        None
    }

    fn start_of_account(&mut self, account_key: AccountKey, free: usize, now: Instant) -> Option<Start> {
        let account = self.accounts.get_mut(&account_key)?;
        // It may have as many under way as would be left free; and of those some are left to lanes that have none yet.
        let share = free.saturating_sub(account.under_way);
        if share == 0 {
            return None;
        }
        for _ in 0..account.starting.len() {
            let host = account.starting.pop_front()?;
            let key = ReportLane {
                account: account_key,
                host: Arc::clone(&host),
            };
            let Some(lane) = self.by_name.get_mut(&key) else {
                continue;
            };
            if !lane.can_start(now) {
                lane.has_start_turn = false;
                continue;
            }
            if lane.under_way > 0 && lane.under_way + FIRST_PLACES > share {
                account.starting.push_back(host);
                continue;
            }
            let report = lane.waiting.pop_front()?;
            lane.circuit.began();
            lane.under_way += 1;
            lane.has_start_turn = lane.can_start(now);
            if lane.has_start_turn {
                account.starting.push_back(host);
            }
            account.waiting -= 1;
            account.under_way += 1;
            self.waiting -= 1;
            self.under_way += 1;
            let ticket = Ticket {
                key: report.key,
                falls: lane.limiter.falls(),
                lane: key,
            };
            self.give_read_turn(&ticket.lane, now);
            return Some(Start { report, ticket });
        }
        None
    }

    /// An attempt has ended. Its report is known until it is recorded, but where nothing was sent.
    pub(super) fn ended(&mut self, ticket: &Ticket, ended: Ended, now: Instant) -> Option<HeldBack> {
        let lane = self.by_name.get_mut(&ticket.lane)?;
        let account = self.accounts.get_mut(&ticket.lane.account)?;
        let under_way = lane.under_way;
        lane.under_way -= 1;
        account.under_way -= 1;
        self.under_way -= 1;
        let opened = match ended {
            Ended::Acknowledged(took) => {
                lane.limiter.acknowledged(took, under_way);
                // What was held back, or never read, goes now.
                lane.has_more |= lane.circuit.acknowledged();
                lane.recording += 1;
                None
            }
            Ended::Failed => {
                lane.limiter.failed(ticket.falls);
                lane.recording += 1;
                lane.circuit.failed(now)
            }
            Ended::NothingSent => {
                lane.circuit.never_began(now);
                self.known.remove(&ticket.key);
                None
            }
        };
        let held_back = opened.map(|until| {
            let reports = Vec::from(std::mem::take(&mut lane.waiting));
            lane.recording += reports.len();
            // They are due again when it is over, and the place that was reached says nothing then.
            lane.after = None;
            account.waiting -= reports.len();
            self.waiting -= reports.len();
            HeldBack { until, reports }
        });
        self.give_start_turn(&ticket.lane, now);
        self.give_read_turn(&ticket.lane, now);
        self.note_quiet(&ticket.lane, now);
        held_back
    }

    /// A report's attempt, or that it was held back, is written down: where it is due again, it is taken in again.
    pub(super) fn recorded(&mut self, key: ReportKey, lane_key: &ReportLane, now: Instant) {
        self.known.remove(&key);
        if let Some(lane) = self.by_name.get_mut(lane_key) {
            lane.recording -= 1;
        }
        self.note_quiet(lane_key, now);
    }

    /// The books hold something due in this lane. A busy lane is looked at from its beginning only now and then: what is due in
    /// it is known here already. `thoroughly`: now.
    pub(super) fn note_due(&mut self, key: &ReportLane, thoroughly: bool, now: Instant) {
        if !self.make_lane(key, now) {
            return;
        }
        if let Some(lane) = self.by_name.get_mut(key) {
            let is_busy = !lane.waiting.is_empty() || lane.under_way > 0 || lane.recording > 0;
            let is_old = lane
                .looked_at
                .is_none_or(|at| now.duration_since(at) >= FRESH_LOOK_EVERY);
            if !lane.has_more && (!is_busy || is_old || thoroughly) {
                lane.has_more = true;
                lane.after = None;
            }
        }
        self.give_start_turn(key, now);
        self.give_read_turn(key, now);
    }

    /// The next page to read: accounts take turns, those with room left in memory.
    pub(super) fn next_read(&mut self, now: Instant) -> Option<Read> {
        for _ in 0..self.reading.len() {
            let account_key = self.reading.pop_front()?;
            let room = self.room_of(account_key);
            let Some(account) = self.accounts.get_mut(&account_key) else {
                continue;
            };
            let mut read = None;
            if room > 0 {
                while read.is_none()
                    && let Some(host) = account.reading.pop_front()
                {
                    let key = ReportLane {
                        account: account_key,
                        host,
                    };
                    let Some(lane) = self.by_name.get_mut(&key) else {
                        continue;
                    };
                    lane.has_read_turn = false;
                    if lane.wants_read(now) {
                        let is_probe = lane.circuit.wants_probe();
                        if lane.after.is_none() {
                            lane.looked_at = Some(now);
                        }
                        read = Some(Read {
                            after: lane.after,
                            limit: if is_probe { 1 } else { PAGE.min(room) },
                            lane: key,
                        });
                    }
                }
            }
            account.has_read_turn = !account.reading.is_empty();
            if account.has_read_turn {
                self.reading.push_back(account_key);
            }
            if read.is_some() {
                return read;
            }
        }
        None
    }

    /// What a page held.
    pub(super) fn was_read(&mut self, read: &Read, page: Vec<DueReport>, now: Instant) {
        let circuit = self.by_name.get(&read.lane).map(|lane| lane.circuit);
        if circuit.is_none_or(|circuit| circuit.open_until(now).is_some()) {
            return;
        }
        let mut is_end = page.len() < read.limit;
        let mut reached = read.after;
        for report in page {
            let place = report.place();
            let (offered, _) = self.offer(report, now);
            if offered == Offered::Full {
                is_end = false;
                break;
            }
            reached = Some(place);
        }
        if let Some(lane) = self.by_name.get_mut(&read.lane) {
            lane.has_more = !is_end;
            lane.after = if is_end { None } else { reached };
        }
        self.give_read_turn(&read.lane, now);
        self.note_quiet(&read.lane, now);
    }

    fn give_start_turn(&mut self, key: &ReportLane, now: Instant) {
        let Some(lane) = self.by_name.get_mut(key) else { return };
        let Some(account) = self.accounts.get_mut(&key.account) else {
            return;
        };
        if !lane.has_start_turn && lane.can_start(now) {
            lane.has_start_turn = true;
            account.starting.push_back(Arc::clone(&key.host));
        }
        if !account.has_start_turn && !account.starting.is_empty() {
            account.has_start_turn = true;
            self.starting.push_back(key.account);
        }
    }

    fn give_read_turn(&mut self, key: &ReportLane, now: Instant) {
        let Some(lane) = self.by_name.get_mut(key) else { return };
        let Some(account) = self.accounts.get_mut(&key.account) else {
            return;
        };
        if !lane.has_read_turn && lane.wants_read(now) {
            lane.has_read_turn = true;
            account.reading.push_back(Arc::clone(&key.host));
        }
        if !account.has_read_turn && !account.reading.is_empty() {
            account.has_read_turn = true;
            self.reading.push_back(key.account);
        }
    }
}

#[cfg(test)]
mod tests;
