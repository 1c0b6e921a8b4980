//! SQL of the master key's change: how the key stands in `meta`, its beginning, its end, and what goes on between the two. What is sealed
//! anew, and how, is in `reseal`.
//!
//! In `meta`: `key_check` is the key under which everything can be opened that isn't being changed; `key rotation` the new key's check,
//! while the change lasts; `key known: N` and `key used: N` what the node of that epoch has said; `carried keys` what outlives the
//! master key, sealed under it.

use std::time::Duration;

use countersign_core::Timestamp;
use futures_util::future::BoxFuture;

use super::backend::Backend;
use super::read::buckets;
use super::reseal::{self, SealedTable, TABLES, Tally};
use super::settings::Settings;
use crate::keys::{KeyProgress, KeyRotation, KeyStanding, KeysRotated};
use crate::sql::{Connection, OptionalExtension as _, params};
use crate::types::{Actor, StoreError};
use crate::vault::{KeyFingerprint, MasterKey, Settled, Vault};

/// How often it is looked whether all nodes use the new key: each finds out at its next heartbeat.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it is looked at the end, at most.
const MAX_LOOKS: u32 = 50;
/// Rounds of sealing and counting. One is enough unless somebody restores rows by hand meanwhile.
const MAX_ROUNDS: u32 = 5;

/// Under which key the books are sealed, and to which they are being changed.
pub(crate) fn standing(connection: Connection<'_>) -> Result<([u8; 32], Option<[u8; 32]>), StoreError> {
    let stored = of_meta(connection, "key_check")?.ok_or(StoreError::Damaged("the key's check value"))?;
    Ok((stored, of_meta(connection, "key rotation")?))
}

fn of_meta<const N: usize>(connection: Connection<'_>, name: &str) -> Result<Option<[u8; N]>, StoreError> {
    let found = connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0));
    Ok(found.optional()?)
}

/// Tells the vault how the books stand.
pub(crate) fn settle(connection: Connection<'_>, vault: &Vault) -> Result<Settled, StoreError> {
    let (stored, rotating_to) = standing(connection)?;
    vault.settle(stored, rotating_to)
}

/// Notes the master key's check value at the first start, and compares it at every later one.
pub(crate) fn check_master_key(connection: Connection<'_>, vault: &Vault) -> Result<(), StoreError> {
    // Of nodes that start at the same time one is the first.
    connection.execute(
        "INSERT INTO meta (name, value) VALUES ('key_check', ?1) ON CONFLICT DO NOTHING",
        [vault.key_check().as_slice()],
    )?;
    settle(connection, vault)?;
    carry(connection, vault)
}

/// Whether the books were sealed with this key, where nothing may be written.
pub(crate) fn compare_master_key(connection: Connection<'_>, vault: &Vault) -> Result<(), StoreError> {
    if standing(connection)?.1.is_some() {
        return Err(StoreError::Unfit(
            "its master key is being changed: start its server, and let that end first".to_owned(),
        ));
    }
    settle(connection, vault)?;
    carry(connection, vault)
}

fn carry(connection: Connection<'_>, vault: &Vault) -> Result<(), StoreError> {
    carried_keys(connection)?.map_or(Ok(()), |sealed| vault.carry(&sealed))
}

/// What outlives the master key, sealed; `None` in books whose key was never changed.
pub(crate) fn carried_keys(connection: Connection<'_>) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT value FROM meta WHERE name = 'carried keys'";
    Ok(connection.query_row(sql, params![], |row| row.get(0)).optional()?)
}

/// Notes in `meta` what a change needs to know.
pub(crate) fn put(connection: Connection<'_>, name: &str, value: &[u8]) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![name, value],
    )?;
    Ok(())
}

pub(crate) fn known_by(epoch: i64) -> String {
    format!("key known: {epoch}")
}

pub(crate) fn used_by(epoch: i64) -> String {
    format!("key used: {epoch}")
}

