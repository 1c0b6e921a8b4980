//! `micro`: the parts one by one, in this process: the rules, the parsers, a batch of the store with its commit. Plain timed
//! loops; each figure is the median of many short runs, so that a disturbed run doesn't count.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use countersign_core::{
    Account, AccountId, AccountKey, Action, ApiToken, Area, AreaRules, AreaVerdict, Bucket, CallbackUrl, Code,
    CodeLength, Command, Credits, Decision, EnteredCode, Facts, FloodCounters, Limit, MAX_AREA_RULES, NumberPrefix,
    PhoneNumber, PlainHttp, Pumping, PumpingRules, RefusedRange, RequestId, RequestStatus, Rules, SandboxNumbers,
    SenderFact, SenderUsername, Timestamp, TokenClaim, TokenKind, VerificationRequest, decide,
};
use countersign_server::{clock, random};
use countersign_store::{Actor, MasterKey, NewAccount, SqliteOptions, SqliteStore, Store};
use futures_util::future::join_all;
use serde_json::json;

use crate::numbers::{float, median, micros, smallest};
use crate::run::books::{ignore_work, send_to};

/// Calls in one run of a loop.
const CALLS: u64 = 10_000;
/// Sends of one batch of the store: what 128 connections can have in flight.
const BATCH: u64 = 128;
/// Accounts that take turns, where a batch is of many.
const ACCOUNTS: u64 = 1_000;
/// Batches that are made before any is timed.
const WARM_UP_BATCHES: u32 = 50;

/// Options of `micro`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs of each loop.
    #[arg(long, default_value_t = 41, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Batches of the store.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batches: u32,
    /// Where the store's books are made; by default beside this program.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// One figure, in microseconds.
struct Figure {
    name: &'static str,
    median_us: f64,
    best_us: f64,
}

/// Times everything and prints a table.
pub(crate) fn run(options: &Options) -> Result<()> {
    countersign_core::load_numbering_plans();
    let mut figures = rules(options.runs)?;
    figures.extend(parsers(options.runs)?);
    figures.extend(store(options)?);
    let text = if options.json {
        let figures = figures
            .iter()
            .map(|figure| json!({"name": figure.name, "median_us": figure.median_us, "best_us": figure.best_us}));
        json!({ "figures": figures.collect::<Vec<_>>() }).to_string()
    } else {
        let mut text = String::from("| part | median µs | best µs |\n| --- | --- | --- |\n");
        for figure in &figures {
            // Writing into a string can't fail.
            let _ = writeln!(
                text,
                "| {} | {:.3} | {:.3} |",
                figure.name, figure.median_us, figure.best_us
            );
        }
        text
    };
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("printing the figures")
}

/// Runs a loop again and again; the time of one call.
fn time<T>(name: &'static str, runs: u32, mut call: impl FnMut(u64) -> T) -> Figure {
    let mut samples = Vec::new();
    for run in 0..=u64::from(runs) {
        let start = Instant::now();
        for number in 0..CALLS {
            black_box(call(black_box(run * CALLS + number)));
        }
        // The first run warms up.
        if run > 0 {
            samples.push(micros(start.elapsed()) / float(CALLS));
        }
    }
    Figure {
        name,
        median_us: median(&samples),
        best_us: smallest(&samples),
    }
}

/// An account with a billion credits.
fn rich_account() -> Result<Account> {
    let id = AccountId::new(1).ok_or_else(|| anyhow!("one is an account id"))?;
    let key = AccountKey { bucket: Bucket(7), id };
    let mut account = Account::new(key, PhoneNumber::from_stored(390_612_345_678));
    let bought = account.purchase(countersign_core::MAX_PURCHASE, clock::now());
    bought.ok_or_else(|| anyhow!("the purchase was refused"))?;
    Ok(account)
}

fn judge(
    account: &Account,
    request: Option<&VerificationRequest>,
    rules: &Rules,
    now: Timestamp,
    action: Action,
) -> Decision {
    let facts = Facts {
        order: None,
        account,
        request,
        first_answer: None,
        sender: SenderFact::NotNamed,
        flood: FloodCounters::default(),
        earlier: None,
        due_purchases: &[],
        next_lapse_after: None,
        rules,
    };
    let command = Command {
        now,
        token: Some(TokenClaim {
            kind: TokenKind::Live,
            generation: 1,
        }),
        idempotency: None,
        action,
    };
    decide(&facts, &command)
}

