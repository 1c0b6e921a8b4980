//! One session with the message centre, from the connection to its end: requests with their answers, and what the
//! message centre asks of us. `link` opens one after the other; a [`Session`] is how the rest of the channel uses the present one.
//!
//! What matters here is to know what happened to a request: whether not one byte of it was written, or whether it may have arrived.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rusmpp_core::pdus::owned::{DeliverSm, DeliverSmResp, Pdu};
use rusmpp_core::{CommandId, CommandStatus};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::dial::Stream;
use super::messages::{Awaited, Messages, Submission};
use super::wire::{self, Frame, ReadError};
use crate::Handle;

/// Requests and answers that wait to be written.
const OUTBOX: usize = 64;
/// Deliveries that wait to be handled; what comes on top is asked to come again.
const INBOX: usize = 256;
/// Submits that were given up, whose late answers are still noted.
const MAX_LATE: usize = 256;
/// A connection that takes no bytes for so long is lost.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// At the end, answers under way are waited for so long, and so is the answer to unbind.
const FAREWELL: Duration = Duration::from_secs(3);

/// States of a request on its way out.
const QUEUED: u8 = 0;
const WRITTEN: u8 = 1;
const TAKEN_BACK: u8 = 2;

/// An answer to a request of ours.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: CommandStatus,
    /// Of a submit: the message's id there.
    pub(super) message_id: Option<Handle>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Nothing was sent.
    NotSent,
    /// It was sent, and the connection was lost before the answer.
    Lost,
    /// It was sent, and no answer came in time.
    TimedOut,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The connection was lost.
    Lost,
    /// The message centre sent what is no PDU.
    Garbage,
    /// It answered no `enquire_link` in time.
    Silent,
    /// It said that it ends the session, or that there is none.
    Unbound,
    /// We were told to end.
    Told,
}

/// Something the message centre delivers, and how to answer it.
pub(super) struct Delivery {
    pub(super) pdu: Box<DeliverSm>,
    sequence: u32,
    answers: mpsc::Sender<BytesMut>,
}

impl Delivery {
    /// Answers it. Without an answer the message centre delivers it again.
    pub(super) async fn answer(self, status: CommandStatus) {
        let _ = self.answers.send(delivery_answer(status, self.sequence)).await;
    }
}

/// How the channel uses a session. Cheap to clone; of no use once the session has ended.
#[derive(Clone)]
pub(super) struct Session {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Outgoing>,
}

struct Shared {
    sequence: AtomicU32,
    pending: Mutex<Pending>,
    /// Told when a request was answered or given up.
    settled: Notify,
    messages: Arc<Messages>,
    /// The session isn't bound any more, says the message centre.
    unbound: Notify,
}

#[derive(Default)]
struct Pending {
    waiting: HashMap<u32, Waiting>,
    /// Sequence numbers of those that were given up, in their order.
    late: VecDeque<u32>,
    closed: bool,
}

struct Waiting {
    /// `None` once it was given up.
    answer: Option<oneshot::Sender<Answer>>,
    submission: Option<Submission>,
    /// Of a submission, even where nobody waits for it any more: receipts that come before its answer wait as well.
    awaited: Option<Awaited>,
}

struct Outgoing {
    bytes: BytesMut,
    state: Arc<AtomicU8>,
}

