//! Calls of a provider that the operator described: what became of a message, and what phones wrote. A call proves who makes it by a
//! secret in a header, or by a signature of its body (HMAC-SHA256, in hexadecimal or base 64).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_core::{Detail, News};
use ring::hmac;
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::super::inbound::NotNow;
use super::super::{INBOUND_PATH, STATUS_PATH, SmsHttp};
use super::Template;
use super::verdict::text_at;
use crate::config::Secret;
use crate::ports::Handle;
use crate::sms::replies::wish_of;
use crate::{WebhookAnswer, WebhookCall};

/// How a provider's calls look.
pub(super) struct Calls {
    pub(super) secret: Secret,
    pub(super) proof: Proof,
    pub(super) status: Option<Status>,
    pub(super) inbound: Option<Inbound>,
}

/// How a provider says what a phone wrote.
pub(super) struct Inbound {
    /// The phone's number.
    pub(super) from: Field,
    pub(super) text: Field,
    /// The provider's name of what it wrote, by which copies are known.
    pub(super) id: Option<Field>,
}

/// What proves who calls; each with the name of its header, in lower case.
pub(super) enum Proof {
    Secret(String),
    Signature(String),
}

/// How a provider says what became of a message.
pub(super) struct Status {
    pub(super) id: Field,
    pub(super) value: Field,
    pub(super) delivered: Vec<String>,
    pub(super) read: Vec<String>,
    pub(super) failed: Vec<String>,
}

/// Where something stands in a call.
pub(super) enum Field {
    /// A JSON pointer.
    Pointer(String),
    /// A form's field.
    Name(String),
}

impl Field {
    /// With a slash at its beginning it is a JSON pointer.
    pub(super) fn new(text: String) -> Self {
        if text.starts_with('/') {
            Self::Pointer(text)
        } else {
            Self::Name(text)
        }
    }

    fn read(&self, body: &[u8]) -> Option<String> {
        match self {
            Self::Pointer(pointer) => text_at(&serde_json::from_slice::<Value>(body).ok()?, pointer),
            Self::Name(name) => {
                let mut fields = form_urlencoded::parse(body);
                fields
                    .find(|(field, _)| field == name)
                    .map(|(_, value)| value.into_owned())
            }
        }
    }
}

impl Calls {
    fn is_genuine(&self, call: &WebhookCall) -> bool {
        match &self.proof {
            Proof::Secret(header) => call
                .header(header)
                .is_some_and(|said| said.as_bytes().ct_eq(self.secret.reveal().as_bytes()).into()),
            Proof::Signature(header) => {
                let Some(signature) = call.header(header).and_then(bytes_of) else {
                    return false;
                };
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.reveal().as_bytes());
                hmac::verify(&key, &call.body, &signature).is_ok()
            }
        }
    }
}

/// A signature as providers write it.
fn bytes_of(signature: &str) -> Option<Vec<u8>> {
    let signature = signature.trim();
    let signature = signature.strip_prefix("sha256=").unwrap_or(signature);
    if signature.len() != 64 {
        return STANDARD.decode(signature).ok();
    }
    let digits = signature.as_bytes().chunks_exact(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

impl SmsHttp {
    pub(in super::super) async fn receive_by_template(&self, template: &Template, call: WebhookCall) -> WebhookAnswer {
        let Some(calls) = &template.calls else {
            return WebhookAnswer::status(404);
        };
        let is_known = match call.path.as_str() {
            STATUS_PATH => calls.status.is_some(),
            INBOUND_PATH => calls.inbound.is_some(),
            _ => false,
        };
        if !is_known {
            return WebhookAnswer::status(404);
        }
        if !calls.is_genuine(&call) {
            return WebhookAnswer::status(401);
        }
        match (&calls.status, &calls.inbound) {
            (Some(status), _) if call.path == STATUS_PATH => self.status_by_template(status, &call.body).await,
            (_, Some(inbound)) => self.inbound_by_template(inbound, &call.body).await,
            _ => WebhookAnswer::status(404),
        }
    }

    async fn inbound_by_template(&self, inbound: &Inbound, body: &[u8]) -> WebhookAnswer {
        let (Some(from), Some(text)) = (inbound.from.read(body), inbound.text.read(body)) else {
            return self.unreadable();
        };
        let id = inbound.id.as_ref().and_then(|id| id.read(body));
        if inbound.id.is_some() && id.is_none() {
            // What the phone wants is done all the same.
            tracing::warn!(channel = %self.name, "what a phone wrote came without what inbound_id names");
        }
        self.heard(&from, wish_of(&text), id.as_deref()).await
    }

    async fn status_by_template(&self, status: &Status, body: &[u8]) -> WebhookAnswer {
        let handle = status.id.read(body).as_deref().and_then(Handle::new);
        let (Some(handle), Some(value)) = (handle, status.value.read(body)) else {
            return self.unreadable();
        };
        let news = if status.delivered.contains(&value) {
            News::Delivered
        } else if status.read.contains(&value) {
            News::Read
        } else if status.failed.contains(&value) {
            News::Failed
        } else {
            // On its way.
            return WebhookAnswer::status(200);
        };
        let subject = match self.subject_of(&handle).await {
            Ok(Some(subject)) => subject,
            // Not ours, or forgotten: sent again it would be no better known.
            Ok(None) => return WebhookAnswer::status(200),
            Err(NotNow) => return WebhookAnswer::status(503),
        };
        // One of the operator's own words.
        let detail = (news == News::Failed).then(|| Detail::new(&format!("the provider says {value}")));
        match self.tell_fate(subject, news, detail).await {
            Ok(()) => WebhookAnswer::status(200),
            Err(NotNow) => WebhookAnswer::status(503),
        }
    }

    fn unreadable(&self) -> WebhookAnswer {
        tracing::warn!(channel = %self.name, "a call that proves its origin can’t be read: check the settings of its fields");
        WebhookAnswer::status(400)
    }
}