/// The rule book: a send, a check with the right code, a status.
fn rules(runs: u32) -> Result<Vec<Figure>> {
    let (account, rules, now) = (rich_account()?, Rules::default(), clock::now());
    let length = CodeLength::default();
    let phone = |number: u64| PhoneNumber::from_stored(393_000_000_000 + number);
    let template = send_to(phone(0), length, 0);
    let send = |number: u64| {
        let mut send = template.clone();
        send.phone = phone(number);
        send.id_entropy = number;
        judge(&account, None, &rules, now, Action::Send(Box::new(send)))
    };
    let request = send(1).request.ok_or_else(|| anyhow!("the send was refused"))?;
    let mut full = AreaRules::default();
    for prefix in (1_000..).take(MAX_AREA_RULES) {
        full.add(Area::Prefix(NumberPrefix::from_stored(prefix)), AreaVerdict::Block)?;
    }
    let mut pumping = Pumping::new(PumpingRules::STANDARD);
    let code = EnteredCode::new(Code::from_entropy(length, 0).as_str().to_owned());
    ensure!(code.is_some(), "a code can be entered");
    let check = |code: Option<EnteredCode>| {
        judge(
            &account,
            Some(&request),
            &rules,
            now,
            Action::Check {
                request: request.id,
                code,
            },
        )
    };
    Ok(vec![
        time("decide: send", runs, send),
        time("guard: the kind of range of a number", runs, |number| {
            RefusedRange::of(phone(number))
        }),
        time("guard: 500 rules for prefixes", runs, |number| {
            full.judge(phone(number), None)
        }),
        time("guard: judged and counted as sent", runs, |number| {
            let verdict = pumping.judge(account.key, phone(number % 5_000), now);
            pumping.sent(account.key, phone(number % 5_000), now);
            verdict
        }),
        time("decide: check with the right code", runs, |_| check(code.clone())),
        time("decide: status", runs, |_| check(None)),
        time("status as JSON", runs, |_| {
            serde_json::to_vec(&RequestStatus::from(&request))
        }),
    ])
}

/// What is parsed at the edge, one by one.
fn parsers(runs: u32) -> Result<Vec<Figure>> {
    let token = ApiToken::new(
        AccountId::new(1).ok_or_else(|| anyhow!("one is an account id"))?,
        [7; 32],
    );
    let id = RequestId::new(clock::now(), 7).to_string();
    let numbers: Vec<String> = ["39312345", "1415555", "4479111", "9199999"]
        .iter()
        .flat_map(|start| (0..256).map(move |number| format!("+{start}{number:04}")))
        .collect();
    Ok(vec![
        time("phone number", runs, |number| {
            let at = usize::try_from(number).unwrap_or(0) % numbers.len();
            PhoneNumber::parse(&numbers[at], SandboxNumbers::Accepted)
        }),
        time("token", runs, |_| ApiToken::parse(black_box(token.as_str()))),
        time("request id", runs, |_| RequestId::parse(black_box(&id))),
        time("callback URL", runs, |_| {
            CallbackUrl::parse(
                black_box("https://shop.example/verification?order=4711"),
                PlainHttp::Refused,
            )
        }),
        time("sender", runs, |_| SenderUsername::parse(black_box("@shop_example"))),
        time("amount", runs, |_| Credits::parse(black_box("12.34"))),
    ])
}

