//! What providers tell of phones, whichever provider it is: a message's fate becomes news, what phones write is done. A call is
//! answered with 200 only after what it says was handed over, so that a provider which calls again loses nothing.

use countersign_core::{Detail, News, PhoneNumber, SandboxNumbers};

use super::SmsHttp;
use crate::memory::Subject;
use crate::ports::{Handle, PortError, Recipient};
use crate::sms::replies::Wish;
use crate::{LoginReply, WebhookAnswer, clock};

/// Nobody can be told at this moment: the call has to come again.
#[derive(Debug)]
pub(super) struct NotNow;

impl SmsHttp {
    /// What goes by a name of the provider's: as this process knows, else as the books know.
    pub(super) async fn subject_of(&self, handle: &Handle) -> Result<Option<Subject>, NotNow> {
        if let Some(subject) = self.memory.find(handle).await {
            return Ok(Some(subject));
        }
        match self.ports.handles.message(&self.name, handle).await {
            Ok(key) => Ok(key.map(Subject::Message)),
            Err(error) => Err(self.in_trouble(&error)),
        }
    }

    /// Tells what became of a message.
    pub(super) async fn tell_fate(&self, subject: Subject, news: News, detail: Option<Detail>) -> Result<(), NotNow> {
        match subject {
            Subject::Message(key) => self.tell(key, news, detail).await.then_some(()).ok_or(NotNow),
            // Nothing depends on it.
            Subject::Login(_) => Ok(()),
        }
    }

    /// A phone wrote something. `name`: the provider's name of what it wrote, by which copies are known. What isn't a word that is
    /// known here is forgotten: it goes nowhere.
    pub(super) async fn heard(&self, from: &str, wish: Option<Wish>, name: Option<&str>) -> WebhookAnswer {
        let Some(wish) = wish else {
            return WebhookAnswer::status(200);
        };
        let Some(phone) = phone_of(from) else {
            tracing::warn!(channel = %self.name, "a phone wrote {wish:?}, but its number isn't in international form");
            return WebhookAnswer::status(200);
        };
        // A longer one is no name, and isn't kept.
        let name = name.and_then(Handle::new);
        if name.as_ref().is_some_and(|name| self.memory.was_heard(name)) {
            return WebhookAnswer::status(200);
        }
        match self.grant(phone, wish).await {
            Ok(()) => {
                if let Some(name) = name {
                    self.memory.heard(name);
                }
                WebhookAnswer::status(200)
            }
            Err(NotNow) => WebhookAnswer::status(503),
        }
    }

    async fn grant(&self, phone: PhoneNumber, wish: Wish) -> Result<(), NotNow> {
        if wish == Wish::NotMe {
            return self.disown(phone).await;
        }
        let recipient = Recipient {
            phone,
            address: String::new(),
            stopped: wish == Wish::Stop,
            since: clock::now(),
        };
        let noted = self.ports.recipients.put(&self.name, recipient).await;
        noted.map_err(|error| self.in_trouble(&error))
    }

    async fn disown(&self, phone: PhoneNumber) -> Result<(), NotNow> {
        match self.memory.last_to(phone, clock::now()) {
            None => Ok(()),
            Some(Subject::Message(key)) => {
                let told = self.tell(key, News::Disowned, None).await;
                told.then_some(()).ok_or(NotNow)
            }
            Some(Subject::Login(attempt)) => {
                let reply = LoginReply {
                    attempt,
                    phone,
                    is_me: false,
                };
                self.ports.logins.send(reply).await.map_err(|_| NotNow)
            }
        }
    }

    fn in_trouble(&self, error: &PortError) -> NotNow {
        tracing::warn!(channel = %self.name, %error, "a call can’t be taken now; the provider may make it again");
        NotNow
    }
}

/// A number as providers write it: in international form, with `+`, `00` or neither.
fn phone_of(text: &str) -> Option<PhoneNumber> {
    let digits = text.trim();
    let digits = digits.strip_prefix('+').or(digits.strip_prefix("00")).unwrap_or(digits);
    PhoneNumber::parse(&format!("+{digits}"), SandboxNumbers::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_providers_write_it() {
        for text in ["+4915123456789", "4915123456789", "004915123456789", " +4915123456789 "] {
            assert_eq!(
                phone_of(text).map(PhoneNumber::digits),
                Some(4_915_123_456_789),
                "{text}"
            );
        }
        for text in ["", "+", "72345", "Acme", "whatsapp:+4915123456789"] {
            assert_eq!(phone_of(text), None, "{text}");
        }
    }
}
