//! Changes of an account's rules for countries and prefixes, as the owner's and the operator's API take them.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use countersign_core::{AccountKey, Area, AreaChange, AreaRules, AreaVerdict, MAX_AREA_RULES};
use countersign_store::{Actor, StoreError};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::{self, Refusal};
use crate::app::App;
use crate::clock;

/// All rules at once.
#[derive(Deserialize, ToSchema)]
pub(crate) struct RulesBody {
    /// They take the place of all that there are; none: codes go everywhere.
    #[schema(max_items = 500)]
    rules: Vec<RuleBody>,
}

/// One of them.
#[derive(Deserialize, ToSchema)]
pub(crate) struct RuleBody {
    /// A country's two letters, a prefix with or without its `+`, or `all`.
    #[schema(example = "+44909")]
    area: String,
    /// `allow`, `block` or `trust`.
    #[schema(example = "block")]
    verdict: String,
}

/// What is to be said of one area.
#[derive(Deserialize, ToSchema)]
pub(crate) struct AreaBody {
    /// `allow`, `block` or `trust`.
    #[schema(example = "trust")]
    verdict: String,
}

impl RulesBody {
    /// Reads a body.
    pub(crate) fn read(body: Result<Bytes, BytesRejection>) -> Result<AreaChange, Refusal> {
        let body: Self = answer::body(body, r#"{"rules":[{"area":"DE","verdict":"allow"}]}"#)?;
        let mut rules = AreaRules::default();
        for rule in &body.rules {
            rules
                .add(area(&rule.area)?, verdict(&rule.verdict)?)
                .map_err(|full| Refusal::bad_request(full.to_string()))?;
        }
        Ok(AreaChange::Set(rules))
    }
}

impl AreaBody {
    /// Reads a body about that area.
    pub(crate) fn read(of: &str, body: Result<Bytes, BytesRejection>) -> Result<AreaChange, Refusal> {
        let body: Self = answer::body(body, r#"{"verdict":"trust"}"#)?;
        Ok(AreaChange::Put(area(of)?, verdict(&body.verdict)?))
    }

    /// The change by which nothing is said of that area any more.
    pub(crate) fn remove(of: &str) -> Result<AreaChange, Refusal> {
        area(of).map(AreaChange::Remove)
    }
}

fn area(text: &str) -> Result<Area, Refusal> {
    Area::parse(text).map_err(|error| {
        let shown: String = text.chars().take(40).collect();
        Refusal::bad_request(format!("`{shown}` is no area: {error}"))
    })
}

fn verdict(text: &str) -> Result<AreaVerdict, Refusal> {
    AreaVerdict::of_word(text).ok_or_else(|| Refusal::bad_request("a `verdict` is `allow`, `block` or `trust`"))
}

/// Changes an account's rules, with a line in the audit log.
pub(crate) async fn changed_areas(
    app: &App,
    account: AccountKey,
    change: AreaChange,
    by: Actor,
) -> Result<AreaRules, Refusal> {
    let changed = app.site.change_areas(account, change, by, clock::now()).await;
    changed.map_err(|error| match error {
        StoreError::TooMany(what) => Refusal::conflict(format!(
            "an account has at most {MAX_AREA_RULES} {what}: remove some, or name shorter prefixes"
        )),
        error => error.into(),
    })
}
