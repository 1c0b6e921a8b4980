//! What comes back over HTTP. `dsn`: the operator's mail server brings the notifications that come to the envelope's sender. `answer/TOKEN`:
//! a recipient followed the link in their message; a `GET` changes nothing, since programs that look for bad links follow them, too.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_core::{Detail, EmailAddress, LegName, Locale, News};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::answer_page::{AnswerPage, Wish};
use super::dsn::{self, Outcome};
use super::token::{Answerer, Subject};
use super::{Email, PATH_OF_ANSWERS, PATH_OF_REPORTS, message};
use crate::{LoginReply, MessageKey, WebhookAnswer, WebhookCall};

/// So much of a notification is read: ours come with headers alone.
const MAX_REPORT_BYTES: usize = 200 * 1024;
/// The largest form.
const MAX_FORM_BYTES: usize = 4 * 1024;
/// What is noted of a mailbox whose reader said something.
const STOPPED: &str = "stopped";
const STARTED: &str = "started";

impl Email {
    pub(super) async fn called(&self, call: WebhookCall) -> WebhookAnswer {
        if call.path == PATH_OF_REPORTS {
            return if call.is_get {
                WebhookAnswer::status(405)
            } else {
                self.report(&call).await
            };
        }
        let Some(token) = call.path.strip_prefix(PATH_OF_ANSWERS) else {
            return WebhookAnswer::status(404);
        };
        let answerer = self.keys.as_ref().and_then(|keys| keys.open(token));
        let Some(answerer) = answerer else {
            return self.dead_link(&call);
        };
        let shown = if call.is_get {
            self.show(&answerer, None).await
        } else {
            match wish_of(&call.body) {
                None => return WebhookAnswer::status(400),
                Some(wish) => match self.grant(&answerer, wish).await {
                    Ok(()) => self.show(&answerer, Some(wish)).await,
                    Err(Unavailable) => Err(Unavailable),
                },
            }
        };
        shown.unwrap_or(WebhookAnswer::status(503))
    }

    async fn report(&self, call: &WebhookCall) -> WebhookAnswer {
        let (Some(secret), Some(keys)) = (&self.settings.dsn_secret, &self.keys) else {
            return WebhookAnswer::status(404);
        };
        let given = call
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        // Hashed, so that not even its length shows in how long it takes.
        let hashed = |text: &str| digest(&SHA256, text.as_bytes());
        let is_right = given.is_some_and(|given| {
            let (given, own) = (hashed(given.trim()), hashed(secret.reveal()));
            given.as_ref().ct_eq(own.as_ref()).into()
        });
        if !is_right {
            return WebhookAnswer::status(401);
        }
        // What a notification says stands in front of what came back. Nothing may be refused for its length: it would be brought again for days.
        let report = call.body.get(..MAX_REPORT_BYTES).unwrap_or(&call.body);
        // Whatever else comes to that mailbox is none of our business: it must not be brought again, either.
        let Some(notification) = dsn::read(report) else {
            tracing::debug!(channel = %self.name, "what the mail server brought is no delivery status notification");
            return WebhookAnswer::status(200);
        };
        let Some(key) = notification.names.iter().find_map(|name| keys.read_name(name)) else {
            tracing::debug!(channel = %self.name, "a delivery status notification names no message of ours");
            return WebhookAnswer::status(200);
        };
        let (news, detail) = match notification.outcome {
            Outcome::Delayed => return WebhookAnswer::status(200),
            Outcome::Delivered => (News::Delivered, None),
            Outcome::Passed(how) => (News::Delivered, Some(Detail::new(how))),
            Outcome::Failed(why) => (News::Failed, Some(Detail::new(&why))),
        };
        match self.tell(key, news, detail).await {
            Ok(()) => WebhookAnswer::status(200),
            Err(Unavailable) => WebhookAnswer::status(503),
        }
    }

    async fn grant(&self, answerer: &Answerer, wish: Wish) -> Result<(), Unavailable> {
        match wish {
            Wish::Stop => self.note_stopped(answerer, true).await,
            Wish::Start => self.note_stopped(answerer, false).await,
            Wish::Disown => match answerer.subject {
                Subject::Message(key) => self.tell(key, News::Disowned, None).await,
                Subject::Login(attempt) => {
                    let reply = LoginReply {
                        attempt,
                        phone: answerer.phone,
                        is_me: false,
                    };
                    self.ports.logins.send(reply).await.map_err(|_| Unavailable)
                }
            },
        }
    }

    /// It holds for the mailbox that got the message, whichever number it was sent for: whoever pressed the button has shown that they read
    /// that mailbox, and nothing about the number. So the book of recipients isn't touched.
    async fn note_stopped(&self, answerer: &Answerer, stopped: bool) -> Result<(), Unavailable> {
        if self.is_stopped(&answerer.address).await? == stopped {
            return Ok(());
        }
        let value = if stopped { STOPPED } else { STARTED };
        let name = name_of_note(&self.name, &answerer.address);
        let noted = self.ports.handles.put_note(&self.name, &name, value.to_owned()).await;
        noted.map_err(|error| {
            tracing::warn!(channel = %self.name, %error, "what a recipient said could not be noted");
            Unavailable
        })
    }

