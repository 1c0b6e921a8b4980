//! SMS over SMPP 3.4 or 5.0: a session with a message centre (SMSC), kept as a transceiver. docs/channel-smpp.md is its page for operators.
//!
//! What the words mean here: a number can be *reached* unless its numbering plan calls it a fixed line or its holder wrote STOP. A
//! message is *delivered* when the message centre's receipt says so (the phone has it); a receipt that says otherwise is its failure.
//! There is no *read*. *Withdraw* asks the message centre to cancel (`cancel_sm`), which many can't once the network has the message.
//!
//! `link` keeps the session, `session` is one of them, `wire` its bytes; `messages` remembers what was sent, `inbound` handles what
//! comes back. A code is submitted at most once: only where not one byte of it was written does it wait for another try.

mod address;
mod dial;
mod examine;
mod inbound;
mod link;
mod messages;
mod pace;
mod receipt;
#[cfg(feature = "testing")]
mod rehearsal;
mod session;
mod settings;
mod status;
mod text;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use countersign_core::{AccountKey, Detail, LegName, PhoneNumber, Reach, RequestId, SenderUsername, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use rusmpp_core::pdus::owned::{CancelSm, Pdu, SubmitSm};
use rusmpp_core::tlvs::owned::MessageSubmissionRequestTlvValue;
use rusmpp_core::types::owned::{AnyOctetString, COctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp_core::values::owned::MessagePayload;
use rusmpp_core::values::{DataCoding, EsmClass, RegisteredDelivery};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use self::address::Source;
use self::dial::Dialer;
use self::inbound::Inbound;
use self::link::{Handler, Link};
use self::messages::{Messages, Sent, Subject, Submission};
use self::pace::Pace;
use self::session::{Answer, NoAnswer};
use self::settings::Settings;
use self::status::Judgement;
use self::text::Encoded;
use crate::sms::may_take_messages;
use crate::{
    Autofill, Channel, ChannelConfig, ConfigError, Destination, Finding, Handover, LoginPrompt, MessageKey,
    OutgoingMessage, Ports, Receipts, clock, sms,
};

#[cfg(feature = "testing")]
pub(crate) use self::rehearsal::rehearse;

/// As settings write it.
pub(crate) const KIND: &str = "smpp";
/// A message waits here so long for a session; after that it waits in the books.
const SESSION_WAIT: Duration = Duration::from_secs(1);
/// A message that couldn't be sent is handed over again after that time.
const AGAIN: Duration = Duration::from_secs(1);
/// Taking a message back may last so long.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// `registered_delivery`: a receipt for the final state, whether it arrived or not.
const FINAL_RECEIPT: u8 = 0x01;

struct Smpp {
    name: LegName,
    settings: Arc<Settings>,
    ports: Ports,
    messages: Arc<Messages>,
    link: Link,
    pace: Pace,
    window: Semaphore,
    /// Where people sign in, as they know it.
    site: String,
}

/// Makes the channel. Opens no connection: [`Channel::run`] does.
pub(crate) fn make(mut config: ChannelConfig, ports: Ports) -> Result<Arc<dyn Channel>, ConfigError> {
    let settings = Arc::new(Settings::read(&mut config)?);
    let dialer = Dialer::new(&config, &settings, ports.extra_ca_file.as_deref())?;
    let messages = Arc::new(Messages::default());
    let public_url = ports.public_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    let site = public_url
        .as_ref()
        .and_then(url::Url::host_str)
        .unwrap_or("Countersign");
    Ok(Arc::new(Smpp {
        name: config.name,
        pace: Pace::new(settings.messages_per_second, Instant::now()),
        window: Semaphore::new(usize::try_from(settings.window).unwrap_or(1)),
        link: Link::new(Arc::clone(&settings), dialer, Arc::clone(&messages)),
        site: site.to_owned(),
        messages,
        ports,
        settings,
    }))
}

/// What is to be sent, whatever it is.
struct Letter<'a> {
    subject: Subject,
    phone: PhoneNumber,
    sender: Option<&'a SenderUsername>,
    text: String,
    /// When its life ends, real time.
    ends_at: Timestamp,
}

impl Smpp {
    fn source(&self, sender: Option<&SenderUsername>) -> Source {
        let of_sender = || sender.and_then(Source::of_sender);
        let source = self.settings.source.clone().or_else(of_sender);
        source.unwrap_or_else(Source::none)
    }

