//! Keeps a session with the message centre: connects, binds as a transceiver, asks after the link, and connects again when the session
//! ends, after pauses that grow. The channel's `run` is this; what sends messages asks [`Link::session`].

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rusmpp_core::CommandStatus;
use rusmpp_core::pdus::owned::{BindTransceiver, Pdu};
use rusmpp_core::types::owned::COctetString;
use tokio::sync::watch;
use tokio::time::Instant;

use super::dial::Dialer;
use super::messages::Messages;
use super::session::{self, Delivery, End, NoAnswer, Session};
use super::settings::Settings;
use super::status;

/// The first pause before connecting again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After a refused bind: message centres lock who tries too often.
const FIRST_PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(5);
const LONGEST_PAUSE_AFTER_REFUSAL: Duration = Duration::from_mins(5);
/// A session that was bound for so long ends the growth of pauses.
const STEADY: Duration = Duration::from_secs(10);

/// Handles what the message centre delivers, until its session ends.
pub(super) type Handler = Arc<dyn Fn(tokio::sync::mpsc::Receiver<Delivery>) -> BoxFuture<'static, ()> + Send + Sync>;

/// The connection's state.
#[derive(Clone)]
enum State {
    Down { since: Instant, why: String },
    Bound(Session),
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Down {
    /// For how long by now.
    pub(super) lasts: Duration,
    /// In words.
    pub(super) why: String,
}

/// Why a bind gave no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BindError {
    /// It was refused.
    Refused(CommandStatus),
    /// There was no answer, or one that makes no sense.
    NoAnswer,
}

pub(super) struct Link {
    settings: Arc<Settings>,
    dialer: Dialer,
    messages: Arc<Messages>,
    state: watch::Sender<State>,
}

impl Link {
    pub(super) fn new(settings: Arc<Settings>, dialer: Dialer, messages: Arc<Messages>) -> Self {
        let state = State::Down {
            since: Instant::now(),
            why: "not connected yet".to_owned(),
        };
        Self {
            settings,
            dialer,
            messages,
            state: watch::Sender::new(state),
        }
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The present session; waits a moment for one.
    pub(super) async fn session(&self, wait: Duration) -> Result<Session, Down> {
        let mut state = self.state.subscribe();
        let bound = state.wait_for(|state| matches!(state, State::Bound(_)));
        let _ = tokio::time::timeout(wait, bound).await;
        match &*self.state.borrow() {
            State::Bound(session) => Ok(session.clone()),
            State::Down { since, why } => Err(Down {
                lasts: since.elapsed(),
                why: why.clone(),
            }),
        }
    }

    /// Connects, again and again, until it is told to end.
    pub(super) async fn keep(&self, handler: Handler, ended: watch::Receiver<bool>) {
        let mut pauses = Pauses::default();
        while !is_over(&ended) {
            let why = self.once(&handler, ended.clone(), &mut pauses).await;
            pauses.session_ended();
            if is_over(&ended) {
                break;
            }
            let pause = pauses.next();
            let address = self.dialer.address();
            tracing::warn!(%address, why, pause_ms = pause.as_millis(), "no session with the message centre");
            self.note_down(why);
            let mut ended = ended.clone();
            let _ = tokio::time::timeout(pause, ended.wait_for(|ended| *ended)).await;
        }
        self.note_down("the server is ending".to_owned());
    }

    /// One session, from connecting to its end. Says why it ended.
    async fn once(&self, handler: &Handler, ended: watch::Receiver<bool>, pauses: &mut Pauses) -> String {
        pauses.after_refusal = false;
        let mut told = ended.clone();
        let stream = tokio::select! {
            stream = self.dialer.dial() => stream,
            _ = told.wait_for(|told| *told) => return String::new(),
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => return error.problem,
        };
        let (session, connection, deliveries) = session::prepare(stream, Arc::clone(&self.messages));
        let driven = session::drive(connection, ended);
        let used = async {
            match bind(&session, &self.settings).await {
                Err(BindError::Refused(status)) => {
                    pauses.after_refusal = status != CommandStatus::EsmeRalybnd;
                    return format!("the bind was refused: {}", status::describe(status));
                }
                Err(BindError::NoAnswer) => return "the bind was not answered".to_owned(),
                Ok(()) => {}
            }
            let address = self.dialer.address();
            pauses.bound_at = Some(Instant::now());
            tracing::info!(%address, encrypted = self.dialer.is_encrypted(), "bound to the message centre");
            self.state.send_replace(State::Bound(session.clone()));
            self.ask_after_link(&session).await
        };
        // What was delivered together with the bind's answer is handled as well.
        let handling = handler(deliveries);
        tokio::pin!(driven, handling);
        let why = tokio::select! {
            end = &mut driven => in_words(end).to_owned(),
            why = used => {
                // Whoever waits for an answer learns that there will be none.
                session.end();
                driven.await;
                why
            }
            () = &mut handling => "deliveries can’t be handled".to_owned(),
        };
        self.note_down(why.clone());
        why
    }

    /// Asks after the link at its interval. Returns when it isn't answered.
    async fn ask_after_link(&self, session: &Session) -> String {
        loop {
            tokio::time::sleep(self.settings.enquire_link).await;
            let asked = session.request(Pdu::EnquireLink, None, self.settings.response_timeout);
            match asked.await {
                Ok(_) => {}
                Err(NoAnswer::TimedOut) => return in_words(End::Silent).to_owned(),
                // The session has ended or ends: its end says why.
                Err(NoAnswer::NotSent | NoAnswer::Lost) => std::future::pending().await,
            }
        }
    }

    fn note_down(&self, why: String) {
        self.state.send_modify(|state| {
            let since = match state {
                State::Down { since, .. } => *since,
                State::Bound(_) => Instant::now(),
            };
            *state = State::Down { since, why };
        });
    }
}

/// Binds as a transceiver.
pub(super) async fn bind(session: &Session, settings: &Settings) -> Result<(), BindError> {
    let Ok(password) = COctetString::from_string(settings.password.reveal().to_owned()) else {
        return Err(BindError::NoAnswer);
    };
    let bind = BindTransceiver::builder()
        .system_id(settings.system_id.clone())
        .password(password)
        .system_type(settings.system_type.clone())
        .interface_version(settings.version)
        .build();
    let bind = Pdu::BindTransceiver(bind);
    match session.request(bind, None, settings.response_timeout).await {
        Ok(answer) if answer.status == CommandStatus::EsmeRok => Ok(()),
        Ok(answer) => Err(BindError::Refused(answer.status)),
        Err(_) => Err(BindError::NoAnswer),
    }
}

/// Whether the channel is to end. Where nobody can tell any more, the server is gone.
fn is_over(ended: &watch::Receiver<bool>) -> bool {
    *ended.borrow() || ended.has_changed().is_err()
}

fn in_words(end: End) -> &'static str {
    match end {
        End::Lost => "the connection was lost",
        End::Garbage => "the other side speaks no SMPP",
        End::Silent => "enquire_link was not answered",
        End::Unbound => "the message centre ended the session",
        End::Told => "the server is ending",
    }
}

