//! Figures as the statistics page says them: each with what it was before, rates without floating point, sentences for those who
//! don't look at a chart.

use countersign_core::{Credits, UsageCount, UsageSum};

use super::seen::Pair;
use crate::site::format;

/// A figure with its comparison.
pub(super) struct Figure {
    pub(super) label: &'static str,
    pub(super) value: String,
    /// `+12.3 %`, `−1.2 points`, or nothing where there is nothing to compare with.
    pub(super) change: Option<String>,
    pub(super) hint: &'static str,
}

/// One step of the funnel.
pub(super) struct Step {
    pub(super) class: &'static str,
    pub(super) label: &'static str,
    pub(super) count: String,
    pub(super) share: String,
    /// Of a bar of 100.
    pub(super) width: u64,
}

/// New numbers, rounded.
pub(super) fn new_numbers(sum: &UsageSum) -> u64 {
    (sum.shown(UsageCount::NewNumbers1024) + 512) / 1024
}

/// Cost for each verified request, to a hundredth of a cent; `None` where none is.
pub(super) fn cost_per_verified(sum: &UsageSum) -> Option<Credits> {
    let valid = sum.count(UsageCount::Valid);
    (valid > 0).then(|| Credits::from_micros((sum.cost().micros() + 50 * valid) / (100 * valid) * 100))
}

pub(super) fn share_of_sent(sum: &UsageSum, part: UsageCount) -> String {
    format::share(sum.shown(part), sum.shown(UsageCount::Sent))
}

fn signed_tenths(tenths: i128, unit: &str) -> String {
    let sign = match tenths {
        0 => "±",
        ..0 => "−",
        _ => "+",
    };
    let tenths = tenths.unsigned_abs();
    format!(
        "{sign}{}.{} {unit}",
        format::count(u64::try_from(tenths / 10).unwrap_or(u64::MAX)),
        tenths % 10
    )
}

/// How much more or less, in percent of before; `None` where there was nothing.
pub(super) fn change(now: i64, before: i64) -> Option<String> {
    (before > 0).then(|| {
        let difference = i128::from(now) - i128::from(before);
        signed_tenths(rounded(difference * 1000, i128::from(before)), "%")
    })
}

const fn rounded(number: i128, by: i128) -> i128 {
    (2 * number + by * number.signum()) / (2 * by)
}

/// How many points more or less a share is.
fn change_of_share(now: &UsageSum, before: &UsageSum, part: UsageCount) -> Option<String> {
    let tenths = |sum: &UsageSum| {
        let sent = i128::from(sum.count(UsageCount::Sent));
        (sent > 0).then(|| rounded(i128::from(sum.count(part)) * 1000, sent))
    };
    Some(signed_tenths(tenths(now)? - tenths(before)?, "points"))
}

/// The figures on top of the page.
pub(super) fn figures(whole: &Pair, different: Option<[u64; 2]>) -> Vec<Figure> {
    let Pair { now, before } = whole;
    let counted = |label, count: UsageCount, hint| Figure {
        label,
        value: format::count(now.shown(count)),
        change: change(now.count(count), before.count(count)),
        hint,
    };
    let rate = |label, part: UsageCount, hint| Figure {
        label,
        value: share_of_sent(now, part),
        change: change_of_share(now, before, part),
        hint,
    };
    let each = [cost_per_verified(now), cost_per_verified(before)];
    let mut figures = vec![
        counted("Messages sent", UsageCount::Sent, "accepted and charged"),
        rate("Delivery rate", UsageCount::Delivered, "of those sent"),
        rate("Conversion", UsageCount::Valid, "right code, of those sent"),
        Figure {
            label: "Cost",
            value: format::money(now.cost()),
            change: change(now.cost().micros(), before.cost().micros()),
            hint: "charged less refunded",
        },
        Figure {
            label: "Cost per verified",
            value: each[0].map_or_else(|| "–".to_owned(), format::money),
            change: each[0]
                .zip(each[1])
                .and_then(|(now, before)| change(now.micros(), before.micros())),
            hint: "cost, by right codes",
        },
    ];
    if let Some([different, different_before]) = different {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        figures.push(Figure {
            label: "Different numbers",
            value: format::count(different),
            change: change(number(different), number(different_before)),
            hint: "estimated, ± 1.6 %",
        });
    }
    figures.push(Figure {
        label: "First-time numbers",
        value: format::count(new_numbers(now)),
        change: change(
            now.count(UsageCount::NewNumbers1024),
            before.count(UsageCount::NewNumbers1024),
        ),
        hint: "estimated",
    });
    figures
}

