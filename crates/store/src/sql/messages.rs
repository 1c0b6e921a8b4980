//! SQL of verification requests as their owner searches, reads and watches them.
//!
//! Requests stand in the order of their time, and no index leads to a number or a payload: at each send it would write to
//! a random page, in every installation, for a question that a person asks now and then. So a search steps through the
//! key's order, reads few columns, and stops after [`MAX_STEPS`]. Where a whole number or a whole payload is asked for,
//! [`super::message_summaries`] says which runs of requests can be passed over.

use std::sync::LazyLock;

use crate::sql::{Connection, Row, params};
use countersign_core::{
    AccountKey, DeliveryState, Detail, LegName, RequestId, TimelineEvent, Timestamp, VerificationRequest,
};
use futures_util::future::BoxFuture;

use super::backend::Backend;
use super::codec::{
    REQUEST_COLUMNS, RequestColumns, delivery_number, phone_column, request_id, request_place, timeline_kind_of,
    verification_number,
};
use super::message_summaries::{Summaries, Wanted};
use super::read::{Reader, readable, row_limit};
use crate::messages::{
    MessageFilter, MessageOrder, MessagePage, Messages, NumberSearch, PageEnd, PayloadSearch, RequestWatch,
    TooManyWatches,
};
use crate::types::{RequestRef, StoreError};

/// Requests that one page looks through. Measured with 10 million requests: some 0.4 µs each, 18 ms in all.
const MAX_STEPS: usize = 50_000;
/// Requests that are read at once: a server sends all that it was asked for, and who finds nothing soon asks for more.
const FIRST_AT_ONCE: usize = 256;
const MOST_AT_ONCE: usize = 8_192;

impl<B: Backend> Messages for B {
    fn messages(
        &self,
        account: AccountKey,
        filter: MessageFilter,
        order: MessageOrder,
        after: Option<RequestId>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<MessagePage, StoreError>> {
        self.aside(move |reader| reader.messages(account, &filter, order, after, limit, now))
    }

    fn timeline(&self, request: RequestRef) -> BoxFuture<'_, Result<Vec<TimelineEvent>, StoreError>> {
        self.read(move |reader| reader.timeline(request))
    }

    fn watch(&self, request: RequestRef) -> Result<RequestWatch, TooManyWatches> {
        self.watches().open(request)
    }
}

/// A place in the order of an account's requests: the columns of its key after the account.
pub(crate) type Place = (i64, i64);

/// What is read of each request that is looked through.
const STEP_COLUMNS: &str = "created_at, random, phone, delivery, verification, expires_at, sender, payload";

/// A filter in the terms of the columns.
struct Test {
    number: Option<NumberTest>,
    payload: Option<PayloadSearch>,
    delivery: Option<i64>,
    verification: Option<i64>,
    sender: Option<String>,
    now: i64,
    /// Whether it lets everything pass.
    passes_all: bool,
}

enum NumberTest {
    Is(i64),
    Begins { digits: i64, end: i64 },
    BeginsOrEnds { digits: i64, end: i64, modulus: i64 },
}

impl NumberTest {
    fn of(search: &NumberSearch) -> Option<Self> {
        // What is no number of at most 18 digits is no part of a phone number: the test lets nothing pass.
        let parsed = |digits: &str| {
            let length = u32::try_from(digits.len()).ok().filter(|length| *length <= 18)?;
            Some((digits.parse::<i64>().ok()?, 10_i64.pow(length)))
        };
        match search {
            NumberSearch::Is(phone) => Some(Self::Is(phone_column(*phone))),
            NumberSearch::Begins(text) => parsed(text).map(|(digits, end)| Self::Begins { digits, end }),
            NumberSearch::BeginsOrEnds(text) => parsed(text).map(|(digits, end)| Self::BeginsOrEnds {
                digits,
                // A leading zero is dialled inside a country; no number in the books begins with one.
                end: if text.starts_with('0') { 0 } else { end },
                modulus: end,
            }),
        }
    }

    fn passes(&self, phone: i64) -> bool {
        match self {
            Self::Is(wanted) => phone == *wanted,
            Self::Begins { digits, end } => begins(phone, *digits, *end),
            Self::BeginsOrEnds { digits, end, modulus } => begins(phone, *digits, *end) || phone % modulus == *digits,
        }
    }
}

/// Whether a number's first digits are these; `end` is the power of ten above them.
fn begins(mut number: i64, digits: i64, end: i64) -> bool {
    while number >= end && number > 0 {
        number /= 10;
    }
    number == digits && end > 0
}

impl Test {
    fn of(filter: &MessageFilter, now: Timestamp) -> Option<Self> {
        let number = match &filter.number {
            None => None,
            Some(search) => Some(NumberTest::of(search)?),
        };
        Some(Self {
            passes_all: number.is_none()
                && filter.payload.is_none()
                && filter.delivery.is_none()
                && filter.verification.is_none()
                && filter.sender.is_none(),
            number,
            payload: filter.payload.clone(),
            delivery: filter.delivery.map(delivery_number),
            verification: filter.verification.map(verification_number),
            sender: filter.sender.as_ref().map(|sender| sender.as_str().to_owned()),
            now: now.millis(),
        })
    }