impl Session {
    /// Sends a request and waits for its answer. A submission is noted with its id even where nobody waits any more.
    pub(super) async fn request(
        &self,
        pdu: Pdu,
        submission: Option<Submission>,
        timeout: Duration,
    ) -> Result<Answer, NoAnswer> {
        let deadline = tokio::time::Instant::now() + timeout;
        let sequence = self.shared.next_sequence();
        let (answer, mut answered) = oneshot::channel();
        let state = Arc::new(AtomicU8::new(QUEUED));
        if !self.shared.wait_for(sequence, answer, submission) {
            return Err(NoAnswer::NotSent);
        }
        let outgoing = Outgoing {
            bytes: wire::request(sequence, pdu),
            state: Arc::clone(&state),
        };
        let queued = tokio::time::timeout_at(deadline, self.requests.send(outgoing)).await;
        if !matches!(queued, Ok(Ok(()))) {
            self.shared.forget(sequence);
            return Err(NoAnswer::NotSent);
        }
        match tokio::time::timeout_at(deadline, &mut answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if state.load(Ordering::SeqCst) == WRITTEN => Err(NoAnswer::Lost),
            Ok(Err(_)) => Err(NoAnswer::NotSent),
            Err(_) => {
                let taken_back = state.compare_exchange(QUEUED, TAKEN_BACK, Ordering::SeqCst, Ordering::SeqCst);
                if taken_back.is_ok() {
                    self.shared.forget(sequence);
                    return Err(NoAnswer::NotSent);
                }
                self.shared.give_up(sequence);
                Err(NoAnswer::TimedOut)
            }
        }
    }

    /// The message centre says that this session isn't bound: it is ended, and another one opened.
    pub(super) fn end(&self) {
        self.shared.unbound.notify_one();
    }
}

impl Shared {
    fn next_sequence(&self) -> u32 {
        // 1 to 0x7FFF_FFFF; two requests of one number are billions apart.
        self.sequence.fetch_add(1, Ordering::Relaxed) % 0x7FFF_FFFF + 1
    }

    /// Registers a request; false where the session is ending.
    fn wait_for(&self, sequence: u32, answer: oneshot::Sender<Answer>, submission: Option<Submission>) -> bool {
        let mut pending = self.lock();
        if pending.closed {
            return false;
        }
        let answer = Some(answer);
        let awaited = submission.as_ref().map(|_| self.messages.await_answer());
        let waiting = Waiting {
            answer,
            submission,
            awaited,
        };
        pending.waiting.insert(sequence, waiting);
        true
    }

    fn forget(&self, sequence: u32) {
        self.lock().waiting.remove(&sequence);
        self.settled.notify_waiters();
    }

    /// Nobody waits any more; a late answer is still worth its message id.
    fn give_up(&self, sequence: u32) {
        let mut guard = self.lock();
        let pending = &mut *guard;
        let Some(waiting) = pending.waiting.get_mut(&sequence) else {
            return;
        };
        waiting.answer = None;
        pending.late.push_back(sequence);
        if pending.late.len() > MAX_LATE
            && let Some(oldest) = pending.late.pop_front()
        {
            pending.waiting.remove(&oldest);
        }
        drop(guard);
        self.settled.notify_waiters();
    }

    /// An answer came in.
    fn answered(&self, frame: Frame) {
        let waiting = {
            let mut pending = self.lock();
            pending.late.retain(|late| *late != frame.sequence);
            pending.waiting.remove(&frame.sequence)
        };
        let Some(waiting) = waiting else { return };
        let status = match (frame.id, frame.status) {
            // A refusal that doesn't say why.
            (CommandId::GenericNack, CommandStatus::EsmeRok) => CommandStatus::EsmeRunknownerr,
            (_, status) => status,
        };
        let mut message_id = None;
        if let Some(submission) = waiting.submission
            && status == CommandStatus::EsmeRok
        {
            message_id = message_id_of(frame);
            if let Some(id) = &message_id {
                self.messages.accepted(submission, id.clone());
            } else {
                tracing::warn!("a message was accepted without a usable id: its delivery can't be reported");
            }
        }
        // Only now: the id is noted.
        drop(waiting.awaited);
        if let Some(answer) = waiting.answer {
            let _ = answer.send(Answer { status, message_id });
        }
        self.settled.notify_waiters();
    }

    /// No request is registered any more. Those that wait are told, if `all`.
    fn close(&self, all: bool) {
        let mut pending = self.lock();
        pending.closed = true;
        if all {
            pending.waiting.clear();
            pending.late.clear();
        }
    }

