//! Asks the upstream what became of messages under way, as long as the channel runs. `under_way` says which are due.

use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::wire::{Failure, Meaning};
use super::{Inner, lock};
use crate::ports::{Handle, MessageKey};

/// Questions about messages under way at once, and in one go.
const QUESTIONS_AT_ONCE: usize = 16;
const QUESTIONS_IN_ONE_GO: usize = 256;

impl Inner {
    /// Asks for messages under way, for ever.
    pub(super) async fn ask_for_messages(&self) {
        loop {
            let next_due = lock(&self.under_way).next_due();
            let due = async {
                match next_due {
                    Some(at) => {
                        tokio::time::sleep_until(at).await;
                        // Before anything is taken out: a question that is put off then may have been the last one.
                        if let Some(rest) = self.floods.left_for_all() {
                            tokio::time::sleep(rest).await;
                        }
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.under_way_changed.notified() => continue,
            }
            let questions = lock(&self.under_way).take_due(Instant::now(), QUESTIONS_IN_ONE_GO);
            stream::iter(questions)
                .for_each_concurrent(QUESTIONS_AT_ONCE, |(handle, message)| async move {
                    self.ask_for_message(&handle, message).await;
                })
                .await;
        }
    }

    async fn ask_for_message(&self, handle: &Handle, message: MessageKey) {
        let failure = match self.upstream.status_of(handle.as_str()).await {
            Ok(status) if status.handle == *handle => {
                self.learn(&status, message).await;
                return;
            }
            Ok(_) => Failure::Senseless("it told of another request".to_owned()),
            Err(failure) => failure,
        };
        match self.meaning(&failure) {
            Some(Meaning::UnknownRequest) => lock(&self.under_way).end(handle),
            Some(Meaning::Later(wait)) => lock(&self.under_way).put_off(handle, Instant::now() + wait),
            _ => {}
        }
        tracing::debug!(channel = %self.name, %failure, "the upstream didn’t say where a message stands");
    }
}
