//! Sign-ins to confirm: the questions that the inbox holds, as the page and the API show them, and `POST /inbox/login`, which
//! answers one. What becomes of the answer is the business of `login/`.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use countersign_channels::LoginPrompt;
use countersign_store::LoginAnswer;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{MAX_BODY_BYTES, Query, Refusal, Room, dates, is_form, json_answer, redirect};
use crate::{clock, login};

/// A question as a bubble.
pub(super) struct LoginBubble {
    pub(super) attempt: i64,
    pub(super) code: String,
    pub(super) device: String,
    pub(super) address: String,
    pub(super) at: String,
    pub(super) time: String,
    pub(super) life_ms: i64,
    pub(super) left_ms: i64,
    pub(super) left: String,
}

impl LoginBubble {
    pub(super) fn new(prompt: &LoginPrompt) -> Self {
        let left_ms = (prompt.expires_at.millis() - clock::now().millis()).max(0);
        Self {
            attempt: prompt.attempt,
            code: prompt.code.as_str().to_owned(),
            device: prompt.device.clone(),
            address: prompt.address.clone(),
            at: prompt.at.rfc_3339(),
            time: dates::time_of_day(prompt.at),
            life_ms: prompt.expires_at.millis() - prompt.at.millis(),
            left_ms,
            left: dates::countdown(left_ms),
        }
    }
}

/// `GET /inbox/logins`.
pub(super) async fn list(State(room): State<Room>, request: Request) -> Result<Response, Refusal> {
    let phone = Query::of(request.uri()).phone(&room)?;
    let prompts = room.inbox.logins(phone, clock::now());
    Ok(json_answer(&prompts.iter().map(as_json).collect()))
}

fn as_json(prompt: &LoginPrompt) -> Value {
    json!({
        // Text: it has 63 bits, more than a JSON number keeps in JavaScript.
        "attempt": prompt.attempt.to_string(),
        "phone_number": prompt.phone.to_string(),
        "code": prompt.code.as_str(),
        "device": prompt.device,
        "address": prompt.address,
        "asked_at": prompt.at.unix_seconds(),
        "expires_at": prompt.expires_at.unix_seconds(),
    })
}

#[derive(Deserialize)]
struct AnswerBody {
    attempt: String,
    answer: String,
}

impl AnswerBody {
    fn parse(headers: &HeaderMap, body: &[u8]) -> Option<(i64, LoginAnswer)> {
        let body = if is_form(headers) {
            let field = |wanted: &str| {
                form_urlencoded::parse(body)
                    .find(|(name, _)| name == wanted)
                    .map(|(_, value)| value.into_owned())
            };
            Self {
                attempt: field("attempt")?,
                answer: field("answer")?,
            }
        } else {
            serde_json::from_slice(body).ok()?
        };
        let answer = match &*body.answer {
            "confirm" => LoginAnswer::Confirm,
            "refuse" => LoginAnswer::Refuse,
            _ => return None,
        };
        Some((body.attempt.parse().ok()?, answer))
    }
}

/// `POST /inbox/login`: answers a question, once.
pub(super) async fn answer(State(room): State<Room>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let body = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Refusal::Login)?;
    let (attempt, answer) = AnswerBody::parse(&headers, &body).ok_or(Refusal::Login)?;
    let answered = login::answer(&room.app, attempt, answer, clock::now()).await?;
    if is_form(&headers) {
        let page = match &answered {
            Some(attempt) => format!("/inbox?phone=%2B{}#newest", attempt.phone.digits()),
            None => "/inbox".to_owned(),
        };
        return Ok(redirect(&page));
    }
    match answered {
        Some(attempt) => Ok(json_answer(&json!({ "attempt": attempt.id.to_string() }))),
        None => Err(Refusal::LoginOver),
    }
}
