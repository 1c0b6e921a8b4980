//! Usage: what verification requests add up to. [`usage_change`] says what one change of a request adds, and where: to which
//! quarter of an hour, country, route and sender. A request adds what its row says, no more: what the books have summed up
//! equals what all rows give anew. The store sums up, the statistics pages show (docs/statistics.md has the definitions).

use crate::command::{TimelineEvent, TimelineKind};
use crate::money::Credits;
use crate::parameters::SenderUsername;
use crate::phone::PhoneNumber;
use crate::price::RouteName;
use crate::request::{DeliveryState, VerificationRequest, VerificationState};
use crate::time::Timestamp;

/// Fifteen minutes: every time zone's days begin at a multiple of it.
pub const QUARTER_MS: i64 = 900_000;
/// Slots of a [`TimeHistogram`]: four a doubling up to nine hours; the last holds whatever took longer.
pub const TIME_SLOTS: u8 = 96;

/// A quarter of an hour, counted from the epoch, on the account's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quarter(i64);

impl Quarter {
    /// The quarter with this number.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The quarter in which a moment lies.
    pub const fn of(at: Timestamp) -> Self {
        Self(at.millis().div_euclid(QUARTER_MS))
    }

    /// Its number.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// Its first moment.
    pub const fn start(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(QUARTER_MS))
    }
}

/// What is counted. A count's place is its number in the books' encoding: it may never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageCount {
    /// Requests that were opened: ability checks that reached their number, and sends.
    Requests = 0,
    /// Messages that were sent.
    Sent = 1,
    /// Messages that a device took; read ones among them.
    Delivered = 2,
    /// Messages that were seen, or proved by a right code that we generated.
    Read = 3,
    /// Requests on which a code was entered in time, right or wrong.
    Entered = 4,
    /// Requests whose right code was entered in time.
    Valid = 5,
    /// Messages that were neither delivered nor read in their life.
    Expired = 6,
    /// Messages that were withdrawn before they were delivered.
    Revoked = 7,
    /// Requests whose number no leg reached; nothing was charged.
    Unreachable = 8,
    /// Micro-credits that were charged.
    ChargedMicros = 9,
    /// Micro-credits that were given back.
    RefundedMicros = 10,
    /// Numbers that the account had not asked for before, estimated, in 1024ths.
    NewNumbers1024 = 11,
}

/// How many counts there are.
pub const USAGE_COUNTS: usize = 12;

/// How often something took how long, in slots that widen with the time: four a doubling, so that a percentile is off by an
/// eighth at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeHistogram(Vec<(u8, u64)>);

/// The slot of a length of time. Under 8 ms each millisecond has its own.
pub fn time_slot(millis: i64) -> u8 {
    let millis = millis.max(0).unsigned_abs();
    let slot = if millis < 4 {
        millis
    } else {
        let doubling = u64::from(millis.ilog2());
        4 * (doubling - 1) + ((millis >> (doubling - 2)) & 3)
    };
    u8::try_from(slot).map_or(TIME_SLOTS - 1, |slot| slot.min(TIME_SLOTS - 1))
}

/// The middle of a slot in milliseconds.
fn slot_middle(slot: u8) -> u64 {
    let slot = u64::from(slot);
    if slot < 8 {
        return slot;
    }
    let width = 1_u64 << (slot / 4 - 1);
    (4 + slot % 4) * width + width / 2
}

impl TimeHistogram {
    /// Counts a slot so many times more.
    pub fn add_slot(&mut self, slot: u8, times: u64) {
        match self.0.binary_search_by_key(&slot, |&(slot, _)| slot) {
            Ok(place) => self.0[place].1 = self.0[place].1.saturating_add(times),
            Err(place) => self.0.insert(place, (slot, times)),
        }
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        for &(slot, times) in &other.0 {
            self.add_slot(slot, times);
        }
    }

    /// The slots that count something, in order, with how often.
    pub fn slots(&self) -> &[(u8, u64)] {
        &self.0
    }

    /// How many lengths of time are in it.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|&(_, times)| times).sum()
    }

    /// The length of time in milliseconds that so many in a hundred didn't exceed; off by an eighth at most. `None` of nothing.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let total = self.total();
        let wanted = (u128::from(total) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0_u128;
        self.0.iter().find_map(|&(slot, times)| {
            seen += u128::from(times);
            (seen >= wanted).then(|| slot_middle(slot))
        })
    }
}

