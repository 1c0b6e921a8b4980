//! `countersign route`: which legs messages take, how the legs do, and what upstreams charged, through the operator's API.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use countersign_core::{Credits, PhoneNumber};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::{Common, parse_account, parse_phone};
use crate::connection::{Connection, block_on};
use crate::format;
use crate::output::{Cell, Output, Style};

const NO_BODY: Option<&()> = None;

/// What to do with routes.
#[derive(Debug, Args)]
#[command(after_help = "\
A route is the legs that messages take, in their order; the configuration file sets them (docs/routes.md).

Examples:
  countersign route list
  countersign route explain +391234567890
  countersign route explain +391234567890 --account +447400123456 --ttl 60
  countersign route costs --month 2026-10")]
pub(crate) struct RouteArguments {
    #[command(subcommand)]
    action: RouteAction,
}

#[derive(Debug, Subcommand)]
enum RouteAction {
    /// List routes and legs, and how the legs do since the server's start
    List,
    /// Tell which way a message to a number would take now, and why; nobody is asked anything
    Explain {
        /// The recipient, in international form
        #[arg(value_parser = parse_phone)]
        phone: PhoneNumber,
        /// Whose message: the account's owner's phone number, or its id [default: the first account]
        #[arg(long, value_name = "PHONE|ID", value_parser = parse_account)]
        account: Option<String>,
        /// In whose name
        #[arg(long, value_name = "USERNAME")]
        sender: Option<String>,
        /// The recipient's e-mail address, as a send may give it
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// What it carries
        #[arg(long, value_enum, default_value_t = Kind::Code)]
        kind: Kind,
        /// The message's life in seconds, 30 to 3600
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        ttl: u32,
    },
    /// What upstreams charged in a month beside what became of those messages
    Costs {
        /// A month like 2026-10 (UTC) [default: this one]
        #[arg(long, value_name = "MONTH")]
        month: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A code
    Code,
    /// The question whether it is they who sign in
    Login,
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the operator's API")]
pub(crate) struct Routes {
    routes: Vec<Route>,
    legs: Vec<Leg>,
    pub(crate) warnings: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Route {
    name: String,
    legs: Vec<RouteLeg>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    prefixes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct RouteLeg {
    leg: String,
    share: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    skip: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the operator's API")]
struct Leg {
    leg: String,
    kind: String,
    paid: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<Credits>,
    accepted: u64,
    failed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    success_percent: Option<u8>,
    #[serde(default)]
    ailing: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rests_for_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_failed_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Explanation {
    phone_number: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    price: Credits,
    reach: String,
    legs: Vec<ExplainedLeg>,
    warnings: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct ExplainedLeg {
    leg: String,
    kind: String,
    verdict: String,
    why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waits_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<Credits>,
}

#[derive(Serialize, Deserialize)]
struct Costs {
    month: String,
    channels: Vec<ChannelCosts>,
    unsettled: Vec<Unsettled>,
    complete: bool,
}

#[derive(Serialize, Deserialize)]
struct ChannelCosts {
    channel: String,
    charges: u64,
    charged: Credits,
    refunds: u64,
    refunded: Credits,
    settled: u64,
    sold_for: Credits,
    unsettled: u64,
    unsettled_amount: Credits,
}

#[derive(Serialize, Deserialize)]
struct Unsettled {
    channel: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    amount: Credits,
    at: i64,
    why: String,
}

/// Does it.
pub(crate) fn run(arguments: &RouteArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::operator(common)?;
    block_on(async {
        match &arguments.action {
            RouteAction::List => print_routes(&list(&connection).await?, output),
            RouteAction::Explain {
                phone,
                account,
                sender,
                email,
                kind,
                ttl,
            } => {
                let (phone, ttl) = (phone.to_string(), ttl.to_string());
                let kind = match kind {
                    Kind::Code => "code",
                    Kind::Login => "login",
                };
                let mut query = vec![("phone", phone.as_str()), ("kind", kind), ("ttl", &ttl)];
                query.extend(account.as_deref().map(|account| ("account", account)));
                query.extend(sender.as_deref().map(|sender| ("sender", sender)));
                query.extend(email.as_deref().map(|email| ("email", email)));
                let path = ["routes", "explain"];
                print_explanation(&connection.ask(Method::GET, &path, &query, NO_BODY).await?, output)
            }
            RouteAction::Costs { month } => {
                let query: Vec<_> = month.iter().map(|month| ("month", month.as_str())).collect();
                let path = ["routes", "costs"];
                print_costs(&connection.ask(Method::GET, &path, &query, NO_BODY).await?, output)
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Routes and legs of the running server.
pub(crate) async fn list(connection: &Connection) -> anyhow::Result<Routes> {
    connection.ask(Method::GET, &["routes"], &[], NO_BODY).await
}

fn warned(text: &mut String, warnings: &[String], output: &Output) {
    for warning in warnings {
        text.extend(["\n", &output.styled(Style::Waiting, "!"), " ", warning, "\n"]);
    }
}

fn print_routes(found: &Routes, output: &Output) -> anyhow::Result<()> {
    output.show(found, |output| {
        if found.routes.is_empty() && found.legs.len() <= 1 {
            return "All messages go to the built-in inbox. To reach phones, set channels and routes: docs/routes.md\n"
                .to_owned();
        }
        let routes: Vec<Vec<Cell>> = found.routes.iter().map(route_row).collect();
        let legs: Vec<Vec<Cell>> = found.legs.iter().map(leg_row).collect();
        let mut text = output.table(&["Route", "Legs", "For"], &routes);
        text.push('\n');
        text.push_str(&output.table(
            &[
                "Leg",
                "Kind",
                "State",
                "Accepted",
                "Failed",
                "Success",
                "Takes",
                "Cost",
                "Last failure",
            ],
            &legs,
        ));
        warned(&mut text, &found.warnings, output);
        text
    })
}

fn route_row(route: &Route) -> Vec<Cell> {
    let leg = |leg: &RouteLeg| {
        let skip = if leg.skip.is_empty() {
            String::new()
        } else {
            format!(", not {}", leg.skip.join(" "))
        };
        format!("{} ({} %{skip})", leg.leg, leg.share)
    };
    let legs: Vec<_> = route.legs.iter().map(leg).collect();
    let mut whom = Vec::new();
    whom.extend((!route.accounts.is_empty()).then(|| format!("accounts {}", route.accounts.join(" "))));
    whom.extend((!route.prefixes.is_empty()).then(|| route.prefixes.join(" ")));
    whom.extend((!route.kinds.is_empty()).then(|| format!("{} messages", route.kinds.join(" and "))));
    let whom = if whom.is_empty() {
        "all messages".to_owned()
    } else {
        whom.join(", ")
    };
    vec![Cell::new(&route.name), Cell::new(legs.join(" → ")), Cell::new(whom)]
}

fn leg_row(leg: &Leg) -> Vec<Cell> {
    let state = match leg.rests_for_seconds {
        Some(seconds) => Cell::new(format!("✗ rests {seconds} s")).style(Style::Bad),
        None if leg.ailing => Cell::new("! ailing").style(Style::Waiting),
        None => Cell::new("✓ goes").style(Style::Good),
    };
    let failure = match (&leg.last_failure, leg.last_failed_at) {
        (Some(why), Some(at)) => format!("{why} ({})", format::time(at, format::now())),
        _ => String::new(),
    };
    vec![
        Cell::new(&leg.leg),
        Cell::new(&leg.kind),
        state,
        Cell::number(leg.accepted.to_string()),
        Cell::number(leg.failed.to_string()),
        Cell::number(
            leg.success_percent
                .map_or_else(|| "–".to_owned(), |percent| format!("{percent} %")),
        ),
        Cell::number(
            leg.latency_ms
                .map_or_else(|| "–".to_owned(), |millis| format!("{millis} ms")),
        ),
        Cell::number(leg.cost.map_or_else(|| "–".to_owned(), format::money)),
        Cell::new(failure),
    ]
}

fn print_explanation(found: &Explanation, output: &Output) -> anyhow::Result<()> {
    output.show(found, |output| {
        let reach = match found.reach.as_str() {
            "reachable" => output.styled(Style::Good, "✓ can be reached"),
            "must_ask" => output.styled(Style::Waiting, "? the network is asked, once the fee is on hold"),
            _ => output.styled(Style::Bad, "✗ no leg reaches it: PHONE_NUMBER_NOT_FOUND, and no charge"),
        };
        let mut text = output.facts(&[
            ("Number", found.phone_number.clone()),
            (
                "Route",
                found
                    .route
                    .clone()
                    .unwrap_or_else(|| "none: the built-in inbox, if it is on".to_owned()),
            ),
            ("Price", format::money(found.price)),
            ("Reach", reach),
        ]);
        text.push('\n');
        let rows: Vec<Vec<Cell>> = found
            .legs
            .iter()
            .map(|leg| {
                let verdict = match leg.verdict.as_str() {
                    "goes" => Cell::new("✓ goes").style(Style::Good),
                    "asks" => Cell::new("? asks").style(Style::Waiting),
                    _ => Cell::new("– skipped").style(Style::Quiet),
                };
                vec![Cell::new(&leg.leg), Cell::new(&leg.kind), verdict, Cell::new(&leg.why)]
            })
            .collect();
        text.push_str(&output.table(&["Leg", "Kind", "", "Why"], &rows));
        warned(&mut text, &found.warnings, output);
        text
    })
}

fn print_costs(found: &Costs, output: &Output) -> anyhow::Result<()> {
    output.show(found, |output| {
        if found.channels.is_empty() {
            return format!("No upstream charged anything in {}.\n", found.month);
        }
        let rows: Vec<Vec<Cell>> = found
            .channels
            .iter()
            .map(|channel| {
                vec![
                    Cell::new(&channel.channel),
                    Cell::number(channel.charges.to_string()),
                    Cell::number(format::money(channel.charged)),
                    Cell::number(format::money(channel.refunded)),
                    Cell::number(channel.settled.to_string()),
                    Cell::number(format::money(channel.sold_for)),
                    Cell::number(channel.unsettled.to_string()),
                    Cell::number(format::money(channel.unsettled_amount)),
                ]
            })
            .collect();
        let mut text = output.table(
            &[
                "Channel",
                "Charges",
                "Charged",
                "Given back",
                "Settled",
                "Sold for",
                "Unsettled",
                "Amount",
            ],
            &rows,
        );
        if !found.unsettled.is_empty() {
            let now = format::now();
            let rows: Vec<Vec<Cell>> = found
                .unsettled
                .iter()
                .map(|line| {
                    vec![
                        Cell::new(&line.channel),
                        Cell::new(line.upstream.as_deref().unwrap_or("–")),
                        Cell::number(format::money(line.amount)),
                        Cell::new(format::time(line.at, now)),
                        Cell::new(&line.why),
                    ]
                })
                .collect();
            text.push_str("\nCharged, and never settled:\n");
            text.push_str(&output.table(&["Channel", "Upstream’s id", "Amount", "When", "Why"], &rows));
        }
        if !found.complete {
            let warning =
                "there were more charges than one answer looks at: the settled and unsettled columns are not complete";
            warned(&mut text, &[warning.to_owned()], output);
        }
        text
    })
}
