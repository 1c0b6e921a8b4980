//! `countersign account`: accounts through the operator's API of a running server.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use countersign_core::{Credits, PhoneNumber};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::{Common, parse_account, parse_amount, parse_phone};
use crate::autofill::{Autofill, AutofillOptions};
use crate::connection::{Connection, block_on};
use crate::format;
use crate::guard::{self, GuardOptions};
use crate::output::{Cell, Output, Style};

/// Accounts in one page of the operator's API.
const PAGE: &str = "1000";

/// What to do with accounts.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign account create --phone +391234567890 --name Acme --credit 10
  countersign account show +391234567890 --json
  countersign account credit +391234567890 25
  countersign account adjust +391234567890 -0.5 --reason \"credited twice\"
  countersign account login-link +391234567890
  countersign account allow-list +391234567890 192.0.2.7 2001:db8::/32
  countersign account guard +391234567890 --allow DE --block +44909
  countersign account autofill +391234567890 --domain example.com --android-hash FA+9qCX9VSu")]
pub(crate) struct AccountArguments {
    #[command(subcommand)]
    action: AccountAction,
}

#[derive(Debug, Subcommand)]
enum AccountAction {
    /// Make an account and print its token
    Create {
        /// The owner's phone number; sends to it are free
        #[arg(long, value_parser = parse_phone)]
        phone: PhoneNumber,
        /// What you call the account
        #[arg(long)]
        name: String,
        /// Its first credit
        #[arg(long, value_name = "AMOUNT", value_parser = parse_amount, allow_hyphen_values = true)]
        credit: Option<Credits>,
    },
    /// List all accounts
    List,
    /// Show an account with its balance
    Show(AccountName),
    /// Add bought credit; each call buys again
    Credit {
        #[command(flatten)]
        account: AccountName,
        /// How much, like 10 or 0.5
        #[arg(value_parser = parse_amount, allow_hyphen_values = true)]
        amount: Credits,
    },
    /// Correct a balance; the reason stands in the ledger. Each call adjusts again
    Adjust {
        #[command(flatten)]
        account: AccountName,
        /// What to add, like 0.5, or to take, like -0.5
        #[arg(value_parser = parse_amount, allow_hyphen_values = true)]
        amount: Credits,
        /// Why, on one line of at most 200 bytes, without personal data
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Close an account for good: its token is refused from now on
    Close {
        #[command(flatten)]
        account: AccountName,
        /// Don't ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Make a link that signs the owner in to the pages, once, within 15 minutes
    LoginLink(AccountName),
    /// Set the addresses from which an account may call; none allows all
    AllowList {
        #[command(flatten)]
        account: AccountName,
        /// Addresses or ranges, like 192.0.2.7 or 2001:db8::/32
        #[arg(value_name = "ADDRESS", required_unless_present = "clear")]
        addresses: Vec<String>,
        /// Allow all addresses again
        #[arg(long, conflicts_with = "addresses")]
        clear: bool,
    },
    /// Show or change where an account's codes may go, and show what is held
    Guard {
        #[command(flatten)]
        account: AccountName,
        #[command(flatten)]
        changes: GuardOptions,
    },
    /// Set what an account's short messages end with, so that phones fill the code in
    Autofill {
        #[command(flatten)]
        account: AccountName,
        #[command(flatten)]
        autofill: AutofillOptions,
        /// End them with their sentence again
        #[arg(long, conflicts_with_all = ["domain", "android_hash"])]
        clear: bool,
    },
}

/// Names an account.
#[derive(Debug, Args)]
pub(crate) struct AccountName {
    /// The account: its owner's phone number, or its id
    #[arg(value_name = "PHONE|ID", value_parser = parse_account)]
    pub(crate) account: String,
}

#[derive(Serialize)]
struct CreateBody<'a> {
    phone_number: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    credit: Option<Credits>,
}

#[derive(Serialize, Deserialize)]
struct Created {
    account_id: String,
    phone_number: String,
    name: String,
    token: String,
    balance: Credits,
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the operator's API")]
struct Account {
    account_id: String,
    phone_number: String,
    name: String,
    balance: Credits,
    held: Credits,
    allow_list: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    autofill: Option<Autofill>,
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct LoginLink {
    account_id: String,
    phone_number: String,
    url: String,
    expires_at: i64,
}

#[derive(Deserialize)]
struct Page {
    accounts: Vec<Account>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Serialize)]
struct CreditBody {
    amount: Credits,
}

#[derive(Serialize)]
struct AdjustBody<'a> {
    amount: Credits,
    reason: &'a str,
}

#[derive(Serialize)]
struct AllowListBody<'a> {
    addresses: &'a [String],
}

/// Nothing to send.
const NO_BODY: Option<&()> = None;

