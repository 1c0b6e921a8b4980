//! Which rows a question reads: each day that lies wholly in one span is read as a day, each month as a month, and only the days
//! that are cut by an edge are read by their quarters. So a question about a year reads some dozen rows of a series.

use std::ops::Range;

use countersign_core::{Quarter, civil_date, days_of_date};

pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const QUARTERS_OF_A_DAY: i64 = 96;

/// 31 December 9999: no account's clock goes further, and none began before 1970.
const LAST_QUARTER: i64 = 2_932_896 * QUARTERS_OF_A_DAY;

/// How much time a row holds. Its number stands in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Of sums: a day, told apart by its quarters. Of sketches: an hour.
    Fine = 0,
    /// A day, in UTC.
    Day = 1,
    /// A month, in UTC.
    Month = 2,
}

impl Level {
    pub(crate) const ALL: [Self; 3] = [Self::Fine, Self::Day, Self::Month];

    pub(crate) const fn number(self) -> i64 {
        self as i64
    }
}

/// Months since 1970 of a count of days since then.
pub(crate) const fn month_of_day(day: i64) -> i64 {
    let (year, month, _) = civil_date(day);
    (year - 1970) * 12 + month - 1
}

/// The first day of a month.
pub(crate) fn first_day_of_month(month: i64) -> i64 {
    let (year, month) = (1970 + month.div_euclid(12), 1 + month.rem_euclid(12));
    days_of_date(year, month, 1).unwrap_or(0)
}

/// A question's spans, and the rows that answer it.
pub(crate) struct Spans {
    /// In quarters, in order.
    edges: Vec<i64>,
    /// Days whose quarters are read, days, months.
    ranges: [Vec<Range<i64>>; 3],
}

impl Spans {
    pub(crate) fn new(edges: &[Quarter]) -> Self {
        let edges: Vec<i64> = edges.iter().map(|edge| edge.number().clamp(0, LAST_QUARTER)).collect();
        let mut ranges: [Vec<Range<i64>>; 3] = Default::default();
        for span in edges.windows(2) {
            let (start, end) = (span[0], span[1]);
            if start >= end {
                continue;
            }
            let first_day = start.div_euclid(QUARTERS_OF_A_DAY);
            let last_day = (end - 1).div_euclid(QUARTERS_OF_A_DAY);
            let whole_from = first_day + i64::from(start.rem_euclid(QUARTERS_OF_A_DAY) != 0);
            let whole_to = end.div_euclid(QUARTERS_OF_A_DAY);
            if whole_from >= whole_to {
                add(&mut ranges[0], first_day..last_day + 1);
                continue;
            }
            add(&mut ranges[0], first_day..whole_from);
            add(&mut ranges[0], whole_to..last_day + 1);
            let starts_a_month = first_day_of_month(month_of_day(whole_from)) == whole_from;
            let first_month = month_of_day(whole_from) + i64::from(!starts_a_month);
            let end_month = month_of_day(whole_to);
            if first_month >= end_month {
                add(&mut ranges[1], whole_from..whole_to);
                continue;
            }
            add(&mut ranges[1], whole_from..first_day_of_month(first_month));
            add(&mut ranges[2], first_month..end_month);
            add(&mut ranges[1], first_day_of_month(end_month)..whole_to);
        }
        Self { edges, ranges }
    }

    /// How many spans there are.
    pub(crate) fn count(&self) -> usize {
        self.edges.len().saturating_sub(1)
    }

    /// The quarters from the first edge to the last.
    pub(crate) fn whole(&self) -> Range<i64> {
        match (self.edges.first(), self.edges.last()) {
            (Some(first), Some(last)) => *first..*last,
            _ => 0..0,
        }
    }

    /// Starts of rows at a level.
    pub(crate) fn ranges(&self, level: Level) -> &[Range<i64>] {
        &self.ranges[level as usize]
    }

    /// The span in which a quarter lies.
    pub(crate) fn of_quarter(&self, quarter: i64) -> Option<usize> {
        let after = self.edges.partition_point(|&edge| edge <= quarter);
        after.checked_sub(1).filter(|&span| span < self.count())
    }

    /// The span in which a row's time begins; it lies in it wholly, unless the row is of the finest level.
    pub(crate) fn of_row(&self, level: Level, start: i64) -> Option<usize> {
        let day = match level {
            Level::Fine | Level::Day => start,
            Level::Month => first_day_of_month(start),
        };
        self.of_quarter(day * QUARTERS_OF_A_DAY)
    }
}

/// Adds a range behind the others; one that goes on where the last ends makes it longer.
fn add(ranges: &mut Vec<Range<i64>>, range: Range<i64>) {
    if range.is_empty() {
        return;
    }
    match ranges.last_mut() {
        Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i64, month: i64, day: i64) -> i64 {
        days_of_date(year, month, day).unwrap()
    }

    fn spans(edges: &[i64]) -> Spans {
        Spans::new(&edges.iter().map(|&edge| Quarter::new(edge)).collect::<Vec<_>>())
    }

    #[test]
    fn a_year_in_utc_is_read_by_its_months() {
        let spans = spans(&[day(2025, 1, 1) * 96, day(2026, 1, 1) * 96]);
        assert!(spans.ranges(Level::Fine).is_empty() && spans.ranges(Level::Day).is_empty());
        assert_eq!(spans.ranges(Level::Month).iter().cloned().flatten().count(), 12);
        assert_eq!(spans.of_row(Level::Month, 671), Some(0));
    }

    #[test]
    fn months_of_a_zone_east_of_utc_are_read_by_days_and_their_edges_by_quarters() {
        let edge = |month| day(2026, month, 1) * 96 - 4;
        let spans = spans(&[edge(3), edge(4), edge(5)]);
        let last_of = |month| day(2026, month, 1) - 1;
        assert_eq!(
            spans.ranges(Level::Fine),
            [
                last_of(3)..last_of(3) + 1,
                last_of(4)..last_of(4) + 1,
                last_of(5)..last_of(5) + 1
            ]
        );
        // Neither March nor April lies wholly in one span.
        assert_eq!(
            spans.ranges(Level::Day),
            [day(2026, 3, 1)..last_of(4), day(2026, 4, 1)..last_of(5)]
        );
        assert!(spans.ranges(Level::Month).is_empty());
    }

    #[test]
    fn a_day_that_no_edge_cuts_is_read_once() {
        let start = day(2026, 2, 27) * 96 + 50;
        let edges: Vec<i64> = (0..=200).map(|hour| start + 4 * hour).collect();
        let spans = spans(&edges);
        assert_eq!(spans.ranges(Level::Fine).len(), 1);
        assert!(spans.ranges(Level::Day).is_empty());
        assert_eq!(spans.of_quarter(start - 1), None);
        assert_eq!(spans.of_quarter(start + 799), Some(199));
        assert_eq!(spans.of_quarter(start + 800), None);
    }

    #[test]
    fn months_count_from_1970() {
        for month in [0, 1, 11, 12, 659, 660, 1_000] {
            assert_eq!(month_of_day(first_day_of_month(month)), month);
            assert_eq!(month_of_day(first_day_of_month(month + 1) - 1), month);
        }
        assert_eq!(LAST_QUARTER / 96, day(9999, 12, 31));
    }
}