    /// What the recipient reads: the operator's words or ours in their language, with what the account wants at its end.
    async fn text_of(&self, message: &OutgoingMessage) -> String {
        let autofill = self.ports.accounts.autofill(message.account).await;
        let autofill = autofill.unwrap_or_else(|error| {
            tracing::warn!(channel = %self.name, %error, "a message goes without what fills its code in");
            Autofill::default()
        });
        let code = message.code.as_str();
        if let Some(text) = self.settings.message_text(code) {
            return sms::finish(&text, code, &autofill).text;
        }
        let language = self.ports.texts.language(message.locale.as_ref(), message.phone);
        let parts = sms::Parts {
            code,
            sender: message.sender.as_ref().map(SenderUsername::as_str),
            autofill: &autofill,
        };
        sms::compose(language, &parts).text
    }

    /// Whether it is a number that the plan surely calls a fixed line.
    fn is_out_of_reach(&self, phone: PhoneNumber) -> bool {
        !self.settings.fixed_lines && !may_take_messages(phone)
    }

    /// Sends a letter, if that is possible now.
    async fn send(&self, letter: Letter<'_>) -> Handover {
        if self.is_out_of_reach(letter.phone) {
            return Handover::CannotReach(Detail::new("a fixed line"));
        }
        match self.ports.recipients.find(&self.name, letter.phone).await {
            Ok(recipient) if recipient.as_ref().is_some_and(|recipient| recipient.stopped) => {
                return Handover::CannotReach(Detail::new("the recipient wrote STOP"));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(channel = %self.name, %error, "a message waits");
                return Handover::Later(AGAIN);
            }
        }
        let session = match self.session().await {
            Ok(session) => session,
            Err(handover) => return handover,
        };
        let patience = self.settings.response_timeout;
        let Ok(Ok(_place)) = tokio::time::timeout(patience, self.window.acquire()).await else {
            return Handover::Later(AGAIN);
        };
        match self.pace.turn(Instant::now()) {
            Ok(turn) => tokio::time::sleep_until(turn).await,
            Err(wait) => return Handover::Later(wait),
        }
        let submission = Submission {
            subject: letter.subject,
            phone: letter.phone,
            source: self.source(letter.sender),
            ends_at: letter.ends_at,
        };
        let Some(pdu) = Some(clock::between(clock::now(), letter.ends_at))
            .filter(|life_left| !life_left.is_zero())
            .and_then(|life_left| self.submit(&submission, &letter.text, life_left))
        else {
            // No fault of the leg's: it says nothing about the next message.
            return Handover::Refused(Detail::new("its life was over before it could be sent"));
        };
        let answered = session.request(pdu, Some(submission), patience).await;
        match answered {
            Ok(answer) => self.judge(answer, &session),
            Err(NoAnswer::NotSent) => Handover::Later(AGAIN),
            Err(NoAnswer::Lost) => Handover::Failed(Detail::new("the connection was lost before the SMSC answered")),
            Err(NoAnswer::TimedOut) => Handover::Failed(Detail::new("the SMSC did not answer in time")),
        }
    }

