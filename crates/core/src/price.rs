//! What a message costs: by route and number prefix, each price in force from its time on. The list knows its whole history, so
//! it can say what was, is and will be charged; what it holds is bounded.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::money::Credits;
use crate::phone::PhoneNumber;
use crate::time::Timestamp;

/// The price per message where the list names no prefix of the number: 0.01 (docs/api.md, "Money").
pub const DEFAULT_PRICE: Credits = Credits::from_micros(10_000);
/// Most that one message may cost: a thousand credits. Above it stands a slip of the decimal point.
pub const MAX_PRICE: Credits = Credits::from_micros(1_000_000_000);
/// Rows of the list and its history at most (P6): some 10 MB in memory.
pub const MAX_PRICE_ROWS: usize = 100_000;

/// How the wire and tables say "for all routes"; so it can't be a route's name.
const ALL_ROUTES: &str = "all";
/// How the wire and tables say "every number"; so it can't be a route's name either.
const DEFAULT_PREFIX: &str = "default";

/// The name of a route: the ways that a message may go, in their order. 1 to 32 of `a-z`, `0-9`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName(Cow<'static, str>);

impl RouteName {
    /// The route of the built-in messenger: the only one so far.
    pub const INBOX: Self = Self(Cow::Borrowed("inbox"));

    /// Reads a name; `all` and `default` mean something else wherever prices are written.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = (1..=32).contains(&text.len())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
            && text != ALL_ROUTES
            && text != DEFAULT_PREFIX;
        well_formed.then(|| Self(Cow::Owned(text.to_owned())))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For which messages a price stands: those of one route, or of all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PriceRoute {
    /// Every route's, where the route's own list names nothing for the number.
    All,
    /// One route's.
    Only(RouteName),
}

impl PriceRoute {
    /// Reads `all` or a route's name.
    pub fn parse(text: &str) -> Option<Self> {
        if text == ALL_ROUTES {
            Some(Self::All)
        } else {
            RouteName::parse(text).map(Self::Only)
        }
    }

    /// As tables and the wire write it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::All => ALL_ROUTES,
            Self::Only(route) => route.as_str(),
        }
    }
}

impl fmt::Display for PriceRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The first digits of numbers, without `+`: 1 to 15 of them, or none for the default price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumberPrefix(u64);

impl NumberPrefix {
    /// The prefix of every number.
    pub const DEFAULT: Self = Self(0);

    /// Reads 1 to 15 digits, with or without `+`; the first isn't zero.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let well_formed = (1..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if well_formed {
            digits.parse().ok().map(Self)
        } else {
            None
        }
    }

    /// Reads digits, or `default` in any case.
    pub fn parse_or_default(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case(DEFAULT_PREFIX) {
            Some(Self::DEFAULT)
        } else {
            Self::parse(text)
        }
    }

    /// A prefix out of our own books; zero is the default.
    pub const fn from_stored(digits: u64) -> Self {
        Self(digits)
    }

    /// The digits as a number; zero is the default.
    pub const fn digits(self) -> u64 {
        self.0
    }

    /// Whether a number begins so; every number begins with the default.
    pub const fn matches(self, phone: PhoneNumber) -> bool {
        let mut digits = phone.digits();
        while digits > self.0 {
            digits /= 10;
        }
        digits == self.0
    }
}

impl fmt::Display for NumberPrefix {
    /// `+39`, or `default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::DEFAULT {
            f.write_str(DEFAULT_PREFIX)
        } else {
            write!(f, "+{}", self.0)
        }
    }
}

/// One row of the price list: from a time on, messages of a route to numbers with a prefix cost this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    /// Which messages.
    pub route: PriceRoute,
    /// To which numbers.
    pub prefix: NumberPrefix,
    /// From when on, by the account's clock.
    pub effective_from: Timestamp,
    /// What one message costs, from nothing to [`MAX_PRICE`]; `None`: from then on the list names no price here.
    pub price: Option<Credits>,
}

/// Whether a row changed the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceChange {
    /// It is a new row of the history.
    Added,
    /// The list says the same from that time on already.
    AlreadyThere,
}

