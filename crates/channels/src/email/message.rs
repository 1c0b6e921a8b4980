//! Makes a message of what was composed: headers, both parts, and the address that it goes to in the form that SMTP wants. `lettre` encodes
//! it; nothing that others wrote can begin a header of its own.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use countersign_core::{EmailAddress, Timestamp};
use lettre::address::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use url::Host;

use super::compose::Composed;
use super::settings::Settings;

/// A recipient's address, as SMTP carries it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Recipient {
    pub(super) address: Address,
    /// It has letters beyond ASCII before the `@`: only servers with SMTPUTF8 take it. A domain beyond ASCII has a form in ASCII.
    pub(super) needs_utf8: bool,
}

/// Without the address.
impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient")
            .field("needs_utf8", &self.needs_utf8)
            .finish_non_exhaustive()
    }
}

impl Recipient {
    /// `None` where the address can't be written in SMTP.
    pub(super) fn of(address: &EmailAddress) -> Option<Self> {
        let (local, domain) = address.as_str().rsplit_once('@')?;
        let domain = match Host::parse(domain).ok()? {
            Host::Domain(domain) => domain,
            Host::Ipv4(_) | Host::Ipv6(_) => return None,
        };
        let is_safe = !local.chars().any(|char| char.is_control() || matches!(char, '<' | '>'));
        let address = is_safe.then(|| Address::new(local, &domain).ok()).flatten()?;
        Some(Self {
            needs_utf8: !local.is_ascii(),
            address,
        })
    }
}

/// What goes into the headers besides.
pub(super) struct Headers<'a> {
    pub(super) to: &'a Recipient,
    /// Names the message: the same after a crash, so that mail programs know the second copy.
    pub(super) id: &'a str,
    pub(super) at: Timestamp,
    /// Where one click says that no more is wanted (RFC 8058).
    pub(super) stop_url: Option<&'a str>,
}

/// The message as it goes over the wire; `None` where it can't be made.
pub(super) fn make(settings: &Settings, headers: &Headers<'_>, composed: Composed) -> Option<Vec<u8>> {
    let millis = u64::try_from(headers.at.millis()).unwrap_or(0);
    let domain = settings.from.email.domain();
    let mut message = Message::builder()
        .from(settings.from.clone())
        .to(Mailbox::new(None, headers.to.address.clone()))
        .subject(composed.subject)
        .date(UNIX_EPOCH + Duration::from_millis(millis))
        .message_id(Some(format!("<{}@{domain}>", headers.id)))
        // No holiday note may answer it (RFC 3834).
        .raw_header(header("Auto-Submitted", "auto-generated"));
    if let Some(reply_to) = &settings.reply_to {
        message = message.reply_to(reply_to.clone());
    }
    if let Some(url) = headers.stop_url {
        message = message
            .raw_header(header("List-Unsubscribe", &format!("<{url}>")))
            .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
    }
    let part = |content_type, body: String| SinglePart::builder().header(content_type).body(body);
    let parts = MultiPart::alternative()
        .singlepart(part(ContentType::TEXT_PLAIN, composed.text))
        .singlepart(part(ContentType::TEXT_HTML, composed.html));
    Some(message.multipart(parts).ok()?.formatted())
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(text: &str) -> Option<Recipient> {
        Recipient::of(&EmailAddress::parse(text)?)
    }

    #[test]
    fn a_domain_beyond_ascii_is_written_in_ascii_and_a_name_is_not() {
        let domain = recipient("ida@bücher.example").unwrap();
        assert_eq!(domain.address.to_string(), "ida@xn--bcher-kva.example");
        assert!(!domain.needs_utf8);
        let name = recipient("dörte@example.de").unwrap();
        assert_eq!(
            (name.address.to_string().as_str(), name.needs_utf8),
            ("dörte@example.de", true)
        );
    }

    #[test]
    fn an_address_can_not_end_its_command() {
        for bad in ["ida>@example.com", "\"a\r\nb\"@example.com", "ida@127.0.0.1"] {
            assert_eq!(recipient(bad), None, "{bad}");
        }
    }
}
