//! What the message centre delivers: receipts become news of messages, and what phones write is a wish to be left alone (STOP), to be
//! reached again (START), or the word that they asked for no code (NO). A delivery is answered only after what it says was handed over,
//! so that nothing is lost with the process.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::{Detail, LegName, News, PhoneNumber};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rusmpp_core::CommandStatus;
use rusmpp_core::pdus::owned::DeliverSm;
use tokio::sync::mpsc;

use super::messages::{Found, Messages, Sent, Subject, Telling};
use super::receipt::{self, Outcome, Receipt};
use super::session::Delivery;
use super::{address, text};
use crate::sms::replies::{Wish, wish_of};
use crate::{ChannelNews, Handle, LoginReply, MessageKey, Ports, Recipient, clock};

/// Receipts that are handled at once. Those that came too early wait among them.
const AT_ONCE: usize = 64;
/// A receipt that came before the answer to its submit waits for that so long.
const EARLY: Duration = Duration::from_secs(5);

/// What deliveries need.
#[derive(Clone)]
pub(super) struct Inbound {
    pub(super) name: LegName,
    pub(super) ports: Ports,
    pub(super) messages: Arc<Messages>,
}

/// What a receipt is about.
enum About {
    Ours(Arc<Sent>),
    /// It was sent before this process began, or is forgotten: the books know it.
    Booked(MessageKey),
    Nobody,
}

impl Inbound {
    /// Handles deliveries until their session ends. What phones write is handled in its order; receipts in any.
    pub(super) async fn handle(self, mut deliveries: mpsc::Receiver<Delivery>) {
        let mut receipts = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = receipts.next(), if !receipts.is_empty() => {}
                delivery = deliveries.recv(), if receipts.len() < AT_ONCE => match delivery {
                    None => return,
                    Some(delivery) => match receipt::read(&delivery.pdu) {
                        Some(receipt) => receipts.push(self.receipt(receipt, delivery)),
                        None => self.of_phone(delivery).await,
                    },
                },
            }
        }
    }

    async fn receipt(&self, receipt: Receipt, delivery: Delivery) {
        let phone = address::digits(delivery.pdu.source_addr.as_str());
        let status = match &receipt.outcome {
            Outcome::Open => CommandStatus::EsmeRok,
            Outcome::Delivered => self.news(&receipt.id, phone, None).await,
            Outcome::Failed(why) => self.news(&receipt.id, phone, Some(why)).await,
        };
        delivery.answer(status).await;
    }

    /// Tells what a receipt says. The answer to it.
    async fn news(&self, id: &str, phone: Option<u64>, failure: Option<&str>) -> CommandStatus {
        let Ok(about) = self.about(id, phone).await else {
            return CommandStatus::EsmeRxTAppn;
        };
        let (key, telling) = match about {
            About::Ours(sent) => match (sent.submission.subject, Telling::begin(&sent, failure.is_none())) {
                (Subject::Message(key), Some(telling)) => (key, Some(telling)),
                (Subject::Message(_), None) | (Subject::Login(_), _) => return CommandStatus::EsmeRok,
            },
            About::Booked(key) => (key, None),
            About::Nobody => {
                tracing::debug!(channel = %self.name, "a receipt names no message of ours");
                return CommandStatus::EsmeRok;
            }
        };
        let news = if failure.is_some() {
            News::Failed
        } else {
            News::Delivered
        };
        if !self.tell(key, news, failure.map(Detail::new)).await {
            return CommandStatus::EsmeRxTAppn;
        }
        if let Some(telling) = telling {
            telling.finish();
        }
        CommandStatus::EsmeRok
    }

    /// Which message a receipt names: by what this process knows, then by the books, then by what is answered shortly. The books don't
    /// know the number, which would have to match where only the other base does: they are asked for that last of all, once no answer
    /// can bring the message any more, and never for an id that is another message's here. An error: it can't be known now.
    async fn about(&self, id: &str, phone: Option<u64>) -> Result<About, ()> {
        let found = self.messages.find(id, phone);
        if let Found::Here(sent) = found {
            return Ok(About::Ours(sent));
        }
        if let Some(key) = self.booked(receipt::forms(id)).await? {
            return Ok(About::Booked(key));
        }
        match found {
            Found::NotYet { told, submits } => match tokio::time::timeout(EARLY, told).await {
                Ok(Ok(sent)) => return Ok(About::Ours(sent)),
                // Acknowledged, it would be lost: it has to come again.
                _ if !self.messages.are_answered(submits) => return Err(()),
                _ => {}
            },
            Found::TooMany => return Err(()),
            Found::Nowhere | Found::Here(_) => {}
        }
        let mut other = receipt::in_other_base(id);
        other.retain(|form| !self.messages.knows(form));
        let booked = self.booked(other.into_iter().flat_map(receipt::written)).await?;
        Ok(booked.map_or(About::Nobody, About::Booked))
    }

    /// The message that the books have under one of these ids.
    async fn booked(&self, forms: impl IntoIterator<Item = String> + Send) -> Result<Option<MessageKey>, ()> {
        for form in forms {
            let Some(handle) = Handle::new(&form) else { continue };
            match self.ports.handles.message(&self.name, &handle).await {
                Ok(None) => {}
                Ok(Some(key)) => return Ok(Some(key)),
                Err(error) => {
                    tracing::warn!(channel = %self.name, %error, "a receipt waits");
                    return Err(());
                }
            }
        }
        Ok(None)
    }

    async fn of_phone(&self, delivery: Delivery) {
        let status = match wish(&delivery.pdu) {
            None => CommandStatus::EsmeRok,
            Some((phone, wish)) => match self.grant(phone, wish).await {
                Ok(()) => CommandStatus::EsmeRok,
                Err(()) => CommandStatus::EsmeRxTAppn,
            },
        };
        delivery.answer(status).await;
    }

    async fn grant(&self, phone: PhoneNumber, wish: Wish) -> Result<(), ()> {
        match wish {
            Wish::Stop => self.note_stopped(phone, true).await,
            Wish::Start => self.note_stopped(phone, false).await,
            Wish::NotMe => self.disown(phone).await,
        }
    }

    async fn note_stopped(&self, phone: PhoneNumber, stopped: bool) -> Result<(), ()> {
        let recipient = Recipient {
            phone,
            address: String::new(),
            stopped,
            since: clock::now(),
        };
        let noted = self.ports.recipients.put(&self.name, recipient).await;
        noted.map_err(|error| {
            tracing::warn!(channel = %self.name, %error, "what a phone wrote waits");
        })
    }

    async fn disown(&self, phone: PhoneNumber) -> Result<(), ()> {
        let Some(last) = self.messages.last_to(phone, clock::now()) else {
            return Ok(());
        };
        let told = match last.submission.subject {
            Subject::Message(key) => self.tell(key, News::Disowned, None).await,
            Subject::Login(attempt) => {
                let reply = LoginReply {
                    attempt,
                    phone,
                    is_me: false,
                };
                self.ports.logins.send(reply).await.is_ok()
            }
        };
        if told { Ok(()) } else { Err(()) }
    }

    /// Hands news over; false where nobody takes them any more.
    async fn tell(&self, key: MessageKey, news: News, detail: Option<Detail>) -> bool {
        let news = ChannelNews {
            account: key.account,
            request: key.request,
            leg: self.name.clone(),
            news,
            detail,
        };
        self.ports.news.send(news).await.is_ok()
    }
}

