//! Callbacks: the upstream's delivery reports, signed with our token (docs/delivery-reports.md). What isn't signed tells nothing.

use countersign_core::{SIGNATURE_HEADER, TIMESTAMP_HEADER, signature_matches};

use super::wire::{Status, status_of};
use super::{Inner, lock};
use crate::ports::{MessageKey, PortError};
use crate::{WebhookAnswer, WebhookCall, clock};

/// What follows the channel's name in the address of callbacks.
pub(super) const PATH: &str = "report";
/// The longest report that is read: the Gateway's are below 1 KiB.
const MAX_REPORT_BYTES: usize = 16 * 1024;
/// How old or how far in the future a report may be, in seconds. A retry has a new time, so an honest one is never older.
const MAX_AGE_SECONDS: u64 = 300;

impl Inner {
    pub(super) async fn receive(&self, call: WebhookCall) -> WebhookAnswer {
        if call.path != PATH {
            return WebhookAnswer::status(404);
        }
        if call.body.len() > MAX_REPORT_BYTES {
            return WebhookAnswer::status(413);
        }
        if !self.is_genuine(&call, clock::now().unix_seconds()) {
            return WebhookAnswer::status(401);
        }
        let Some(status) = status_of(&call.body) else {
            tracing::warn!(channel = %self.name, "a signed report can’t be read");
            return WebhookAnswer::status(400);
        };
        match self.message_of(&status).await {
            Ok(Some(message)) if self.learn(&status, message).await => WebhookAnswer::status(200),
            // Not ours, or forgotten: sent again it would be no better known.
            Ok(None) => WebhookAnswer::status(200),
            Ok(Some(_)) => WebhookAnswer::status(503),
            Err(error) => {
                tracing::warn!(channel = %self.name, %error, "a report can’t be taken now; the upstream sends it again");
                WebhookAnswer::status(503)
            }
        }
    }

    fn is_genuine(&self, call: &WebhookCall, now: i64) -> bool {
        let (Some(timestamp), Some(signature)) = (call.header(TIMESTAMP_HEADER), call.header(SIGNATURE_HEADER)) else {
            return false;
        };
        // No sign and no white space: what is signed and what is judged must be the same text.
        let is_plain = (1..=12).contains(&timestamp.len()) && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let Some(signed_at) = timestamp.parse::<i64>().ok().filter(|_| is_plain) else {
            return false;
        };
        signature_matches(&self.report_key, timestamp, &call.body, signature)
            && now.abs_diff(signed_at) <= MAX_AGE_SECONDS
    }

    /// Whose message a report tells of: as this process remembers, as its payload says, as the books know.
    async fn message_of(&self, status: &Status) -> Result<Option<MessageKey>, PortError> {
        let remembered = lock(&self.under_way).message(&status.handle);
        match remembered.or(status.message) {
            Some(message) => Ok(Some(message)),
            None => self.ports.handles.message(&self.name, &status.handle).await,
        }
    }
}