/// A sum of usage. Sums add up in any order and grouping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageSum {
    /// By [`UsageCount`].
    pub counts: [i64; USAGE_COUNTS],
    /// From a message's send to its delivery (or to its reading, where no delivery was told).
    pub to_delivered: TimeHistogram,
    /// From a message's send to its right code.
    pub to_valid: TimeHistogram,
}

impl UsageSum {
    /// One count; negative only in a change that takes something from one place to another.
    pub const fn count(&self, count: UsageCount) -> i64 {
        self.counts[count as usize]
    }

    /// One count as a page shows it.
    pub fn shown(&self, count: UsageCount) -> u64 {
        u64::try_from(self.count(count)).unwrap_or(0)
    }

    /// What was charged less what was given back.
    pub const fn cost(&self) -> Credits {
        let (charged, refunded) = (UsageCount::ChargedMicros, UsageCount::RefundedMicros);
        Credits::from_micros(self.count(charged).saturating_sub(self.count(refunded)))
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum = sum.saturating_add(count);
        }
        self.to_delivered.add(&other.to_delivered);
        self.to_valid.add(&other.to_valid);
    }

    /// Adds one change.
    pub fn add_change(&mut self, change: &UsageChange<'_>) {
        for (sum, count) in self.counts.iter_mut().zip(change.counts) {
            *sum = sum.saturating_add(count);
        }
        if let Some(slot) = change.delivered_slot {
            self.to_delivered.add_slot(slot, 1);
        }
        if let Some(slot) = change.valid_slot {
            self.to_valid.add_slot(slot, 1);
        }
    }
}

/// What statistics look at of a request: no code, nothing that is sealed.
#[derive(Debug, Clone, Copy)]
pub struct UsageFacts<'a> {
    /// When it was made, on the account's clock.
    pub created_at: Timestamp,
    /// The recipient.
    pub phone: PhoneNumber,
    /// The route of its plan, if it has one.
    pub route: Option<&'a RouteName>,
    /// The sender that its message names.
    pub sender: Option<&'a SenderUsername>,
    /// What became of it.
    pub delivery: DeliveryState,
    /// Its fee.
    pub fee: Credits,
    /// Whether the fee was given back.
    pub refunded: bool,
    /// What became of the code.
    pub verification: VerificationState,
    /// When that last changed.
    pub verification_updated_at: Timestamp,
    /// How many wrong codes were entered.
    pub wrong_attempts: u8,
    /// When its message was sent, if one was.
    pub sent_at: Option<Timestamp>,
    /// When its message arrived, if it did: its first delivery or reading.
    pub arrived_at: Option<Timestamp>,
    /// Whether a test-mode token made it: then it counts for nothing.
    pub test: bool,
}

impl<'a> UsageFacts<'a> {
    /// Of a request, with what happened to it last.
    pub fn of(request: &'a VerificationRequest, timeline: &[TimelineEvent]) -> Self {
        let message = request.message.as_ref();
        let arrival = timeline.iter().find(|event| {
            matches!(
                event.kind,
                TimelineKind::Became(DeliveryState::Delivered | DeliveryState::Read)
            )
        });
        Self {
            created_at: request.id.created_at(),
            phone: request.phone,
            route: request.plan.as_ref().map(|plan| &plan.route),
            sender: message.and_then(|message| message.sender.as_ref()),
            delivery: request.delivery,
            fee: request.fee,
            refunded: request.refunded,
            verification: request.verification,
            verification_updated_at: request.verification_updated_at,
            wrong_attempts: request.wrong_attempts,
            sent_at: message.map(|message| message.sent_at),
            arrived_at: arrival.map(|event| event.at),
            test: request.test,
        }
    }

