//! What a node does while the master key is changed: it hears of the change at its heartbeat, seals under the new key from then on, and
//! says so once no batch or setting of it is under way that may have sealed under the old one. `sql::keys` begins and ends the change.

use super::Shared;
use super::load::EPOCH_LOCKS;
use super::schema::SETTINGS_LOCK;
use super::session::{COMMIT, Session};
use crate::sql::{Connection, keys};
use crate::types::StoreError;

/// What the other nodes know of this one's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeysTold {
    epoch: i64,
    knows: Option<[u8; 32]>,
    uses: Option<[u8; 32]>,
}

impl KeysTold {
    fn of(shared: &Shared) -> Self {
        let knows = shared.vault.rotates_to();
        Self {
            epoch: shared.node.lease().0,
            knows,
            uses: knows.filter(|_| shared.vault.is_rotating()),
        }
    }
}

/// Looks how the key stands, and tells what changed of what this node knows and uses.
pub(super) fn attend(session: &Session, shared: &Shared, told: &mut Option<KeysTold>) -> Result<(), StoreError> {
    let connection = Connection::Postgres(session);
    let (stored, rotating_to) = keys::standing(connection)?;
    let is_new = rotating_to.is_some() != shared.vault.is_rotating()
        || rotating_to.unwrap_or(stored) != shared.vault.key_check();
    let now = KeysTold::of(shared);
    let nothing_to_tell = now.knows.is_none() && told.is_none() && rotating_to.is_none();
    if !is_new && (nothing_to_tell || *told == Some(now)) {
        return Ok(());
    }
    session.batch_execute("BEGIN")?;
    let done = (|| {
        // Whoever begins a change holds this: it sees either what is told here, or this node its change.
        connection.query_row("SELECT pg_advisory_xact_lock(?1) IS NULL", [SETTINGS_LOCK], |_| Ok(()))?;
        // Whatever was kept of tokens before they were sealed anew is found by the former key alone, which may go now.
        shared.access.drop_all();
        keys::settle(connection, &shared.vault)?;
        let now = KeysTold::of(shared);
        if let Some(knows) = now.knows {
            keys::put(connection, &keys::known_by(now.epoch), &knows)?;
        }
        if let Some(uses) = now.uses {
            // Batches hold it, shared, while they seal: those that may have begun with the old key are over then.
            let key = i32::try_from(now.epoch).unwrap_or(i32::MAX);
            let client = session.client();
            session.wait(client.query_one("SELECT pg_advisory_xact_lock($1, $2)", &[&EPOCH_LOCKS, &key]))?;
            keys::put(connection, &keys::used_by(now.epoch), &uses)?;
        }
        session.batch_execute(COMMIT)?;
        Ok(now)
    })();
    match done {
        Ok(now) => {
            *told = Some(now);
            Ok(())
        }
        Err(error) => {
            session.roll_back();
            Err(error)
        }
    }
}
