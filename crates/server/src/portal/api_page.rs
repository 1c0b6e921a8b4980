//! What stands on `/account/api`: the two tokens, masked or shown, and the forms with what was typed into them.

use std::net::IpAddr;

use askama::Template;
use axum::http::request::Parts;
use countersign_core::{ApiToken, Grace, TokenKind};
use countersign_store::{AccountProfile, AccountTokens};

use crate::allow_list;
use crate::app::{App, Mode};
use crate::reports::ping::PingView;
use crate::site::address::site_url;
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::viewer::Viewer;

/// The letters of a token that are shown without asking: enough to tell one from another.
const SHOWN_LETTERS: usize = 6;
/// Stands for the token in a command that isn't ready yet.
const PLACEHOLDER: &str = "YOUR_TOKEN";

/// What the books say.
pub(super) struct PageParts {
    pub(super) live: ApiToken,
    pub(super) test: ApiToken,
    pub(super) tokens: AccountTokens,
    /// Where the viewer is.
    pub(super) here: Option<IpAddr>,
    /// The token that is to be shown whole.
    pub(super) shown: Option<TokenKind>,
}

/// What stands in the forms, and what is wrong with it.
#[derive(Default)]
pub(super) struct Typed {
    pub(super) addresses: String,
    pub(super) addresses_problem: Option<String>,
    /// What was made of the list that was just saved.
    pub(super) notes: Vec<String>,
    /// Whether the list must be confirmed, since the viewer's address isn't on it.
    pub(super) locks_out: bool,
    pub(super) ping_url: String,
    pub(super) ping_problem: Option<String>,
    pub(super) ping: Option<PingView>,
    pub(super) below: String,
    pub(super) below_problem: Option<String>,
    pub(super) low_url: String,
    pub(super) low_url_problem: Option<String>,
}