    fn counts(&self) -> [i64; USAGE_COUNTS] {
        use DeliveryState as State;
        let mut counts = [0; USAGE_COUNTS];
        let mut set = |count: UsageCount, value: i64| counts[count as usize] = value;
        if self.test {
            return counts;
        }
        match self.delivery {
            // Nothing is charged, and nobody knows yet whether anything will be.
            State::Admitted => return counts,
            State::Unreachable => {
                set(UsageCount::Unreachable, 1);
                return counts;
            }
            _ => {}
        }
        let valid = self.verification == VerificationState::Valid;
        set(UsageCount::Requests, 1);
        set(UsageCount::Sent, (self.delivery >= State::Sent).into());
        let arrived = matches!(self.delivery, State::Delivered | State::Read);
        set(UsageCount::Delivered, arrived.into());
        set(UsageCount::Read, (self.delivery == State::Read).into());
        set(UsageCount::Entered, (valid || self.wrong_attempts > 0).into());
        set(UsageCount::Valid, valid.into());
        set(UsageCount::Expired, (self.delivery == State::Expired).into());
        set(UsageCount::Revoked, (self.delivery == State::Revoked).into());
        set(UsageCount::ChargedMicros, self.fee.micros());
        set(
            UsageCount::RefundedMicros,
            if self.refunded { self.fee.micros() } else { 0 },
        );
        counts
    }

    fn has_arrived(&self) -> bool {
        matches!(self.delivery, DeliveryState::Delivered | DeliveryState::Read)
    }

    fn since_send(&self, at: Option<Timestamp>) -> Option<u8> {
        if self.test {
            return None;
        }
        Some(time_slot(at?.millis() - self.sent_at?.millis()))
    }

    /// All that the request adds up to.
    pub fn whole(&self) -> UsageChange<'a> {
        UsageChange {
            created_at: self.created_at,
            phone: self.phone,
            route: self.route,
            sender: self.sender,
            counts: self.counts(),
            delivered_slot: self.has_arrived().then(|| self.since_send(self.arrived_at)).flatten(),
            valid_slot: (self.verification == VerificationState::Valid)
                .then(|| self.since_send(Some(self.verification_updated_at)))
                .flatten(),
        }
    }
}

/// What a change of one request adds to usage, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageChange<'a> {
    /// When the request was made: usage belongs to that time, whenever it comes.
    pub created_at: Timestamp,
    /// The recipient.
    pub phone: PhoneNumber,
    /// The route of its plan, if it has one.
    pub route: Option<&'a RouteName>,
    /// The sender that its message names.
    pub sender: Option<&'a SenderUsername>,
    /// By [`UsageCount`].
    pub counts: [i64; USAGE_COUNTS],
    /// How long its message took to arrive, if it did now.
    pub delivered_slot: Option<u8>,
    /// How long the right code took, if it came now.
    pub valid_slot: Option<u8>,
}

impl UsageChange<'_> {
    /// Whether nothing is added.
    pub fn is_empty(&self) -> bool {
        self.counts == [0; USAGE_COUNTS] && self.delivered_slot.is_none() && self.valid_slot.is_none()
    }

    /// Whether the request begins to count now.
    pub const fn opens(&self) -> bool {
        self.counts[UsageCount::Requests as usize] > 0
    }
}

