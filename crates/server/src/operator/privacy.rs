//! What is kept of one phone number, for its owner's request, and its erasure. The number comes in the body: what stands in a path lands in
//! logs of proxies.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use countersign_core::{PhoneNumber, SandboxNumbers, VerificationRequest};
use countersign_store::{Actor, RequestRef};
use serde::{Deserialize, Serialize};

use crate::answer::{self, Answer, Refusal};
use crate::app::App;
use crate::clock;

#[derive(Deserialize)]
struct NumberBody {
    phone_number: String,
}

/// All that is kept of a number but its codes.
#[derive(Serialize)]
struct KeptView {
    phone_number: String,
    requests: Vec<RequestView>,
    recipients: Vec<RecipientView>,
    /// Accounts that the number owns: their data is their owner's to download.
    owner_of: Vec<String>,
}

#[derive(Serialize)]
struct RequestView {
    request_id: String,
    account: String,
    /// Whole Unix seconds.
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

impl RequestView {
    fn new(place: RequestRef, request: &VerificationRequest) -> Self {
        let message = request.message.as_ref();
        Self {
            request_id: place.id.to_string(),
            account: place.account.id.to_string(),
            created_at: place.id.created_at().unix_seconds(),
            sender: message.and_then(|message| message.sender.as_ref().map(ToString::to_string)),
            payload: message.and_then(|message| message.payload.as_ref().map(|payload| payload.as_str().to_owned())),
            email: message.and_then(|message| message.email.as_ref().map(|email| email.as_str().to_owned())),
        }
    }
}

#[derive(Serialize)]
struct RecipientView {
    channel: String,
    address: String,
    stopped: bool,
    /// Whole Unix seconds.
    since: i64,
}

#[derive(Serialize)]
struct ErasedView {
    requests: u64,
    still_open: u64,
    recipients: u64,
    stops_kept: u64,
}

fn number_of(body: Result<Bytes, BytesRejection>) -> Result<PhoneNumber, Refusal> {
    let body: NumberBody = answer::body(body, r#"{"phone_number":"+391234567890"}"#)?;
    // Test mode writes to the sandbox's numbers in production, too.
    PhoneNumber::parse(&body.phone_number, SandboxNumbers::Accepted)
        .ok_or_else(|| Refusal::bad_request("this is no phone number: write it like +391234567890"))
}

/// `POST /privacy/export`: what is kept of a number. It leaves a line in the audit log, without the number.
pub(super) async fn export(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let phone = number_of(body)?;
    let kept = app.site.kept_of_number(phone).await?;
    super::note(
        &app,
        "number exported",
        "privacy",
        &format!("{} requests", kept.requests.len()),
    )
    .await?;
    let recipients = kept.recipients.into_iter().map(|(channel, recipient)| RecipientView {
        channel: channel.to_string(),
        address: recipient.address,
        stopped: recipient.stopped,
        since: recipient.since.unix_seconds(),
    });
    let requests = kept.requests.iter();
    Answer::ok(&KeptView {
        phone_number: phone.to_string(),
        requests: requests
            .map(|(place, request)| RequestView::new(*place, request))
            .collect(),
        recipients: recipients.collect(),
        owner_of: kept.owner_of.iter().map(ToString::to_string).collect(),
    })
}

/// `POST /privacy/erase`: the number goes, with what was written to it.
pub(super) async fn erase(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Result<Answer, Refusal> {
    let phone = number_of(body)?;
    let erased = app.site.erase_number(phone, clock::now(), Actor::Operator).await?;
    tracing::info!(?phone, requests = erased.requests, "operator: a number is erased");
    Answer::ok(&ErasedView {
        requests: erased.requests,
        still_open: erased.still_open,
        recipients: erased.recipients,
        stops_kept: erased.stops_kept,
    })
}
