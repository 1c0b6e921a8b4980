//! Takes what channels bring besides news of messages: answers to sign-ins, and what upstreams charged.

use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{LoginReply, UpstreamCost};
use countersign_store::{ChannelCost, LoginAnswer, RequestRef, StoreError};
use tokio::sync::{Semaphore, mpsc};

use crate::app::App;
use crate::{clock, login};

/// What may wait of each; beyond it channels wait.
pub(crate) const DESK_QUEUE: usize = 1_024;
/// Costs that are written down at once.
const COSTS_AT_ONCE: usize = 256;
/// Answers to sign-ins that are worked on at once.
const REPLIES_AT_ONCE: usize = 32;
/// How long the desk rests after the books failed, and how often it tries again.
const PAUSE: Duration = Duration::from_millis(500);
const RETRIES: u32 = 60;

/// The ends of the channels' queues.
pub(crate) struct Desk {
    pub(crate) logins: mpsc::Receiver<LoginReply>,
    pub(crate) costs: mpsc::Receiver<UpstreamCost>,
}

impl Desk {
    /// Works until all channels are gone, or the runtime ends.
    pub(crate) fn attend(self, app: &Arc<App>) {
        tokio::spawn(take_replies(Arc::clone(app), self.logins));
        tokio::spawn(note_costs(Arc::clone(app), self.costs));
    }
}

async fn take_replies(app: Arc<App>, mut replies: mpsc::Receiver<LoginReply>) {
    let places = Arc::new(Semaphore::new(REPLIES_AT_ONCE));
    while let Some(reply) = replies.recv().await {
        let answer = if reply.is_me {
            LoginAnswer::Confirm
        } else {
            LoginAnswer::Refuse
        };
        // Beside each other: taking a question back can take a leg its time.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = login::answer(&app, reply.attempt, answer, clock::now()).await {
                tracing::error!(%error, "an answer to a sign-in could not be written down");
            }
        });
    }
}

async fn note_costs(app: Arc<App>, mut costs: mpsc::Receiver<UpstreamCost>) {
    let mut waiting = Vec::new();
    while costs.recv_many(&mut waiting, COSTS_AT_ONCE).await > 0 {
        let noted: Vec<_> = waiting.drain(..).map(cost).collect();
        let mut failures = 0;
        while failures < RETRIES {
            match app.site.note_costs(noted.clone()).await {
                Ok(()) => break,
                // They wait for room, or for the database, as long as it takes.
                Err(StoreError::DiskFull | StoreError::Busy | StoreError::Unavailable | StoreError::TryAgain) => {}
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, failures, "what an upstream charged could not be written down");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        if failures == RETRIES {
            let micros: i64 = noted.iter().fold(0, |sum, cost| cost.micros.saturating_add(sum));
            tracing::error!(
                charges = noted.len(),
                micros,
                "what upstreams charged is missing in the reconciliation"
            );
        }
    }
}

fn cost(cost: UpstreamCost) -> ChannelCost {
    ChannelCost {
        channel: cost.leg,
        message: cost.message.map(|message| RequestRef {
            account: message.account,
            id: message.request,
        }),
        micros: cost.micros,
        upstream: cost.upstream.map(|handle| handle.as_str().to_owned()),
        at: cost.at,
    }
}