    /// Judges a row of [`STEP_COLUMNS`], the cheapest question first.
    fn passes(&self, row: Row<'_>) -> Result<bool, crate::sql::Error> {
        if self.passes_all {
            return Ok(true);
        }
        if let Some(number) = &self.number
            && !number.passes(row.get(2)?)
        {
            return Ok(false);
        }
        let delivery: i64 = row.get(3)?;
        if self.delivery.is_some_and(|wanted| wanted != delivery) {
            return Ok(false);
        }
        if let Some(wanted) = self.verification
            && wanted != verification_at(row.get(4)?, delivery, row.get(5)?, self.now)
        {
            return Ok(false);
        }
        if let Some(wanted) = &self.sender
            && text(row, 6)? != Some(wanted)
        {
            return Ok(false);
        }
        let payload = text(row, 7)?;
        Ok(match &self.payload {
            None => true,
            Some(PayloadSearch::Is(wanted)) => payload == Some(wanted),
            Some(PayloadSearch::Begins(start)) => payload.is_some_and(|payload| payload.starts_with(start.as_str())),
        })
    }
}

/// A text column as it lies in the page.
fn text(row: Row<'_>, column: usize) -> Result<Option<&str>, crate::sql::Error> {
    row.text_or_null(column)
}

/// The verification state at a time: the end of an unused code's life is no change that the books wait for.
fn verification_at(stored: i64, delivery: i64, expires_at: Option<i64>, now: i64) -> i64 {
    use countersign_core::VerificationState::{Expired, Invalid, Unchecked};
    let open = [Unchecked, Invalid].map(verification_number).contains(&stored);
    let over = expires_at.is_some_and(|end| now >= end) && delivery >= delivery_number(DeliveryState::Sent);
    if open && over {
        verification_number(Expired)
    } else {
        stored
    }
}

/// The look for requests as it goes on.
struct Look<'c> {
    connection: Connection<'c>,
    account: AccountKey,
    order: MessageOrder,
    test: Test,
    /// The first and the last creation time.
    times: (i64, i64),
    /// Places of requests that passed; one more than asked for tells that there are more.
    found: Vec<Place>,
    wanted: usize,
    steps_left: usize,
    /// After which place it goes on.
    cursor: Place,
}

/// How a stretch of the look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    /// Everything up to its end was looked through.
    Done,
    /// Enough was found, or enough looked through.
    Stopped,
}

impl Look<'_> {
    /// Looks through everything after the cursor, up to and including a place.
    fn step_through(&mut self, end: Place) -> Result<Stretch, StoreError> {
        let sql = match self.order {
            MessageOrder::NewestFirst => {
                static SQL: LazyLock<String> = LazyLock::new(|| {
                    format!(
                        "SELECT {STEP_COLUMNS} FROM request WHERE bucket = ?1 AND account_id = ?2 \
                         AND (created_at, random) < (?3, ?4) AND (created_at, random) >= (?5, ?6) \
                         ORDER BY created_at DESC, random DESC LIMIT ?7"
                    )
                });
                &*SQL
            }
            MessageOrder::OldestFirst => {
                static SQL: LazyLock<String> = LazyLock::new(|| {
                    format!(
                        "SELECT {STEP_COLUMNS} FROM request WHERE bucket = ?1 AND account_id = ?2 \
                         AND (created_at, random) > (?3, ?4) AND (created_at, random) <= (?5, ?6) \
                         ORDER BY created_at, random LIMIT ?7"
                    )
                });
                &*SQL
            }
        };
        let end = match self.order {
            MessageOrder::NewestFirst => end.max((self.times.0, i64::MIN)),
            MessageOrder::OldestFirst => end.min((self.times.1, i64::MAX)),
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut at_once = FIRST_AT_ONCE;
        loop {
            // One more than may be looked through tells that there are more.
            let asked_for = at_once.min(self.steps_left.saturating_add(1));
            let mut rows = statement.query(params![
                self.account.bucket.0,
                self.account.id.number(),
                self.cursor.0,
                self.cursor.1,
                end.0,
                end.1,
                row_limit(asked_for)
            ])?;
            let mut answered = 0;
            while let Some(row) = rows.next()? {
                answered += 1;
                if self.steps_left == 0 {
                    return Ok(Stretch::Stopped);
                }
                self.steps_left -= 1;
                let place = (row.get(0)?, row.get(1)?);
                if self.test.passes(row)? {
                    if self.found.len() == self.wanted {
                        // One more than asked for: it begins the next page.
                        self.wanted = 0;
                        return Ok(Stretch::Stopped);
                    }
                    self.found.push(place);
                }
                self.cursor = place;
            }
            if answered < asked_for {
                return Ok(Stretch::Done);
            }
            at_once = (at_once * 4).min(MOST_AT_ONCE);
        }
    }

    /// Goes through the summaries: steps through the runs that may hold what is wanted, and leaps over the others.
    fn leap_through(&mut self, wanted: &Wanted) -> Result<Stretch, StoreError> {
        let (first, last) = ((self.times.0, i64::MIN), (self.times.1, i64::MAX));
        let (towards, end) = match self.order {
            MessageOrder::NewestFirst => (first, first),
            MessageOrder::OldestFirst => (last, last),
        };
        let mut summaries = Summaries::of(self.connection, self.account, self.order)?;
        while let Some(run) = summaries.next(self.cursor)? {
            let outside = match self.order {
                MessageOrder::NewestFirst => run.last < towards,
                MessageOrder::OldestFirst => run.first > towards,
            };
            if outside {
                break;
            }
            // What lies between the runs has no summary.
            if self.step_through(run.before(self.order))? == Stretch::Stopped {
                return Ok(Stretch::Stopped);
            }
            if run.may_hold(wanted) {
                if self.step_through(run.far_end(self.order))? == Stretch::Stopped {
                    return Ok(Stretch::Stopped);
                }
            } else if self.steps_left < Summaries::STEPS_OF_A_LEAP {
                return Ok(Stretch::Stopped);
            } else {
                self.steps_left -= Summaries::STEPS_OF_A_LEAP;
            }
            self.cursor = run.far_end(self.order);
        }
        self.step_through(end)
    }
}