    /// A session, or what becomes of a message without one. Nothing was sent yet.
    async fn session(&self) -> Result<session::Session, Handover> {
        let is_over = |down: &link::Down| down.lasts >= self.settings.patience;
        let no_connection = |down: link::Down| {
            let detail = format!("no connection to the SMSC: {}", down.why);
            Handover::Failed(Detail::new(&detail))
        };
        match self.link.session(Duration::ZERO).await {
            Ok(session) => return Ok(session),
            // It isn't waited for any more: many messages come here, and none should hold up the others.
            Err(down) if is_over(&down) => return Err(no_connection(down)),
            Err(_) => {}
        }
        match self.link.session(SESSION_WAIT).await {
            Ok(session) => Ok(session),
            Err(down) if is_over(&down) => Err(no_connection(down)),
            Err(_) => Err(Handover::Later(AGAIN)),
        }
    }

    fn judge(&self, answer: Answer, session: &session::Session) -> Handover {
        let said = || Detail::new(&status::describe(answer.status));
        match status::judge(answer.status) {
            Judgement::Accepted => {
                self.pace.accepted();
                Handover::Accepted(answer.message_id)
            }
            Judgement::Throttled => Handover::Later(self.pace.throttled(Instant::now())),
            Judgement::NotBound => {
                session.end();
                Handover::Later(AGAIN)
            }
            Judgement::BadNumber => Handover::CannotReach(said()),
            Judgement::Trouble => Handover::Failed(said()),
            Judgement::Refused => Handover::Refused(said()),
        }
    }

    /// The PDU of a submission. `None` can't be: every number and every period has its form.
    fn submit(&self, submission: &Submission, text: &str, life_left: Duration) -> Option<Pdu> {
        let encoded = text::encode(text);
        let mut submit = SubmitSm::builder()
            .source_addr_ton(submission.source.ton)
            .source_addr_npi(submission.source.npi)
            .source_addr(submission.source.address.clone())
            .dest_addr_ton(self.settings.dest_ton)
            .dest_addr_npi(self.settings.dest_npi)
            .destination_addr(address::of_phone(submission.phone)?)
            // The crate's own default sets a bit.
            .esm_class(EsmClass::from(0))
            .validity_period(validity(life_left)?)
            .registered_delivery(RegisteredDelivery::from(FINAL_RECEIPT))
            .data_coding(DataCoding::from(encoded.data_coding))
            .build();
        let Encoded {
            bytes, is_one_message, ..
        } = encoded;
        if is_one_message {
            submit.set_short_message(OctetString::from_vec(bytes).ok()?);
        } else {
            let payload = MessagePayload::new(AnyOctetString::from_vec(bytes));
            submit.push_tlv(MessageSubmissionRequestTlvValue::MessagePayload(payload));
        }
        Some(Pdu::SubmitSm(submit))
    }

    /// Asks the message centre to take a message back, where it was accepted and nothing final is known of it.
    async fn cancel(&self, subject: Subject) {
        let sent = self.messages.of(subject);
        if sent.as_ref().is_some_and(|sent| !sent.is_open()) {
            return;
        }
        let Some(cancel) = self.cancel_pdu(subject, sent.as_deref()).await else {
            return;
        };
        let Ok(session) = self.link.session(Duration::ZERO).await else {
            return;
        };
        let answered = session.request(Pdu::CancelSm(cancel), None, CANCEL_TIMEOUT).await;
        let outcome = match answered {
            Ok(answer) => status::name(answer.status),
            Err(error) => format!("{error:?}"),
        };
        tracing::debug!(channel = %self.name, outcome, "a message was to be taken back");
    }

