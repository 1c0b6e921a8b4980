//! Routes at work: which legs a message takes, what the books or the network say of a number, how well each leg does.
//!
//! `choice` picks the route of a message, `plan` passes over legs that can't or shouldn't carry it, `ask` asks those that must
//! ask the network, `health` watches each leg, `books` lends channels what the books keep for them. What comes of a plan, core
//! decides.

mod ask;
mod books;
mod choice;
mod desk;
mod health;
mod plan;
mod webhooks;

pub(crate) use books::channel_ports;
pub(crate) use desk::{DESK_QUEUE, Desk};
pub(crate) use health::{HandoverEnd, LegFigures, LegHealth};
pub(crate) use plan::{Planned, Question};
pub(crate) use webhooks::router;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{Channel, Destination, Inbox};
use countersign_core::{
    AccountId, AccountKey, Action, Answer, Command, Credits, GuardWord, LegName, PhoneNumber, Reach, RoutePlan,
    Timestamp, TokenKind,
};
use countersign_store::{Outcome, StoreError};

use crate::app::App;
use crate::clock;
use crate::guard::{self, Guarded};
use crate::quotas::{Pass, Quotas};
use crate::settings::{MessageKind, RouteSettings, Settings};

/// A channel as a leg of routes.
pub(crate) struct Leg {
    pub(crate) channel: Arc<dyn Channel>,
    /// What one message costs the operator, where that was said.
    pub(crate) cost: Option<Credits>,
    pub(crate) health: LegHealth,
}

/// All routes and legs of a server.
pub struct Routes {
    all: Vec<RouteSettings>,
    legs: BTreeMap<LegName, Leg>,
    inbox: bool,
    ask_timeout: Duration,
    own_number_paid_legs: bool,
    /// What bounds sends of all accounts together.
    quotas: Quotas,
}

impl Routes {
    /// Routes as they were set, over channels that were made.
    pub fn new(settings: &Settings, inbox: Option<&Arc<Inbox>>, channels: Vec<Arc<dyn Channel>>) -> Self {
        let cost_of = |name: &LegName| {
            let mut settings = settings.channels.iter();
            settings
                .find(|channel| channel.config.name == *name)
                .and_then(|channel| channel.cost)
        };
        let built_in = inbox.map(|inbox| Arc::clone(inbox) as Arc<dyn Channel>);
        let legs = built_in.into_iter().chain(channels).map(|channel| {
            let name = channel.name().clone();
            let leg = Leg {
                cost: cost_of(&name),
                health: LegHealth::default(),
                channel,
            };
            (name, leg)
        });
        Self {
            all: settings.routes.clone(),
            legs: legs.collect(),
            inbox: inbox.is_some(),
            ask_timeout: settings.delivery.ask_timeout,
            own_number_paid_legs: settings.delivery.own_number_paid_legs,
            quotas: Quotas::new(&settings.limits.quotas),
        }
    }

    /// The inbox alone, as where nothing was set.
    pub fn built_in(settings: &Settings, inbox: Option<&Arc<Inbox>>) -> Arc<Self> {
        Arc::new(Self::new(settings, inbox, Vec::new()))
    }

    /// The legs that may ask a number's holder about a sign-in, unpaid ones first.
    pub(crate) async fn login_legs(&self, account: Option<AccountId>, phone: PhoneNumber) -> Vec<&Leg> {
        let built_in = self.leg(&LegName::INBOX);
        if phone.is_sandbox() || self.all.is_empty() {
            return built_in.into_iter().collect();
        }
        let to = Destination {
            phone,
            sender: None,
            email: None,
        };
        let mut legs = Vec::new();
        for set in self
            .route_of(account, phone, MessageKind::Login)
            .iter()
            .flat_map(|route| &route.legs)
        {
            if set.skip.iter().any(|prefix| prefix.matches(phone)) {
                continue;
            }
            if let Some(leg) = self.leg(&set.channel)
                && leg.channel.reach(&to).await != Reach::Unreachable
            {
                legs.push(leg);
            }
        }
        legs.sort_by_key(|leg| leg.channel.is_paid());
        legs
    }

    /// Whether anybody could be asked about a sign-in.
    pub(crate) fn can_ask(&self) -> bool {
        !self.legs.is_empty()
    }