impl Reader<'_> {
    fn messages(
        &self,
        account: AccountKey,
        filter: &MessageFilter,
        order: MessageOrder,
        after: Option<RequestId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<MessagePage, StoreError> {
        let nothing = MessagePage {
            requests: Vec::new(),
            end: PageEnd::Last,
        };
        let Some(test) = Test::of(filter, now) else {
            return Ok(nothing);
        };
        let from = filter.from.map_or(i64::MIN, Timestamp::millis);
        let to = filter.to.map_or(i64::MAX, |to| to.millis().saturating_sub(1));
        if from > to || limit == 0 {
            return Ok(nothing);
        }
        let after = after.map(|id| (id.created_at().millis(), id.random().cast_signed()));
        let cursor = match order {
            MessageOrder::NewestFirst => after.into_iter().fold((to.saturating_add(1), i64::MIN), Place::min),
            MessageOrder::OldestFirst => after.into_iter().fold((from.saturating_sub(1), i64::MAX), Place::max),
        };
        self.with(|connection| {
            // One snapshot for the look and the rows that it found.
            let snapshot = connection.snapshot()?;
            let connection = snapshot.connection();
            let mut look = Look {
                connection,
                account,
                order,
                test,
                times: (from, to),
                found: Vec::new(),
                wanted: limit,
                steps_left: MAX_STEPS,
                cursor,
            };
            let stretch = match Wanted::of(filter) {
                Some(wanted) => look.leap_through(&wanted)?,
                None => look.step_through(match order {
                    MessageOrder::NewestFirst => (from, i64::MIN),
                    MessageOrder::OldestFirst => (to, i64::MAX),
                })?,
            };
            let id = |place: Place| request_id(place.0, place.1);
            let end = match (stretch, look.found.last()) {
                (Stretch::Done, _) => PageEnd::Last,
                (Stretch::Stopped, Some(last)) if look.wanted == 0 => PageEnd::Full(id(*last)),
                (Stretch::Stopped, _) => PageEnd::LookedThrough(id(look.cursor)),
            };
            Ok(MessagePage {
                requests: self.load(connection, account, &look.found)?,
                end,
            })
        })
    }

    fn load(
        &self,
        connection: Connection<'_>,
        account: AccountKey,
        places: &[Place],
    ) -> Result<Vec<VerificationRequest>, StoreError> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "SELECT {REQUEST_COLUMNS} FROM request \
                 WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4"
            )
        });
        let mut statement = connection.prepare_cached(&SQL)?;
        let mut requests = Vec::with_capacity(places.len());
        for (created_at, random) in places {
            let columns = statement.query_row(
                params![account.bucket.0, account.id.number(), created_at, random],
                RequestColumns::read,
            )?;
            requests.extend(readable(columns.open(self.vault))?);
        }
        Ok(requests)
    }

    fn timeline(&self, request: RequestRef) -> Result<Vec<TimelineEvent>, StoreError> {
        self.with(|connection| {
            // Late news is bounded by the rules, and so are states.
            let mut statement = connection.prepare_cached(
                "SELECT number, kind, state, at, leg, detail FROM timeline \
                 WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 ORDER BY number LIMIT 100",
            )?;
            let mut rows = statement.query(request_place(request))?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                events.push(TimelineEvent {
                    number: row.get(0)?,
                    kind: timeline_kind_of(row.get(1)?, row.get(2)?)?,
                    at: Timestamp::from_millis(row.get(3)?),
                    leg: row.get::<Option<String>>(4)?.as_deref().and_then(LegName::parse),
                    detail: row.get::<Option<String>>(5)?.as_deref().map(Detail::new),
                });
            }
            Ok(events)
        })
    }
}
