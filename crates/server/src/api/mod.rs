//! The wire contract: the four Gateway methods, the sandbox's clock and the probes, behind one fallback handler.
//!
//! A call goes through these rooms in the order in which the contract wants it judged: `endpoint` (what is asked), `caller`
//! (who asks, and from where), `body` and `parameters` (with what), `methods` (as a command), the books, `answer`.
//! Nothing here decides about money or states: that is `core::decide`.

pub(crate) mod answer;
mod body;
pub(crate) mod caller;
pub(crate) mod description;
mod endpoint;
mod methods;
pub(crate) mod outcome;
mod parameters;
mod readiness;
mod reading;
mod sandbox_clock;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use countersign_core::{Action, Answer, ApiError, Command, DeliveryState, RequestId, RequestStatus, status_at};
use http::request::Parts;

use self::answer::Refusal;
use self::caller::Caller;
use self::endpoint::Endpoint;
use self::methods::Method;
use self::outcome::Outcome;
use self::parameters::{Parameter, Parameters};
use self::readiness::Readiness;
use crate::app::App;
use crate::metrics::Call;
use crate::routes::{self, Sending};
use crate::{clock, site};

pub use self::body::MAX_BODY_BYTES;
pub use self::reading::{ReadParameter, read_parameters};

/// Everything that is at the root of the host: the Gateway methods (their names in any case, repeated slashes counting as
/// one), `POST /sandbox/clock` in the sandbox, and the probes `GET /healthz` and `GET /readyz`. It answers whatever no other router answers.
///
/// The listener puts a [`PeerAddress`](crate::http::PeerAddress) into each request's extensions; without it an account with
/// an address allow-list refuses every call.
pub fn router(app: Arc<App>) -> Router {
    let root = Root {
        app,
        readiness: Arc::default(),
    };
    Router::new().fallback(handle).with_state(root)
}

/// What is shared at the root.
#[derive(Clone)]
struct Root {
    app: Arc<App>,
    readiness: Arc<Readiness>,
}

async fn handle(State(root): State<Root>, request: Request) -> Response {
    let Root { app, readiness } = root;
    let (parts, body) = request.into_parts();
    let answered = match Endpoint::of(&parts.method, parts.uri.path(), app.mode) {
        Some(Endpoint::Alive) => return answer::alive(),
        Some(Endpoint::Ready) => return answer::ready(readiness.trouble(&app).await),
        Some(Endpoint::Method(method)) => {
            let counted = Call::of(Some(method.name()));
            let span = app.vitals.traces.call(method.name(), &parts.headers);
            let answered = span.around(call(&app, method, &parts, body)).await;
            let outcome = Outcome::of(&answered);
            span.end(outcome.word(), outcome.is_ours());
            app.vitals.calls.answered(counted, outcome);
            // Nothing of the request itself: its address line may hold a token, a code and a number.
            tracing::debug!(method = method.name(), outcome = outcome.word(), "a call was answered");
            answered
        }
        Some(Endpoint::SandboxClock) => advance_clock(&app, &parts, body).await,
        None => {
            body::discard(&parts.headers, body).await;
            if let Some(page) = site::no_such_page(&parts) {
                return page;
            }
            let answered = Err(ApiError::UnknownMethod.into());
            app.vitals.calls.answered(Call::of(None), Outcome::of(&answered));
            answered
        }
    };
    answered.unwrap_or_else(Refusal::into_response)
}

