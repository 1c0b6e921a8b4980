//! Recipients as channels know them, for the operator: where one is reached (the address of an e-mail channel), and whether they said
//! stop. What recipients say themselves comes through their channel; this is for addresses that the operator has from elsewhere, for
//! people who ask by another way, and for those who want to be forgotten.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use countersign_channels::Channel;
use countersign_core::{LegName, PhoneNumber, SandboxNumbers};
use countersign_store::{Actor, ChannelRecipient, RecipientChange};
use serde::{Deserialize, Serialize};

use crate::answer::{self, Answer, Refusal};
use crate::app::App;
use crate::clock;

/// Recipients in one call of an import.
pub(crate) const MAX_IMPORT_ROWS: usize = 1_000;
/// The largest body of one.
pub(super) const MAX_IMPORT_BYTES: usize = 512 * 1024;

/// A recipient as this API shows it.
#[derive(Serialize)]
struct RecipientView {
    channel: String,
    phone_number: String,
    /// Left out where the number itself is the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    stopped: bool,
    /// Whole Unix seconds.
    since: i64,
}

impl RecipientView {
    fn new(channel: &LegName, recipient: ChannelRecipient) -> Self {
        Self {
            channel: channel.to_string(),
            phone_number: recipient.phone.to_string(),
            address: Some(recipient.address).filter(|address| !address.is_empty()),
            stopped: recipient.stopped,
            since: recipient.since.unix_seconds(),
        }
    }
}

/// `GET /recipients/{channel}/{phone}`: what is known of a number there.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path((channel, phone)): Path<(String, String)>,
) -> Result<Answer, Refusal> {
    let (channel, phone) = named(&app, &channel, &phone)?;
    let recipient = app.site.recipient(channel.name(), phone).await?;
    let recipient = recipient.ok_or_else(|| nothing_known(channel, phone))?;
    Answer::ok(&RecipientView::new(channel.name(), recipient))
}

#[derive(Deserialize)]
struct SetBody {
    address: Option<String>,
    stopped: Option<bool>,
}

/// `PUT /recipients/{channel}/{phone}`: an address, or whether they want no messages; what isn't said stays as it was.
pub(super) async fn set(
    State(app): State<Arc<App>>,
    Path((channel, phone)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let body: SetBody = answer::body(body, r#"{"address":"ida@example.com"} or {"stopped":true}"#)?;
    let (channel, phone) = named(&app, &channel, &phone)?;
    if body.address.is_none() && body.stopped.is_none() {
        return Err(Refusal::bad_request("say `address`, `stopped`, or both"));
    }
    let address = body.address.as_deref().map(|address| address_of(channel, address));
    let change = RecipientChange {
        phone,
        address: address.transpose()?,
        stopped: body.stopped,
    };
    app.site
        .change_recipients(channel.name().clone(), vec![change], clock::now(), Actor::Operator)
        .await?;
    let recipient = app.site.recipient(channel.name(), phone).await?;
    // Nothing is kept of who has no address and wants their messages.
    let recipient = recipient.unwrap_or_else(|| ChannelRecipient {
        phone,
        address: String::new(),
        stopped: false,
        since: clock::now(),
    });
    tracing::info!(channel = %channel.name(), ?phone, stopped = recipient.stopped, "operator: recipient set");
    Answer::ok(&RecipientView::new(channel.name(), recipient))
}

#[derive(Deserialize)]
struct Row {
    phone_number: String,
    address: String,
}

#[derive(Deserialize)]
struct ImportBody {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct ImportView {
    set: usize,
}

/// `POST /recipients/{channel}/import`: addresses of many numbers. All rows are judged before the first one is written; whoever
/// said stop stays stopped.
pub(super) async fn import(
    State(app): State<Arc<App>>,
    Path(channel): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let example = r#"{"rows":[{"phone_number":"+391234567890","address":"ida@example.com"}]}"#;
    let body: ImportBody = answer::body(body, example)?;
    let channel = channel_named(&app, &channel)?;
    if body.rows.len() > MAX_IMPORT_ROWS {
        return Err(Refusal::bad_request(format!(
            "at most {MAX_IMPORT_ROWS} rows in one call; `countersign recipient import` makes several calls"
        )));
    }
    let mut rows = Vec::with_capacity(body.rows.len());
    for (number, row) in (1..).zip(&body.rows) {
        let read = || -> Result<_, Refusal> {
            Ok(RecipientChange {
                phone: phone_of(&row.phone_number)?,
                address: Some(address_of(channel, &row.address)?),
                stopped: None,
            })
        };
        rows.push(read().map_err(|refusal| refusal.about(&format!("row {number}")))?);
    }
    let set = rows.len();
    app.site
        .change_recipients(channel.name().clone(), rows, clock::now(), Actor::Operator)
        .await?;
    tracing::info!(channel = %channel.name(), set, "operator: recipients imported");
    Answer::ok(&ImportView { set })
}

/// `DELETE /recipients/{channel}/{phone}`: forgets a number there, and that it said stop.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path((channel, phone)): Path<(String, String)>,
) -> Result<Answer, Refusal> {
    let (channel, phone) = named(&app, &channel, &phone)?;
    let recipient = app.site.recipient(channel.name(), phone).await?;
    let recipient = recipient.ok_or_else(|| nothing_known(channel, phone))?;
    app.site
        .forget_recipient(channel.name().clone(), phone, clock::now(), Actor::Operator)
        .await?;
    tracing::info!(channel = %channel.name(), ?phone, "operator: recipient forgotten");
    Answer::ok(&RecipientView::new(channel.name(), recipient))
}

fn named<'a>(app: &'a App, channel: &str, phone: &str) -> Result<(&'a dyn Channel, PhoneNumber), Refusal> {
    Ok((channel_named(app, channel)?, phone_of(phone)?))
}

fn channel_named<'a>(app: &'a App, name: &str) -> Result<&'a dyn Channel, Refusal> {
    let found = LegName::parse(name).and_then(|name| app.routes.leg(&name));
    let channel = found.filter(|leg| *leg.channel.name() != LegName::INBOX);
    channel.map(|leg| &*leg.channel).ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        Refusal::not_found(format!(
            "there is no channel `{shown}`: `countersign route list` shows those that were set"
        ))
    })
}

fn phone_of(text: &str) -> Result<PhoneNumber, Refusal> {
    PhoneNumber::parse(text.trim(), SandboxNumbers::Refused)
        .ok_or_else(|| Refusal::bad_request("write the phone number in international form, like +391234567890"))
}

fn address_of(channel: &dyn Channel, text: &str) -> Result<String, Refusal> {
    let address = text.trim();
    match channel.address_problem(address) {
        None => Ok(address.to_owned()),
        Some(problem) => Err(Refusal::bad_request(problem)),
    }
}

fn nothing_known(channel: &dyn Channel, phone: PhoneNumber) -> Refusal {
    Refusal::not_found(format!("nothing is known of {phone} on the channel {}", channel.name()))
}
