//! SQL of quotas' counters. A row's bucket is a part of its key's hash, so that each statement names one; the rest of the books has nothing
//! to do with it.

use countersign_core::{LimitState, Timestamp};
use futures_util::future::BoxFuture;

use super::backend::{Backend, Part};
use super::settings::Settings;
use crate::FORGOTTEN_AT_ONCE;
use crate::quotas::{QuotaTaken, Quotas};
use crate::sql::params;
use crate::types::StoreError;

impl<B: Backend> Quotas for B {
    fn settle_quotas(&self, taken: Vec<QuotaTaken>) -> BoxFuture<'_, Result<Vec<LimitState>, StoreError>> {
        self.note(move |settings| settings.settle_quotas(&taken))
    }

    fn forget_spent_quotas(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        let spent_us = LimitState::until(now).spread_until_us();
        Box::pin(async move {
            // Not the buckets that hold accounts: a key falls into any.
            let parts = if self.is_shared() {
                (0..=i64::from(u8::MAX)).map(Part::bucket).collect()
            } else {
                vec![Part::ALL]
            };
            let mut forgotten = 0;
            for part in parts {
                let sql = |part: &str| {
                    format!(
                        "DELETE FROM quota_counter WHERE {part}spread_until_us < ?1 AND (bucket, who) IN \
                         (SELECT bucket, who FROM quota_counter WHERE {part}spread_until_us < ?1 LIMIT ?2)"
                    )
                };
                forgotten += self
                    .note(move |settings| part.forget(settings.connection, sql, spent_us))
                    .await?;
                if forgotten >= FORGOTTEN_AT_ONCE {
                    break;
                }
            }
            Ok(forgotten)
        })
    }
}

impl Settings<'_> {
    fn settle_quotas(&self, taken: &[QuotaTaken]) -> Result<Vec<LimitState>, StoreError> {
        // Whom a code went to, or where somebody lives: a backup shouldn't tell.
        let who = |taken: &QuotaTaken| self.vault.secret_lookup(b"quota", taken.key.as_bytes());
        let mut places: Vec<(usize, [u8; 32])> = taken.iter().map(who).enumerate().collect();
        // In key order, so that no two nodes lock rows crosswise.
        places.sort_unstable_by_key(|(_, who)| *who);
        let mut counters = vec![LimitState::default(); taken.len()];
        for (place, who) in places {
            let QuotaTaken { limit, taken, .. } = &taken[place];
            let values = params![
                i64::from(who[0]),
                who,
                taken.at_least().spread_until_us(),
                taken.moves_by_us(*limit)
            ];
            let mut statement = self.connection.prepare_cached(
                "INSERT INTO quota_counter (bucket, who, spread_until_us) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (bucket, who) DO UPDATE SET spread_until_us = CASE \
                 WHEN quota_counter.spread_until_us + ?4 > excluded.spread_until_us \
                 THEN quota_counter.spread_until_us + ?4 ELSE excluded.spread_until_us END RETURNING spread_until_us",
            )?;
            let until: i64 = statement.query_row(values, |row| row.get(0))?;
            counters[place] = LimitState::from_spread_until_us(until);
        }
        Ok(counters)
    }
}
