//! Says in the log why a message reached nobody, or arrived only after other legs: one line with what each leg answered. An operator
//! should not have to look up a request to learn that a contract has run out.

use std::fmt::Write as _;
use std::sync::Arc;

use countersign_core::{DeliveryState, LegEnd, TimelineEvent, TimelineKind, VerificationRequest};
use countersign_store::{RequestRef, SiteStore};
use tokio::sync::Semaphore;

/// Lines that are made at a time; more are left out.
const AT_ONCE: usize = 32;

/// Makes the lines, beside the dispatcher.
pub(super) struct LegLog {
    site: Arc<dyn SiteStore>,
    /// The inbox alone has nothing to say.
    silent: bool,
    places: Arc<Semaphore>,
}

impl LegLog {
    pub(super) fn new(site: Arc<dyn SiteStore>, silent: bool) -> Self {
        Self {
            site,
            silent,
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Tells of a message that expired, or that arrived after a later leg had begun.
    pub(super) fn tell(&self, request: &VerificationRequest, arrived_on: Option<u8>) {
        if self.silent || request.plan.is_none() {
            return;
        }
        let arrived = match request.delivery {
            DeliveryState::Expired => false,
            DeliveryState::Delivered | DeliveryState::Read if later_leg_began(request) => true,
            _ => return,
        };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            if !arrived {
                tracing::warn!(request = %request.id, phone = ?request.phone, "no leg delivered a message");
            }
            return;
        };
        let (site, request) = (Arc::clone(&self.site), request.clone());
        tokio::spawn(async move {
            let _place = place;
            let of = RequestRef {
                account: request.account,
                id: request.id,
            };
            let timeline = site.timeline(of).await.unwrap_or_default();
            let legs = reasons(&timeline);
            if arrived {
                let what = match arrived_on {
                    Some(0) => "the first leg delivered a message after all",
                    _ => "a later leg delivered a message",
                };
                tracing::info!(request = %request.id, phone = ?request.phone, "{what}: {legs}");
            } else {
                tracing::warn!(request = %request.id, phone = ?request.phone, "no leg delivered a message: {legs}");
            }
        });
    }
}

fn later_leg_began(request: &VerificationRequest) -> bool {
    request.message.as_ref().is_some_and(|message| message.legs.leg > 0)
}

/// What each leg came to, as one line.
fn reasons(timeline: &[TimelineEvent]) -> String {
    let mut line = String::new();
    for event in timeline {
        let why = match event.kind {
            TimelineKind::LegSkipped => "was passed over",
            TimelineKind::LegEnded(LegEnd::CannotReach) => "can’t reach the number",
            TimelineKind::LegEnded(LegEnd::Refused) => "refused it",
            TimelineKind::LegEnded(LegEnd::Failed) => "failed",
            TimelineKind::LegEnded(LegEnd::NotInTime) => "did not deliver it in its time",
            TimelineKind::LegEnded(LegEnd::Resent) => "was given up, as the sender asked",
            TimelineKind::LegAccepted => "took it",
            TimelineKind::Became(DeliveryState::Delivered) => "delivered it",
            TimelineKind::Became(DeliveryState::Read) => "showed it",
            _ => continue,
        };
        let Some(leg) = &event.leg else { continue };
        let separator = if line.is_empty() { "" } else { "; " };
        // `write!` to a string can’t fail.
        let _ = write!(line, "{separator}{leg} {why}");
        if let Some(detail) = &event.detail {
            let _ = write!(line, " ({detail})");
        }
    }
    if line.is_empty() {
        line.push_str("its leg took it and never said that it arrived");
    }
    line
}

#[cfg(test)]
mod tests {
    use countersign_core::{Detail, LegName, Timestamp};

    use super::*;

    #[test]
    fn each_leg_has_its_reason_in_one_line() {
        let event = |number, kind, leg: &str, detail: Option<&str>| TimelineEvent {
            number,
            kind,
            at: Timestamp::from_millis(1),
            leg: LegName::parse(leg),
            detail: detail.map(Detail::new),
        };
        let timeline = [
            event(1, TimelineKind::LegSkipped, "telegram", Some("no opt-in")),
            event(2, TimelineKind::LegAccepted, "gateway", None),
            event(3, TimelineKind::LegEnded(LegEnd::NotInTime), "gateway", None),
            event(
                4,
                TimelineKind::LegEnded(LegEnd::Refused),
                "sms",
                Some("0x0B, bad number"),
            ),
            event(5, TimelineKind::LegAccepted, "mail", None),
            event(
                6,
                TimelineKind::Became(DeliveryState::Delivered),
                "mail",
                Some("250 ok"),
            ),
        ];
        assert_eq!(
            reasons(&timeline),
            "telegram was passed over (no opt-in); gateway took it; gateway did not deliver it in its time; sms refused it \
             (0x0B, bad number); mail took it; mail delivered it (250 ok)"
        );
    }
}