    /// Waits until nobody waits for an answer.
    async fn settle(&self) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if !self.lock().waiting.values().any(|waiting| waiting.answer.is_some()) {
                return;
            }
            settled.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rest of a session: what [`drive`] needs.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    session: Session,
    requests: mpsc::Receiver<Outgoing>,
    deliveries: mpsc::Sender<Delivery>,
}

/// Prepares a session on a connection. Nothing moves before it is driven.
pub(super) fn prepare(
    stream: Box<dyn Stream>,
    messages: Arc<Messages>,
) -> (Session, Connection, mpsc::Receiver<Delivery>) {
    let (requests_sender, requests) = mpsc::channel(OUTBOX);
    let (deliveries, delivered) = mpsc::channel(INBOX);
    let session = Session {
        shared: Arc::new(Shared {
            sequence: AtomicU32::new(0),
            pending: Mutex::default(),
            settled: Notify::new(),
            messages,
            unbound: Notify::new(),
        }),
        requests: requests_sender,
    };
    let connection = Connection {
        stream,
        session: session.clone(),
        requests,
        deliveries,
    };
    (session, connection, delivered)
}

/// Moves a session until it ends. `told`: since when we are to end it in good order.
pub(super) async fn drive(connection: Connection, mut told: watch::Receiver<bool>) -> End {
    let Connection {
        stream,
        session,
        mut requests,
        deliveries,
    } = connection;
    let shared = Arc::clone(&session.shared);
    let (mut reading, mut writing) = tokio::io::split(stream);
    let (answers_sender, mut answers) = mpsc::channel(OUTBOX);
    let mut in_mid_write = false;
    let end = tokio::select! {
        end = read(&mut reading, &shared, &deliveries, &answers_sender) => end,
        end = write(&mut writing, &mut requests, &mut answers, &mut in_mid_write) => end,
        end = wait_for_end(&shared, &mut told) => end,
        () = shared.unbound.notified() => End::Unbound,
    };
    shared.close(false);
    if !in_mid_write {
        let farewell = say_farewell(end, &session, &mut reading, &mut writing, &mut answers);
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
    // Only now: whoever waits reads whether its request was written, which can't change any more.
    drop(requests);
    shared.close(true);
    end
}

/// Answers what was asked and, where it was our wish to end, unbinds.
async fn say_farewell(
    end: End,
    session: &Session,
    reading: &mut (impl tokio::io::AsyncRead + Unpin),
    writing: &mut (impl AsyncWrite + Unpin),
    answers: &mut mpsc::Receiver<BytesMut>,
) {
    if matches!(end, End::Lost) {
        return;
    }
    while let Ok(bytes) = answers.try_recv() {
        if put(writing, &bytes).await.is_err() {
            return;
        }
    }
    match end {
        End::Told => {
            let unbind = session.shared.next_sequence();
            if put(writing, &wire::request(unbind, Pdu::Unbind)).await.is_err() {
                return;
            }
            while let Ok(frame) = wire::read(reading).await {
                if frame.id == CommandId::UnbindResp {
                    break;
                }
                if is_answer(frame.id) {
                    session.shared.answered(frame);
                }
            }
        }
        End::Garbage => {
            let nack = wire::answer(CommandStatus::EsmeRinvcmdlen, 0, Pdu::GenericNack);
            let _ = put(writing, &nack).await;
        }
        End::Lost | End::Silent | End::Unbound => {}
    }
    let _ = writing.shutdown().await;
}

/// Waits until we are to end and what is under way is settled.
async fn wait_for_end(shared: &Shared, told: &mut watch::Receiver<bool>) -> End {
    // Where nobody can tell any more, the server is gone.
    let _ = told.wait_for(|told| *told).await;
    shared.close(false);
    let _ = tokio::time::timeout(FAREWELL, shared.settle()).await;
    End::Told
}

async fn write(
    writing: &mut (impl AsyncWrite + Unpin),
    requests: &mut mpsc::Receiver<Outgoing>,
    answers: &mut mpsc::Receiver<BytesMut>,
    in_mid_write: &mut bool,
) -> End {
    loop {
        let bytes = tokio::select! {
            biased;
            Some(bytes) = answers.recv() => bytes,
            Some(outgoing) = requests.recv() => {
                let state = &outgoing.state;
                let begun = state.compare_exchange(QUEUED, WRITTEN, Ordering::SeqCst, Ordering::SeqCst);
                if begun.is_err() {
                    continue;
                }
                outgoing.bytes
            }
            else => return End::Lost,
        };
        *in_mid_write = true;
        if put(writing, &bytes).await.is_err() {
            return End::Lost;
        }
        *in_mid_write = false;
    }
}

async fn put(writing: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), ()> {
    let written = async {
        writing.write_all(bytes).await?;
        writing.flush().await
    };
    match tokio::time::timeout(WRITE_TIMEOUT, written).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(()),
    }
}