impl Typed {
    /// What is set.
    pub(super) fn of(account: &AccountProfile) -> Self {
        let ranges: Vec<String> = account.allow_list.iter().copied().map(allow_list::written).collect();
        let low = account.low_balance.as_ref();
        Self {
            addresses: ranges.join("\n"),
            below: low.map(|low| low.below.to_string()).unwrap_or_default(),
            low_url: low.map(|low| low.url.as_str().to_owned()).unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// One token.
struct Card {
    /// `live` or `test`.
    kind: &'static str,
    heading: &'static str,
    about: &'static str,
    copy_label: &'static str,
    curl_label: &'static str,
    /// The whole token, where its owner asked for it.
    shown: Option<String>,
    masked: String,
    made: Option<When>,
    grace_until: Option<When>,
    curl: String,
    loses: &'static str,
}

/// A grace that can be chosen.
struct Choice {
    value: &'static str,
    label: &'static str,
    is_usual: bool,
}

/// What came of a ping.
struct PingResult {
    look: &'static str,
    icon: &'static str,
    sentence: &'static str,
    url: String,
    duration: String,
    status: Option<u16>,
    error: Option<String>,
    response: Option<String>,
}

impl From<PingView> for PingResult {
    fn from(ping: PingView) -> Self {
        let (look, icon, sentence) = if ping.acknowledged {
            (
                "good",
                "tick",
                "Your server took it: a report would count as acknowledged.",
            )
        } else {
            (
                "bad",
                "cross",
                "Your server didn’t take it: a report would be tried again.",
            )
        };
        Self {
            look,
            icon,
            sentence,
            url: ping.url,
            duration: format::duration(ping.duration_ms),
            status: ping.status,
            error: ping.error,
            response: ping.response,
        }
    }
}

#[derive(Template)]
#[template(path = "api.html")]
pub(super) struct Page {
    pub(super) frame: Frame,
    tokens: [Card; 2],
    choices: Vec<Choice>,
    here: String,
    addresses: String,
    addresses_problem: Option<String>,
    notes: Vec<String>,
    locks_out: bool,
    ping_url: String,
    ping_problem: Option<String>,
    ping: Option<PingResult>,
    below: String,
    below_problem: Option<String>,
    low_url: String,
    low_url_problem: Option<String>,
    low_is_set: bool,
}

impl Page {
    pub(super) fn new(app: &App, viewer: &Viewer, parts: &Parts, facts: &PageParts, typed: Typed) -> Self {
        let url = site_url(&app.settings, &parts.uri, &parts.headers);
        Self {
            frame: Frame::portal(app, viewer, "API", "/account/api"),
            tokens: [TokenKind::Live, TokenKind::Test].map(|kind| card(app, viewer, facts, kind, &url)),
            choices: Grace::ALL.into_iter().map(choice).collect(),
            here: facts
                .here
                .map_or_else(|| "an unknown address".to_owned(), |address| address.to_string()),
            addresses: typed.addresses,
            addresses_problem: typed.addresses_problem,
            notes: typed.notes,
            locks_out: typed.locks_out,
            ping_url: typed.ping_url,
            ping_problem: typed.ping_problem,
            ping: typed.ping.map(PingResult::from),
            below: typed.below,
            below_problem: typed.below_problem,
            low_url: typed.low_url,
            low_url_problem: typed.low_url_problem,
            low_is_set: viewer.account.low_balance.is_some(),
        }
    }
}

fn card(app: &App, viewer: &Viewer, facts: &PageParts, kind: TokenKind, url: &str) -> Card {
    let (token, state) = match kind {
        TokenKind::Live => (&facts.live, facts.tokens.live),
        TokenKind::Test => (&facts.test, facts.tokens.test),
    };
    let shown = (facts.shown == Some(kind)).then(|| token.as_str().to_owned());
    let grace_until = state.standing.grace_until.filter(|until| viewer.now < *until);
    let when = |at| When::new(at, viewer.now, &viewer.zone);
    // To the owner's own number a send is free; in test mode to the number that is read at once.
    let recipient = match kind {
        TokenKind::Live => viewer.account.phone.to_string(),
        TokenKind::Test => "+9996610001".to_owned(),
    };
    let bearer = shown.as_deref().unwrap_or(PLACEHOLDER);
    Card {
        kind: match kind {
            TokenKind::Live => "live",
            TokenKind::Test => "test",
        },
        heading: match kind {
            TokenKind::Live => "Live token",
            TokenKind::Test => "Test-mode token",
        },
        about: match (kind, app.mode) {
            (TokenKind::Live, Mode::Production) => {
                "It reaches people and spends your balance: keep it on your server, out of apps, pages and repositories."
            }
            (TokenKind::Live, Mode::Sandbox) => {
                "In production it reaches people and spends the balance: keep it on your server, out of repositories."
            }
            (TokenKind::Test, _) => {
                "For your tests and CI: it reaches the scripted numbers +99966… alone, costs nothing, and stays out of your \
                 statistics."
            }
        },
        copy_label: match kind {
            TokenKind::Live => "live token",
            TokenKind::Test => "test-mode token",
        },
        curl_label: match kind {
            TokenKind::Live => "A first call with the live token",
            TokenKind::Test => "A first call with the test-mode token",
        },
        masked: token.as_str().chars().take(SHOWN_LETTERS).chain(['…']).collect(),
        made: Some(when(state.made_at.unwrap_or(viewer.account.created_at))),
        grace_until: grace_until.map(when),
        curl: format!(
            "curl {url}/sendVerificationMessage \\\n  -H 'Authorization: Bearer {bearer}' \\\n  -d phone_number={recipient}"
        ),
        loses: match kind {
            TokenKind::Live => {
                "A new token takes its place. Whatever still calls with the old one then is refused: your servers, and whoever \
                 checks the signature of reports with it."
            }
            TokenKind::Test => "A new token takes its place. Tests that still call with the old one then are refused.",
        },
        shown,
    }
}

const fn choice(grace: Grace) -> Choice {
    Choice {
        value: grace.name(),
        label: match grace {
            Grace::None => "At once: the token has leaked",
            Grace::Hour => "In 1 hour",
            Grace::Day => "In 24 hours",
            Grace::Week => "In 7 days",
        },
        is_usual: matches!(grace, Grace::Day),
    }
}
