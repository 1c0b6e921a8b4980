//! Twilio's calls: what became of a message, and what phones wrote. What isn't signed with the account's auth token tells nothing.

use countersign_core::{Detail, News};
use url::form_urlencoded;

use super::super::inbound::NotNow;
use super::super::{INBOUND_PATH, STATUS_PATH, SmsHttp, lock};
use super::watch::Stand;
use super::wire::{handle_of, stand_of};
use super::{MESSAGE, Twilio, codes, signature};
use crate::memory::Subject;
use crate::ports::{Handle, MessageKey};
use crate::sms::replies::{Wish, wish_of};
use crate::{WebhookAnswer, WebhookCall};
use tokio::time::Instant;

/// A form's fields, in its order.
type Form = Vec<(String, String)>;

impl SmsHttp {
    pub(in super::super) async fn receive_from_twilio(&self, twilio: &Twilio, call: WebhookCall) -> WebhookAnswer {
        if !matches!(call.path.as_str(), STATUS_PATH | INBOUND_PATH) {
            return WebhookAnswer::status(404);
        }
        let Some(form) = twilio.genuine(&call) else {
            return WebhookAnswer::status(401);
        };
        if call.path == STATUS_PATH {
            return self.status_from_twilio(twilio, &call, &form).await;
        }
        // Where Twilio itself keeps the list of who wants none, it says so.
        let wish = match field(&form, "OptOutType") {
            Some("STOP") => Some(Wish::Stop),
            Some("START") => Some(Wish::Start),
            _ => field(&form, "Body").and_then(wish_of),
        };
        let from = field(&form, "From").unwrap_or_default();
        self.heard(from, wish, field(&form, "MessageSid")).await
    }

    async fn status_from_twilio(&self, twilio: &Twilio, call: &WebhookCall, form: &Form) -> WebhookAnswer {
        let handle = field(form, "MessageSid").and_then(handle_of);
        let (Some(handle), Some(status)) = (handle, field(form, "MessageStatus")) else {
            tracing::warn!(channel = %self.name, "a signed call can’t be read");
            return WebhookAnswer::status(400);
        };
        let stand = stand_of(status);
        if stand == Stand::UnderWay {
            return WebhookAnswer::status(200);
        }
        let named = form_urlencoded::parse(call.query.as_bytes())
            .find(|(name, _)| name == MESSAGE)
            .and_then(|(_, value)| MessageKey::parse(&value));
        let subject = match named {
            Some(key) => Ok(Some(Subject::Message(key))),
            None => self.subject_of(&handle).await,
        };
        let code = field(form, "ErrorCode").and_then(|code| code.parse().ok());
        match subject {
            Ok(Some(subject)) => match self.learn(twilio, &handle, subject, (stand, code), None).await {
                Ok(()) => WebhookAnswer::status(200),
                Err(NotNow) => WebhookAnswer::status(503),
            },
            // Not ours, or forgotten: sent again it would be no better known.
            Ok(None) => WebhookAnswer::status(200),
            Err(NotNow) => WebhookAnswer::status(503),
        }
    }

    /// Takes in what Twilio says of a message: where it stands, with the error's code, and what it cost, where that is known.
    pub(super) async fn learn(
        &self,
        twilio: &Twilio,
        handle: &Handle,
        subject: Subject,
        (stand, code): (Stand, Option<u64>),
        cost_micros: Option<i64>,
    ) -> Result<(), NotNow> {
        let message = match subject {
            Subject::Message(key) => Some(key),
            Subject::Login(_) => None,
        };
        // Places in the queues first: what was marked as told must not be lost because a caller went away in between.
        let place = self.ports.news.reserve().await.map_err(|_| NotNow)?;
        let cost_place = self.ports.costs.reserve().await.map_err(|_| NotNow)?;
        let learnt = lock(&twilio.watch).learn(handle, message, stand, cost_micros.is_some(), Instant::now());
        if learnt.is_due_earlier {
            twilio.watch_changed.notify_one();
        }
        if let Some(micros) = cost_micros.filter(|micros| learnt.is_price_news && *micros != 0) {
            cost_place.send(crate::UpstreamCost {
                leg: self.name.clone(),
                message,
                micros,
                upstream: Some(handle.clone()),
                at: crate::clock::now(),
            });
        }
        let news = match stand {
            Stand::UnderWay => return Ok(()),
            Stand::Failed => News::Failed,
            Stand::Delivered => News::Delivered,
            Stand::Read => News::Read,
        };
        if let Some(key) = message.filter(|_| learnt.is_news) {
            let words = || match code {
                Some(code) => codes::words(code),
                None => "Twilio says no reason".to_owned(),
            };
            place.send(crate::ChannelNews {
                account: key.account,
                request: key.request,
                leg: self.name.clone(),
                news,
                detail: (news == News::Failed).then(|| Detail::new(&words())),
            });
        }
        Ok(())
    }
}

impl Twilio {
    /// The form of a call, if Twilio signed it.
    fn genuine(&self, call: &WebhookCall) -> Option<Form> {
        let (token, own_url) = (self.auth_token.as_ref()?, self.own_url.as_ref()?);
        let signature = call.header(signature::HEADER)?;
        let form: Form = form_urlencoded::parse(&call.body).into_owned().collect();
        let query = if call.query.is_empty() {
            String::new()
        } else {
            format!("?{}", call.query)
        };
        let url = format!("{own_url}/{}{query}", call.path);
        signature::is_genuine(token.reveal(), &url, &form, signature).then_some(form)
    }
}

fn field<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    let found = form.iter().find(|(field, _)| field == name);
    found.map(|(_, value)| value.as_str())
}
