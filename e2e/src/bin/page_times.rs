//! How soon each page of the site is ready: from the last byte of the document to the end of `load`, in a real browser over
//! loopback. `cargo run -p countersign-e2e --bin page_times`; a number behind `--` says how often each page is loaded (12 unless
//! said), `COUNTERSIGN_BIN` names the server to ask, which should be a release build. The first load of a page is told apart:
//! it may fetch what the later ones have in their cache.

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::site::demo::{self, Demo};
use countersign_e2e::site::{self, Visit};
use countersign_e2e::{Browser, Options, Server, Sink};

/// Loads of each page behind the first.
const LOADS: usize = 12;

/// What one page took, in milliseconds.
struct Times {
    path: String,
    bytes: u64,
    files: usize,
    first: f64,
    /// The fastest first.
    later: Vec<f64>,
    /// From asking for the document to its last byte: the server's part.
    answered: Vec<f64>,
}

impl Times {
    async fn take(browser: &Browser, url: &str, path: &str, loads: usize) -> Result<Self> {
        let mut all = Vec::new();
        let mut answered = Vec::new();
        let (mut bytes, mut files) = (0, 0);
        for _ in 0..=loads {
            browser.open(&format!("{url}{path}")).await?;
            let loaded = browser.loaded().await?;
            (bytes, files) = (loaded.bytes(), loaded.files.len() + 1);
            all.push(loaded.ready_ms);
            answered.push(loaded.answered_ms);
        }
        let first = all.remove(0);
        all.sort_by(f64::total_cmp);
        answered.sort_by(f64::total_cmp);
        Ok(Self {
            path: path.to_owned(),
            bytes,
            files,
            first,
            later: all,
            answered,
        })
    }
}

/// The value below which so many of a hundred lie.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

#[tokio::main]
async fn main() -> Result<()> {
    let loads = match std::env::args().nth(1) {
        Some(number) => number.parse().context("how often each page is loaded: a number")?,
        None => LOADS,
    };
    ensure!((1..=1000).contains(&loads), "each page is loaded 1 to 1000 times");
    let server = Server::start(Options::default())?;
    let sink = Sink::start().await?;
    let happened = Demo {
        requests: 120,
        days: 30,
        callback_url: Some(sink.url().to_owned()),
        lost_callback_url: None,
    };
    demo::happen(&server, &server.api()?, &happened).await?;
    let url = server.api_url().to_owned();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "first  median     p95  answer     bytes  files  page (ms; {loads} loads)"
    )?;
    let mut medians = Vec::new();
    for start in ["/", "/account", "/operator"] {
        let mut visit = match start {
            "/account" => site::owner(&server).await?,
            "/operator" => site::operator(&server).await?,
            _ => Visit::new(&url)?,
        };
        let walk = site::walk(&mut visit, &[start]).await?;
        // A browser of its own, so that the first page finds nothing in the cache.
        let browser = Browser::start().await?;
        site::lend(&visit, &browser, &url).await?;
        let belongs = |path: &str| start == "/" || path == start || path.starts_with(&format!("{start}/"));
        for page in walk.pages.iter().filter(|page| belongs(&page.path)) {
            let times = Times::take(&browser, &url, &page.path, loads).await?;
            let (median, slow) = (percentile(&times.later, 50), percentile(&times.later, 95));
            writeln!(
                out,
                "{:>5.1}  {median:>6.1}  {slow:>6.1}  {:>6.1}  {:>8}  {:>5}  {}",
                times.first,
                percentile(&times.answered, 50),
                times.bytes,
                times.files,
                times.path
            )?;
            medians.push((median, slow));
        }
    }
    let highest = |of: fn(&(f64, f64)) -> f64| medians.iter().map(of).fold(0.0, f64::max);
    writeln!(
        out,
        "{} pages; the highest median is {:.1} ms, the highest p95 {:.1} ms",
        medians.len(),
        highest(|times| times.0),
        highest(|times| times.1)
    )?;
    Ok(())
}