/// Batches of sends through the store's one door, each durable: of one account and of many, without flood limits and with them.
fn store(options: &Options) -> Result<Vec<Figure>> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let (mut batches, mut alone) = (Vec::new(), Vec::new());
    for (accounts, limits, name) in [
        (1, Limits::Off, "store: a durable send in a batch of 128"),
        (1, Limits::On, "the same with flood limits"),
        (
            ACCOUNTS,
            Limits::Off,
            "a durable send in a batch of 128, of 1,000 accounts",
        ),
        (ACCOUNTS, Limits::On, "the same with flood limits, of 1,000 accounts"),
    ] {
        runtime.block_on(async {
            let (directory, store) = open_books(options, limits)?;
            let accounts = make_accounts(&store, accounts).await?;
            batches.push(figure(
                name,
                &time_batches(&store, &accounts, BATCH, options.batches).await?,
            ));
            if limits == Limits::Off && accounts.len() == 1 {
                alone = time_batches(&store, &accounts, 1, options.batches).await?;
            }
            store.close().await.context("closing the books")?;
            directory.close().context("removing the books")
        })?;
    }
    batches.push(figure("store: a durable send alone", &alone));
    Ok(batches)
}

fn figure(name: &'static str, samples: &[f64]) -> Figure {
    Figure {
        name,
        median_us: median(samples),
        best_us: smallest(samples),
    }
}

/// Whether each send counts on two flood counters. None is refused: the account's limit is far, and each number gets one message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    Off,
    On,
}

fn open_books(options: &Options, limits: Limits) -> Result<(tempfile::TempDir, Arc<SqliteStore>)> {
    let program = std::env::current_exe().context("finding this program")?;
    let beside = program.parent().map(PathBuf::from).unwrap_or_default();
    let parent = options.directory.clone().unwrap_or(beside);
    let directory = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("making a directory in {}", parent.display()))?;
    let limit = |count, period_ms| (limits == Limits::On).then_some(Limit { count, period_ms });
    let store_options = SqliteOptions {
        path: directory.path().to_owned(),
        master_key: MasterKey::from_bytes(random::bytes()),
        rules: Rules {
            account_limit: limit(1_000_000, 1_000),
            number_limit: limit(10, 3_600_000),
            ..Rules::default()
        },
    };
    let (store, committed) = SqliteStore::open(store_options).context("opening the books")?;
    tokio::spawn(ignore_work(committed));
    Ok((directory, store))
}

async fn make_accounts(store: &Arc<SqliteStore>, count: u64) -> Result<Vec<AccountKey>> {
    let mut accounts = Vec::new();
    for number in 0..count {
        let id = AccountId::from_entropy(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1));
        let account = AccountKey::of_new(id);
        let new = NewAccount {
            key: account,
            token: ApiToken::new(id, random::bytes()),
            name: "Benchmark".into(),
            phone: PhoneNumber::from_stored(390_612_345_678 + number),
            now: clock::now(),
        };
        store
            .create_account(new, Actor::Operator)
            .await
            .context("making the account")?;
        let amount = countersign_core::MAX_PURCHASE;
        let purchase = command(Action::Purchase { amount });
        let outcome = store.submit(account, purchase).await.context("buying credit")?;
        outcome.map_err(|error| anyhow!("the purchase was refused: {error:?}"))?;
        accounts.push(account);
    }
    Ok(accounts)
}

async fn time_batches(store: &Arc<SqliteStore>, accounts: &[AccountKey], size: u64, batches: u32) -> Result<Vec<f64>> {
    let mut samples = Vec::new();
    let mut callers = accounts.iter().copied().cycle();
    for batch in 0..batches + WARM_UP_BATCHES {
        let sends: Vec<(AccountKey, Command)> = (0..size)
            .zip(&mut callers)
            .map(|(number, account)| {
                let phone = PhoneNumber::from_stored(393_000_000_000 + u64::from(batch) * size + number);
                let entropy = u128::from_be_bytes(random::bytes());
                let send = send_to(phone, CodeLength::default(), entropy);
                (account, command(Action::Send(Box::new(send))))
            })
            .collect();
        let start = Instant::now();
        let outcomes = join_all(sends.into_iter().map(|(account, send)| store.submit(account, send))).await;
        let elapsed = start.elapsed();
        for outcome in outcomes {
            let outcome = outcome.context("sending")?;
            outcome.map_err(|error| anyhow!("a send was refused: {error:?}"))?;
        }
        if batch >= WARM_UP_BATCHES {
            samples.push(micros(elapsed) / float(size));
        }
    }
    Ok(samples)
}

fn command(action: Action) -> Command {
    Command {
        now: clock::now(),
        token: None,
        idempotency: None,
        action,
    }
}
