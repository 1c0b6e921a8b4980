//! `statistics`: fills books with a year of requests, lets the store sum them up, and measures how long the real server takes to
//! answer each statistics page. The requests are rows written in bulk, without codes; their roll-ups are made by the
//! store's own code (that of books which are older than statistics), and the last hours by real sends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use countersign_core::{DAY_MS, PhoneNumber, SenderUsername, Timestamp};
use countersign_server::clock;
use countersign_store::{
    Actor, DetailsChange, NewSession, Profiles as _, SessionOwner, SessionToken, Sessions as _, Store as _,
};
use rusqlite::{Connection, params};

use super::books::Books;
use super::disk::DiskProbe;
use super::processes::Server;
use super::report::{self, Figure, Machine, Target};
use super::{data_directory, find_server, say};
use crate::numbers::{float, largest, median};

/// What a page may take.
const PAGE_WITHIN_MS: f64 = 100.0;
/// How often each page is asked for.
const TIMES: usize = 30;
/// Days that the requests are spread over.
const DAYS: i64 = 365;
/// Calling codes of fifty countries; the first ones get most.
const CALLING_CODES: [u64; 50] = [
    49, 33, 34, 48, 31, 32, 30, 36, 40, 41, 43, 45, 46, 51, 52, 54, 55, 56, 57, 60, 62, 63, 65, 66, 81, 82, 84, 86, 90,
    91, 92, 94, 95, 98, 351, 352, 353, 355, 357, 358, 370, 371, 380, 385, 420, 421, 233, 234, 254, 255,
];
const SENDERS: [&str; 4] = ["acme_shop", "acme_bank", "acme_club", "acme_travel"];
/// Real sends of the last hours, so that there are rows that aren't put away.
const RECENT_SENDS: u64 = 6_000;

/// The pages.
const PAGES: [(&str, &str); 14] = [
    ("today, by hour", "range=today"),
    ("7 days, by hour", "range=7d&by=hour"),
    ("30 days, by day", ""),
    ("30 days, by day, a country", "country=DE"),
    ("30 days, by day, a sender", "sender=acme_shop"),
    ("30 days, by day, a country and a sender", "country=FR&sender=acme_bank"),
    ("90 days, by day", "range=90d"),
    ("12 months, by week", "range=12m"),
    ("12 months, by day", "range=12m&by=day"),
    ("12 months, by month", "range=12m&by=month"),
    ("12 months, by day, a country", "range=12m&by=day&country=DE"),
    ("12 months, by day, a sender", "range=12m&by=day&sender=acme_shop"),
    (
        "12 months, by day, country, route, sender",
        "range=12m&by=day&country=DE&route=inbox&sender=acme_shop",
    ),
    (
        "12 months, by day, route and sender",
        "range=12m&by=day&route=inbox&sender=acme_shop",
    ),
];

/// Options of `statistics`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Requests in the books, spread over a year, fifty countries and five senders.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    requests: u32,
    /// The viewer's time zone.
    #[arg(long, default_value = "Asia/Kolkata")]
    zone: String,
    /// Where the data directory is made; by default beside this program.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The `countersign` binary to measure; by default built now, with `cargo build --release`.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// Fills, asks, and prints the figures. What misses its target is said so; it is no error.
pub(crate) fn run(options: &Options) -> Result<()> {
    let server = find_server(options.server.as_deref())?;
    let directory = data_directory(options.directory.as_deref())?;
    let machine = Machine::look(median(
        &DiskProbe::new(directory.path())?.sample(Duration::from_secs(1))?,
    ));
    say(&machine.text())?;
    let books = directory.path().join("books");
    let filled = fill(&books, options.requests)?;
    let running = Server::countersign(&server, &books)?;
    let mut figures = vec![filled];
    let zone = options.zone.replace('/', "%2F");
    for (name, query) in PAGES {
        figures.push(page(running.address, &zone, name, query)?);
    }
    running.stop()?;
    let text = if options.json {
        report::json(&machine, &figures).to_string()
    } else {
        report::table(&machine, &figures)
    };
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("printing the figures")?;
    directory.close().context("removing the data directory")
}

/// The session's secret.
const SECRET: [u8; 32] = [5; 32];

fn fill(directory: &Path, requests: u32) -> Result<Figure> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let now = clock::now();
    let account = runtime.block_on(async {
        let books = Books::create(directory).await?;
        let (store, account) = (books.store(), books.account());
        for name in SENDERS {
            let name = SenderUsername::parse(name).ok_or_else(|| anyhow!("a sender's name"))?;
            store.add_sender(account, name.clone(), now, Actor::Operator).await?;
            store.verify_sender(name, now, Actor::Operator).await?;
        }
        // An account that has answered the first questions: else every page leads to them.
        let answers = DetailsChange {
            accepted_terms: Some("benchmark".into()),
            ..DetailsChange::default()
        };
        store.set_details(account, answers, now).await?;
        let session = NewSession {
            token: SessionToken(SECRET),
            id: 1,
            owner: SessionOwner::Account(account),
            device: "Benchmark".into(),
            address: "127.0.0.1".into(),
            now,
            life_ms: DAY_MS,
        };
        store.begin_session(session).await?;
        books.close().await?;
        anyhow::Ok(account)
    })?;
    say(&format!("writing {requests} requests in bulk …"))?;
    let place = [i64::from(account.bucket.0), account.id.number()];
    write_requests(directory, place, i64::from(requests), now)?;
    say("summing them up …")?;
    let started = Instant::now();
    runtime.block_on(async {
        let books = Books::reopen(directory, account).await?;
        let took = started.elapsed();
        say(&format!(
            "summed up in {:.0} s; sending {RECENT_SENDS} messages …",
            took.as_secs_f64()
        ))?;
        for number in 0..RECENT_SENDS {
            let at = now.plus_millis(-i64::try_from(number)? * 4 * 3_600_000 / i64::try_from(RECENT_SENDS)?);
            let mixed = mix(number);
            books.send_as(at, phone(mixed), sender(mixed >> 40)).await?;
        }
        books.close().await?;
        let size = fs::metadata(directory.join("countersign.db"))?.len();
        let usage: i64 = Connection::open(directory.join("countersign.db"))?.query_row(
            "SELECT (SELECT sum(length(sums) + 40) FROM usage_past) + (SELECT sum(length(sketch)) FROM usage_numbers)",
            [],
            |row| row.get(0),
        )?;
        Ok(Figure {
            name: "statistics: summing up a year of old requests",
            target: Target::None,
            value: took.as_secs_f64(),
            unit: "s",
            detail: format!(
                "{requests} requests, {} countries, {} senders; database {:.0} MB, of them usage {:.0} MB",
                CALLING_CODES.len(),
                SENDERS.len() + 1,
                float(size) / 1e6,
                float(u64::try_from(usage)?) / 1e6
            ),
        })
    })
}

fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

/// A number of one of the countries, the first ones most often; half a million different ones.
fn phone(mixed: u64) -> PhoneNumber {
    let one = usize::try_from(mixed % 50).unwrap_or(0);
    let other = usize::try_from(mixed / 50 % 50).unwrap_or(0);
    let code = CALLING_CODES[one.min(other)];
    PhoneNumber::from_stored(code * 1_000_000_000 + 600_000_000 + mixed / 2_500 % 10_000)
}

/// One of four senders, or none.
fn sender(mixed: u64) -> Option<&'static str> {
    SENDERS
        .get(usize::try_from((mixed % 8).min(mixed / 8 % 8)).unwrap_or(0))
        .copied()
}

fn write_requests(directory: &Path, [bucket, account]: [i64; 2], count: i64, now: Timestamp) -> Result<()> {
    let mut database = Connection::open(directory.join("countersign.db"))?;
    database.pragma_update(None, "synchronous", "off")?;
    let transaction = database.transaction()?;
    {
        let mut insert = transaction.prepare(
            "INSERT INTO request (bucket, account_id, created_at, random, phone, delivery, delivery_at, fee, refunded, \
             verification, verification_at, wrong_attempts, events, sent_at, sender) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 10000, ?8, ?9, ?10, 0, 1, ?3, ?11)",
        )?;
        let begin = now.millis() - DAYS * DAY_MS - 4 * 3_600_000;
        for number in 0..count {
            let mixed = mix(number.unsigned_abs());
            let at = begin + i64::try_from(i128::from(number) * i128::from(DAYS * DAY_MS) / i128::from(count))?;
            // Of ten, seven read and verified, two delivered, one expired and refunded; times spread over two doublings.
            let (delivery, verification) = match mixed % 10 {
                0..7 => (6, 3),
                7..9 => (5, 1),
                _ => (7, 5),
            };
            let arrived = at + 1_200 + i64::try_from(mixed >> 8 & 0xfff)?;
            let valid = arrived + 8_000 + i64::try_from(mixed >> 20 & 0x7fff)?;
            insert.execute(params![
                bucket,
                account,
                at,
                mixed.cast_signed(),
                phone(mixed).digits().cast_signed(),
                delivery,
                arrived,
                i64::from(delivery == 7),
                verification,
                valid,
                sender(mixed >> 40),
            ])?;
        }
        transaction.execute("INSERT INTO meta (name, value) VALUES ('usage to fill', x'')", [])?;
    }
    transaction.commit()?;
    Ok(())
}

/// Asks for one page again and again, on one connection.
fn page(address: SocketAddr, zone: &str, name: &'static str, query: &str) -> Result<Figure> {
    let stream = TcpStream::connect(address).context("connecting")?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    let request = format!(
        "GET /account/statistics?{query} HTTP/1.1\r\nhost: localhost\r\n\
         cookie: countersign-session={secret}; countersign-zone={zone}\r\n\r\n"
    );
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..TIMES {
        let started = Instant::now();
        writer.write_all(request.as_bytes())?;
        bytes = read_answer(&mut reader)?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    let first = times[0];
    let mut sorted = times.clone();
    sorted.sort_by(f64::total_cmp);
    let p95 = sorted[TIMES * 95 / 100];
    Ok(Figure {
        name,
        target: Target::AtMost(PAGE_WITHIN_MS),
        value: p95,
        unit: "ms",
        detail: format!(
            "p95 of {TIMES}; p50 {:.1} ms, most {:.1} ms, the first {first:.1} ms; {:.0} KB",
            median(&times),
            largest(&times),
            float(bytes) / 1e3
        ),
    })
}

/// Reads one answer; how many bytes its body has.
fn read_answer(reader: &mut BufReader<TcpStream>) -> Result<u64> {
    let mut length = None;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    ensure!(line.contains(" 200 "), "a page was answered with {line}");
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let length = length.ok_or_else(|| anyhow!("a page has no length"))?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    ensure!(
        String::from_utf8_lossy(&body).contains("Messages sent"),
        "a page shows no figures"
    );
    Ok(u64::try_from(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_senders_are_spread_unevenly() {
        let of = |code: u64| {
            (0..10_000)
                .filter(|&n| phone(mix(n)).digits() / 1_000_000_000 == code)
                .count()
        };
        assert!(of(49) > 300 && of(255) < 50);
        assert!((0..1_000).any(|n| sender(mix(n) >> 40).is_none()));
    }
}
