//! Lets a channel do what it does all the time: keep its connection, poll the other side.

use std::sync::Arc;

use countersign_channels::Channel;
use tokio::sync::watch;

use super::Worker;

/// One channel at work.
pub(super) struct Running {
    channel: Arc<dyn Channel>,
    draining: watch::Receiver<bool>,
}

impl Running {
    pub(super) fn new(channel: Arc<dyn Channel>, draining: watch::Receiver<bool>) -> Self {
        Self { channel, draining }
    }
}

impl Worker for Running {
    const NAME: &'static str = "channel";

    async fn run(&mut self) {
        Arc::clone(&self.channel).run(self.draining.clone()).await;
    }
}
