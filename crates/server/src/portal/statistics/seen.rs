//! What the books answer to a question of the statistics page: the figures, before they are words. Asked on a thread where
//! waiting harms nobody, since a year's answer takes some milliseconds.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_core::{Quarter, SenderUsername, UsageSum};
use countersign_store::{StoreError, UsageBy, UsageFilter};
use tokio::runtime::Handle;

use super::ask::{Ask, TABLES};
use super::estimate;
use super::period::Period;
use crate::app::App;
use crate::site::page::PageError;
use crate::site::viewer::Viewer;

/// This time, and the time before up to the same moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Pair {
    pub(super) now: UsageSum,
    pub(super) before: UsageSum,
}

/// All of it.
pub(super) struct Seen {
    /// By unit of time.
    pub(super) current: Vec<UsageSum>,
    pub(super) before: Vec<UsageSum>,
    pub(super) whole: Pair,
    /// By country, route and sender.
    pub(super) tables: [BTreeMap<String, Pair>; 3],
    /// Different numbers in this time and the time before, where the whole account is looked at.
    pub(super) different: Option<[u64; 2]>,
    /// What can be filtered by.
    pub(super) countries: Vec<String>,
    pub(super) routes: Vec<String>,
    pub(super) senders: Vec<String>,
}

/// The spans of [`Period::whole`]: the time before, what of it isn't compared, this time.
fn pair(mut spans: Vec<UsageSum>) -> Pair {
    let now = spans.pop().unwrap_or_default();
    spans.truncate(1);
    Pair {
        now,
        before: spans.pop().unwrap_or_default(),
    }
}

/// Asks on a thread of its own.
pub(super) async fn ask(app: &Arc<App>, viewer: &Viewer, ask: &Ask, period: &Period) -> Result<Seen, PageError> {
    let (app, viewer, ask, period) = (Arc::clone(app), viewer.clone(), ask.clone(), period.clone());
    let runtime = Handle::current();
    let asked = tokio::task::spawn_blocking(move || runtime.block_on(look(&app, &viewer, &ask, &period)));
    Ok(asked.await.map_err(|_| PageError::Internal)??)
}

async fn look(app: &App, viewer: &Viewer, ask: &Ask, period: &Period) -> Result<Seen, StoreError> {
    let account = viewer.account.key;
    let usage = |edges: &[Quarter]| app.site.usage(account, edges.to_vec(), ask.filter.clone());
    let current = usage(&period.edges).await?;
    let before = usage(&period.edges_before).await?;
    let whole = pair(usage(&period.whole).await?);
    let mut tables: [BTreeMap<String, Pair>; 3] = Default::default();
    for (by, table) in TABLES.into_iter().zip(&mut tables) {
        let found = app
            .site
            .usage_by(account, by, period.whole.to_vec(), ask.filter.clone())
            .await?;
        *table = found.into_iter().map(|(name, spans)| (name, pair(spans))).collect();
    }
    let [_, _, start, end] = period.whole;
    let names = async |by: UsageBy, place: usize| {
        if !ask.has_filters() {
            return Ok::<_, StoreError>(tables[place].keys().cloned().collect::<Vec<_>>());
        }
        let mut names: Vec<String> = app
            .site
            .usage_by(account, by, vec![start, end], UsageFilter::default())
            .await?
            .into_keys()
            .collect();
        if let Some(chosen) = &ask.filter_names()[place]
            && !names.contains(chosen)
            && by != UsageBy::Sender
        {
            names.push(chosen.clone());
        }
        Ok(names)
    };
    let countries = names(UsageBy::Country, 0).await?;
    let routes = names(UsageBy::Route, 1).await?;
    let mut senders = names(UsageBy::Sender, 2).await?;
    if let Some(Some(chosen)) = &ask.filter.sender
        && !senders.iter().any(|sender| sender == chosen.as_str())
    {
        senders.push(SenderUsername::as_str(chosen).to_owned());
    }
    let different = if ask.has_filters() {
        None
    } else {
        let sketches = app.site.different_numbers(account, period.whole.to_vec()).await?;
        let told = |place: usize| sketches.get(place).map_or(0, estimate::different_numbers);
        Some([told(2), told(0)])
    };
    Ok(Seen {
        current,
        before,
        whole,
        tables,
        different,
        countries,
        routes,
        senders,
    })
}
