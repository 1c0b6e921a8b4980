//! Routes and legs as the operator sees them: what was set, how each leg does, which way a message to a number would take, and
//! what upstreams charged beside what became of those messages.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use countersign_channels::Destination;
use countersign_core::{
    Credits, DeliveryState, EmailAddress, LegName, NumberPrefix, PhoneNumber, PriceList, Reach, RouteName,
    SandboxNumbers, SenderUsername, Timestamp, TokenKind, Ttl, civil_date, days_of_date,
};
use countersign_store::{ChannelCost, CostSum};
use serde::Serialize;

use super::accounts::find;
use super::prices::price_list;
use crate::answer::{self, Answer, Refusal};
use crate::app::{App, Mode};
use crate::clock;
use crate::routes::{Leg, LegFigures, Planned, Question, Sending};
use crate::settings::{MessageKind, RouteSettings};

/// Costs that are looked at a page, and in all, for one month’s lines.
const COSTS_PAGE: usize = 1_000;
const MAX_COSTS: usize = 200_000;
/// Lines of costs that were never settled and that are named; the others are summed up.
const NAMED_UNSETTLED: usize = 200;
const DAY_MS: i64 = 86_400_000;

#[derive(Serialize)]
struct RoutesView {
    routes: Vec<RouteView>,
    legs: Vec<LegView>,
    /// Sentences: what should be looked at.
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct RouteView {
    name: String,
    legs: Vec<RouteLegView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<&'static str>,
}

#[derive(Serialize)]
struct RouteLegView {
    leg: String,
    /// Of a message’s life, in percent.
    share: u16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skip: Vec<String>,
}

/// A leg and how it does since the server’s start.
#[derive(Serialize)]
struct LegView {
    leg: String,
    kind: &'static str,
    paid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Credits>,
    accepted: u64,
    failed: u64,
    /// Of the last hundred hand-overs.
    #[serde(skip_serializing_if = "Option::is_none")]
    success_percent: Option<u8>,
    /// Whether it is passed over, but for one message in a while, since most failed of late.
    ailing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    /// How long it is still passed over, since it failed several times in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    rests_for_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failed_at: Option<i64>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl LegView {
    fn new(name: &LegName, leg: &Leg) -> Self {
        let LegFigures {
            accepted,
            failed,
            success_percent,
            ailing,
            latency,
            rests_for,
            last_failure,
        } = leg.health.figures();
        Self {
            leg: name.to_string(),
            kind: leg.channel.kind(),
            paid: leg.channel.is_paid(),
            cost: leg.cost,
            accepted,
            failed,
            success_percent,
            ailing,
            latency_ms: latency.map(millis),
            rests_for_seconds: rests_for.map(|rest| rest.as_secs()),
            last_failed_at: last_failure.as_ref().map(|(at, _)| at.unix_seconds()),
            last_failure: last_failure.map(|(_, why)| why.to_string()),
        }
    }
}

/// `GET /routes`: routes and legs, and how they do.
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Answer, Refusal> {
    let prices = price_list(&app).await?;
    let routes = app.routes.all();
    Answer::ok(&RoutesView {
        routes: routes.iter().map(route_view).collect(),
        legs: app.routes.legs().map(|(name, leg)| LegView::new(name, leg)).collect(),
        warnings: routes
            .iter()
            .flat_map(|route| dear_legs(&app, route, &prices, clock::now()))
            .collect(),
    })
}

fn route_view(route: &RouteSettings) -> RouteView {
    RouteView {
        name: route.name.as_str().to_owned(),
        legs: route
            .legs
            .iter()
            .map(|leg| RouteLegView {
                leg: leg.channel.to_string(),
                share: leg.share / 10,
                skip: leg.skip.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        accounts: route.accounts.iter().map(ToString::to_string).collect(),
        prefixes: route.prefixes.iter().map(ToString::to_string).collect(),
        kinds: route.kinds.iter().map(|kind| kind.name()).collect(),
    }
}

/// Legs that cost more than the route’s least price: as sentences.
fn dear_legs(app: &App, route: &RouteSettings, prices: &PriceList, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    let prefixes: Vec<NumberPrefix> = if route.prefixes.is_empty() {
        vec![NumberPrefix::DEFAULT]
    } else {
        route.prefixes.clone()
    };
    for set in &route.legs {
        let Some(cost) = app.routes.leg(&set.channel).and_then(|leg| leg.cost) else {
            continue;
        };
        for prefix in &prefixes {
            let price = price_of_prefix(prices, *prefix, &route.name, now);
            if cost > price {
                let (route, leg) = (route.name.as_str(), &set.channel);
                let numbers = if *prefix == NumberPrefix::DEFAULT {
                    "one".to_owned()
                } else {
                    format!("one to {prefix}")
                };
                warnings.push(format!(
                    "route {route}: a message over {leg} costs you {cost}, and {numbers} is sold for {price}: raise the price \
                     (`countersign price set`) or take the leg out of the route"
                ));
            }
        }
    }
    warnings
}

/// What a number that begins so costs, where nothing is known of the rest of it.
fn price_of_prefix(prices: &PriceList, prefix: NumberPrefix, route: &RouteName, now: Timestamp) -> Credits {
    prices.price_of(PhoneNumber::from_stored(prefix.digits()), route, now)
}

#[derive(Serialize)]
struct ExplanationView {
    phone_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    /// What the account would pay.
    price: Credits,
    /// `reachable`, `unreachable`, or `must_ask`: a leg asks the network once the fee is on hold.
    reach: &'static str,
    legs: Vec<ExplainedLeg>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct ExplainedLeg {
    leg: String,
    kind: &'static str,
    /// `goes`, `asks` or `skipped`.
    verdict: &'static str,
    /// One line.
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Credits>,
}

/// What is asked.
struct Explain {
    question: Question,
    ttl_ms: i64,
}

/// `GET /routes/explain?phone=&account=&sender=&kind=&ttl=`: which way a message would take at this moment, without a question
/// to anybody.
pub(super) async fn explain(State(app): State<Arc<App>>, RawQuery(raw): RawQuery) -> Result<Answer, Refusal> {
    let Explain { question, ttl_ms } = read_question(&app, raw.as_deref()).await?;
    let planned = app.routes.plan(&question).await;
    let prices = price_list(&app).await?;
    let now = clock::now();
    let phone = question.to.phone;
    let route = app.routes.name_of(&question).unwrap_or(RouteName::INBOX);
    let free = phone == question.sending.owner;
    let price = if free {
        Credits::ZERO
    } else {
        prices.price_of(phone, &route, now)
    };
    let (legs, warnings) = explained(&app, &planned, price, ttl_ms);
    Answer::ok(&ExplanationView {
        phone_number: phone.to_string(),
        route: app.routes.name_of(&question).map(|route| route.as_str().to_owned()),
        price,
        reach: match planned.reach {
            Reach::Reachable => "reachable",
            Reach::Unreachable => "unreachable",
            Reach::MustAsk => "must_ask",
        },
        legs,
        warnings,
    })
}

async fn read_question(app: &App, raw: Option<&str>) -> Result<Explain, Refusal> {
    let numbers = match app.mode {
        Mode::Sandbox => SandboxNumbers::Accepted,
        Mode::Production => SandboxNumbers::Refused,
    };
    let (mut phone, mut account, mut sender, mut email) = (None, None, None, None);
    let (mut kind, mut ttl) = (MessageKind::Code, Ttl::default());
    for (name, value) in answer::query(raw) {
        let wrong = |expected: &str| Refusal::bad_request(format!("`{name}` must be {expected}"));
        match name.as_str() {
            "phone" => {
                let parsed = PhoneNumber::parse(&value, numbers);
                phone = Some(parsed.ok_or_else(|| wrong("a phone number in international form, like +391234567890"))?);
            }
            "account" if !value.is_empty() => account = Some(find(app, &value).await?),
            "sender" if !value.is_empty() => {
                sender = Some(SenderUsername::parse(&value).ok_or_else(|| wrong("a sender’s name"))?);
            }
            "email" if !value.is_empty() => {
                email = Some(EmailAddress::parse(&value).ok_or_else(|| wrong("an e-mail address"))?);
            }
            "kind" if value == MessageKind::Login.name() => kind = MessageKind::Login,
            "kind" if value == MessageKind::Code.name() => {}
            "kind" => return Err(wrong("`code` or `login`")),
            "ttl" => {
                ttl = value
                    .parse()
                    .ok()
                    .and_then(Ttl::new)
                    .ok_or_else(|| wrong("30 to 3600 seconds"))?;
            }
            _ => {}
        }
    }
    let Some(phone) = phone else {
        return Err(Refusal::bad_request("name the number: `?phone=+391234567890`"));
    };
    let named = account.is_some();
    let account = match account {
        Some(account) => account,
        None => app.store.accounts(None, 1).await?.pop().ok_or_else(|| {
            Refusal::not_found("there is no account yet, so no message: make one with `countersign account create`")
        })?,
    };
    let sending = Sending {
        account: account.key,
        // Whose messages are free is a question of the account that was named.
        owner: if named {
            account.phone
        } else {
            PhoneNumber::from_stored(0)
        },
        kind: TokenKind::Live,
        clock_offset_ms: account.clock_offset_ms,
        address: None,
    };
    let mut question = Question::code(sending, Destination { phone, sender, email });
    question.kind = kind;
    Ok(Explain {
        question,
        ttl_ms: ttl.millis(),
    })
}

fn explained(app: &App, planned: &Planned, price: Credits, ttl_ms: i64) -> (Vec<ExplainedLeg>, Vec<String>) {
    let mut legs = Vec::new();
    let mut warnings = Vec::new();
    let kind_of = |name: &LegName| app.routes.leg(name).map_or("", |leg| leg.channel.kind());
    for (name, why) in &planned.skipped {
        legs.push(ExplainedLeg {
            leg: name.to_string(),
            kind: kind_of(name),
            verdict: "skipped",
            why: why.to_string(),
            waits_seconds: None,
            cost: None,
        });
    }
    let Some(plan) = &planned.plan else {
        if planned.reach == Reach::Reachable {
            legs.push(ExplainedLeg {
                leg: LegName::INBOX.to_string(),
                kind: "inbox",
                verdict: "goes",
                why: "the built-in inbox takes it".to_owned(),
                waits_seconds: None,
                cost: None,
            });
        }
        return (legs, warnings);
    };
    for (place, planned_leg) in plan.legs.iter().enumerate() {
        let name = &planned_leg.name;
        let asks = planned.to_ask.contains(name);
        let last = place + 1 == plan.legs.len();
        let waits = (!last).then(|| plan.wait_ms(place, ttl_ms) / 1_000);
        let cost = app.routes.leg(name).and_then(|leg| leg.cost);
        if let Some(cost) = cost.filter(|cost| *cost > price) {
            warnings.push(format!(
                "a message over {name} costs you {cost}, and is sold for {price}: raise the price (`countersign price set`) or \
                 take the leg out of the route"
            ));
        }
        let first = if place == 0 {
            "goes first"
        } else {
            "goes where the legs before it did not deliver"
        };
        legs.push(ExplainedLeg {
            leg: name.to_string(),
            kind: kind_of(name),
            verdict: if asks { "asks" } else { "goes" },
            why: match (asks, waits) {
                (true, None) => format!("{first}; the network is asked whether it reaches the number"),
                (true, Some(seconds)) => {
                    format!("{first}; the network is asked whether it reaches the number; it has {seconds} s, then the next goes")
                }
                (false, None) => format!("{first}, and has the rest of the message’s life"),
                (false, Some(seconds)) => format!("{first}; it has {seconds} s, then the next goes"),
            },
            waits_seconds: waits,
            cost,
        });
    }
    (legs, warnings)
}

#[derive(Serialize)]
struct CostsView {
    month: String,
    channels: Vec<ChannelCostsView>,
    /// What upstreams charged for messages that were never settled: the first of them.
    unsettled: Vec<UnsettledView>,
    /// Whether there were more costs than are looked at in one answer.
    complete: bool,
}

/// One upstream’s month, in its own unit of money.
#[derive(Serialize)]
struct ChannelCostsView {
    channel: String,
    charges: u64,
    charged: Credits,
    refunds: u64,
    refunded: Credits,
    /// Of the charges: those whose message was settled, and what our price for these messages was.
    settled: u64,
    sold_for: Credits,
    /// And those whose message was not.
    unsettled: u64,
    unsettled_amount: Credits,
}

#[derive(Serialize)]
struct UnsettledView {
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    amount: Credits,
    at: i64,
    why: &'static str,
}

/// `GET /routes/costs?month=2026-11`: upstream costs against legs (UTC).
pub(super) async fn costs(State(app): State<Arc<App>>, RawQuery(raw): RawQuery) -> Result<Answer, Refusal> {
    let month = answer::query(raw.as_deref())
        .into_iter()
        .find_map(|(name, value)| (name == "month").then_some(value));
    let month = month.unwrap_or_else(|| month_of(clock::now()));
    let (from, to) = month_bounds(&month)
        .ok_or_else(|| Refusal::bad_request("`month` must be a month like 2026-11 (UTC); left out, it is this one"))?;
    let mut channels: Vec<_> = app.site.cost_sums(from, to).await?.iter().map(channel_costs).collect();
    let mut unsettled = Vec::new();
    let (mut after, mut seen) = (None, 0);
    let complete = loop {
        let page = app.site.costs(from, to, after, COSTS_PAGE).await?;
        for record in &page {
            settle(&app, &record.cost, &mut channels, &mut unsettled).await?;
        }
        seen += page.len();
        after = page.last().map(|record| record.place);
        if page.len() < COSTS_PAGE {
            break true;
        }
        if seen >= MAX_COSTS {
            break false;
        }
    };
    Answer::ok(&CostsView {
        month,
        channels,
        unsettled,
        complete,
    })
}

fn channel_costs(sum: &CostSum) -> ChannelCostsView {
    ChannelCostsView {
        channel: sum.channel.to_string(),
        charges: sum.charges,
        charged: Credits::from_micros(sum.charged_micros),
        refunds: sum.refunds,
        refunded: Credits::from_micros(sum.refunded_micros),
        settled: 0,
        sold_for: Credits::ZERO,
        unsettled: 0,
        unsettled_amount: Credits::ZERO,
    }
}

/// Adds a charge to its side: settled or not.
async fn settle(
    app: &App,
    cost: &ChannelCost,
    channels: &mut [ChannelCostsView],
    unsettled: &mut Vec<UnsettledView>,
) -> Result<(), Refusal> {
    if cost.micros < 0 {
        return Ok(());
    }
    let request = match cost.message {
        Some(message) => app.store.request(message.account, message.id).await?,
        None => None,
    };
    let why = match (&request, cost.message) {
        (Some(request), _) if !matches!(request.delivery, DeliveryState::Admitted | DeliveryState::Unreachable) => None,
        (Some(_), _) => Some("the request was never charged"),
        (None, Some(_)) => Some("the request is not in these books"),
        (None, None) => Some("it was asked whether the number can be reached, and no message followed"),
    };
    let Some(channel) = channels
        .iter_mut()
        .find(|channel| channel.channel == cost.channel.as_str())
    else {
        return Ok(());
    };
    let amount = Credits::from_micros(cost.micros);
    match (why, request) {
        (None, Some(request)) => {
            channel.settled += 1;
            let fee = if request.refunded { Credits::ZERO } else { request.fee };
            channel.sold_for = channel.sold_for.checked_add(fee).unwrap_or(channel.sold_for);
        }
        (why, _) => {
            channel.unsettled += 1;
            channel.unsettled_amount = channel.unsettled_amount.checked_add(amount).unwrap_or(amount);
            if unsettled.len() < NAMED_UNSETTLED {
                unsettled.push(UnsettledView {
                    channel: channel.channel.clone(),
                    upstream: cost.upstream.clone(),
                    amount,
                    at: cost.at.unix_seconds(),
                    why: why.unwrap_or_default(),
                });
            }
        }
    }
    Ok(())
}

fn month_of(at: Timestamp) -> String {
    let (year, month, _) = civil_date(at.millis().div_euclid(DAY_MS));
    format!("{year:04}-{month:02}")
}

/// Its first moment and the first one after it.
fn month_bounds(month: &str) -> Option<(Timestamp, Timestamp)> {
    let (year, month) = month.split_once('-')?;
    let (year, month): (i64, i64) = (i64::from(year.parse::<u16>().ok()?), month.parse().ok()?);
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let start = |year, month| Some(Timestamp::from_millis(days_of_date(year, month, 1)? * DAY_MS));
    Some((start(year, month)?, start(next.0, next.1)?))
}