    async fn cancel_pdu(&self, subject: Subject, sent: Option<&Sent>) -> Option<CancelSm> {
        let (id, source, phone) = match (sent, subject) {
            (Some(sent), _) => {
                let submission = &sent.submission;
                (sent.id.clone(), submission.source.clone(), Some(submission.phone))
            }
            // Accepted before this process began.
            (None, Subject::Message(key)) => {
                let id = self.ports.handles.handle(&self.name, key).await.ok()??;
                (id, self.source(None), None)
            }
            (None, Subject::Login(_)) => return None,
        };
        let mut cancel = CancelSm {
            message_id: COctetString::from_string(id.as_str().to_owned()).ok()?,
            source_addr_ton: source.ton,
            source_addr_npi: source.npi,
            source_addr: source.address,
            ..CancelSm::default()
        };
        if let Some(phone) = phone {
            cancel.dest_addr_ton = self.settings.dest_ton;
            cancel.dest_addr_npi = self.settings.dest_npi;
            cancel.destination_addr = address::of_phone(phone)?;
        }
        Some(cancel)
    }
}

/// How long a message is worth delivering, as SMPP writes a relative time: `YYMMDDhhmmss000R`.
fn validity(life_left: Duration) -> Option<EmptyOrFullCOctetString<17>> {
    let seconds = life_left.as_millis().div_ceil(1_000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let (days, hours) = ((hours / 24).min(28), hours % 24);
    let period = format!("0000{days:02}{hours:02}{minutes:02}{seconds:02}000R");
    EmptyOrFullCOctetString::from_string(period).ok()
}

impl Channel for Smpp {
    fn name(&self) -> &LegName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn receipts(&self) -> Receipts {
        Receipts::Reported
    }

    fn is_paid(&self) -> bool {
        self.settings.paid
    }

    fn carries_buttons(&self) -> bool {
        false
    }

    fn is_text(&self) -> bool {
        true
    }

    fn concurrency(&self) -> usize {
        usize::try_from(self.settings.window).unwrap_or(1)
    }

    fn reach<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Reach> {
        async move {
            if self.is_out_of_reach(to.phone) {
                return Reach::Unreachable;
            }
            match self.ports.recipients.find(&self.name, to.phone).await {
                Ok(Some(recipient)) if recipient.stopped => Reach::Unreachable,
                // Where the books can't be asked, it is asked again before anything is sent.
                Ok(_) | Err(_) => Reach::Reachable,
            }
        }
        .boxed()
    }

    fn deliver(&self, message: OutgoingMessage) -> BoxFuture<'_, Handover> {
        async move {
            let key = MessageKey::of(&message);
            self.send(Letter {
                subject: Subject::Message(key),
                phone: message.phone,
                sender: message.sender.as_ref(),
                text: self.text_of(&message).await,
                ends_at: message.ends_at(),
            })
            .await
        }
        .boxed()
    }

    fn withdraw(&self, account: AccountKey, request: RequestId) -> BoxFuture<'_, ()> {
        self.cancel(Subject::Message(MessageKey { account, request })).boxed()
    }

    fn deliver_login(&self, prompt: LoginPrompt) -> BoxFuture<'_, Handover> {
        async move {
            let code = prompt.code.as_str();
            let usual = || {
                let language = self.ports.texts.language(None, prompt.phone);
                sms::compose_login(language, code, &self.site).text
            };
            let letter = Letter {
                subject: Subject::Login(prompt.attempt),
                phone: prompt.phone,
                sender: None,
                text: self.settings.login_text(code, &self.site).unwrap_or_else(usual),
                ends_at: prompt.expires_at,
            };
            self.send(letter).await
        }
        .boxed()
    }

    fn withdraw_login(&self, attempt: i64) -> BoxFuture<'_, ()> {
        self.cancel(Subject::Login(attempt)).boxed()
    }

    fn run(self: Arc<Self>, ended: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        async move {
            let inbound = Inbound {
                name: self.name.clone(),
                ports: self.ports.clone(),
                messages: Arc::clone(&self.messages),
            };
            let handler: Handler = Arc::new(move |deliveries| inbound.clone().handle(deliveries).boxed());
            self.link.keep(handler, ended).await;
        }
        .boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Finding>> {
        examine::examine(&self.link, &self.settings).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validity_period_is_what_is_left_of_the_life_rounded_up() {
        let period = |millis| validity(Duration::from_millis(millis)).unwrap().as_str().to_owned();
        assert_eq!(period(300_000), "000000000500000R");
        assert_eq!(period(59_001), "000000000100000R");
        assert_eq!(period(1), "000000000001000R");
        assert_eq!(period(90_061_000), "000001010101000R");
    }
}
