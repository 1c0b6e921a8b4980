//! SQL of the sweep over codes that end without a write: a message arrived, and nobody enters its code (`core/request.rs`, `needs_code`,
//! says of all others that the write that ends them wipes them). No index leads to them; instead an account's requests are gone through once,
//! in the order of their key, when all that was sent on them has had its time. Called by the privacy contract.

use countersign_core::{ABILITY_LIFE_MS, AccountKey, Code, DeliveryState, Timestamp, UsedCode, VerificationState};

use super::backend::Backend;
use super::codec::{delivery_of, request_id, verification_number, verification_of};
use super::privacy::lock;
use super::read::row_limit;
use super::settings::{Settings, account_place};
use crate::sql::{Connection, OptionalExtension as _, Row, params};
use crate::types::StoreError;
use crate::vault::Purpose;

/// Requests that are looked at in one step, and at most written in one transaction.
const AT_ONCE: usize = 500;
/// How old a request is when it is swept: from then on no message can be sent on it any more. Five minutes are for clocks that differ.
const SETTLED_MS: i64 = ABILITY_LIFE_MS + 5 * 60_000;

/// A request's place in the order of its account's.
type Place = (i64, i64);

/// What is to be done about some requests that follow each other.
struct Step {
    /// After this one it began.
    after: Place,
    /// With this one it ends.
    last: Place,
    /// Whether there are codes that are simply to go.
    unused: bool,
    /// Codes that were used, as earlier versions left them.
    used: Vec<Place>,
    /// Whether there may be more to do.
    more: bool,
}

/// Goes one step on with an account; answers whether more may be left.
pub(super) async fn wipe<B: Backend>(books: &B, account: AccountKey, now: Timestamp) -> Result<bool, StoreError> {
    let step = books
        .aside(move |reader| next_step(reader.connection, account, now))
        .await?;
    let Some(step) = step else { return Ok(false) };
    let more = step.more;
    books
        .note(move |settings| take_step(settings, account, now, &step))
        .await?;
    Ok(more)
}

/// Looks at the requests after those that were swept; `None` where there is nothing to do.
fn next_step(connection: Connection<'_>, account: AccountKey, now: Timestamp) -> Result<Option<Step>, StoreError> {
    let [bucket, id] = account_place(account);
    let after: Option<Place> = connection
        .prepare_cached("SELECT codes_swept_to, codes_swept_random FROM account WHERE bucket = ?1 AND account_id = ?2")?
        .query_row([bucket, id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some(after) = after else { return Ok(None) };
    let settled = now.plus_millis(-SETTLED_MS).millis();
    let mut step = Step {
        after,
        last: after,
        unused: false,
        used: Vec::new(),
        more: false,
    };
    if after.0 >= settled {
        // The clock was set back: what is made from now on mustn't be passed over.
        step.last = (settled, i64::MIN);
        return Ok((step.last < after).then_some(step));
    }
    let mut statement = connection.prepare_cached(
        "SELECT created_at, random, delivery, verification, accepted, expires_at, code_sealed IS NOT NULL FROM request \
         WHERE bucket = ?1 AND account_id = ?2 AND created_at >= ?3 AND (created_at, random) > (?3, ?4) AND created_at < ?5 \
         ORDER BY created_at, random LIMIT ?6",
    )?;
    let mut rows = statement.query([bucket, id, after.0, after.1, settled, row_limit(AT_ONCE)])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let place = (row.get(0)?, row.get(1)?);
        match what_is_left(row, now)? {
            Left::Nothing => {}
            Left::Unused => step.unused = true,
            Left::Used => step.used.push(place),
            // It was sent late, on an ability check: those behind it wait for it.
            Left::Live => return Ok((count > 0).then_some(step)),
        }
        step.last = place;
        count += 1;
    }
    step.more = count == AT_ONCE;
    Ok((count > 0).then_some(step))
}

/// What is left of a request's code, and what is to become of it.
enum Left {
    /// No code.
    Nothing,
    /// A code that ended unused.
    Unused,
    /// A code that was entered in time.
    Used,
    /// A code that may still be entered, or is still to be handed over.
    Live,
}

fn what_is_left(row: Row<'_>, now: Timestamp) -> Result<Left, StoreError> {
    if !row.get::<bool>(6)? {
        return Ok(Left::Nothing);
    }
    let verification = verification_of(row.get(3)?)?;
    let to_be_sent = delivery_of(row.get(2)?)? == DeliveryState::Sent && row.get::<Option<bool>>(4)? == Some(false);
    let expires_at: Option<i64> = row.get(5)?;
    let lives = expires_at.is_some_and(|at| at > now.millis());
    Ok(if lives && (verification.is_open() || to_be_sent) {
        Left::Live
    } else if verification == VerificationState::Valid {
        Left::Used
    } else {
        Left::Unused
    })
}

fn take_step(settings: &Settings<'_>, account: AccountKey, now: Timestamp, step: &Step) -> Result<(), StoreError> {
    let connection = settings.connection;
    let [bucket, id] = account_place(account);
    lock(connection, account)?;
    if step.unused {
        connection
            .prepare_cached(
                "UPDATE request SET code_sealed = NULL WHERE bucket = ?1 AND account_id = ?2 \
                 AND created_at >= ?3 AND (created_at, random) > (?3, ?4) AND created_at <= ?5 AND (created_at, random) <= (?5, ?6) \
                 AND code_sealed IS NOT NULL AND verification <> ?7 AND (verification > ?7 OR expires_at <= ?8)",
            )?
            .execute([
                bucket,
                id,
                step.after.0,
                step.after.1,
                step.last.0,
                step.last.1,
                verification_number(VerificationState::Valid),
                now.millis(),
            ])?;
    }
    for place in &step.used {
        wipe_used(settings, [bucket, id, place.0, place.1])?;
    }
    connection
        .prepare_cached(
            "UPDATE account SET codes_swept_to = ?3, codes_swept_random = ?4 WHERE bucket = ?1 AND account_id = ?2",
        )?
        .execute([bucket, id, step.last.0, step.last.1])?;
    Ok(())
}

/// Wipes a code that was used: what is left tells it from others. One that doesn't open any more goes without a trace.
fn wipe_used(settings: &Settings<'_>, place: [i64; 4]) -> Result<(), StoreError> {
    let (connection, vault) = (settings.connection, settings.vault);
    let sealed: Option<Option<Vec<u8>>> = connection
        .prepare_cached(
            "SELECT code_sealed FROM request WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4",
        )?
        .query_row(place, |row| row.get(0))
        .optional()?;
    let Some(sealed) = sealed.flatten() else { return Ok(()) };
    let [bucket, id, created_at, random] = place;
    let code = vault.open(Purpose::Code, &place, &sealed).ok();
    let code = code.and_then(|code| Code::parse(std::str::from_utf8(&code).ok()?));
    let used = code
        .map(|code| UsedCode::of(request_id(created_at, random), code.as_str()))
        .map(|used| vault.seal(Purpose::UsedCode, &place, used.as_bytes()))
        .transpose()?;
    connection
        .prepare_cached(
            "UPDATE request SET code_sealed = NULL, entered_sealed = NULL, used_sealed = ?5 \
             WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4",
        )?
        .execute(params![bucket, id, created_at, random, used])?;
    Ok(())
}