/// One call of a Gateway method, from its token to its answer.
async fn call(app: &App, method: Method, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    let mut bytes = Bytes::new();
    let (caller, command) = {
        let (caller, parameters) = receive(app, parts, body, &mut bytes).await?;
        let action = method.action(app, &caller, &parameters)?;
        let idempotency = methods::idempotency(&*app.store, &parts.headers, &caller, &action)?;
        let command = Command {
            now: clock::now(),
            token: Some(caller.access.token),
            idempotency,
            action,
        };
        (caller, command)
    };
    if let (Action::Check { request, code: None }, None) = (&command.action, &command.idempotency)
        && let Some(status) = status_without_code(app, &caller, *request, &command).await?
    {
        return answer::status(&status);
    }
    let touched = match &command.action {
        Action::Check { request, .. } | Action::Revoke { request } => Some(*request),
        _ => None,
    };
    let sending = Sending {
        account: caller.access.key,
        owner: caller.access.owner,
        kind: caller.access.token.kind,
        address: caller::address_of(parts, &app.settings),
        clock_offset_ms: caller.access.clock_offset_ms,
    };
    let answer = routes::submit(app, sending, command).await??;
    if let (Some(inbox), Some(request)) = (&app.inbox, touched) {
        inbox.touch(caller.access.key, request);
    }
    match answer {
        Answer::Status(status) | Answer::Verified(status) => {
            app.vitals.traces.about(&status.request_id);
            answer::status(&status)
        }
        Answer::Revoked => Ok(answer::revoked()),
        Answer::Again(result) => Ok(answer::again(&result)),
        Answer::Admitted(_) | Answer::Order(_) | Answer::Done => {
            tracing::error!("the books gave an answer that no Gateway method has");
            Err(Refusal::Internal)
        }
    }
}

/// What a reader of the books can say of a request; `None` where time has changed what only a command may settle.
async fn status_without_code(
    app: &App,
    caller: &Caller,
    request: RequestId,
    command: &Command,
) -> Result<Option<RequestStatus>, Refusal> {
    let stored = app.store.request(caller.access.key, request).await?;
    let stored = stored
        // The same states that `decide` refuses to a check: nothing was charged, so there is no request for its owner yet.
        .filter(|request| !matches!(request.delivery, DeliveryState::Admitted | DeliveryState::Unreachable))
        .filter(|request| request.token().kind == caller.access.token.kind)
        .ok_or(ApiError::RequestIdInvalid)?;
    let account_now = command.now.plus_millis(caller.access.clock_offset_ms);
    Ok(status_at(&stored, account_now))
}

async fn advance_clock(app: &App, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    let mut bytes = Bytes::new();
    let (caller, advance) = {
        let (caller, parameters) = receive(app, parts, body, &mut bytes).await?;
        let advance = sandbox_clock::advance(&parameters)?;
        (caller, advance)
    };
    let now = sandbox_clock::move_forward(app, &caller, advance).await?;
    if let Some(inbox) = &app.inbox {
        inbox.clock_moved();
    }
    Ok(answer::clock(now))
}

/// Who calls, and with what. The token is judged before the body where it came in the header or the query, else after it;
/// the address right after the token; parameters of the body win over those of the query.
async fn receive<'a>(
    app: &App,
    parts: &'a Parts,
    body: Body,
    bytes: &'a mut Bytes,
) -> Result<(Caller, Parameters<'a>), Refusal> {
    if *app.draining.borrow() {
        return Err(Refusal::Unavailable);
    }
    let mut parameters = Parameters::default();
    let query = parts.uri.query().map_or(Ok(()), |query| parameters.read_form(query));
    let early_token = caller::header_token(&parts.headers).or_else(|| parameters.plain_text(Parameter::AccessToken));
    let early_caller = match early_token {
        Some(token) => match caller::admit(app, token, parts).await {
            Ok(caller) => Some(caller),
            Err(refusal) => {
                body::discard(&parts.headers, body).await;
                return Err(refusal);
            }
        },
        None => None,
    };
    *bytes = body::read(&parts.headers, body).await?;
    query?;
    parameters.read_body(&parts.headers, bytes).await?;
    if let Some(caller) = early_caller {
        return Ok((caller, parameters));
    }
    let late_token = parameters.plain_text(Parameter::AccessToken);
    let caller = caller::admit(app, late_token.ok_or(ApiError::AccessTokenRequired)?, parts).await?;
    Ok((caller, parameters))
}
