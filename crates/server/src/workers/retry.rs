//! When a failed delivery report is tried again. Pure: the caller brings the randomness.

/// How often a failed report is tried again (docs/delivery-reports.md); then it is lost.
pub const MAX_RETRIES: usize = 10;

/// Each delay is lengthened by up to this share, so that the reports of one outage don't all come back at once.
const JITTER_PER_MILLE: u64 = 200;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The growing delays between the attempts to send a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule {
    delays_ms: [i64; MAX_RETRIES],
}

impl Default for RetrySchedule {
    /// 15 s, 1 min, 5 min, 15 min, 30 min, 1 h, 2 h, 4 h, 8 h, 12 h, each lengthened at random by up to a fifth: a report
    /// is lost 27.9 to 33.4 hours after its first attempt, so a receiver that is down for a day misses nothing.
    fn default() -> Self {
        Self::new([
            15 * SECOND_MS,
            MINUTE_MS,
            5 * MINUTE_MS,
            15 * MINUTE_MS,
            30 * MINUTE_MS,
            HOUR_MS,
            2 * HOUR_MS,
            4 * HOUR_MS,
            8 * HOUR_MS,
            12 * HOUR_MS,
        ])
    }
}

impl RetrySchedule {
    /// A schedule of its own, in milliseconds; tests use short ones.
    pub const fn new(delays_ms: [i64; MAX_RETRIES]) -> Self {
        Self { delays_ms }
    }

    /// How many milliseconds after a failed attempt the next one is made, given how many were made before it; `None`
    /// after the last retry.
    pub fn delay_ms(&self, attempts_before: u16, entropy: u64) -> Option<i64> {
        let delay_ms = *self.delays_ms.get(usize::from(attempts_before))?;
        let per_mille = i64::try_from(entropy % (JITTER_PER_MILLE + 1)).unwrap_or(0);
        Some(delay_ms.saturating_add(delay_ms.saturating_mul(per_mille) / 1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_ten_retries_last_longer_than_a_day() {
        let schedule = RetrySchedule::default();
        let delays: Vec<i64> = (0..).map_while(|attempts| schedule.delay_ms(attempts, 0)).collect();
        assert_eq!(delays.len(), MAX_RETRIES);
        assert!(delays.is_sorted_by(|earlier, later| earlier < later));
        assert!(delays.iter().sum::<i64>() > 24 * HOUR_MS);
        assert_eq!(schedule.delay_ms(10, 0), None);
        assert_eq!(schedule.delay_ms(u16::MAX, 0), None);
    }

    #[test]
    fn jitter_lengthens_a_delay_by_at_most_a_fifth() {
        let schedule = RetrySchedule::default();
        for entropy in (0..1_000).chain([u64::MAX]) {
            let delay_ms = schedule.delay_ms(1, entropy).unwrap();
            assert!((60_000..=72_000).contains(&delay_ms), "{delay_ms} ms from {entropy}");
        }
        assert_ne!(schedule.delay_ms(1, 1), schedule.delay_ms(1, 2));
    }
}
