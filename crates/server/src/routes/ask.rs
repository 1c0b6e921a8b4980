//! Asking the network whether it reaches a number, once the fee is on hold. Legs are asked in their order until one says yes, all
//! of them within one time-out: the caller waits.

use std::sync::Arc;

use countersign_channels::Asked;
use countersign_core::{Detail, RoutePlan};
use tokio::time::Instant;

use super::Routes;
use super::health::HandoverEnd;
use super::plan::{Planned, Question, Skipped, shared_out};
use crate::clock;

/// What the network said.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The plan without the legs that said no; `None` where none said yes.
    pub(super) plan: Option<Arc<RoutePlan>>,
    pub(super) skipped: Vec<Skipped>,
}

impl Routes {
    /// Asks the legs of a plan that must ask.
    pub(super) async fn ask(&self, question: &Question, planned: &Planned) -> Settled {
        let deadline = Instant::now() + self.ask_timeout;
        let mut skipped = Vec::new();
        let Some(plan) = &planned.plan else {
            return Settled { plan: None, skipped };
        };
        for (place, planned_leg) in plan.legs.iter().enumerate() {
            let Some(leg) = self.leg(&planned_leg.name) else {
                continue;
            };
            // A leg that hangs leaves time for those behind it.
            let began = Instant::now();
            let left = u32::try_from(plan.legs.len() - place).unwrap_or(1);
            let limit = deadline.saturating_duration_since(began) / left;
            let asked = tokio::time::timeout(limit, leg.channel.ask(&question.to)).await;
            let why = match asked {
                Ok(Asked::Reaches) => {
                    return Settled {
                        plan: shared_out(plan.route.clone(), plan.legs[place..].to_vec()),
                        skipped,
                    };
                }
                Ok(Asked::CannotReach(why)) => why,
                Ok(Asked::Unknown(why)) => {
                    tracing::warn!(leg = %planned_leg.name, %why, "a leg couldn’t say whether it reaches a number");
                    leg.health
                        .ended(HandoverEnd::Failed(why.clone()), began.elapsed(), clock::now());
                    why
                }
                Err(_) => {
                    tracing::warn!(leg = %planned_leg.name, "a leg didn’t say in time whether it reaches a number");
                    let why = Detail::new("it didn’t answer in time whether it reaches the number");
                    leg.health
                        .ended(HandoverEnd::Failed(why.clone()), began.elapsed(), clock::now());
                    why
                }
            };
            skipped.push((planned_leg.name.clone(), why));
        }
        Settled { plan: None, skipped }
    }
}
