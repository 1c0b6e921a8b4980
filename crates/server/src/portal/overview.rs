//! `/account`: balance, today, the last messages, and the card that sends a code to oneself and shows what becomes of it, so
//! that the whole loop is seen before a line of code is written.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use countersign_core::{
    Action, Answer, ApiError, CodeLength, Command, DeliveryState, EnteredCode, Reach, RequestId, Send, SendCode,
    TokenKind, Ttl, VerificationRequest, VerificationState,
};
use countersign_store::{MessageFilter, MessageOrder};

use super::messages::view::{self, LineView, RowView};
use super::statistics;
use crate::app::{App, Mode};
use crate::random;
use crate::routes::{self, Sending};
use crate::site::address::site_url;
use crate::site::form::Form;
use crate::site::format;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::Viewer;

/// Messages that the overview shows.
const LAST_MESSAGES: usize = 5;

/// A call to paste into a terminal.
pub(crate) struct Example {
    pub(crate) line: String,
    /// Whether the token must be put in by hand.
    pub(crate) needs_token: bool,
}

impl Example {
    /// A send to the owner's own number, which is free. A sandbox's token opens nothing but the sandbox, so it stands in
    /// the line; a real one isn't shown on a page that is looked at all day.
    pub(crate) async fn of(app: &App, viewer: &Viewer, uri: &Uri, headers: &HeaderMap) -> Result<Self, PageError> {
        let needs_token = app.mode == Mode::Production;
        let token = if needs_token {
            "$TOKEN".to_owned()
        } else {
            app.store.token(viewer.account.key).await?.as_str().to_owned()
        };
        let url = site_url(&app.settings, uri, headers);
        let phone = viewer.account.phone;
        Ok(Self {
            line: format!(
                "curl {url}/sendVerificationMessage \\\n  -H \"Authorization: Bearer {token}\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{{\"phone_number\":\"{phone}\",\"code_length\":6}}'"
            ),
            needs_token,
        })
    }
}

/// The card that sends a code to oneself.
struct TryCard {
    number: String,
    inbox: Option<String>,
    length: String,
    ttl: String,
    /// Why nothing was sent.
    problem: Option<String>,
    sent: Option<SentView>,
}

/// The message that was sent from the card.
struct SentView {
    path: String,
    check_path: String,
    delivery: Badge,
    verification: Option<Badge>,
    lines: Vec<LineView>,
    live: bool,
    /// Whether a code may still be entered.
    open: bool,
    /// Why what was typed isn't the code.
    problem: Option<&'static str>,
    /// What is to be seen next, in a sentence.
    next: &'static str,
}

/// What today came to.
struct TodayView {
    sent: String,
    delivered: String,
    valid: String,
    cost: String,
    /// A line through the last fourteen days, and its step to today, which isn't over; empty where nothing was sent.
    line: [String; 2],
    /// The same in words.
    said: String,
}

impl TodayView {
    fn of(today: &statistics::Today) -> Self {
        let days: u64 = today.sent_by_day.iter().sum();
        Self {
            sent: format::count(today.sent),
            delivered: format::share(today.delivered, today.sent),
            valid: format::share(today.valid, today.sent),
            cost: format::money(today.cost),
            line: today.line.clone(),
            said: format!(
                "{} messages in the last {} days",
                format::count(days),
                today.sent_by_day.len()
            ),
        }
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    available: String,
    held: Option<String>,
    low: bool,
    today: TodayView,
    card: TryCard,
    rows: Vec<RowView>,
    example: Example,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/account", get(overview))
        .route("/account/test-message", post(send))
        .route("/account/test-message/{id}/check", post(check))
}

/// What the form holds unless something was typed.
struct Typed {
    length: String,
    ttl: String,
    problem: Option<String>,
}

impl Default for Typed {
    fn default() -> Self {
        Self {
            length: "6".to_owned(),
            ttl: "300".to_owned(),
            problem: None,
        }
    }
}

async fn overview(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let mut sent = None;
    let mut wrong = false;
    for (name, value) in form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes()) {
        match &*name {
            "message" => sent = RequestId::parse(&value),
            "code" => wrong = value == "wrong",
            _ => {}
        }
    }
    let page = page_of(&app, &viewer, &uri, &headers, Typed::default(), sent, wrong).await?;
    page::html(&page)
}