    /// Whether who reads that mailbox wants no mail.
    pub(super) async fn is_stopped(&self, address: &str) -> Result<bool, Unavailable> {
        let name = name_of_note(&self.name, address);
        let noted = self.ports.handles.note(&self.name, &name).await;
        let noted = noted.map_err(|error| {
            tracing::warn!(channel = %self.name, %error, "a recipient could not be looked up");
            Unavailable
        })?;
        Ok(noted.as_deref() == Some(STOPPED))
    }

    pub(super) async fn tell(&self, key: MessageKey, news: News, detail: Option<Detail>) -> Result<(), Unavailable> {
        let news = self.news_of(key, news, detail);
        self.ports.news.send(news).await.map_err(|_| Unavailable)
    }

    /// The page behind a link that was cut, or that was made with another secret. Whose it was is not known any more, so it speaks the
    /// browser's language, else the default one.
    fn dead_link(&self, call: &WebhookCall) -> WebhookAnswer {
        let language = self.ports.texts.language(asked_for(call).as_ref(), None);
        WebhookAnswer {
            text: AnswerPage::dead(language).html(language),
            ..WebhookAnswer::status(404)
        }
    }

    /// The page behind the link: what was done, and what can be said.
    async fn show(&self, answerer: &Answerer, done: Option<Wish>) -> Result<WebhookAnswer, Unavailable> {
        let stopped = self.is_stopped(&answerer.address).await?;
        let asked = Locale::parse(&answerer.language);
        let language = self.ports.texts.language(asked.as_ref(), answerer.phone);
        Ok(WebhookAnswer {
            text: AnswerPage::new(language, done, stopped).html(language),
            ..WebhookAnswer::status(200)
        })
    }
}

/// The language that a browser asks for first.
fn asked_for(call: &WebhookCall) -> Option<Locale> {
    let first = call.header("accept-language")?.split([',', ';']).next()?;
    Locale::parse(first.trim())
}

/// Under which name a channel notes what was said about a mailbox: no address stands in the clear, and however it is written, it is the
/// same. 48 bytes.
fn name_of_note(channel: &LegName, address: &str) -> String {
    let parsed = EmailAddress::parse(address);
    let in_smtp = parsed.and_then(|address| message::Recipient::of(&address));
    let address = in_smtp.map_or_else(|| address.to_owned(), |recipient| recipient.address.to_string());
    let hash = digest(&SHA256, format!("{channel} {}", address.to_lowercase()).as_bytes());
    format!("stop.{}", URL_SAFE_NO_PAD.encode(hash))
}

/// Nobody takes it at the moment: it has to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unavailable;

/// What a form says: a button of the page, or a mail program's one click (RFC 8058), which may come as `multipart/form-data`.
fn wish_of(form: &[u8]) -> Option<Wish> {
    let form = form.get(..MAX_FORM_BYTES).unwrap_or(form);
    let said = form_urlencoded::parse(form).find(|(name, _)| name == "do");
    match said.as_ref().map(|(_, value)| &**value) {
        Some("disown") => Some(Wish::Disown),
        Some("stop") => Some(Wish::Stop),
        Some("start") => Some(Wish::Start),
        Some(_) => None,
        None => {
            let form = String::from_utf8_lossy(form);
            let is_one_click = form.contains("List-Unsubscribe") && form.contains("One-Click");
            is_one_click.then_some(Wish::Stop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_the_same_for_each_spelling_of_a_mailbox_and_shows_none() {
        let [mail, other] = ["mail", "other"].map(|name| LegName::parse(name).unwrap());
        let note = name_of_note(&mail, "Ida@Bücher.example");
        assert_eq!(note.len(), 48);
        assert_eq!(note, name_of_note(&mail, "ida@xn--bcher-kva.EXAMPLE"));
        assert_ne!(note, name_of_note(&other, "ida@bücher.example"));
        assert_ne!(note, name_of_note(&mail, "ida@bucher.example"));
    }

    #[test]
    fn a_form_says_one_thing_or_nothing() {
        for (form, wish) in [
            ("do=disown", Some(Wish::Disown)),
            ("do=stop", Some(Wish::Stop)),
            ("do=start", Some(Wish::Start)),
            ("do=dance", None),
            ("List-Unsubscribe=One-Click", Some(Wish::Stop)),
            (
                "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n",
                Some(Wish::Stop),
            ),
            ("", None),
            ("x=1", None),
        ] {
            assert_eq!(wish_of(form.as_bytes()), wish, "{form}");
        }
        assert_eq!(wish_of(&[0xff; 10_000]), None);
    }
}
