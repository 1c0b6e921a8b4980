//! What the owner's and the operator's page of an account's guard have in common: the rules with the form for one more, what is held at
//! present, and why sends were refused lately.

use countersign_core::{Area, AreaChange, AreaVerdict, MAX_AREA_RULES, Pace};
use countersign_store::{AccountProfile, Actor, StoreError};

use super::view::{area_of, held_without_trust};
use crate::app::App;
use crate::clock;
use crate::site::form::Form;
use crate::site::format::{self, When};
use crate::site::page::PageError;
use crate::site::state::Badge;
use crate::site::zone::Zone;

/// The parts of the page that `guard_parts.html` draws.
pub(crate) struct GuardParts {
    /// Where its forms go.
    pub(crate) path: String,
    pub(crate) rules: Vec<RuleRow>,
    pub(crate) held: Vec<HeldRow>,
    pub(crate) refused: Vec<RefusedRow>,
    pub(crate) refuses_ranges: bool,
    pub(crate) judges_pumping: bool,
    pub(crate) is_open: bool,
    pub(crate) form: GuardForm,
}

pub(crate) struct RuleRow {
    pub(crate) area: String,
    pub(crate) place: String,
    pub(crate) badge: Badge,
}

pub(crate) struct HeldRow {
    pub(crate) place: String,
    pub(crate) area: String,
    pub(crate) badge: Badge,
}

pub(crate) struct RefusedRow {
    pub(crate) reason: String,
    pub(crate) count: String,
    pub(crate) last: When,
}

/// A verdict that the form offers.
pub(crate) struct Choice {
    pub(crate) value: &'static str,
    pub(crate) label: &'static str,
    pub(crate) is_chosen: bool,
}

/// The form for one more rule, as it was typed, with what is wrong with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct GuardForm {
    pub(crate) area: String,
    pub(crate) verdict: String,
    pub(crate) problem: Option<String>,
}

impl GuardParts {
    /// An account's, with its times in a viewer's zone.
    pub(crate) async fn of(
        app: &App,
        account: &AccountProfile,
        zone: &Zone,
        path: String,
        form: GuardForm,
    ) -> Result<Self, PageError> {
        let rules = app.site.areas(account.key).await?;
        let account_now = clock::now().plus_millis(account.clock_offset_ms);
        let guard = &app.vitals.guard;
        let held = held_without_trust(guard.held_places(account.key, account_now), &rules);
        let refused = guard.refused(account.key);
        Ok(Self {
            path,
            rules: rules.rules().iter().map(RuleRow::from).collect(),
            held: held
                .map(|(place, pace)| HeldRow {
                    place: sentence_case(&place.to_string()),
                    area: area_of(place).written(),
                    badge: badge_of(pace),
                })
                .collect(),
            refused: refused
                .into_iter()
                .map(|refused| RefusedRow {
                    reason: sentence_case(&refused.reason),
                    count: format::count(refused.count),
                    last: When::new(refused.last_at, account_now, zone),
                })
                .collect(),
            refuses_ranges: app.settings.guard.refuse_ranges,
            judges_pumping: app.settings.guard.pumping,
            is_open: account.closed_at.is_none(),
            form,
        })
    }

    /// What the form offers.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let choice = |verdict: AreaVerdict| Choice {
            value: verdict.word(),
            label: match verdict {
                AreaVerdict::Allow => "Allow: codes go there",
                AreaVerdict::Block => "Block: no code goes there",
                AreaVerdict::Trust => "Trust: codes go there, however few come back",
            },
            is_chosen: self.form.verdict == verdict.word(),
        };
        AreaVerdict::ALL.into_iter().map(choice).collect()
    }
}

impl From<&(Area, AreaVerdict)> for RuleRow {
    fn from((area, verdict): &(Area, AreaVerdict)) -> Self {
        let badge = match verdict {
            AreaVerdict::Allow => Badge::new("delivered", "Allowed", "tick"),
            AreaVerdict::Trust => Badge::new("read", "Trusted", "shield"),
            AreaVerdict::Block => Badge::new("revoked", "Blocked", "barred"),
        };
        Self {
            area: area.written(),
            place: sentence_case(&area.to_string()),
            badge,
        }
    }
}

impl GuardForm {
    /// Takes the form that adds a rule, or the one that removes one (it names no verdict). What was wrong comes back with it.
    pub(crate) async fn take(
        app: &App,
        account: &AccountProfile,
        form: &Form,
        by: Actor,
    ) -> Result<&'static str, Result<Self, PageError>> {
        let mut typed = Self {
            area: form.text("area").to_owned(),
            verdict: form.text("verdict").to_owned(),
            problem: None,
        };
        let Ok(area) = Area::parse(&typed.area) else {
            typed.problem = Some(
                "This is no country and no prefix: write two letters like DE, digits like +44909, or “all”.".to_owned(),
            );
            return Err(Ok(typed));
        };
        let (change, done) = if form.filled("remove").is_some() {
            (AreaChange::Remove(area), "removed")
        } else {
            let Some(verdict) = AreaVerdict::of_word(&typed.verdict) else {
                return Err(Err(PageError::BadForm));
            };
            (AreaChange::Put(area, verdict), verdict.word())
        };
        match app.site.change_areas(account.key, change, by, clock::now()).await {
            Ok(_) => Ok(done),
            Err(StoreError::TooMany(_)) => {
                typed.problem = Some(format!(
                    "There are {MAX_AREA_RULES} rules already: remove some, or name shorter prefixes."
                ));
                Err(Ok(typed))
            }
            Err(error) => Err(Err(error.into())),
        }
    }
}

/// What a redirect back says was done.
pub(crate) const DONE: [(&str, &str); 4] = [
    ("allow", "Codes go there. What no rule names is refused from now on."),
    ("block", "No code goes there from now on."),
    ("trust", "Codes go there from now on, however few come back."),
    ("removed", "The rule is gone."),
];

const fn badge_of(pace: Pace) -> Badge {
    match pace {
        Pace::Stopped => Badge::new("invalid", "Stopped", "barred"),
        Pace::Slowed | Pace::Free => Badge::new("waiting", "Slowed", "clock"),
    }
}

fn sentence_case(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
