//! What nodes of one database share besides: messages that others have under way, for the built-in inbox, which shows the same on every
//! node; tasks that one node does for all; limits that hold over all of them. PostgreSQL's alone.

use std::sync::LazyLock;

use countersign_core::{Limit, LimitState, Timestamp, VerificationRequest};

use super::codec::{REQUEST_COLUMNS, RequestColumns};
use super::read::{Reader, readable, row_limit};
use super::settings::Settings;
use crate::sql::{OptionalExtension as _, params};
use crate::types::StoreError;

impl Reader<'_> {
    pub(crate) fn messages_elsewhere(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<VerificationRequest>, StoreError> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "SELECT {REQUEST_COLUMNS} FROM request WHERE bucket = ?1 AND owner IS NOT ?2 AND wake_at >= ?3 \
                 AND delivery = 4 AND accepted = 0 ORDER BY wake_at DESC LIMIT ?4"
            )
        });
        let buckets: Vec<i64> = self
            .connection
            .prepare_cached("SELECT bucket FROM held_bucket ORDER BY bucket")?
            .query_map(params![], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        // All buckets have a share: where there are too many, the newest of each.
        let of_a_bucket = limit.div_ceil(buckets.len().max(1));
        let mut found = Vec::new();
        for bucket in buckets {
            let left = row_limit(limit.saturating_sub(found.len()).min(of_a_bucket));
            let mut statement = self.connection.prepare_cached(&SQL)?;
            let rows = statement.query_map(params![bucket, self.lease.0, now.millis(), left], RequestColumns::read)?;
            for columns in rows {
                found.extend(readable(columns?.open(self.vault))?);
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }
}

impl Settings<'_> {
    /// Takes a task that no living node has; answers whether it is this node's now.
    pub(crate) fn claim_task(&self, name: &str) -> Result<bool, StoreError> {
        let epoch = self.lease.0;
        let held: Option<(i64, bool)> = self
            .connection
            .prepare_cached(
                "SELECT epoch, EXISTS (SELECT 1 FROM node WHERE node.epoch = node_task.epoch AND ended_at IS NULL) \
                 FROM node_task WHERE name = ?1",
            )?
            .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        // Asked often, and changed seldom.
        if let Some((holder, true)) = held {
            return Ok(holder == epoch);
        }
        let taken = self.connection.execute(
            "INSERT INTO node_task (name, epoch) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch \
             WHERE NOT EXISTS (SELECT 1 FROM node WHERE node.epoch = node_task.epoch AND ended_at IS NULL)",
            params![name, epoch],
        )?;
        Ok(taken == 1)
    }

    pub(crate) fn count_call(
        &self,
        limit_name: &str,
        who: &str,
        limit: Limit,
        now: Timestamp,
    ) -> Result<Result<(), u32>, StoreError> {
        // A number, or where somebody lives: a backup shouldn't tell.
        let who = self.vault.secret_lookup(b"limit", who.as_bytes());
        self.connection.execute(
            "INSERT INTO limit_counter (name, who, spread_until_us) VALUES (?1, ?2, 0) ON CONFLICT (name, who) DO NOTHING",
            params![limit_name, who],
        )?;
        let until: Option<i64> = self
            .connection
            .prepare_cached("SELECT spread_until_us FROM limit_counter WHERE name = ?1 AND who = ?2 FOR UPDATE")?
            .query_row(params![limit_name, who], |row| row.get(0))
            .optional()?;
        // It was swept up between the two: what counts for nothing may as well begin anew.
        let state = LimitState::from_spread_until_us(until.unwrap_or_default());
        match limit.take(state, now) {
            Ok(next) => {
                self.connection.execute(
                    "UPDATE limit_counter SET spread_until_us = ?3 WHERE name = ?1 AND who = ?2",
                    params![limit_name, who, next.spread_until_us()],
                )?;
                Ok(Ok(()))
            }
            Err(seconds) => Ok(Err(seconds)),
        }
    }

    /// Forgets counters that count for nothing any more.
    pub(crate) fn forget_spent_limits(&self, now: Timestamp, limit: i64) -> Result<usize, StoreError> {
        let deleted = self.connection.execute(
            "DELETE FROM limit_counter WHERE (name, who) IN \
             (SELECT name, who FROM limit_counter WHERE spread_until_us <= ?1 LIMIT ?2)",
            params![LimitState::until(now).spread_until_us(), limit],
        )?;
        Ok(deleted)
    }
}
