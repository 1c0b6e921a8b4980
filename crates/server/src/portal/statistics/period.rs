//! The time that a statistics page shows: its days in the viewer's zone, cut into hours, days, weeks or months, and as much time
//! before it to compare with. A day has 23 or 25 hours where the clock is moved; edges are always the zone's own.

use countersign_core::{QUARTER_MS, Quarter, Timestamp};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::site::zone::Zone;

/// Ten years.
const MAX_DAYS: i64 = 3_660;

/// Into what a time is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Hour,
    Day,
    Week,
    Month,
}

impl Unit {
    pub(super) const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Hour => "By hour",
            Self::Day => "By day",
            Self::Week => "By week",
            Self::Month => "By month",
        }
    }

    /// The longest time that is cut into it: more can neither be seen nor read.
    const fn max_days(self) -> i64 {
        match self {
            Self::Hour => 14,
            Self::Day => 400,
            Self::Week => 1_100,
            Self::Month => MAX_DAYS,
        }
    }

    const fn of_days(days: i64) -> Self {
        match days {
            ..=2 => Self::Hour,
            3..=92 => Self::Day,
            93..=400 => Self::Week,
            _ => Self::Month,
        }
    }
}

/// A time, and the time before it.
#[derive(Debug, Clone)]
pub(super) struct Period {
    pub(super) from: Date,
    /// The last day.
    pub(super) to: Date,
    pub(super) days: i64,
    pub(super) unit: Unit,
    /// The units of this time that have begun: edges and labels, one label fewer than edges.
    pub(super) edges: Vec<Quarter>,
    pub(super) labels: Vec<String>,
    /// The units of the time before, as many days.
    pub(super) edges_before: Vec<Quarter>,
    /// Begin of the time before; its end for comparison, where this time isn't over; begin and end of this time.
    pub(super) whole: [Quarter; 4],
    /// Whether this time is still going on.
    pub(super) is_open: bool,
}

fn edge(date: Date, zone: &TimeZone) -> Option<Quarter> {
    let start = date.to_zoned_datetime(zone.clone()).ok()?;
    Some(Quarter::of(Timestamp::from_millis(start.timestamp().as_millisecond())))
}

/// The quarter that begins at a moment or next after it.
fn quarter_from(at: Timestamp) -> Quarter {
    Quarter::of(at.plus_millis(QUARTER_MS - 1))
}

impl Period {
    /// `None` where it is too long or outside of the calendar.
    pub(super) fn new(from: Date, to: Date, unit: Option<Unit>, zone: &Zone, now: Timestamp) -> Option<Self> {
        let after = to.checked_add(1.day()).ok()?;
        let days = i64::from(from.until(after).ok()?.get_days());
        if !(1..=MAX_DAYS).contains(&days) || from.year() < 1970 {
            return None;
        }
        let unit = unit
            .filter(|unit| days <= unit.max_days())
            .unwrap_or(Unit::of_days(days));
        let before = from.checked_sub(days.days()).ok()?;
        let there = zone.time_zone();
        let (start, end) = (edge(from, there)?, edge(after, there)?);
        let (start_before, now_quarter) = (edge(before, there)?, quarter_from(now));
        let is_open = (start..end).contains(&now_quarter);
        let end_before = if is_open {
            let then = zone.at(now).checked_sub(days.days()).ok()?;
            quarter_from(Timestamp::from_millis(then.timestamp().as_millisecond())).clamp(start_before, start)
        } else {
            start
        };
        let (mut edges, mut labels) = cut(from, after, unit, zone, days > 1)?;
        // What hasn't begun is no zero.
        let begun = edges.partition_point(|&edge| edge < now_quarter).max(1);
        if begun < edges.len() {
            edges.truncate(begun + 1);
            labels.truncate(begun);
        }
        Some(Self {
            from,
            to,
            days,
            unit,
            edges,
            labels,
            edges_before: cut(before, from, unit, zone, days > 1)?.0,
            whole: [start_before, end_before, start, end],
            is_open,
        })
    }

    /// Units that this time can be cut into.
    pub(super) fn units(&self) -> impl Iterator<Item = Unit> {
        let days = self.days;
        Unit::ALL.into_iter().filter(move |unit| {
            days <= unit.max_days()
                && match unit {
                    Unit::Hour => true,
                    Unit::Day => days > 1,
                    Unit::Week => days > 7,
                    Unit::Month => days > 31,
                }
        })
    }

