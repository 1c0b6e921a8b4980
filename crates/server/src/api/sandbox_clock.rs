//! `POST /sandbox/clock`: moves one account's clock forward, and answers once everything that is due then is committed.

use std::time::Duration;

use countersign_core::{Action, ApiError, Command, Timestamp, TokenClaim};
use countersign_store::{RequestRef, StoreError};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::answer::Refusal;
use super::caller::Caller;
use super::parameters::{Parameter, Parameters, WrongType};
use crate::app::App;
use crate::clock;

/// The furthest that one call moves: ten years, in seconds.
const MAX_ADVANCE_SECONDS: i64 = 10 * 366 * 86_400;
/// No account's clock goes beyond this: times on the wire fit 32 bits signed (docs/sandbox.md, "The clock"), those of
/// a message that is sent then and lives an hour included.
const LAST_CLOCK_SECONDS: i64 = (1 << 31) - 1 - 7_200;
/// Due requests that are asked for at once.
const PAGE: usize = 500;
/// How long a command of this call rests when the books are busy.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// Wake-ups that wait in the books' queue at once, far below its bound.
const CONCURRENT_WAKES: usize = 64;

/// By how many milliseconds the clock shall move: 0 seconds to 10 years.
pub(super) fn advance(parameters: &Parameters<'_>) -> Result<i64, ApiError> {
    match parameters.integer(Parameter::AdvanceSeconds) {
        Ok(Some(seconds)) if (0..=MAX_ADVANCE_SECONDS).contains(&seconds) => Ok(seconds * 1000),
        Ok(_) | Err(WrongType) => Err(ApiError::BadRequest),
    }
}

/// Moves the caller's clock, then settles what is due on it; answers the time on it.
pub(super) async fn move_forward(app: &App, caller: &Caller, by_ms: i64) -> Result<Timestamp, Refusal> {
    let target = clock::now()
        .plus_millis(caller.access.clock_offset_ms)
        .plus_millis(by_ms);
    if target.unix_seconds() > LAST_CLOCK_SECONDS {
        return Err(ApiError::BadRequest.into());
    }
    submit(app, caller, Some(caller.access.token), Action::AdvanceClock { by_ms }).await?;
    settle_due_requests(app, caller).await?;
    submit(app, caller, None, Action::Lapse).await?;
    let account = app
        .store
        .account(caller.access.key.id)
        .await?
        .ok_or(Refusal::Internal)?;
    Ok(clock::now().plus_millis(account.clock_offset_ms))
}

/// Wakes the account's due requests until there are none.
async fn settle_due_requests(app: &App, caller: &Caller) -> Result<(), Refusal> {
    let account = caller.access.key;
    let mut last_page: Vec<RequestRef> = Vec::new();
    loop {
        let due = app.store.due_requests(clock::now(), Some(account), PAGE).await?;
        if due.is_empty() {
            return Ok(());
        }
        if due == last_page {
            // Each wake-up settles what was due, so the same page can't come twice in a row.
            tracing::error!("requests stay due after their wake-up");
            return Err(Refusal::Internal);
        }
        let wakes = due
            .iter()
            .map(|due| submit(app, caller, None, Action::Wake { request: due.id }));
        futures_util::stream::iter(wakes.collect::<Vec<_>>())
            .buffer_unordered(CONCURRENT_WAKES)
            .try_for_each(|()| std::future::ready(Ok(())))
            .await?;
        last_page = due;
    }
}

/// One command of this call. What settles what is due carries no token, as a worker's: it is due whoever asks. Once the
/// clock has moved, books that are busy or have no room are waited for: a caller who is told to try again would move it twice.
async fn submit(app: &App, caller: &Caller, token: Option<TokenClaim>, action: Action) -> Result<(), Refusal> {
    let has_moved = token.is_none();
    loop {
        let command = Command {
            now: clock::now(),
            token,
            idempotency: None,
            action: action.clone(),
        };
        match app.store.submit(caller.access.key, command).await {
            Err(StoreError::Busy | StoreError::DiskFull | StoreError::Unavailable | StoreError::TryAgain)
                if has_moved =>
            {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            answer => return Ok(answer?.map(|_| ())?),
        }
    }
}
