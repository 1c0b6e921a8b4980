//! `GET /inbox`: the page. It shows everything without JavaScript; the script keeps it up to date by asking for the same page
//! again whenever an event says that something changed, and taking over what differs.

use askama::Template;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use countersign_channels::NumberSummary;
use countersign_core::{DeliveryState, LineType, PhoneNumber, Script, Timestamp};
use http::{HeaderMap, StatusCode, Uri, header::HOST};

use super::logins::LoginBubble;
use super::view::Shown;
use super::{Query, Refusal, Room, asset, dates, view};
use crate::senders::SenderFace;
use crate::site::format::phone as grouped;
use crate::site::state::Badge;
use crate::{Mode, clock};

/// Numbers in the list, newest first. More are a matter for `GET /inbox/numbers`.
const LISTED_NUMBERS: usize = 200;
/// Messages in a conversation, the newest ones. More are a matter for `GET /inbox/messages`.
const LISTED_MESSAGES: usize = 100;
/// The number of the account that a sandbox starts with.
const SANDBOX_OWNER: PhoneNumber = PhoneNumber::from_stored(9_996_600_000);
/// What the pasted line sends to where no number is open.
const EXAMPLE_PHONE: &str = "+391234567890";

#[derive(Template)]
#[template(path = "inbox.html")]
struct Page {
    sandbox: bool,
    numbers: Vec<NumberRow>,
    /// Numbers that the list leaves out.
    more_numbers: usize,
    unread: u32,
    open: Option<Conversation>,
    /// What was typed as a number and is none.
    refused: Option<String>,
    /// For the line to paste.
    api_url: String,
    token: Option<String>,
    example_phone: String,
}

struct NumberRow {
    phone: PhoneNumber,
    grouped: String,
    badge: String,
    selected: bool,
    last: Option<LastMessage>,
    unread: u32,
    version: String,
}

struct LastMessage {
    preview: String,
    at: String,
    ago: String,
}

struct Conversation {
    phone: PhoneNumber,
    grouped: String,
    badge: String,
    about: String,
    messages: Vec<Bubble>,
    /// Sign-ins that wait for an answer.
    logins: Vec<LoginBubble>,
    /// Whether older messages are left out.
    more: bool,
    has_unread: bool,
    scripted: bool,
}

struct Bubble {
    id: String,
    code: String,
    text: String,
    /// The tag of the text's language.
    language: String,
    right_to_left: bool,
    sender: Option<SenderFace>,
    sent_at: String,
    sent_time: String,
    life_ms: i64,
    left_ms: i64,
    left: String,
    /// Whether the code can still be entered: it counts down.
    counts: bool,
    delivery: Badge,
    verification: Option<Badge>,
    unread: bool,
    version: String,
}