/// The funnel: each step as a share of what was sent.
pub(super) fn funnel(sum: &UsageSum) -> Vec<Step> {
    let sent = sum.shown(UsageCount::Sent);
    [
        ("sent", "Sent", UsageCount::Sent),
        ("delivered", "Delivered", UsageCount::Delivered),
        ("read", "Read", UsageCount::Read),
        ("entered", "Code entered", UsageCount::Entered),
        ("valid", "Code valid", UsageCount::Valid),
    ]
    .map(|(class, label, count)| Step {
        class,
        label,
        count: format::count(sum.shown(count)),
        share: share_of_sent(sum, count),
        width: u64::try_from(u128::from(sum.shown(count)) * 100 / u128::from(sent.max(1)))
            .unwrap_or(100)
            .min(100),
    })
    .into()
}

/// The funnel's note, where it widens: a code can be entered though no receipt came.
pub(super) fn funnel_note(sum: &UsageSum) -> Option<&'static str> {
    (sum.count(UsageCount::Entered) > sum.count(UsageCount::Read)).then_some(
        "More codes were entered than messages read: not every channel tells what was read, and a code of your own that is \
         entered proves no delivery.",
    )
}

/// Median and 95th percentile, to message and to code.
pub(super) struct Times {
    pub(super) label: &'static str,
    pub(super) median: String,
    pub(super) slow: String,
    pub(super) count: String,
}

pub(super) fn times(sum: &UsageSum) -> [Times; 2] {
    [("To delivery", &sum.to_delivered), ("To the right code", &sum.to_valid)].map(|(label, times)| {
        let said = |percent| {
            times
                .percentile(percent)
                .map_or_else(|| "–".to_owned(), format::duration)
        };
        Times {
            label,
            median: said(50),
            slow: said(95),
            count: format::count(times.total()),
        }
    })
}

/// What the first chart shows.
pub(super) fn sentence(whole: &Pair, said: &str, before: &str) -> String {
    let sent = whole.now.count(UsageCount::Sent);
    let compared = match change(sent, whole.before.count(UsageCount::Sent)) {
        Some(change) if change.starts_with('+') => format!(", {} more than in {before}", &change[1..]),
        Some(change) if change.starts_with('−') => format!(", {} less than in {before}", &change["−".len()..]),
        Some(_) => format!(", as many as in {before}"),
        None => String::new(),
    };
    let verb = if sent == 1 { "message was" } else { "messages were" };
    format!(
        "{said}: {} {verb} sent{compared}; {} were delivered, and on {} the right code was entered.",
        format::count(whole.now.shown(UsageCount::Sent)),
        share_of_sent(&whole.now, UsageCount::Delivered),
        share_of_sent(&whole.now, UsageCount::Valid),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_with_their_sign() {
        assert_eq!(change(112, 100).unwrap(), "+12.0 %");
        assert_eq!(change(1, 3).unwrap(), "−66.7 %");
        assert_eq!(change(5, 5).unwrap(), "±0.0 %");
        assert_eq!(change(5, 0), None);
        assert_eq!(change(30_000, 1).unwrap(), "+2,999,900.0 %");
    }

    #[test]
    fn a_funnel_that_widens_says_why() {
        let mut sum = UsageSum::default();
        sum.counts[UsageCount::Sent as usize] = 10;
        sum.counts[UsageCount::Entered as usize] = 4;
        assert!(funnel_note(&sum).is_some());
        sum.counts[UsageCount::Read as usize] = 4;
        assert!(funnel_note(&sum).is_none());
        assert_eq!(funnel(&sum)[2].width, 40);
        assert_eq!(cost_per_verified(&sum), None);
    }
}