/// What a phone wants, if it wants anything that is known here.
fn wish(deliver: &DeliverSm) -> Option<(PhoneNumber, Wish)> {
    if !receipt::is_from_phone(deliver) {
        return None;
    }
    let written = text::decode(u8::from(deliver.data_coding), &receipt::content(deliver));
    let wish = wish_of(&written)?;
    let phone = address::to_phone(deliver.source_addr_ton, deliver.source_addr.as_str());
    if phone.is_none() {
        tracing::warn!("a phone wrote {wish:?}, but its number isn't in international form");
    }
    Some((phone?, wish))
}

#[cfg(test)]
mod tests {
    use countersign_core::{AccountId, AccountKey, Bucket, RequestId, SandboxNumbers, Timestamp};

    use super::*;
    use crate::smpp::address::Source;
    use crate::smpp::messages::Submission;
    use crate::testing::Server;

    const NUMBER: &str = "+4915123456789";
    const DIGITS: Option<u64> = Some(4_915_123_456_789);
    const ANOTHER: Option<u64> = Some(4_915_100_000_000);

    fn key(random: u64) -> MessageKey {
        let id = AccountId::new(7).unwrap();
        let account = AccountKey { bucket: Bucket(1), id };
        let request = RequestId::new(Timestamp::from_millis(1_790_000_000_000), random);
        MessageKey { account, request }
    }

    fn inbound(server: &Server) -> Inbound {
        Inbound {
            name: LegName::parse("sms").unwrap(),
            ports: server.ports.clone(),
            messages: Arc::default(),
        }
    }

    fn handle(id: &str) -> Handle {
        Handle::new(id).unwrap()
    }

    #[tokio::test]
    async fn a_receipt_is_never_booked_on_the_message_of_another_number() {
        let mut server = Server::new();
        let inbound = inbound(&server);
        let submission = Submission {
            subject: Subject::Message(key(1)),
            phone: PhoneNumber::parse(NUMBER, SandboxNumbers::Refused).unwrap(),
            source: Source::none(),
            ends_at: Timestamp::from_millis(1_790_000_300_000),
        };
        inbound.messages.accepted(submission, handle("BEEF"));
        server.books.keep_handle(&inbound.name, handle("BEEF"), key(1));
        // Another message's id, and the first one's in the other base.
        assert_eq!(inbound.news("48879", ANOTHER, None).await, CommandStatus::EsmeRok);
        assert!(server.news.try_recv().is_err());
        assert_eq!(inbound.news("48879", DIGITS, None).await, CommandStatus::EsmeRok);
        assert_eq!(server.news.try_recv().unwrap().request, key(1).request);
    }

    #[tokio::test(start_paused = true)]
    async fn the_books_are_asked_for_the_other_base_only_once_no_answer_can_bring_the_message() {
        let mut server = Server::new();
        let inbound = inbound(&server);
        server.books.keep_handle(&inbound.name, handle("BEEF"), key(1));
        let awaited = inbound.messages.await_answer();
        // The receipt would be lost if it were acknowledged now.
        assert_eq!(inbound.news("48879", DIGITS, None).await, CommandStatus::EsmeRxTAppn);
        assert!(server.news.try_recv().is_err());
        drop(awaited);
        assert_eq!(inbound.news("48879", DIGITS, None).await, CommandStatus::EsmeRok);
        assert_eq!(server.news.try_recv().unwrap().request, key(1).request);
    }

    #[tokio::test(start_paused = true)]
    async fn submits_that_went_out_after_a_receipt_do_not_keep_it() {
        let server = Server::new();
        let inbound = inbound(&server);
        let before = inbound.messages.await_answer();
        let messages = Arc::clone(&inbound.messages);
        let answered = async {
            tokio::time::sleep(EARLY / 2).await;
            let after = messages.await_answer();
            drop(before);
            after
        };
        let (status, _after) = tokio::join!(inbound.news("77", DIGITS, None), answered);
        assert_eq!(status, CommandStatus::EsmeRok);
    }
}