/// Nodes that live and haven't said so of a key.
fn nodes_without(connection: Connection<'_>, said: &str, check: [u8; 32]) -> Result<Vec<String>, StoreError> {
    if !connection.is_postgres() {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(
        "SELECT CASE WHEN node.name = '' THEN 'number ' || epoch ELSE node.name END FROM node WHERE ended_at IS NULL \
         AND NOT EXISTS (SELECT 1 FROM meta WHERE meta.name = ?1 || node.epoch AND meta.value = ?2) ORDER BY epoch",
    )?;
    let names = statement.query_map(params![said, check], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn fingerprint(check: [u8; 32]) -> Result<KeyFingerprint, StoreError> {
    KeyFingerprint::of_check(&check).ok_or(StoreError::Damaged("the key's fingerprint"))
}

impl Settings<'_> {
    fn begin_key_rotation(&self, now: Timestamp, by: Actor) -> Result<(), StoreError> {
        let (stored, under_way) = standing(self.connection)?;
        if under_way.is_some() {
            return Ok(());
        }
        let next = self.vault.rotates_to().filter(|next| *next != stored);
        let next = next.ok_or(StoreError::NotFound("new master key"))?;
        if self.connection.is_postgres() {
            put(self.connection, &known_by(self.lease.0), &next)?;
        }
        let without = nodes_without(self.connection, "key known: ", next)?;
        if !without.is_empty() {
            return Err(StoreError::NodesWithoutKey(without.join(", ")));
        }
        put(self.connection, "carried keys", &self.vault.carried_keys_for(next)?)?;
        put(self.connection, "key rotation", &next)?;
        // By what the cookies hold nobody could find them any more: only browsers know it.
        for sql in [
            "DELETE FROM session",
            "DELETE FROM login_attempt",
            "DELETE FROM login_link",
        ] {
            self.connection.execute(sql, params![])?;
        }
        let detail = format!("{} to {}", fingerprint(stored)?, fingerprint(next)?);
        self.audit_with(by, now, "change of the master key begun", "keys", &detail)
    }

    /// Ends the change; answers whether it could be: some node may not use the new key yet.
    fn end_key_rotation(&self, now: Timestamp) -> Result<bool, StoreError> {
        let (stored, Some(new)) = standing(self.connection)? else {
            return Ok(true);
        };
        if !nodes_without(self.connection, "key used: ", new)?.is_empty() {
            return Ok(false);
        }
        put(self.connection, "key_check", &new)?;
        self.connection.execute(
            "DELETE FROM meta WHERE name = 'key rotation' OR name LIKE 'key known: %' OR name LIKE 'key used: %'",
            params![],
        )?;
        let detail = format!("{} to {}", fingerprint(stored)?, fingerprint(new)?);
        self.audit_with(Actor::System, now, "master key changed", "keys", &detail)?;
        Ok(true)
    }
}

impl<B: Backend> KeyRotation for B {
    fn key_standing(&self) -> Result<KeyStanding, StoreError> {
        Ok(KeyStanding {
            present: fingerprint(self.vault().key_check())?,
            rotating: self.vault().is_rotating(),
        })
    }

    fn learn_master_key(&self, next: MasterKey) -> BoxFuture<'_, Result<KeyFingerprint, StoreError>> {
        Box::pin(async move {
            let check = self.vault().learn(&next)?;
            self.settle_keys().await?;
            fingerprint(check)
        })
    }

    fn begin_key_rotation(&self, now: Timestamp, by: Actor) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.set(move |settings| settings.begin_key_rotation(now, by)).await?;
            self.settle_keys().await
        })
    }

    fn rotate_keys<'a>(
        &'a self,
        progress: &'a KeyProgress,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<KeysRotated, StoreError>> {
        Box::pin(async move {
            for _ in 0..MAX_ROUNDS {
                // From here on nothing is sealed under the old key: so one way through the tables finds all that is.
                let Some(new) = used_by_all(self).await? else {
                    break;
                };
                progress.begin(2 * count_rows(self).await?);
                go_through(self, progress, reseal::reseal_page).await?;
                let tally = go_through(self, progress, reseal::count_page).await?;
                if tally.former > 0 {
                    continue;
                }
                if self.set(move |settings| settings.end_key_rotation(now)).await? {
                    self.settle_keys().await?;
                    // A node's own thread forgets the old key; where it can't at the moment, it does so later.
                    for _ in 0..MAX_LOOKS {
                        if !self.vault().is_rotating() {
                            break;
                        }
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    return Ok(KeysRotated {
                        key: fingerprint(new)?,
                        values: tally.present,
                        unreadable: tally.neither,
                    });
                }
            }
            Err(StoreError::TryAgain)
        })
    }
}

/// Waits until every node seals under the new key; answers its check, or `None` where no change is under way.
async fn used_by_all<B: Backend>(books: &B) -> Result<Option<[u8; 32]>, StoreError> {
    loop {
        let waiting_for = books
            .read(|reader| {
                let (_, Some(new)) = standing(reader.connection)? else {
                    return Ok(None);
                };
                let without = nodes_without(reader.connection, "key used: ", new)?;
                Ok(Some((new, without.len())))
            })
            .await?;
        match waiting_for {
            None => return Ok(None),
            Some((new, 0)) => return Ok(Some(new)),
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Each table with each bucket of it; tables that no bucket cuts come once.
async fn places<B: Backend>(books: &B) -> Result<Vec<(&'static SealedTable, Option<i64>)>, StoreError> {
    let buckets = books.read(|reader| buckets(reader.connection)).await?;
    let of = |table: &'static SealedTable| -> Vec<(&'static SealedTable, Option<i64>)> {
        if table.by_bucket() {
            buckets.iter().map(|bucket| (table, Some(*bucket))).collect()
        } else {
            vec![(table, None)]
        }
    };
    Ok(TABLES.iter().flat_map(of).collect())
}

async fn count_rows<B: Backend>(books: &B) -> Result<u64, StoreError> {
    let mut rows = 0;
    for (table, bucket) in places(books).await? {
        rows += books
            .aside(move |reader| table.count_rows(reader.connection, bucket))
            .await?;
    }
    Ok(rows)
}

/// What is done with a page of a table: it is read, and what is stale may be sealed anew.
type Look = fn(&SealedTable, &mut reseal::Page) -> Vec<Vec<reseal::SealedRow>>;

async fn go_through<B: Backend>(books: &B, progress: &KeyProgress, stale: Look) -> Result<Tally, StoreError> {
    let mut all = Tally::default();
    for (table, bucket) in places(books).await? {
        let mut after = None;
        loop {
            let mut page = books
                .aside(move |reader| table.page(reader.connection, reader.vault, bucket, after.as_deref()))
                .await?;
            let mut resealed = 0;
            // An account at a time: its row's lock keeps the batches out that would write the same rows, for a moment.
            for rows in stale(table, &mut page) {
                resealed += books.note(move |settings| table.reseal(settings, &rows)).await?;
            }
            progress.went_on(page.rows, resealed);
            all.add(page.tally);
            after = page.last;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(all)
}
