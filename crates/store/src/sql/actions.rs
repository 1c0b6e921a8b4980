//! SQL of the audit log: what operators and owners did. `settings` and the writer note what they change in its own
//! transaction.

use crate::sql::{Connection, params};
use countersign_core::{AccountKey, Action, Command, Timestamp};
use futures_util::future::BoxFuture;

use super::backend::Backend;
use super::read::row_limit;
use super::settings::account_subject;
use crate::actions::{ActionFilter, ActionPage, ActionRecord, Actions, NewAction};
use crate::types::{Actor, StoreError};

/// Lines that one page's question looks at: about 10 ms of reading.
const LOOK_AT: usize = 20_000;
/// Of them at once: a server sends all that it was asked for.
const AT_ONCE: usize = 500;

impl<B: Backend> Actions for B {
    fn note(&self, action: NewAction<'_>) -> BoxFuture<'_, Result<(), StoreError>> {
        let (by, at) = (action.by, action.at);
        let [what, subject, detail] = [action.action, action.subject, action.detail].map(str::to_owned);
        self.set(move |settings| settings.audit_with(by, at, &what, &subject, &detail))
    }

    fn actions(
        &self,
        filter: ActionFilter,
        before: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<ActionPage, StoreError>> {
        self.read(move |reader| page(reader.connection, &filter, before.unwrap_or(i64::MAX), limit))
    }
}

/// Writes a line, in the transaction of what it tells of.
pub(crate) fn note(connection: Connection<'_>, action: &NewAction<'_>) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO settings_audit (at, actor, action, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    insert.execute(params![
        action.at.millis(),
        action.by.name(),
        action.action,
        action.subject,
        action.detail
    ])?;
    Ok(())
}

/// Writes the line of a command that a person gave. Only money is asked for like that; other commands leave their own trace.
pub(crate) fn note_command(
    connection: Connection<'_>,
    by: Actor,
    account: AccountKey,
    command: &Command,
) -> Result<(), StoreError> {
    let (action, detail) = match &command.action {
        Action::Purchase { amount } => ("credit added", amount.to_string()),
        Action::Adjust { amount, reason } => ("balance adjusted", format!("{amount}: {}", reason.as_str())),
        _ => return Ok(()),
    };
    note(
        connection,
        &NewAction {
            by,
            at: command.now,
            action,
            subject: &account_subject(account),
            detail: &detail,
        },
    )
}

fn page(
    connection: Connection<'_>,
    filter: &ActionFilter,
    before: i64,
    limit: usize,
) -> Result<ActionPage, StoreError> {
    // Lines are looked at newest first, those of one subject by its index; `last` is where the look ended.
    let sql = if filter.subject.is_some() {
        "SELECT id, at, actor, action, subject, detail FROM settings_audit INDEXED BY settings_audit_subject \
         WHERE subject = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2"
    } else {
        "SELECT id, at, actor, action, subject, detail FROM settings_audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2"
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut records = Vec::new();
    let (mut looked_at, mut last) = (0, None);
    while looked_at < LOOK_AT {
        let (cursor, lines) = (last.unwrap_or(before), row_limit(AT_ONCE));
        let mut rows = match &filter.subject {
            Some(subject) => statement.query(params![cursor, lines, subject])?,
            None => statement.query(params![cursor, lines])?,
        };
        let looked_at_before = looked_at;
        while let Some(row) = rows.next()? {
            if records.len() == limit {
                // There is at least this one more.
                return Ok(ActionPage { records, next: last });
            }
            looked_at += 1;
            let number = row.get(0)?;
            last = Some(number);
            let actor = row.text(2).unwrap_or_default();
            let action = row.text(3).unwrap_or_default();
            let wanted = filter.by.is_none_or(|by| by.name() == actor)
                && filter
                    .action_prefix
                    .as_ref()
                    .is_none_or(|prefix| action.starts_with(prefix.as_str()));
            if wanted {
                records.push(ActionRecord {
                    number,
                    at: Timestamp::from_millis(row.get(1)?),
                    actor: actor.to_owned(),
                    action: action.to_owned(),
                    subject: row.get(4)?,
                    detail: row.get(5)?,
                });
            }
        }
        if looked_at - looked_at_before < AT_ONCE {
            return Ok(ActionPage { records, next: None });
        }
    }
    Ok(ActionPage { records, next: last })
}
