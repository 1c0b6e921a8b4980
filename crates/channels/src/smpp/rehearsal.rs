//! One session in memory, for `testing`: a message is under way, and the message centre sends whatever the caller says.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::LegName;
use rusmpp_core::pdus::owned::{Pdu, SubmitSm};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::address::{self, Source};
use super::inbound::Inbound;
use super::messages::{Messages, Subject, Submission};
use super::session;
use crate::{MessageKey, OutgoingMessage, Ports};

/// So far the message centre and we may be ahead of each other.
const PIPE_BYTES: usize = 64 * 1024;
/// How often others are let go on before the connection is closed, so that what was asked can be answered.
const TURNS: usize = 256;
/// How long the answer to the message is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Submits a message, whose sequence number is 1, lets the message centre say `said` and close the connection, and returns what it
/// was sent.
pub(crate) async fn rehearse(name: LegName, ports: Ports, message: &OutgoingMessage, said: &[u8]) -> Vec<u8> {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let messages = Arc::new(Messages::default());
    let (session, connection, deliveries) = session::prepare(Box::new(ours), Arc::clone(&messages));
    let inbound = Inbound { name, ports, messages };
    let submission = Submission {
        subject: Subject::Message(MessageKey::of(message)),
        phone: message.phone,
        source: Source::none(),
        ends_at: message.ends_at(),
    };
    let submit = SubmitSm::builder()
        .destination_addr(address::of_phone(message.phone).unwrap_or_default())
        .build();
    let (mut reading, mut writing) = tokio::io::split(theirs);
    let centre = async {
        let _ = writing.write_all(said).await;
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let _ = writing.shutdown().await;
    };
    let heard = async {
        let mut heard = Vec::new();
        let _ = reading.read_to_end(&mut heard).await;
        heard
    };
    let (_still_serving, told) = watch::channel(false);
    let (_, _, (), (), heard) = tokio::join!(
        session.request(Pdu::SubmitSm(submit), Some(submission), PATIENCE),
        session::drive(connection, told),
        inbound.handle(deliveries),
        centre,
        heard,
    );
    heard
}
