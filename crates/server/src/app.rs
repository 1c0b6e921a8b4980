//! What the rooms of the server share.

use std::sync::Arc;

use countersign_channels::{Inbox, Texts};
use countersign_store::{SiteStore, Store};
use tokio::sync::watch;

use crate::login::LoginDesk;
use crate::onlookers::Onlookers;
use crate::operator::OperatorKey;
use crate::routes::Routes;
use crate::settings::Settings;
use crate::vitals::Vitals;

/// Whether this is a stand-in for development and CI, or the real thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Sandbox numbers, a movable clock and an open inbox exist.
    Sandbox,
    /// None of that exists.
    Production,
}

/// What every handler and worker may need. One per server, behind an [`Arc`].
pub struct App {
    /// The books.
    pub store: Arc<dyn Store>,
    /// What the pages keep in the same books.
    pub site: Arc<dyn SiteStore>,
    /// Sandbox or production.
    pub mode: Mode,
    /// The built-in messenger, where it is switched on.
    pub inbox: Option<Arc<Inbox>>,
    /// Who looks at it.
    pub onlookers: Arc<Onlookers>,
    /// All channels, and which legs messages take.
    pub routes: Arc<Routes>,
    /// What recipients read, in their languages.
    pub texts: Arc<Texts>,
    /// What signing in to the pages keeps in memory.
    pub login: LoginDesk,
    /// What opens the operator's API.
    pub operator_key: OperatorKey,
    /// What the operator set.
    pub settings: Settings,
    /// What the operator's console shows of the running server.
    pub vitals: Arc<Vitals>,
    /// Turns `true` when the server begins to end: no new work is taken then.
    pub draining: watch::Receiver<bool>,
}
