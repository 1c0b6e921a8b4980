//! Asks Twilio what became of messages and what they cost, as long as the channel runs. `watch` says which are due.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::super::{SmsHttp, lock};
use super::wire::Failure;
use super::{MAX_PAUSE, PAUSE, Twilio};
use crate::memory::Subject;
use crate::ports::{Handle, MessageKey};

/// Questions at once, and in one go: while Twilio is silent, a message that is due next waits for 40 s at most.
const QUESTIONS_AT_ONCE: usize = 8;
const QUESTIONS_IN_ONE_GO: usize = 32;
/// While the credentials aren't taken, a message isn't asked for again before that time.
const WITHOUT_ACCESS: Duration = Duration::from_mins(1);

impl SmsHttp {
    /// Asks for messages, for ever.
    pub(in super::super) async fn ask_for_messages(&self, twilio: &Twilio) {
        loop {
            let next_due = lock(&twilio.watch).next_due();
            let due = async {
                match next_due {
                    Some(at) => {
                        tokio::time::sleep_until(at).await;
                        // Before anything is taken out: a question that is put off then may have been the last one.
                        if let Some(rest) = self.pause_left() {
                            tokio::time::sleep(rest).await;
                        }
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = twilio.watch_changed.notified() => continue,
            }
            let questions = lock(&twilio.watch).take_due(Instant::now(), QUESTIONS_IN_ONE_GO);
            stream::iter(questions)
                .for_each_concurrent(QUESTIONS_AT_ONCE, |(handle, message)| async move {
                    self.ask_for_message(twilio, &handle, message).await;
                })
                .await;
        }
    }

    async fn ask_for_message(&self, twilio: &Twilio, handle: &Handle, message: Option<MessageKey>) {
        let failure = match twilio.fetch(handle).await {
            Ok(told) if told.handle == *handle => {
                // What is told of a sign-in is its price alone.
                let subject = message.map_or(Subject::Login(0), Subject::Message);
                let stand = (told.stand, told.code);
                // Fails once the server has ended.
                let _ = self.learn(twilio, handle, subject, stand, told.cost_micros).await;
                return;
            }
            Ok(_) => Failure::Senseless,
            Err(failure) => failure,
        };
        let put_off = |wait: Duration| lock(&twilio.watch).put_off(handle, Instant::now() + wait);
        match failure {
            Failure::Refused { status: 404, .. } => lock(&twilio.watch).forget(handle),
            Failure::Refused {
                status: 429,
                retry_after,
                ..
            } => put_off(retry_after.unwrap_or(PAUSE).clamp(PAUSE, MAX_PAUSE)),
            Failure::Refused { status: 401 | 403, .. } => {
                self.alarm("Twilio refuses the credentials: see `countersign doctor`");
                put_off(WITHOUT_ACCESS);
            }
            _ => {}
        }
        tracing::debug!(channel = %self.name, %failure, "Twilio didn’t say where a message stands");
    }
}