async fn read(
    reading: &mut (impl tokio::io::AsyncRead + Unpin),
    shared: &Shared,
    deliveries: &mpsc::Sender<Delivery>,
    answers: &mpsc::Sender<BytesMut>,
) -> End {
    loop {
        let frame = match wire::read(reading).await {
            Ok(frame) => frame,
            Err(ReadError::Lost) => return End::Lost,
            Err(ReadError::NoPdu) => return End::Garbage,
        };
        if is_answer(frame.id) {
            shared.answered(frame);
            continue;
        }
        let sequence = frame.sequence;
        let (answer, ends) = match frame.id {
            CommandId::EnquireLink => (
                wire::answer(CommandStatus::EsmeRok, sequence, Pdu::EnquireLinkResp),
                false,
            ),
            CommandId::Unbind => (wire::answer(CommandStatus::EsmeRok, sequence, Pdu::UnbindResp), true),
            // There is no answer to these two.
            CommandId::AlertNotification | CommandId::Outbind => continue,
            CommandId::DeliverSm => match take(frame, deliveries, answers) {
                Ok(()) => continue,
                Err(status) => (delivery_answer(status, sequence), false),
            },
            _ => (
                wire::answer(CommandStatus::EsmeRinvcmdid, sequence, Pdu::GenericNack),
                false,
            ),
        };
        if answers.send(answer).await.is_err() {
            return End::Lost;
        }
        if ends {
            return End::Unbound;
        }
    }
}

/// Puts a delivery where it is handled. An error is the answer to it.
fn take(
    frame: Frame,
    deliveries: &mpsc::Sender<Delivery>,
    answers: &mpsc::Sender<BytesMut>,
) -> Result<(), CommandStatus> {
    let sequence = frame.sequence;
    let Some(Pdu::DeliverSm(pdu)) = frame.into_pdu() else {
        tracing::warn!("the message centre delivered something unreadable; it is told not to try again");
        return Err(CommandStatus::EsmeRxPAppn);
    };
    let delivery = Delivery {
        pdu: Box::new(pdu),
        sequence,
        answers: answers.clone(),
    };
    deliveries.try_send(delivery).map_err(|_| CommandStatus::EsmeRxTAppn)
}

fn delivery_answer(status: CommandStatus, sequence: u32) -> BytesMut {
    wire::answer(status, sequence, Pdu::DeliverSmResp(DeliverSmResp::default()))
}

fn is_answer(id: CommandId) -> bool {
    u32::from(id) & 0x8000_0000 != 0
}

fn message_id_of(frame: Frame) -> Option<Handle> {
    match frame.into_pdu() {
        Some(Pdu::SubmitSmResp(answer)) => Handle::new(answer.message_id().as_str()),
        _ => None,
    }
}