/// The pauses between attempts: they grow, and differ by chance so that many do not come at once.
#[derive(Debug, Default)]
struct Pauses {
    count: u32,
    after_refusal: bool,
    /// When the last attempt was bound, if it was.
    bound_at: Option<Instant>,
}

impl Pauses {
    /// An attempt or its session is over. A connection that was slow to fail is no sign that things are well: only being bound is.
    fn session_ended(&mut self) {
        if self.bound_at.take().is_some_and(|at| at.elapsed() >= STEADY) {
            self.count = 0;
        }
    }

    fn next(&mut self) -> Duration {
        let (first, longest) = if self.after_refusal {
            (FIRST_PAUSE_AFTER_REFUSAL, LONGEST_PAUSE_AFTER_REFUSAL)
        } else {
            (FIRST_PAUSE, LONGEST_PAUSE)
        };
        let whole = first.saturating_mul(1 << self.count.min(16)).min(longest);
        self.count += 1;
        // Between half and all of it. The hasher's seed is what is random here.
        let chance = foldhash::fast::RandomState::default().hash_one(self.count) % 1_000;
        whole / 2 + whole / 2 * u32::try_from(chance).unwrap_or(0) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_long_after_a_refused_bind() {
        let mut pauses = Pauses::default();
        let first = pauses.next();
        assert!(first >= FIRST_PAUSE / 2 && first <= FIRST_PAUSE);
        for _ in 0..40 {
            assert!(pauses.next() <= LONGEST_PAUSE);
        }
        assert!(pauses.next() >= LONGEST_PAUSE / 2);
        pauses = Pauses {
            after_refusal: true,
            ..Pauses::default()
        };
        assert!(pauses.next() >= FIRST_PAUSE_AFTER_REFUSAL / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_session_that_was_bound_for_a_while_ends_the_growth_of_pauses() {
        let mut pauses = Pauses {
            count: 5,
            ..Pauses::default()
        };
        tokio::time::advance(STEADY).await;
        pauses.session_ended();
        assert_eq!(pauses.count, 5, "it was never bound");
        pauses.bound_at = Some(Instant::now());
        pauses.session_ended();
        assert_eq!(pauses.count, 5, "it was bound for a moment");
        pauses.bound_at = Some(Instant::now());
        tokio::time::advance(STEADY).await;
        pauses.session_ended();
        assert_eq!((pauses.count, pauses.bound_at), (0, None));
    }
}
