//! Routes: the legs over which a message may go, in their order, and how long each may take before the next one goes.
//!
//! A request keeps the plan that was made for it: what the operator changes afterwards holds for later requests.

use std::borrow::Cow;
use std::fmt;

use crate::price::RouteName;

/// No leg is due to start in the last so many milliseconds of a message's life: a code that comes later is no use to anybody.
/// It starts up to [`LATE_START_MS`] after it was due.
pub const LAST_START_MS: i64 = 20_000;
/// How much later than its time a leg may begin and count as begun in time: workers look for what is due a few times a
/// second, and their queue adds to that. A message whose last leg is due exactly [`LAST_START_MS`] before its end would
/// lose that leg otherwise.
pub const LATE_START_MS: i64 = 2_000;
/// Most legs of one route (P6).
pub const MAX_LEGS: usize = 8;
/// The most characters of what a channel says besides.
pub const MAX_DETAIL_CHARS: usize = 160;

/// The name of a configured channel as a leg of routes. 1 to 32 of `a-z`, `0-9`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegName(Cow<'static, str>);

impl LegName {
    /// The built-in messenger.
    pub const INBOX: Self = Self(Cow::Borrowed("inbox"));

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = (1..=32).contains(&text.len())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        well_formed.then(|| Self(Cow::Owned(text.to_owned())))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LegName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a channel, or the other side of it, says besides: one line for people, without codes and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail(String);

impl Detail {
    /// Keeps the first [`MAX_DETAIL_CHARS`] characters; control characters become spaces.
    pub fn new(text: &str) -> Self {
        let one_line = text
            .trim()
            .chars()
            .map(|char| if char.is_control() { ' ' } else { char });
        Self(one_line.take(MAX_DETAIL_CHARS).collect())
    }

    /// The line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One leg of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLeg {
    /// The channel.
    pub name: LegName,
    /// Its share of the message's life, in thousandths: so long it may take before the next leg goes.
    pub share: u16,
}

/// The legs of one request, in their order; at least one, at most [`MAX_LEGS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    /// The route: prices and statistics go by it.
    pub route: RouteName,
    /// Its legs.
    pub legs: Vec<PlannedLeg>,
}

impl RoutePlan {
    /// As the books keep it: `route|leg:share,leg:share`.
    pub fn encode(&self) -> String {
        let legs: Vec<_> = self
            .legs
            .iter()
            .map(|leg| format!("{}:{}", leg.name, leg.share))
            .collect();
        format!("{}|{}", self.route.as_str(), legs.join(","))
    }

    /// Reads what [`RoutePlan::encode`] wrote.
    pub fn decode(text: &str) -> Option<Self> {
        let (route, legs) = text.split_once('|')?;
        let leg = |text: &str| {
            let (name, share) = text.split_once(':')?;
            Some(PlannedLeg {
                name: LegName::parse(name)?,
                share: share.parse().ok()?,
            })
        };
        let legs: Vec<_> = legs.split(',').map(leg).collect::<Option<_>>()?;
        let route = RouteName::parse(route)?;
        (1..=MAX_LEGS).contains(&legs.len()).then_some(Self { route, legs })
    }

    /// How long a leg may take before the next one goes, in milliseconds, for a message that lives so long. Shares are
    /// shrunk together where the last leg would otherwise start in the last [`LAST_START_MS`].
    pub fn wait_ms(&self, leg: usize, life_ms: i64) -> i64 {
        let before_last = self.legs.len().saturating_sub(1);
        let shares = self.legs.iter().take(before_last).map(|leg| i64::from(leg.share));
        let last_start_ms = shares.sum::<i64>() * life_ms / 1_000;
        let latest_ms = (life_ms - LAST_START_MS).max(0);
        let Some(share) = self.legs.get(leg).map(|leg| i64::from(leg.share)) else {
            return life_ms;
        };
        let wait_ms = share * life_ms / 1_000;
        if last_start_ms > latest_ms {
            wait_ms * latest_ms / last_start_ms
        } else {
            wait_ms
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(shares: &[u16]) -> RoutePlan {
        let legs = shares.iter().enumerate().map(|(number, &share)| PlannedLeg {
            name: LegName::parse(&format!("leg{number}")).unwrap(),
            share,
        });
        RoutePlan {
            route: RouteName::parse("europe").unwrap(),
            legs: legs.collect(),
        }
    }

    #[test]
    fn a_plan_reads_as_it_was_written() {
        let plan = plan(&[500, 300, 200]);
        assert_eq!(plan.encode(), "europe|leg0:500,leg1:300,leg2:200");
        assert_eq!(RoutePlan::decode(&plan.encode()), Some(plan));
        for broken in [
            "",
            "europe",
            "europe|",
            "europe|a",
            "europe|a:x",
            "europe|a:1,",
            "|a:1",
            "europe|A:1",
        ] {
            assert_eq!(RoutePlan::decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn two_legs_share_a_minute_and_no_leg_starts_in_the_last_twenty_seconds() {
        assert_eq!(plan(&[500, 500]).wait_ms(0, 60_000), 30_000);
        // Half a minute: the second leg has 20 s of it.
        assert_eq!(plan(&[500, 500]).wait_ms(0, 30_000), 10_000);
        let three = plan(&[333, 333, 334]);
        assert_eq!((three.wait_ms(0, 30_000), three.wait_ms(1, 30_000)), (5_000, 5_000));
        assert_eq!(plan(&[1_000]).wait_ms(0, 60_000), 60_000);
    }
}
