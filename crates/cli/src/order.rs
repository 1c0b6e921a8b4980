//! `countersign order`: orders of credit that wait for their payment, through the operator's API.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use countersign_core::{Credits, OrderId};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::account::confirm as ask_once;
use crate::arguments::{Common, parse_account};
use crate::connection::{Connection, block_on};
use crate::format;
use crate::output::{Cell, Output, Style};

/// Orders in one page of the operator's API.
const PAGE: &str = "999";

/// What to do with orders.
#[derive(Debug, Args)]
#[command(after_help = "\
An owner orders credit and pays it with the order's reference. Confirm the order once you have seen the money: it is bought
once, however often you confirm it.

Examples:
  countersign order list
  countersign order confirm CS-7F3K-92Q8 --note \"statement of 3 May\"
  countersign order cancel CS-7F3K-92Q8 --note \"not paid in 30 days\"")]
pub(crate) struct OrderArguments {
    #[command(subcommand)]
    action: OrderAction,
}

#[derive(Debug, Subcommand)]
enum OrderAction {
    /// List the orders that wait for their payment, the newest first
    List {
        /// Those that were decided, too
        #[arg(long)]
        all: bool,
        /// Only this account's: its owner's phone number, or its id
        #[arg(long, value_name = "PHONE|ID", value_parser = parse_account)]
        account: Option<String>,
    },
    /// Book the purchase of an order that was paid; safe to repeat
    Confirm {
        /// The order's reference, like CS-7F3K-92Q8
        #[arg(value_parser = parse_reference)]
        reference: OrderId,
        /// What its owner and the audit log see of it, on one line
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// End an order that comes to nothing
    Cancel {
        /// The order's reference, like CS-7F3K-92Q8
        #[arg(value_parser = parse_reference)]
        reference: OrderId,
        /// Why, on one line; its owner sees it
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Don't ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Serialize, Deserialize)]
struct Order {
    reference: String,
    account_id: String,
    amount: Credits,
    provider: String,
    state: String,
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ledger_entry: Option<u64>,
}

#[derive(Deserialize)]
struct Page {
    orders: Vec<Order>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Serialize)]
struct NoteBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

/// Nothing to send.
const NO_BODY: Option<&()> = None;

fn parse_reference(text: &str) -> Result<OrderId, String> {
    let refusal = "this is no order's reference, or a character of it is wrong: it looks like CS-7F3K-92Q8";
    OrderId::parse(text).ok_or_else(|| refusal.to_owned())
}

/// Does it.
pub(crate) fn run(arguments: &OrderArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::operator(common)?;
    block_on(async {
        match &arguments.action {
            OrderAction::List { all, account } => list(&connection, *all, account.as_deref(), output).await,
            OrderAction::Confirm { reference, note } => {
                decide(&connection, *reference, "confirm", note.as_deref(), output).await
            }
            OrderAction::Cancel { reference, note, yes } => {
                if !yes {
                    let name = reference.to_string();
                    let present: Order = connection.ask(Method::GET, &["orders", &name], &[], NO_BODY).await?;
                    if present.state == "open" {
                        ask_once(&format!(
                            "Cancel order {name} of {}? Money that comes for it later must be credited by hand.",
                            format::money(present.amount)
                        ))?;
                    }
                }
                decide(&connection, *reference, "cancel", note.as_deref(), output).await
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn decide(
    connection: &Connection,
    reference: OrderId,
    verdict: &str,
    note: Option<&str>,
    output: &Output,
) -> anyhow::Result<()> {
    let name = reference.to_string();
    let path = ["orders", &name, verdict];
    let body = NoteBody { note };
    let order: Order = connection.ask(Method::POST, &path, &[], Some(&body)).await?;
    output.show(&order, |output| {
        let mut facts = vec![
            ("Order", order.reference.clone()),
            ("Account", order.account_id.clone()),
            ("Amount", output.styled(Style::Strong, &format::money(order.amount))),
            ("State", state(&order).shown(output)),
        ];
        facts.extend(order.note.clone().map(|note| ("Note", note)));
        facts.extend(order.ledger_entry.map(|entry| ("Ledger entry", entry.to_string())));
        output.facts(&facts)
    })
}

async fn list(connection: &Connection, all: bool, account: Option<&str>, output: &Output) -> anyhow::Result<()> {
    let mut orders = Vec::new();
    let mut before: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend((!all).then_some(("state", "open")));
        query.extend(account.map(|account| ("account", account)));
        query.extend(before.as_deref().map(|before| ("before", before)));
        let page: Page = connection.ask(Method::GET, &["orders"], &query, NO_BODY).await?;
        orders.extend(page.orders);
        match page.next {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    output.show(&orders, |output| {
        if orders.is_empty() {
            return if all {
                "No orders yet.\n".to_owned()
            } else {
                "No order waits for its payment. All orders: countersign order list --all\n".to_owned()
            };
        }
        let now = format::now();
        let rows: Vec<Vec<Cell>> = orders
            .iter()
            .map(|order| {
                vec![
                    Cell::new(&order.reference),
                    Cell::new(&order.account_id),
                    Cell::number(format::money(order.amount)),
                    Cell::new(&order.provider),
                    state(order),
                    Cell::new(format::time(order.created_at, now)),
                    Cell::new(order.note.as_deref().unwrap_or_default()),
                ]
            })
            .collect();
        output.table(
            &["Order", "Account", "Amount", "Pay by", "State", "Ordered", "Note"],
            &rows,
        )
    })
}

fn state(order: &Order) -> Cell {
    match order.state.as_str() {
        "open" => Cell::new("○ open").style(Style::Waiting),
        "confirmed" => Cell::new("✓ confirmed").style(Style::Good),
        other => Cell::new(other).style(Style::Quiet),
    }
}
