//! What `countersign doctor` learns of a `webhook` channel: whether the transport answers, takes our signature, and refuses a wrong one.

use super::Webhook;
use super::wire::PingData;
use crate::{Finding, clock, http};

impl Webhook {
    pub(super) async fn examination(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if http::is_unprotected(&self.url) {
            findings.push(Finding::warning(
                "The address is http:// and not on this machine: codes go over the network unencrypted.",
                "Serve the transport over https://.",
            ));
        }
        let id = format!("ping-{}", clock::now().millis());
        let reached = match self.post("ping", &id, PingData {}).await {
            Ok(said) if (200..300).contains(&said.status) => {
                findings.push(Finding::well("The transport answers a signed ping."));
                true
            }
            Ok(said) => {
                findings.push(Finding::broken(
                    format!("The transport answers a signed ping with HTTP status {}.", said.status),
                    "Answer calls of the type ping with 200; with 401, compare the secret and the clock on both sides.",
                ));
                false
            }
            Err(reason) => {
                findings.push(Finding::broken(
                    format!("The transport doesn’t answer: {reason}."),
                    "Check url, whether the transport runs, this machine’s way to it, and its certificate.",
                ));
                false
            }
        };
        if reached {
            findings.extend(self.examine_signature().await);
        }
        if self.posts_news && self.news_url.is_none() {
            findings.push(Finding::warning(
                "Calls say no news_url, since server.public_url isn’t set: the transport must know where it posts news to.",
                "Set server.public_url, or let the transport post to /channels/NAME/news of this server.",
            ));
        }
        findings
    }

    /// A transport that takes calls of anybody sends messages for anybody.
    async fn examine_signature(&self) -> Option<Finding> {
        let now = clock::now();
        let id = format!("ping-forged-{}", now.millis());
        let forged = self
            .post_signed("ping", &id, PingData {}, now, |body| {
                // Of another body: nobody who checks it can find it right.
                self.keys.sign(&id, now.unix_seconds(), &[body, b" "].concat())
            })
            .await;
        matches!(forged, Ok(said) if (200..300).contains(&said.status)).then(|| {
            Finding::warning(
                "The transport takes a ping whose signature is wrong: anybody who finds its address can send messages.",
                "Verify webhook-signature there, as docs/channel-webhook.md says.",
            )
        })
    }
}
