//! What stands around every page: its title, its navigation, and who looks at it. Every page's template extends `site.html`
//! (or `portal.html`, `console.html`) and has a field `frame`.

use super::viewer::{OperatorViewer, Viewer, Visitor};
use super::{assets, icons};
use crate::app::{App, Mode};

/// A place in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) href: &'static str,
    pub(crate) label: &'static str,
    pub(crate) icon: &'static str,
}

const fn place(href: &'static str, label: &'static str, icon: &'static str) -> Place {
    Place { href, label, icon }
}

/// The owner's pages, in the order of the navigation.
pub(crate) static PORTAL: [Place; 8] = [
    place("/account", "Overview", "home"),
    place("/account/messages", "Messages", "messages"),
    place("/account/statistics", "Statistics", "chart"),
    place("/account/balance", "Balance", "wallet"),
    place("/account/api", "API", "key"),
    place("/account/senders", "Senders", "sender"),
    place("/account/guard", "Guard", "shield"),
    place("/account/settings", "Settings", "settings"),
];

/// The operator's pages.
pub(crate) static CONSOLE: [Place; 7] = [
    place("/operator", "Health", "pulse"),
    place("/operator/accounts", "Accounts", "people"),
    place("/operator/orders", "Orders", "wallet"),
    place("/operator/senders", "Senders", "sender"),
    place("/operator/prices", "Prices", "tag"),
    place("/operator/texts", "Texts", "messages"),
    place("/operator/audit", "Audit log", "list"),
];

/// What `site.html` needs.
pub(crate) struct Frame {
    /// What stands in the browser's tab before "Countersign".
    pub(crate) title: String,
    /// The places beside the page, where it is an owner's or the operator's.
    pub(crate) places: &'static [Place],
    /// The path of the page's place in the navigation; empty for none.
    pub(crate) here: &'static str,
    pub(crate) sandbox: bool,
    /// Whose page it is, where somebody is signed in: the account's name, or "Operator".
    pub(crate) who: Option<String>,
    /// For every form on the page.
    pub(crate) csrf: String,
    /// The viewer's time zone by name, as it is said under times.
    pub(crate) zone: String,
    /// What a redirect after a form says was done.
    pub(crate) done: Option<&'static str>,
    pub(crate) style: String,
    pub(crate) script: String,
    /// See [`icons`].
    pub(crate) icons: &'static str,
    pub(crate) mark: String,
}

impl Frame {
    fn new(app: &App, title: &str, here: &'static str) -> Self {
        Self {
            title: title.to_owned(),
            places: &[],
            here,
            sandbox: app.mode == Mode::Sandbox,
            who: None,
            csrf: String::new(),
            zone: "UTC".to_owned(),
            done: None,
            style: assets::style(),
            script: assets::script(),
            icons: icons::ICONS,
            mark: assets::mark(),
        }
    }

    /// Around a page that anybody may see.
    pub(crate) fn public(app: &App, visitor: &Visitor, title: &str, here: &'static str) -> Self {
        Self {
            csrf: visitor.csrf.as_str().to_owned(),
            who: visitor.signed_in.clone(),
            zone: visitor.zone.name(),
            ..Self::new(app, title, here)
        }
    }

    /// Around the start page and the documentation, which load a shorter style sheet.
    pub(crate) fn light(app: &App, visitor: &Visitor, title: &str, here: &'static str) -> Self {
        Self {
            style: assets::public_style(),
            ..Self::public(app, visitor, title, here)
        }
    }

    /// Around an owner's page.
    pub(crate) fn portal(app: &App, viewer: &Viewer, title: &str, here: &'static str) -> Self {
        Self {
            csrf: viewer.csrf.as_str().to_owned(),
            who: Some(viewer.account.name.clone()),
            places: &PORTAL,
            zone: viewer.zone.name(),
            ..Self::new(app, title, here)
        }
    }

    /// Around an operator's page.
    pub(crate) fn console(app: &App, viewer: &OperatorViewer, title: &str, here: &'static str) -> Self {
        Self {
            csrf: viewer.csrf.as_str().to_owned(),
            who: Some("Operator".to_owned()),
            places: &CONSOLE,
            zone: viewer.zone.name(),
            ..Self::new(app, title, here)
        }
    }

    /// Says on the page what the form before it did: `/account/api?done=rotated`, looked up in the page's own list.
    pub(crate) fn with_done(mut self, query: Option<&str>, sentences: &[(&str, &'static str)]) -> Self {
        let asked = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "done");
        self.done = asked.and_then(|(_, done)| {
            let known = sentences.iter().find(|(name, _)| *name == done);
            known.map(|(_, sentence)| *sentence)
        });
        self
    }
}
