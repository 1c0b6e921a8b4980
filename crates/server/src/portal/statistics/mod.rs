//! `/account/statistics`: what an account's requests add up to. The figures come from the books' roll-ups
//! ([`countersign_store::Usage`]); docs/statistics.md says what each means. The overview asks [`today`].

use countersign_core::{Credits, Quarter, UsageCount, UsageSum};
use countersign_store::{StoreError, UsageFilter};
use jiff::{ToSpan as _, ZonedDateTime};

use crate::app::App;
use crate::site::viewer::Viewer;

/// Days that the overview's small chart shows, today among them.
const DAYS_OF_TODAY: i64 = 14;

/// What today came to so far, for the overview. Days are those of the viewer's time zone, on the account's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Today {
    /// Messages that were sent.
    pub(crate) sent: u64,
    /// Of them, delivered (read ones among them).
    pub(crate) delivered: u64,
    /// Requests whose right code was entered.
    pub(crate) valid: u64,
    /// What was charged less what was given back.
    pub(crate) cost: Credits,
    /// Messages sent on each of the last fourteen days, the oldest first; the last is today.
    pub(crate) sent_by_day: Vec<u64>,
    /// The points of a line through them, for an SVG `polyline` in a box of 140 by 32; empty where nothing was sent.
    pub(crate) line: String,
}

/// Asks the books for [`Today`].
pub(crate) async fn today(app: &App, viewer: &Viewer) -> Result<Today, StoreError> {
    let today = viewer.zone.at(viewer.account_now());
    let edges: Vec<Quarter> = (1 - DAYS_OF_TODAY..=1).map(|days| day_edge(&today, days)).collect();
    let sums = app
        .site
        .usage(viewer.account.key, edges, UsageFilter::default())
        .await?;
    Ok(today_of(&sums))
}

/// The first quarter of a day that is so many days after another.
fn day_edge(day: &ZonedDateTime, days: i64) -> Quarter {
    let there = day.checked_add(days.days()).and_then(|day| day.start_of_day());
    let millis = there.unwrap_or_else(|_| day.clone()).timestamp().as_millisecond();
    Quarter::of(countersign_core::Timestamp::from_millis(millis))
}

fn today_of(sums: &[UsageSum]) -> Today {
    let nothing = UsageSum::default();
    let today = sums.last().unwrap_or(&nothing);
    let sent_by_day: Vec<u64> = sums.iter().map(|sum| sum.shown(UsageCount::Sent)).collect();
    Today {
        sent: today.shown(UsageCount::Sent),
        delivered: today.shown(UsageCount::Delivered),
        valid: today.shown(UsageCount::Valid),
        cost: today.cost(),
        line: sparkline(&sent_by_day, 140, 32),
        sent_by_day,
    }
}

/// A line from zero, with a margin of two units for its stroke.
fn sparkline(values: &[u64], width: u64, height: u64) -> String {
    let most = values.iter().copied().max().unwrap_or(0);
    let steps = u64::try_from(values.len()).unwrap_or(0).saturating_sub(1);
    if most == 0 || steps == 0 {
        return String::new();
    }
    let points: Vec<String> = values
        .iter()
        .zip(0_u64..)
        .map(|(&value, step)| {
            let x = 2 + step * (width - 4) / steps;
            let rise = u128::from(value) * u128::from(height - 4) / u128::from(most);
            format!("{x},{}", height - 2 - u64::try_from(rise).unwrap_or(0))
        })
        .collect();
    points.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_at_zero_and_ends_today() {
        assert_eq!(sparkline(&[0, 5, 10], 140, 32), "2,30 70,16 138,2");
        assert_eq!(sparkline(&[0, 0], 140, 32), "");
    }
}
