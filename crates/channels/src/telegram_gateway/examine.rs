//! What `countersign doctor` learns of a `telegram_gateway` channel: whether the upstream answers and takes the token, and whether its
//! callbacks can come.

use super::Inner;
use super::wire::{Failure, Meaning};
use crate::{Finding, Verdict};

/// A request that no upstream made, in the form of a Countersign's.
const NO_REQUEST: &str = "0000000000000000000";

impl Inner {
    pub(super) async fn examine(&self) -> Vec<Finding> {
        let mut findings = vec![self.examine_token().await];
        if self
            .callback_url
            .as_ref()
            .is_some_and(|url| !url.starts_with("https://"))
        {
            findings.push(Finding {
                verdict: Verdict::Warning,
                found: "Callbacks are on, and public_url isn’t https: Telegram reports to https addresses only."
                    .to_owned(),
                remedy: "Set public_url to the https address under which this server is reached, or callbacks = false."
                    .to_owned(),
            });
        }
        findings
    }

    /// Asks for a request that can't exist: it costs nothing, and only a token that works is told so.
    async fn examine_token(&self) -> Finding {
        let base_url = &self.upstream.base_url;
        let answer = self.upstream.status_of(NO_REQUEST).await;
        let (verdict, found, remedy) = match &answer {
            Err(Failure::Refused(refusal)) => match (refusal.meaning(), refusal.name()) {
                (Meaning::UnknownRequest, _) => (
                    Verdict::Well,
                    format!("The upstream at {base_url} takes the token."),
                    "",
                ),
                (Meaning::NoAccess, "IP_NOT_ALLOWED") => (
                    Verdict::Broken,
                    format!("The upstream at {base_url} doesn’t take calls from this machine’s address."),
                    "Add this server’s public address to the allow-list of the account there, or empty the list.",
                ),
                (Meaning::NoAccess, name) => (
                    Verdict::Broken,
                    format!("The upstream at {base_url} refuses the token: {name}."),
                    "Copy the token again from the account there; a token that was rotated doesn’t work any more.",
                ),
                (_, name) => (
                    Verdict::Warning,
                    format!("The upstream at {base_url} answers {name} to a harmless question."),
                    "Try again in a minute; if it stays like this, ask the upstream’s support.",
                ),
            },
            Err(Failure::NoAnswer(reason)) => (
                Verdict::Broken,
                format!("The upstream at {base_url} doesn’t answer: {reason}."),
                "Check base_url, this machine’s way to it (DNS, firewall, proxy), and its certificate.",
            ),
            Ok(_) | Err(Failure::Senseless(_)) => (
                Verdict::Broken,
                format!("What answers at {base_url} isn’t a Gateway."),
                "Check base_url: it is the address to which method names are appended.",
            ),
        };
        Finding::new(verdict, found, remedy)
    }
}
