//! Lets a channel do what it does all the time: keep its connection, poll the other side. Where one node alone may do that, it is the one
//! that has claimed it, as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use countersign_channels::Channel;
use countersign_store::{Lease, Store};
use tokio::sync::watch;

use super::{Worker, rest, signalled, until_lost};

/// How often a node that doesn't run a channel asks whether it may.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// One channel at work.
pub(super) struct Running {
    channel: Arc<dyn Channel>,
    store: Arc<dyn Store>,
    draining: watch::Receiver<bool>,
}

impl Running {
    pub(super) fn new(channel: Arc<dyn Channel>, store: Arc<dyn Store>, draining: watch::Receiver<bool>) -> Self {
        Self {
            channel,
            store,
            draining,
        }
    }

    /// Runs the channel whenever this is the node that does.
    async fn run_on_one_node(&mut self) {
        let task = format!("channel {}", self.channel.name());
        loop {
            // Asked first: what is claimed after it is claimed under it, or under none that holds.
            let lease = self.store.lease();
            match self.store.claim_task(&task).await {
                Ok(true) if self.store.holds(lease) => {
                    if self.run_under(lease).await {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "whether a channel runs here can't be asked"),
            }
            if rest(ASK_AGAIN, &mut self.draining).await {
                return;
            }
        }
    }

    /// Runs until the server or the lease ends; answers whether it is the server.
    async fn run_under(&mut self, lease: Lease) -> bool {
        let (end, ended) = watch::channel(false);
        let mut running = std::pin::pin!(Arc::clone(&self.channel).run(ended));
        let draining = tokio::select! {
            () = &mut running => return *self.draining.borrow(),
            () = signalled(&mut self.draining) => true,
            () = until_lost(&*self.store, lease) => false,
        };
        // It hears of it.
        let _ = end.send(true);
        running.await;
        draining
    }
}

impl Worker for Running {
    const NAME: &'static str = "channel";

    async fn run(&mut self) {
        if self.channel.runs_on_one_node() {
            self.run_on_one_node().await;
        } else {
            Arc::clone(&self.channel).run(self.draining.clone()).await;
        }
    }
}