    /// Counts a send on the quotas that concern it; or answers in how many seconds it may be tried again. Tests cost nobody anything.
    async fn pass(
        &self,
        app: &App,
        question: &Question,
        sending: Sending,
        now: Timestamp,
    ) -> Result<(Pass, Option<u32>), StoreError> {
        if sending.kind == TokenKind::Test {
            return Ok((Pass::default(), None));
        }
        let asked = self
            .quotas
            .ask(app.site.as_ref(), question.to.phone, sending.address, now);
        Ok(match asked.await? {
            Ok(pass) => (pass, None),
            Err(seconds) => (Pass::default(), Some(seconds)),
        })
    }

    /// A leg, where there is such a channel.
    pub(crate) fn leg(&self, name: &LegName) -> Option<&Leg> {
        self.legs.get(name)
    }

    /// Whether each leg of a plan is a text.
    pub(crate) fn is_texts_only(&self, plan: &RoutePlan) -> bool {
        let mut legs = plan.legs.iter();
        legs.all(|planned| self.leg(&planned.name).is_some_and(|leg| leg.channel.is_text()))
    }

    /// All legs, by name.
    pub(crate) fn legs(&self) -> impl Iterator<Item = (&LegName, &Leg)> {
        self.legs.iter()
    }

    /// All routes, as they were set.
    pub(crate) fn all(&self) -> &[RouteSettings] {
        &self.all
    }

    /// Channels besides the inbox.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &Arc<dyn Channel>> {
        let others = self.legs.iter().filter(|(name, _)| **name != LegName::INBOX);
        others.map(|(_, leg)| &leg.channel)
    }
}

/// Who sends, as far as routes care.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    pub(crate) account: AccountKey,
    /// The account's own number.
    pub(crate) owner: PhoneNumber,
    pub(crate) kind: TokenKind,
    /// Where the call comes from; `None` for a page of this server's own.
    pub(crate) address: Option<IpAddr>,
    /// How far the sandbox moved the account's clock ahead, in milliseconds.
    pub(crate) clock_offset_ms: i64,
}

/// Brings a command into the books. For a send or an ability check, the route is planned first; where a leg must ask the
/// network, it is asked once the fee is on hold, and then settled. Whoever gives up in between leaves a hold that ends by itself.
pub(crate) async fn submit(app: &App, sending: Sending, mut command: Command) -> Result<Outcome, StoreError> {
    if !app.store.admits(sending.account) {
        return Err(StoreError::Busy);
    }
    let now = command.now;
    let question = Question::of(&command.action, sending);
    let guarded = Guarded::of(&command.action, sending, now);
    let (Some(question), Some(guarded)) = (question, guarded) else {
        let outcome = books(app, sending, command).await?;
        guard::came_back(app, sending, &outcome, now);
        return Ok(outcome);
    };
    let (pass, over_quota) = app.routes.pass(app, &question, sending, command.now).await?;
    let planned = app.routes.plan(&question).await;
    let word = guarded.word(app, &command.action, planned.plan.as_deref(), over_quota);
    planned.put_into(&mut command.action, word);
    let (token, idempotency) = (command.token, command.idempotency.clone());
    let outcome = books(app, sending, command).await?;
    if !matches!(outcome, Ok(Answer::Status(_) | Answer::Admitted(_))) {
        // Refused for another reason, or a repetition: whoever can't send must not use up what others may.
        app.routes.quotas.give_back(pass);
    }
    let Ok(Answer::Admitted(request)) = outcome else {
        guarded.ended(app, &outcome);
        return Ok(outcome);
    };
    let settled = app.routes.ask(&question, &planned).await;
    let word = GuardWord {
        range: guarded.range(app, settled.plan.as_deref()),
        ..GuardWord::default()
    }
    .boxed();
    let command = Command {
        now: clock::now(),
        token,
        idempotency,
        action: Action::Settle {
            request,
            reachable: settled.plan.is_some(),
            plan: settled.plan,
            skipped: settled.skipped,
            guard: word,
        },
    };
    let outcome = books(app, sending, command).await?;
    guarded.ended(app, &outcome);
    Ok(outcome)
}

async fn books(app: &App, sending: Sending, command: Command) -> Result<Outcome, StoreError> {
    let submitted = app.store.submit(sending.account, command);
    app.vitals.traces.around("books", submitted).await
}
