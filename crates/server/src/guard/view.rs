//! An account's guard as the owner's and the operator's API show it.

use countersign_core::{Area, AreaRules, AreaVerdict, Pace, PhoneNumber, PumpingPlace};
use countersign_store::AccountProfile;
use serde::Serialize;
use utoipa::ToSchema;

use super::Refused;
use crate::answer::Refusal;
use crate::app::App;
use crate::clock;

/// What an account's sends are held to.
#[derive(Serialize, ToSchema)]
pub(crate) struct GuardView {
    /// The account's rules for countries and prefixes.
    rules: Vec<AreaRuleView>,
    /// Whether this server refuses texts to ranges that the numbering plan knows as dear, or as not reached by text.
    refuses_ranges: bool,
    /// Whether this server slows and stops places from which too few codes come back.
    judges_pumping: bool,
    /// Places that are slowed or stopped at present on the node that answers.
    held: Vec<HeldView>,
    /// Why sends were refused lately by the node that answers, the latest first.
    refused: Vec<RefusedView>,
}

/// A rule.
#[derive(Serialize, ToSchema)]
pub(crate) struct AreaRuleView {
    /// A country's two letters, a prefix with its `+`, or `all`.
    #[schema(example = "+44909")]
    area: String,
    /// `allow`, `block`, or `trust`.
    #[schema(example = "block")]
    verdict: &'static str,
}

/// A place that is slowed or stopped.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeldView {
    /// What it is, in words.
    place: String,
    /// The area whose rule `trust` lets its codes through.
    #[schema(example = "+99292000")]
    area: String,
    /// `slowed` or `stopped`.
    pace: &'static str,
}

/// Sends that were refused for one reason.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusedView {
    reason: String,
    count: u64,
    /// Whole Unix seconds, on the account's clock.
    last_at: i64,
}

impl GuardView {
    /// An account's.
    pub(crate) async fn of(app: &App, account: &AccountProfile) -> Result<Self, Refusal> {
        let rules = app.site.areas(account.key).await?;
        let account_now = clock::now().plus_millis(account.clock_offset_ms);
        let guard = &app.vitals.guard;
        Ok(Self {
            rules: rules.rules().iter().map(AreaRuleView::from).collect(),
            refuses_ranges: app.settings.guard.refuse_ranges,
            judges_pumping: app.settings.guard.pumping,
            held: held_without_trust(guard.held_places(account.key, account_now), &rules)
                .map(|(place, pace)| HeldView {
                    place: place.to_string(),
                    area: area_of(place).written(),
                    pace: word_of(pace),
                })
                .collect(),
            refused: guard.refused(account.key).into_iter().map(RefusedView::from).collect(),
        })
    }
}

impl From<&(Area, AreaVerdict)> for AreaRuleView {
    fn from((area, verdict): &(Area, AreaVerdict)) -> Self {
        Self {
            area: area.written(),
            verdict: verdict.word(),
        }
    }
}

impl From<Refused> for RefusedView {
    fn from(refused: Refused) -> Self {
        Self {
            reason: refused.reason,
            count: refused.count,
            last_at: refused.last_at.unix_seconds(),
        }
    }
}

/// Places whose codes no rule lets through.
pub(super) fn held_without_trust(
    places: Vec<(PumpingPlace, Pace)>,
    rules: &AreaRules,
) -> impl Iterator<Item = (PumpingPlace, Pace)> + use<'_> {
    let says_so = |area: Area| rules.rules().contains(&(area, AreaVerdict::Trust));
    places.into_iter().filter(move |(place, _)| match place {
        // What holds for one of its numbers holds for all, unless a rule is narrower than the place.
        PumpingPlace::Block(prefix) => !rules.trusts(PhoneNumber::from_stored(prefix.digits().saturating_mul(10_000))),
        PumpingPlace::Range(prefix) => {
            !rules.trusts(PhoneNumber::from_stored(prefix.digits().saturating_mul(1_000_000)))
        }
        PumpingPlace::Country(_) | PumpingPlace::Unproven => !says_so(area_of(*place)) && !says_so(Area::EVERYWHERE),
    })
}

/// The area whose rule `trust` lets a place's codes through.
pub(super) fn area_of(place: PumpingPlace) -> Area {
    match place {
        PumpingPlace::Block(prefix) | PumpingPlace::Range(prefix) => Area::Prefix(prefix),
        // A calling code without a country of its own is a prefix.
        PumpingPlace::Country(country) => Area::parse(country.as_str()).unwrap_or(Area::Country(country)),
        PumpingPlace::Unproven => Area::EVERYWHERE,
    }
}

/// How a pace is called.
pub(super) const fn word_of(pace: Pace) -> &'static str {
    match pace {
        Pace::Free => "free",
        Pace::Slowed => "slowed",
        Pace::Stopped => "stopped",
    }
}