async fn page_of(
    app: &App,
    viewer: &Viewer,
    uri: &Uri,
    headers: &HeaderMap,
    typed: Typed,
    sent: Option<RequestId>,
    wrong: bool,
) -> Result<Overview, PageError> {
    let account = &viewer.account;
    let last = app.site.messages(
        account.key,
        MessageFilter::default(),
        MessageOrder::NewestFirst,
        None,
        LAST_MESSAGES,
        viewer.account_now(),
    );
    let last = last.await?;
    let sent = match sent {
        // A message that isn't there any more, or is another account's, is no reason to refuse the overview.
        Some(id) => match view::request(app, viewer, id).await {
            Ok(request) => Some(SentView::of(app, viewer, &request, wrong).await?),
            Err(PageError::NotFound(_)) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    let available = account.balance - account.held;
    Ok(Overview {
        frame: Frame::portal(app, viewer, "Overview", "/account"),
        available: format::money(available),
        held: (!account.held.is_zero()).then(|| format::money(account.held)),
        today: TodayView::of(&statistics::today(app, viewer).await?),
        low: account.low_balance.as_ref().is_some_and(|low| available < low.below),
        card: TryCard {
            number: format::phone(account.phone),
            inbox: view::inbox_href(app, account.phone),
            length: typed.length,
            ttl: typed.ttl,
            problem: typed.problem,
            sent,
        },
        rows: last
            .requests
            .iter()
            .map(|request| RowView::new(request, viewer))
            .collect(),
        example: Example::of(app, viewer, uri, headers).await?,
    })
}

impl SentView {
    async fn of(app: &App, viewer: &Viewer, request: &VerificationRequest, wrong: bool) -> Result<Self, PageError> {
        let id = request.id;
        let arrived = matches!(request.delivery, DeliveryState::Delivered | DeliveryState::Read);
        let open = request.verification.is_open() && request.delivery >= DeliveryState::Sent;
        let waits = open || request.delivery == DeliveryState::Sent;
        Ok(Self {
            path: view::href(id),
            check_path: format!("/account/test-message/{id}/check"),
            delivery: Badge::delivery(request.delivery),
            verification: Badge::verification(request.verification),
            lines: view::timeline(app, viewer, request).await?,
            live: waits,
            open,
            problem: match request.verification {
                VerificationState::Invalid if wrong => {
                    Some("That isn’t the code. Look at the newest message and type its digits.")
                }
                _ => None,
            },
            next: match (request.verification, request.delivery) {
                (VerificationState::Valid, _) => {
                    "That is the whole loop: sent, delivered, read, and the code is valid. Your program does the same with \
                     two calls."
                }
                (VerificationState::AttemptsExceeded, _) => {
                    "Too many wrong codes: this one no longer counts. Send another."
                }
                (_, DeliveryState::Expired) => "It wasn’t delivered in time. Send another, with a longer life.",
                (_, DeliveryState::Revoked) | (VerificationState::Expired, _) => {
                    "Its code no longer counts. Send another."
                }
                (_, _) if arrived => "It arrived. Type its code here, as your user would.",
                _ => "On its way. Open the message: this page shows each step as it happens.",
            },
        })
    }
}

/// Sends a code to the owner's own number: the same command that the API makes, free of charge.
async fn send(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let mut typed = Typed {
        length: form.text("code_length").to_owned(),
        ttl: form.text("ttl").to_owned(),
        problem: None,
    };
    let length = typed.length.parse().ok().and_then(CodeLength::new);
    let ttl = typed.ttl.parse().ok().and_then(Ttl::new);
    let problem = match (length, ttl) {
        (None, _) => "Choose a code of 4 to 8 digits.".to_owned(),
        (_, None) => "Choose a life of 30 to 3600 seconds.".to_owned(),
        (Some(length), Some(ttl)) => match submit(&app, &viewer, length, ttl).await? {
            Ok(id) => return Ok(page::see_other(&format!("/account?message={id}#try"))),
            Err(error) => told(error),
        },
    };
    typed.problem = Some(problem);
    let page = page_of(&app, &viewer, &uri, &headers, typed, None, false).await?;
    page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

async fn submit(
    app: &App,
    viewer: &Viewer,
    length: CodeLength,
    ttl: Ttl,
) -> Result<Result<RequestId, ApiError>, PageError> {
    let entropy: [u8; 16] = random::bytes();
    let send = Send {
        phone: viewer.account.phone,
        request: None,
        sender: None,
        code: SendCode::Generate {
            length,
            entropy: u128::from_ne_bytes(entropy),
        },
        callback_url: None,
        payload: None,
        ttl,
        locale: None,
        email: None,
        id_entropy: u64::from_ne_bytes(random::bytes()),
        // What can be reached is planned by `routes::submit`.
        reach: Reach::Unreachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    };
    let command = Command {
        now: viewer.now,
        token: None,
        idempotency: None,
        action: Action::Send(Box::new(send)),
    };
    let sending = Sending {
        account: viewer.account.key,
        owner: viewer.account.phone,
        kind: TokenKind::Live,
        // A person at a page, whose browser is nobody's server.
        address: None,
        clock_offset_ms: viewer.account.clock_offset_ms,
    };
    let outcome = routes::submit(app, sending, command).await?;
    Ok(match outcome {
        Ok(Answer::Status(status)) => RequestId::parse(&status.request_id).ok_or(ApiError::RequestIdInvalid),
        Ok(_) => Err(ApiError::RequestIdInvalid),
        Err(error) => Err(error),
    })
}

/// Why nothing was sent, and what to do.
fn told(error: ApiError) -> String {
    match error {
        ApiError::FloodWait { seconds } => format!(
            "Nothing was sent: that were many messages to your own number. Try again in {}.",
            format::duration(u64::from(seconds) * 1_000)
        ),
        ApiError::PhoneNumberNotFound => {
            "Nothing was sent: no way to deliver messages reaches your number yet. The operator sets up the channels."
                .to_owned()
        }
        ApiError::PhoneNumberInvalid => {
            "Nothing was sent: your number isn’t one that this server sends to. Change it in the settings.".to_owned()
        }
        ApiError::Refused(_) | ApiError::Held(_) => format!(
            "Nothing was sent: {}. See the page Guard.",
            error.reason().unwrap_or_default()
        ),
        error => format!("Nothing was sent: the API answers {}.", error.wire_name()),
    }
}

/// Judges the code that was typed, as `checkVerificationStatus` does.
async fn check(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let id = RequestId::parse(&id).ok_or(PageError::NotFound("message"))?;
    // People type a space between groups of digits.
    let typed: String = form.text("code").chars().filter(|sign| !sign.is_whitespace()).collect();
    let code = if typed.is_empty() {
        None
    } else {
        EnteredCode::new(typed)
    };
    let Some(code) = code else {
        return Ok(page::see_other(&format!("/account?message={id}&code=wrong#try")));
    };
    let command = Command {
        now: viewer.now,
        token: None,
        idempotency: None,
        action: Action::Check {
            request: id,
            code: Some(code),
        },
    };
    let outcome = app.store.submit(viewer.account.key, command).await?;
    let valid = match outcome {
        Ok(Answer::Status(status) | Answer::Verified(status)) => status
            .verification_status
            .is_some_and(|verification| verification.status == "code_valid"),
        Ok(_) | Err(_) => return Err(PageError::NotFound("message")),
    };
    let note = if valid { "" } else { "&code=wrong" };
    Ok(page::see_other(&format!("/account?message={id}{note}#try")))
}