/// What a change of a request adds to usage. Two changes where a send gives a sender or a route to a request that was only
/// checked before: all of it goes from one place to the other.
pub fn usage_change<'a>(
    before: Option<UsageFacts<'a>>,
    after: &UsageFacts<'a>,
) -> (UsageChange<'a>, Option<UsageChange<'a>>) {
    let mut change = after.whole();
    let Some(before) = before else {
        return (change, None);
    };
    if before.has_arrived() {
        change.delivered_slot = None;
    }
    if before.verification == VerificationState::Valid {
        change.valid_slot = None;
    }
    let counted = before.counts();
    if (before.sender, before.route) != (after.sender, after.route) && counted != [0; USAGE_COUNTS] {
        let moved = UsageChange {
            route: before.route,
            sender: before.sender,
            counts: counted.map(|count| -count),
            delivered_slot: None,
            valid_slot: None,
            ..change.clone()
        };
        return (change, Some(moved));
    }
    for (count, counted) in change.counts.iter_mut().zip(counted) {
        *count -= counted;
    }
    (change, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(delivery: DeliveryState) -> UsageFacts<'static> {
        UsageFacts {
            created_at: Timestamp::from_millis(1_790_000_000_123),
            phone: PhoneNumber::from_stored(391_234_567_890),
            route: None,
            sender: None,
            delivery,
            fee: Credits::from_micros(10_000),
            refunded: false,
            verification: VerificationState::Unchecked,
            verification_updated_at: Timestamp::from_millis(1_790_000_000_123),
            wrong_attempts: 0,
            sent_at: None,
            arrived_at: None,
            test: false,
        }
    }

    #[test]
    fn a_test_request_counts_for_nothing() {
        let read = UsageFacts {
            test: true,
            verification: VerificationState::Valid,
            sent_at: Some(Timestamp::from_millis(1_790_000_000_123)),
            arrived_at: Some(Timestamp::from_millis(1_790_000_001_123)),
            ..facts(DeliveryState::Read)
        };
        assert!(read.whole().is_empty());
        assert!(usage_change(Some(read), &read).0.is_empty());
    }

    #[test]
    fn a_slot_is_at_most_a_quarter_of_its_time_wide() {
        let mut last = 0;
        for millis in (0..4_000_000).step_by(37).chain(0..300) {
            let slot = time_slot(millis);
            let middle = i64::try_from(slot_middle(slot)).unwrap();
            assert!(
                (middle - millis).abs() * 8 <= millis,
                "{millis} ms is told as {middle} ms"
            );
            if millis > 300 {
                assert!(slot >= last);
            }
            last = slot;
        }
        assert_eq!(time_slot(i64::MAX), TIME_SLOTS - 1);
        assert_eq!(time_slot(-5), 0);
    }

    #[test]
    fn percentiles_come_from_the_ranks() {
        let mut times = TimeHistogram::default();
        assert_eq!(times.percentile(50), None);
        for millis in 1..=100 {
            times.add_slot(time_slot(millis * 1000), 1);
        }
        let median = times.percentile(50).unwrap();
        let slowest = times.percentile(95).unwrap();
        assert!(median.abs_diff(50_000) <= 50_000 / 8, "{median}");
        assert!(slowest.abs_diff(95_000) <= 95_000 / 8, "{slowest}");
    }

    #[test]
    fn an_admitted_request_counts_once_it_is_settled() {
        assert!(facts(DeliveryState::Admitted).whole().is_empty());
        let admitted = facts(DeliveryState::Admitted);
        let (change, moved) = usage_change(Some(admitted), &facts(DeliveryState::Unreachable));
        assert_eq!(change.counts[UsageCount::Unreachable as usize], 1);
        assert_eq!(change.counts[UsageCount::ChargedMicros as usize], 0);
        assert!(!change.opens() && moved.is_none());
        let (change, _) = usage_change(Some(admitted), &facts(DeliveryState::Checked));
        assert!(change.opens());
        assert_eq!(change.counts[UsageCount::ChargedMicros as usize], 10_000);
    }

    #[test]
    fn a_send_on_a_checked_request_takes_its_fee_to_the_sender() {
        let sender = SenderUsername::parse("example").unwrap();
        let after = UsageFacts {
            sender: Some(&sender),
            sent_at: Some(Timestamp::from_millis(1_790_000_001_000)),
            ..facts(DeliveryState::Sent)
        };
        let (change, moved) = usage_change(Some(facts(DeliveryState::Checked)), &after);
        let moved = moved.unwrap();
        assert_eq!((moved.sender, change.sender), (None, Some(&sender)));
        assert_eq!(moved.counts[UsageCount::ChargedMicros as usize], -10_000);
        assert_eq!(change.counts[UsageCount::ChargedMicros as usize], 10_000);
        assert_eq!(change.counts[UsageCount::Sent as usize], 1);
    }

    #[test]
    fn a_message_that_is_read_after_its_delivery_arrived_once() {
        let sent_at = Timestamp::from_millis(1_790_000_000_123);
        let at = |delivery, arrived_ms| UsageFacts {
            sent_at: Some(sent_at),
            arrived_at: Some(sent_at.plus_millis(arrived_ms)),
            ..facts(delivery)
        };
        let sent = UsageFacts {
            sent_at: Some(sent_at),
            ..facts(DeliveryState::Sent)
        };
        let (delivered, _) = usage_change(Some(sent), &at(DeliveryState::Delivered, 2_000));
        assert_eq!(delivered.delivered_slot, Some(time_slot(2_000)));
        let (read, _) = usage_change(
            Some(at(DeliveryState::Delivered, 2_000)),
            &at(DeliveryState::Read, 9_000),
        );
        assert_eq!(read.delivered_slot, None);
        assert_eq!(read.counts[UsageCount::Delivered as usize], 0);
        assert_eq!(read.counts[UsageCount::Read as usize], 1);
    }
}