/// The list's history is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the price list and its history hold {MAX_PRICE_ROWS} rows, which is the most that there may be")]
pub struct PriceListFull;

/// Prices by route and by prefix of the E.164 digits, each from its time on. The longest matching prefix wins, since calling
/// codes are shared by countries; a route's own list is asked before the one for all routes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceList {
    all: RouteList,
    own: BTreeMap<RouteName, RouteList>,
    /// Rows recorded, those that a later row replaced included.
    rows: usize,
}

/// One route's prices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct RouteList(BTreeMap<u64, Vec<Step>>);

/// From a time on, a price or none. Steps stand in order of time, one for each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    from: Timestamp,
    price: Option<Credits>,
}

impl RouteList {
    /// What the list says of a prefix at a time.
    fn step_at(&self, prefix: u64, at: Timestamp) -> Option<Step> {
        let steps = self.0.get(&prefix)?;
        let later = steps.partition_point(|step| step.from <= at);
        steps.get(later.checked_sub(1)?).copied()
    }

    fn price_of(&self, phone: PhoneNumber, at: Timestamp) -> Option<Credits> {
        if self.0.is_empty() {
            return None;
        }
        let mut prefix = phone.digits();
        loop {
            if let Some(price) = self.step_at(prefix, at).and_then(|step| step.price) {
                return Some(price);
            }
            // Zero stands for every number, and comes last.
            if prefix == 0 {
                return None;
            }
            prefix /= 10;
        }
    }
}

impl PriceList {
    /// Sets a price for all routes, in force since ever.
    pub fn set(&mut self, prefix: NumberPrefix, price: Credits) {
        self.restore(&PriceRow {
            route: PriceRoute::All,
            prefix,
            effective_from: Timestamp::default(),
            price: Some(price),
        });
    }

    /// Records a row, unless the list says the same already.
    pub fn record(&mut self, row: &PriceRow) -> Result<PriceChange, PriceListFull> {
        if self.says(row) {
            return Ok(PriceChange::AlreadyThere);
        }
        if self.rows >= MAX_PRICE_ROWS {
            return Err(PriceListFull);
        }
        self.restore(row);
        Ok(PriceChange::Added)
    }

    /// Takes a row out of our own books.
    pub fn restore(&mut self, row: &PriceRow) {
        let list = match &row.route {
            PriceRoute::All => &mut self.all,
            PriceRoute::Only(route) => self.own.entry(route.clone()).or_default(),
        };
        let steps = list.0.entry(row.prefix.0).or_default();
        let step = Step {
            from: row.effective_from,
            price: row.price,
        };
        match steps.binary_search_by_key(&row.effective_from, |step| step.from) {
            Ok(place) => steps[place] = step,
            Err(place) => steps.insert(place, step),
        }
        self.rows += 1;
    }

    /// Whether a row would change nothing: the same price from the same time on stands there, or it removes what isn't there.
    fn says(&self, row: &PriceRow) -> bool {
        let step = self
            .list(&row.route)
            .and_then(|list| list.step_at(row.prefix.0, row.effective_from));
        match (step, row.price) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(step), None) => step.price.is_none(),
            (Some(step), price) => step.from == row.effective_from && step.price == price,
        }
    }

    /// The price of one message on a route to a number, at a time on the account's clock.
    pub fn price_of(&self, phone: PhoneNumber, route: &RouteName, at: Timestamp) -> Credits {
        let own = self.own.get(route).and_then(|list| list.price_of(phone, at));
        own.or_else(|| self.all.price_of(phone, at)).unwrap_or(DEFAULT_PRICE)
    }

    /// How many rows were recorded.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The rows that name a price at a time: those for all routes first, then by route; by prefix, the default first.
    pub fn in_force(&self, at: Timestamp) -> impl Iterator<Item = PriceRow> + '_ {
        self.lists().flat_map(move |(route, list)| {
            list.0.keys().filter_map(move |&prefix| {
                let step = list.step_at(prefix, at).filter(|step| step.price.is_some())?;
                Some(row(&route, prefix, step))
            })
        })
    }

    /// Every row that holds, held or will hold for a while, in the order of [`PriceList::in_force`], then of time.
    pub fn history(&self) -> impl Iterator<Item = PriceRow> + '_ {
        self.lists().flat_map(|(route, list)| {
            let each = |(&prefix, steps): (&u64, &Vec<Step>)| {
                let rows: Vec<PriceRow> = steps.iter().map(|&step| row(&route, prefix, step)).collect();
                rows
            };
            list.0.iter().flat_map(each).collect::<Vec<_>>()
        })
    }

    fn list(&self, route: &PriceRoute) -> Option<&RouteList> {
        match route {
            PriceRoute::All => Some(&self.all),
            PriceRoute::Only(route) => self.own.get(route),
        }
    }

    fn lists(&self) -> impl Iterator<Item = (PriceRoute, &RouteList)> {
        let own = self
            .own
            .iter()
            .map(|(route, list)| (PriceRoute::Only(route.clone()), list));
        std::iter::once((PriceRoute::All, &self.all)).chain(own)
    }
}

