//! What other nodes have under way, for the built-in inbox, which shows the same on every node.

use std::sync::LazyLock;

use countersign_core::{Timestamp, VerificationRequest};

use super::codec::{REQUEST_COLUMNS, RequestColumns};
use super::read::{Reader, readable, row_limit};
use crate::sql::params;
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
                 AND delivery = 4 AND accepted = 0 ORDER BY wake_at LIMIT ?4"
            )
        });
        let buckets: Vec<i64> = self
            .connection
            .prepare_cached("SELECT bucket FROM held_bucket ORDER BY bucket")?
            .query_map(params![], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut found = Vec::new();
        for bucket in buckets {
            let left = row_limit(limit.saturating_sub(found.len()));
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