    /// `1 Nov 2026 to 27 Nov 2026`.
    pub(super) fn said(&self) -> String {
        let day = |date: Date| date.strftime("%-d %b %Y").to_string();
        if self.days == 1 {
            day(self.from)
        } else {
            format!("{} to {}", day(self.from), day(self.to))
        }
    }

    /// What it is compared with: `the 30 days before`.
    pub(super) fn said_before(&self) -> String {
        match (self.days, self.is_open) {
            (1, true) => "the day before up to this time".to_owned(),
            (1, false) => "the day before".to_owned(),
            (days, _) => format!("the {days} days before"),
        }
    }
}

/// Edges from one day to the beginning of another, and what each span between them is called.
fn cut(from: Date, to: Date, unit: Unit, zone: &Zone, several_days: bool) -> Option<(Vec<Quarter>, Vec<String>)> {
    let there = zone.time_zone();
    let (mut edges, mut labels) = (Vec::new(), Vec::new());
    if unit == Unit::Hour {
        let end = edge(to, there)?;
        let mut next = edge(from, there)?;
        while next < end {
            let format = if several_days { "%-d %b, %H:%M" } else { "%H:%M" };
            labels.push(zone.at(next.start()).strftime(format).to_string());
            edges.push(next);
            next = Quarter::new(next.number() + 4);
        }
        edges.push(end);
        return Some((edges, labels));
    }
    let mut next = from;
    while next < to {
        edges.push(edge(next, there)?);
        let (label, following) = match unit {
            Unit::Hour | Unit::Day => ("%-d %b", next.checked_add(1.day()).ok()?),
            Unit::Week => {
                let into_the_week = i64::from(next.weekday().to_monday_zero_offset());
                ("week of %-d %b", next.checked_add((7 - into_the_week).days()).ok()?)
            }
            Unit::Month => ("%b %Y", next.first_of_month().checked_add(1.month()).ok()?),
        };
        labels.push(next.strftime(label).to_string());
        next = following;
    }
    edges.push(edge(to, there)?);
    Some((edges, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn rome() -> Zone {
        Zone::named("Europe/Rome").unwrap()
    }

    /// 1 December 2026, noon.
    const LATER: Timestamp = Timestamp::from_millis(1_796_126_400_000);

    #[test]
    fn a_day_on_which_the_clock_goes_back_has_twenty_five_hours() {
        let period = Period::new(date("2026-10-25"), date("2026-10-25"), None, &rome(), LATER).unwrap();
        assert_eq!((period.unit, period.labels.len()), (Unit::Hour, 25));
        assert_eq!(period.labels[2..4], ["02:00", "02:00"]);
        let [before, cut, start, end] = period.whole.map(Quarter::number);
        assert_eq!((start - before, end - start, cut), (96, 100, start));
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let weeks = Period::new(date("2026-08-01"), date("2026-11-30"), Some(Unit::Week), &rome(), LATER).unwrap();
        assert_eq!(weeks.labels[..2], ["week of 1 Aug", "week of 3 Aug"]);
        let months = Period::new(
            date("2026-01-15"),
            date("2026-11-30"),
            Some(Unit::Month),
            &rome(),
            LATER,
        )
        .unwrap();
        assert_eq!((months.labels.len(), months.labels[1].as_str()), (11, "Feb 2026"));
        assert_eq!(months.edges.len(), 12);
    }

    #[test]
    fn what_has_not_begun_is_not_shown_and_the_day_before_ends_at_the_same_time() {
        // 27 November 2026, 07:30 in Rome.
        let now = Timestamp::from_millis(1_795_761_000_000);
        let period = Period::new(date("2026-11-27"), date("2026-11-27"), None, &rome(), now).unwrap();
        assert!(period.is_open);
        assert_eq!(period.labels.last().unwrap(), "07:00");
        let [before, cut, start, _] = period.whole.map(Quarter::number);
        assert_eq!(cut - before, 30);
        assert_eq!(start - before, 96);
    }

    #[test]
    fn a_unit_that_is_too_fine_gives_way() {
        let year = Period::new(date("2025-11-28"), date("2026-11-27"), Some(Unit::Hour), &rome(), LATER).unwrap();
        assert_eq!(year.unit, Unit::Week);
        assert!(year.units().eq([Unit::Day, Unit::Week, Unit::Month]));
        assert!(Period::new(date("1999-11-28"), date("2026-11-27"), None, &rome(), LATER).is_none());
    }
}