fn row(route: &PriceRoute, prefix: u64, step: Step) -> PriceRow {
    PriceRow {
        route: route.clone(),
        prefix: NumberPrefix(prefix),
        effective_from: step.from,
        price: step.price,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const ITALY: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);

    fn price(text: &str) -> Credits {
        Credits::parse(text).unwrap()
    }

    fn prefix(text: &str) -> NumberPrefix {
        NumberPrefix::parse_or_default(text).unwrap()
    }

    fn row(route: &str, digits: &str, from_ms: i64, amount: Option<&str>) -> PriceRow {
        PriceRow {
            route: PriceRoute::parse(route).unwrap(),
            prefix: prefix(digits),
            effective_from: Timestamp::from_millis(from_ms),
            price: amount.map(price),
        }
    }

    fn list(rows: &[PriceRow]) -> PriceList {
        let mut list = PriceList::default();
        for row in rows {
            assert_eq!(list.record(row), Ok(PriceChange::Added), "{row:?}");
        }
        list
    }

    fn at(list: &PriceList, millis: i64) -> Credits {
        list.price_of(ITALY, &RouteName::INBOX, Timestamp::from_millis(millis))
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mut prices = PriceList::default();
        prices.set(prefix("+1"), price("0.02"));
        prices.set(prefix("1242"), price("0.05"));
        let of = |prices: &PriceList, digits| prices.price_of(PhoneNumber::from_stored(digits), &RouteName::INBOX, NOW);
        assert_eq!(of(&prices, 16_502_530_000), price("0.02"));
        assert_eq!(of(&prices, 12_425_550_123), price("0.05"));
        assert_eq!(of(&prices, 391_234_567_890), DEFAULT_PRICE);
        prices.set(NumberPrefix::DEFAULT, price("0.03"));
        assert_eq!(of(&prices, 391_234_567_890), price("0.03"));
        assert_eq!(prices.in_force(NOW).count(), 3);
    }

    #[test]
    fn a_routes_own_list_comes_first_its_default_included() {
        let all_only = list(&[row("all", "+39", 0, Some("2"))]);
        assert_eq!(at(&all_only, 0), price("2"));
        let other_route = list(&[row("all", "+39", 0, Some("2")), row("sms", "+39", 0, Some("9"))]);
        assert_eq!(at(&other_route, 0), price("2"));
        let own_prefix = list(&[row("all", "+391", 0, Some("2")), row("inbox", "+39", 0, Some("3"))]);
        assert_eq!(
            at(&own_prefix, 0),
            price("3"),
            "a shorter prefix of the route's own list wins"
        );
        let own_default = list(&[row("all", "+39", 0, Some("2")), row("inbox", "default", 0, Some("4"))]);
        assert_eq!(at(&own_default, 0), price("4"));
        let own_elsewhere = list(&[row("all", "+39", 0, Some("2")), row("inbox", "+7", 0, Some("5"))]);
        assert_eq!(at(&own_elsewhere, 0), price("2"));
    }

    #[test]
    fn a_price_is_in_force_from_its_millisecond_on() {
        let list = list(&[
            row("all", "+39", 2_000, Some("2")),
            row("all", "default", 1_000, Some("1")),
            row("all", "+39", 4_000, None),
            row("all", "+39", 3_000, Some("3")),
        ]);
        for (millis, amount) in [
            (999, "0.01"),
            (1_000, "1"),
            (1_999, "1"),
            (2_000, "2"),
            (2_999, "2"),
            (3_000, "3"),
            (3_999, "3"),
            (4_000, "1"),
            (i64::MAX, "1"),
        ] {
            assert_eq!(at(&list, millis), price(amount), "{millis}");
        }
    }

    #[test]
    fn a_later_row_for_the_same_time_replaces_the_earlier_one() {
        let list = list(&[row("all", "+39", 2_000, Some("2")), row("all", "+39", 2_000, Some("3"))]);
        assert_eq!(at(&list, 2_000), price("3"));
        assert_eq!((list.rows(), list.history().count()), (2, 1));
    }

    #[test]
    fn what_changes_nothing_is_no_row() {
        let mut list = list(&[row("all", "+39", 2_000, Some("2"))]);
        for same in [
            row("all", "+39", 2_000, Some("2")),
            row("all", "+39", 1_999, None),
            row("all", "+7", 5_000, None),
            row("inbox", "+39", 5_000, None),
        ] {
            assert_eq!(list.record(&same), Ok(PriceChange::AlreadyThere), "{same:?}");
        }
        for new in [
            row("all", "+39", 2_001, Some("2")),
            row("inbox", "+39", 2_000, Some("2")),
            row("all", "+39", 2_500, None),
        ] {
            assert_eq!(list.record(&new), Ok(PriceChange::Added), "{new:?}");
        }
        assert_eq!(
            list.record(&row("all", "+39", 3_000, None)),
            Ok(PriceChange::AlreadyThere)
        );
    }

    #[test]
    fn the_history_is_bounded() {
        let mut list = PriceList::default();
        for number in 0..MAX_PRICE_ROWS {
            let from_ms = i64::try_from(number).unwrap();
            list.restore(&row("all", "+39", from_ms, Some("2")));
        }
        assert_eq!(list.record(&row("all", "+7", 0, Some("1"))), Err(PriceListFull));
        let same = row("all", "+39", 0, Some("2"));
        assert_eq!(
            list.record(&same),
            Ok(PriceChange::AlreadyThere),
            "what is there is no new row"
        );
    }

    #[test]
    fn the_history_says_what_the_list_says() {
        let rows = [
            row("all", "default", 0, Some("1")),
            row("all", "+39", 1_000, Some("2")),
            row("all", "+39", 2_000, None),
            row("inbox", "+7", 1_500, Some("3")),
        ];
        let full = list(&rows);
        let history: Vec<PriceRow> = full.history().collect();
        assert_eq!(history, rows);
        assert_eq!(list(&history), full);
        let now: Vec<PriceRow> = full.in_force(Timestamp::from_millis(1_600)).collect();
        assert_eq!(now, [rows[0].clone(), rows[1].clone(), rows[3].clone()]);
    }

    #[test]
    fn names_and_prefixes_are_read_as_they_are_written() {
        for name in ["inbox", "a", "sms-2", "0_0"] {
            assert_eq!(PriceRoute::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(PriceRoute::parse("all"), Some(PriceRoute::All));
        for bad in ["", "default", "Inbox", "a b", "ü", &"x".repeat(33)] {
            assert_eq!(PriceRoute::parse(bad), None, "{bad:?}");
        }
        assert_eq!(RouteName::parse("all"), None);
        for text in ["+39", "default"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        for bad in ["", "+", "0", "039", "+39a", "1234567890123456", "++39"] {
            assert_eq!(NumberPrefix::parse_or_default(bad), None, "{bad:?}");
        }
    }
}