pub(super) async fn page(State(room): State<Room>, request: Request) -> Result<Response, Refusal> {
    let query = Query::of(request.uri());
    let (phone, refused) = match query.phone(&room) {
        Ok(phone) => (phone, None),
        Err(_) => (None, query.phone),
    };
    let open = match phone {
        Some(phone) => Some(conversation(&room, phone).await?),
        None => None,
    };
    let numbers = number_rows(&room, phone);
    let token = sandbox_token(&room).await;
    let page = Page {
        sandbox: room.app.mode == Mode::Sandbox,
        more_numbers: room.inbox.number_count().saturating_sub(numbers.len()),
        unread: numbers.iter().map(|number| number.unread).sum(),
        numbers,
        api_url: api_url(&room, request.uri(), request.headers()),
        token,
        example_phone: phone.map_or_else(|| EXAMPLE_PHONE.to_owned(), |phone| phone.to_string()),
        open,
        refused,
    };
    let html = page.render().map_err(|error| {
        tracing::error!(%error, "the inbox's page could not be rendered");
        Refusal::Books(countersign_store::StoreError::Database("page".to_owned()))
    })?;
    let mut response = asset("text/html; charset=utf-8", Body::from(html));
    if page.refused.is_some() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

fn number_rows(room: &Room, open: Option<PhoneNumber>) -> Vec<NumberRow> {
    let now = clock::now();
    let numbers = room.inbox.numbers(LISTED_NUMBERS);
    let mut rows: Vec<_> = numbers.iter().map(|number| number_row(number, open, now)).collect();
    // A sign-in that waits is what its number's holder should see first: it comes to the top, the newest first.
    for prompt in room.inbox.logins(None, now) {
        let known = rows.iter().position(|row| row.phone == prompt.phone);
        let mut row = match known {
            Some(place) => rows.remove(place),
            None => empty_row(prompt.phone, open),
        };
        row.last = Some(LastMessage {
            preview: format!("Sign-in from {}", prompt.device),
            at: prompt.at.rfc_3339(),
            ago: dates::ago(prompt.at, now),
        });
        row.unread += 1;
        row.version = format!("{}-login-{}-{}", row.version, prompt.attempt, row.unread);
        rows.insert(0, row);
    }
    if let Some(phone) = open
        && !rows.iter().any(|row| row.selected)
    {
        rows.insert(0, empty_row(phone, open));
    }
    rows
}

fn empty_row(phone: PhoneNumber, open: Option<PhoneNumber>) -> NumberRow {
    NumberRow {
        phone,
        grouped: grouped(phone),
        badge: badge(phone),
        selected: open == Some(phone),
        last: None,
        unread: 0,
        version: "empty".to_owned(),
    }
}

fn number_row(number: &NumberSummary, open: Option<PhoneNumber>, now: Timestamp) -> NumberRow {
    let last = &number.last;
    let code = last.code.as_str();
    let preview = match &last.sender {
        Some(sender) => format!("{sender}: {code}"),
        None => format!("Code {code}"),
    };
    NumberRow {
        phone: number.phone,
        grouped: grouped(number.phone),
        badge: badge(number.phone),
        selected: open == Some(number.phone),
        last: Some(LastMessage {
            preview,
            at: last.sent_at_real_time().rfc_3339(),
            ago: dates::ago(last.sent_at_real_time(), now),
        }),
        unread: number.unread,
        version: format!("{}-{}-{}", last.request, number.messages, number.unread),
    }
}

async fn conversation(room: &Room, phone: PhoneNumber) -> Result<Conversation, Refusal> {
    let mut messages = room.inbox.messages(Some(phone), LISTED_MESSAGES + 1);
    let more = messages.len() > LISTED_MESSAGES;
    messages.truncate(LISTED_MESSAGES);
    // As people read a conversation: the newest message at the end.
    messages.reverse();
    let scripted = Script::of(phone).is_some();
    let messages: Vec<_> = view::shown(room, messages)
        .await?
        .iter()
        .map(|shown| bubble(shown, scripted))
        .collect();
    let logins = room.inbox.logins(Some(phone), clock::now());
    Ok(Conversation {
        logins: logins.iter().map(LoginBubble::new).collect(),
        phone,
        grouped: grouped(phone),
        badge: badge(phone),
        about: about(phone),
        has_unread: messages.iter().any(|message| message.unread),
        messages,
        more,
        scripted,
    })
}

fn bubble(shown: &Shown, scripted: bool) -> Bubble {
    let message = &shown.message;
    let left_ms = shown.left_ms();
    let delivery = Badge::delivery(shown.delivery);
    let verification = Badge::verification(shown.verification);
    let ended = shown.delivery > DeliveryState::Read;
    let counts = shown.verification.is_open() && left_ms > 0 && !ended;
    Bubble {
        id: message.request.to_string(),
        code: message.code.as_str().to_owned(),
        text: shown.text.clone(),
        language: shown.language.clone(),
        right_to_left: shown.right_to_left,
        sender: shown.sender.clone(),
        sent_at: message.sent_at.rfc_3339(),
        sent_time: dates::time_of_day(message.sent_at),
        life_ms: message.expires_at.millis() - message.sent_at.millis(),
        left_ms,
        left: dates::countdown(left_ms),
        counts,
        version: format!(
            "{}-{}-{counts}",
            delivery.name,
            verification.map_or("", |badge| badge.word)
        ),
        delivery,
        // An expired message says so once.
        verification: verification.filter(|_| !ended),
        unread: !scripted && matches!(shown.delivery, DeliveryState::Sent | DeliveryState::Delivered),
    }
}

/// What stands in front of a number: its region, or its calling code where several regions share that.
fn badge(phone: PhoneNumber) -> String {
    match phone.details().region {
        Some(region) => region.iter().copied().map(char::from).collect(),
        None if phone.is_sandbox() => "TEST".to_owned(),
        None => phone.grouped().split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// What is to be known of a number, in a sentence.
fn about(phone: PhoneNumber) -> String {
    let scripted = match Script::of(phone) {
        Some(Script::ReadAtOnce) => "Scripted: delivered and read at once",
        Some(Script::DeliveredAtOnce) => "Scripted: delivered at once, never read",
        Some(Script::NeverDelivered) => "Scripted: never delivered; it expires and is refunded",
        Some(Script::Unreachable) => "Scripted: can’t be reached",
        Some(Script::FloodWait) => "Scripted: answers FLOOD_WAIT",
        Some(Script::DeliveredLater) => "Scripted: delivered after 5 seconds",
        None if phone.is_sandbox() => "Sandbox number",
        None => match phone.details().line_type {
            LineType::Mobile => "Mobile",
            LineType::FixedLine => "Fixed line",
            LineType::FixedLineOrMobile => "Fixed line or mobile",
            LineType::Voip => "Internet telephony",
            LineType::Service => "Service number",
            LineType::Unknown => "In no known range",
        },
    };
    scripted.to_owned()
}

/// The address under which the caller reached this page, for the line to paste.
fn api_url(room: &Room, uri: &Uri, headers: &HeaderMap) -> String {
    let server = &room.app.settings.server;
    if let Some(url) = &server.public_url {
        return url.clone();
    }
    let scheme = if server.tls_cert_file.is_some() {
        "https"
    } else {
        "http"
    };
    let named = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(http::uri::Authority::as_str).or(named);
    format!("{scheme}://{}", host.unwrap_or("127.0.0.1:8099"))
}

/// The token of the sandbox's own account, for the line to paste; never where others than this machine could read it.
async fn sandbox_token(room: &Room) -> Option<String> {
    if room.app.mode != Mode::Sandbox || room.app.settings.sandbox.exposed {
        return None;
    }
    let store = &room.app.store;
    let account = store.account_of_phone(SANDBOX_OWNER).await.ok()??;
    if account.closed_at.is_some() {
        return None;
    }
    store
        .token(account.key)
        .await
        .ok()
        .map(|token| token.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_says_where_a_number_is_from() {
        for (digits, text) in [
            (447_400_123_456, "GB"),
            (9_996_610_002, "TEST"),
            (391_234_567_890, "+39"),
        ] {
            assert_eq!(badge(PhoneNumber::from_stored(digits)), text);
        }
    }
}
