//! `countersign price`: what messages cost by number prefix, through the operator's API.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use countersign_core::Credits;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::{Common, parse_amount};
use crate::connection::{Connection, block_on};
use crate::format;
use crate::output::{Cell, Output};

/// What to do with prices.
#[derive(Debug, Args)]
#[command(after_help = "\
The longest prefix of a number wins. A new price holds from the next call on.

Examples:
  countersign price set +39 0.02
  countersign price set default 0.01
  countersign price list")]
pub(crate) struct PriceArguments {
    #[command(subcommand)]
    action: PriceAction,
}

#[derive(Debug, Subcommand)]
enum PriceAction {
    /// Set the price of a message to numbers with a prefix
    Set {
        /// The first digits, like +39, or `default` for all other numbers
        prefix: String,
        /// The price of one message, like 0.02
        #[arg(value_parser = parse_amount, allow_hyphen_values = true)]
        price: Credits,
    },
    /// List all prices
    List,
}

#[derive(Serialize, Deserialize)]
struct Price {
    prefix: String,
    price: Credits,
}

#[derive(Deserialize)]
struct Prices {
    prices: Vec<Price>,
}

/// Does it.
pub(crate) fn run(arguments: &PriceArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::operator(common)?;
    block_on(async {
        match &arguments.action {
            PriceAction::Set { prefix, price } => {
                let body = Price {
                    prefix: prefix.clone(),
                    price: *price,
                };
                let price: Price = connection.ask(Method::PUT, &["prices"], &[], Some(&body)).await?;
                output.show(&price, |output| table(std::slice::from_ref(&price), output))
            }
            PriceAction::List => {
                let nothing: Option<&()> = None;
                let list: Prices = connection.ask(Method::GET, &["prices"], &[], nothing).await?;
                output.show(&list.prices, |output| table(&list.prices, output))
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn table(prices: &[Price], output: &Output) -> String {
    let rows: Vec<Vec<Cell>> = prices
        .iter()
        .map(|price| vec![Cell::new(&price.prefix), Cell::number(format::money(price.price))])
        .collect();
    output.table(&["Prefix", "Price"], &rows)
}