/// Does it.
pub(crate) fn run(arguments: &AccountArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::operator(common)?;
    block_on(async {
        match &arguments.action {
            AccountAction::Create { phone, name, credit } => create(&connection, *phone, name, *credit, output).await,
            AccountAction::List => list(&connection, output).await,
            AccountAction::Show(account) => {
                let path = ["accounts", &account.account];
                show(&connection.ask(Method::GET, &path, &[], NO_BODY).await?, output)
            }
            AccountAction::Credit { account, amount } => {
                let body = CreditBody { amount: *amount };
                let path = ["accounts", &account.account, "credit"];
                show(&connection.ask(Method::POST, &path, &[], Some(&body)).await?, output)
            }
            AccountAction::Adjust {
                account,
                amount,
                reason,
            } => {
                let body = AdjustBody {
                    amount: *amount,
                    reason,
                };
                let path = ["accounts", &account.account, "adjust"];
                show(&connection.ask(Method::POST, &path, &[], Some(&body)).await?, output)
            }
            AccountAction::Close { account, yes } => close(&connection, &account.account, *yes, output).await,
            AccountAction::LoginLink(account) => login_link(&connection, &account.account, output).await,
            AccountAction::AllowList { account, addresses, .. } => {
                let body = AllowListBody { addresses };
                let path = ["accounts", &account.account, "allow-list"];
                show(&connection.ask(Method::PUT, &path, &[], Some(&body)).await?, output)
            }
            AccountAction::Guard { account, changes } => {
                guard::run(&connection, &account.account, changes, output).await
            }
            AccountAction::Autofill {
                account,
                autofill,
                clear,
            } => {
                let path = ["accounts", &account.account, "autofill"];
                let (method, body) = if *clear {
                    (Method::DELETE, None)
                } else {
                    (Method::PUT, autofill.body()?)
                };
                show(&connection.ask(method, &path, &[], body).await?, output)
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn create(
    connection: &Connection,
    phone: PhoneNumber,
    name: &str,
    credit: Option<Credits>,
    output: &Output,
) -> anyhow::Result<()> {
    let body = CreateBody {
        phone_number: phone.to_string(),
        name,
        credit,
    };
    let created: Created = connection.ask(Method::POST, &["accounts"], &[], Some(&body)).await?;
    output.show(&created, |output| {
        output.facts(&[
            ("Account", created.account_id.clone()),
            ("Owner", format::phone(&created.phone_number)),
            ("Name", created.name.clone()),
            ("Balance", format::money(created.balance)),
            ("Token", output.styled(Style::Strong, &created.token)),
        ])
    })
}

async fn list(connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let mut accounts = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page: Page = connection.ask(Method::GET, &["accounts"], &query, NO_BODY).await?;
        accounts.extend(page.accounts);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    output.show(&accounts, |output| {
        if accounts.is_empty() {
            return "No accounts yet. Make one: countersign account create --phone +391234567890 --name Acme --credit 10\n"
                .to_owned();
        }
        let rows: Vec<Vec<Cell>> = accounts.iter().map(row).collect();
        output.table(&["Account", "Owner", "Name", "Balance", "State"], &rows)
    })
}

fn row(account: &Account) -> Vec<Cell> {
    vec![
        Cell::new(&account.account_id),
        Cell::new(format::phone(&account.phone_number)),
        Cell::new(&account.name),
        Cell::number(format::money(account.balance)),
        match account.closed_at {
            None => Cell::new("open").style(Style::Good),
            Some(_) => Cell::new("closed").style(Style::Quiet),
        },
    ]
}

fn show(account: &Account, output: &Output) -> anyhow::Result<()> {
    output.show(account, |output| {
        let held = if account.held.is_zero() {
            String::new()
        } else {
            format!(", of which {} on hold", format::money(account.held))
        };
        let mut facts = vec![
            ("Account", account.account_id.clone()),
            ("Owner", format::phone(&account.phone_number)),
            ("Name", account.name.clone()),
            (
                "Balance",
                format!(
                    "{}{held}",
                    output.styled(Style::Strong, &format::money(account.balance))
                ),
            ),
            ("May call from", allowed(&account.allow_list)),
            ("Made", format::date(account.created_at)),
        ];
        facts.extend(account.autofill.iter().flat_map(Autofill::facts));
        facts.extend(account.closed_at.map(|at| ("Closed", format::date(at))));
        output.facts(&facts)
    })
}

fn allowed(list: &[String]) -> String {
    if list.is_empty() {
        "all addresses".to_owned()
    } else {
        list.join(", ")
    }
}

async fn close(connection: &Connection, account: &str, yes: bool, output: &Output) -> anyhow::Result<()> {
    let path = ["accounts", account];
    let present: Account = connection.ask(Method::GET, &path, &[], NO_BODY).await?;
    if present.closed_at.is_none() && !yes {
        confirm(&format!(
            "Close the account {} of {}? Its token stops working and its balance of {} is lost, for good.",
            present.name,
            format::phone(&present.phone_number),
            format::money(present.balance)
        ))?;
    }
    let path = ["accounts", account, "close"];
    show(&connection.ask(Method::POST, &path, &[], NO_BODY).await?, output)
}

async fn login_link(connection: &Connection, account: &str, output: &Output) -> anyhow::Result<()> {
    let path = ["accounts", account, "login-link"];
    let link: LoginLink = connection.ask(Method::POST, &path, &[], NO_BODY).await?;
    output.show(&link, |output| {
        output.facts(&[
            ("Account", link.account_id.clone()),
            ("Owner", format::phone(&link.phone_number)),
            ("Link", output.styled(Style::Strong, &link.url)),
            ("Works until", format::date(link.expires_at)),
        ])
    })
}

/// Asks a person once; a script is not asked.
pub(crate) fn confirm(question: &str) -> anyhow::Result<()> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Ok(());
    }
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    bail!("nothing was done")
}
