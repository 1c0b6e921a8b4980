//! `countersign account guard`: where an account's codes may go, what is held, and why sends were refused lately.

use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::format;
use crate::output::{Cell, Output, Style};

/// Changes, one after another in the order of these options; without any, it is shown.
#[derive(Debug, Args)]
pub(crate) struct GuardOptions {
    /// Codes go there; what no rule names is refused from then on
    #[arg(long, value_name = "AREA")]
    allow: Vec<String>,
    /// No code goes there: a country like DE, a prefix like +44909, or all
    #[arg(long, value_name = "AREA")]
    block: Vec<String>,
    /// Codes go there, however few come back
    #[arg(long, value_name = "AREA")]
    trust: Vec<String>,
    /// Take the rule for an area away
    #[arg(long, value_name = "AREA")]
    remove: Vec<String>,
    /// Take all rules away, before anything else
    #[arg(long)]
    clear: bool,
}

/// What the server shows.
#[derive(Serialize, Deserialize)]
struct Guard {
    rules: Vec<Rule>,
    refuses_ranges: bool,
    judges_pumping: bool,
    held: Vec<Held>,
    refused: Vec<Refused>,
}

#[derive(Serialize, Deserialize)]
struct Rule {
    area: String,
    verdict: String,
}

#[derive(Serialize, Deserialize)]
struct Held {
    place: String,
    area: String,
    pace: String,
}

#[derive(Serialize, Deserialize)]
struct Refused {
    reason: String,
    count: u64,
    last_at: i64,
}

#[derive(Serialize)]
struct RulesBody {
    rules: [Rule; 0],
}

#[derive(Serialize)]
struct VerdictBody {
    verdict: &'static str,
}

const NO_BODY: Option<&()> = None;

/// Does it.
pub(crate) async fn run(
    connection: &Connection,
    account: &str,
    changes: &GuardOptions,
    output: &Output,
) -> anyhow::Result<()> {
    let path = ["accounts", account, "guard"];
    if changes.clear {
        let none = RulesBody { rules: [] };
        let _: Guard = connection.ask(Method::PUT, &path, &[], Some(&none)).await?;
    }
    for (areas, verdict) in [
        (&changes.allow, "allow"),
        (&changes.block, "block"),
        (&changes.trust, "trust"),
    ] {
        for area in areas {
            let path = ["accounts", account, "guard", "areas", area];
            let body = VerdictBody { verdict };
            let _: Guard = connection.ask(Method::PUT, &path, &[], Some(&body)).await?;
        }
    }
    for area in &changes.remove {
        let path = ["accounts", account, "guard", "areas", area];
        let _: Guard = connection.ask(Method::DELETE, &path, &[], NO_BODY).await?;
    }
    let guard: Guard = connection.ask(Method::GET, &path, &[], NO_BODY).await?;
    output.show(&guard, |output| shown(&guard, output))
}

fn shown(guard: &Guard, output: &Output) -> String {
    let mut text = if guard.rules.is_empty() {
        output.styled(Style::Quiet, "no rules: codes go everywhere\n")
    } else {
        let rows: Vec<Vec<Cell>> = guard
            .rules
            .iter()
            .map(|rule| vec![Cell::new(&rule.area), Cell::new(&rule.verdict)])
            .collect();
        output.table(&["Area", "Rule"], &rows)
    };
    if !guard.held.is_empty() {
        let rows: Vec<Vec<Cell>> = guard
            .held
            .iter()
            .map(|held| vec![Cell::new(&held.area), Cell::new(&held.pace), Cell::new(&held.place)])
            .collect();
        text.push('\n');
        text.push_str(&output.table(&["Held", "Pace", "Place"], &rows));
    }
    if !guard.refused.is_empty() {
        let rows: Vec<Vec<Cell>> = guard
            .refused
            .iter()
            .map(|refused| {
                vec![
                    Cell::new(&refused.reason),
                    Cell::number(refused.count.to_string()),
                    Cell::new(format::date(refused.last_at)),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&output.table(&["Refused lately", "Sends", "Last"], &rows));
    }
    text
}
