//! Every page of the site in a real browser: accessible in every look, small, quiet, and no wider than its window. The pages
//! are found by following links, so that a new one is looked at without being named here.

mod axe;
mod refused;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use axe::Axe;
use countersign_e2e::site::demo::{self, Demo};
use countersign_e2e::site::{self, Visit, Walk};
use countersign_e2e::{Browser, Look, Options, Server, Sink};

/// The document with all that it loads.
const PAGE_BUDGET_BYTES: u64 = 60 * 1024;
/// Documents, styles, scripts, icons: a page asks for no more than this.
const PAGE_BUDGET_FILES: usize = 8;

/// From the last byte of the document to the end of `load`. What is promised is 50 ms, which `page_times` measures on a machine
/// with nothing else to do; here other tests run beside it.
const READY_BUDGET_MS: f64 = 100.0;
/// Loads of a page of which the quickest counts: a page that is slow is slow each time.
const LOADS: usize = 25;
/// Entries of a full page of a statement.
const STATEMENT_ENTRIES: usize = 60;

/// Phone, tablet, desktop.
const WIDTHS: [(u32, u32); 3] = [(390, 844), (820, 1180), (1440, 900)];

/// Icons that the page names and doesn't have.
const MISSING_ICONS: &str = "
    return [...document.querySelectorAll('use')].map(use => use.getAttribute('href')).filter(href => !document.querySelector(href))";

/// Looks at pages, and collects whatever is wrong, so that a run tells all of it.
struct Inspector {
    browser: Browser,
    axe: Axe,
    url: String,
    /// What is wrong with a page, and in which looks.
    wrong: BTreeMap<(String, String), Vec<String>>,
    weights: String,
}

impl Inspector {
    /// A browser that is signed in as the visit is.
    async fn start(server: &Server, visit: &Visit) -> Result<Self> {
        let axe = Axe::read()?;
        let browser = Browser::start().await?;
        site::lend(visit, &browser, server.api_url()).await?;
        Ok(Self {
            browser,
            axe,
            url: server.api_url().to_owned(),
            wrong: BTreeMap::new(),
            weights: String::new(),
        })
    }

    /// Looks at the pages that a walk came to and that begin with a path.
    async fn look_at_all(&mut self, walk: Walk, root: &str) -> Result<()> {
        self.found(root, "", walk.dead);
        for page in walk.pages.iter().filter(|page| is_under(&page.path, root)) {
            self.look_at(&page.path, true).await?;
        }
        Ok(())
    }

    /// Looks at one page in all its looks. One that says what went wrong isn't quiet: the browser notes its status.
    async fn look_at(&mut self, path: &str, is_quiet: bool) -> Result<()> {
        self.browser.open(&format!("{}{path}", self.url)).await?;
        self.weigh(path).await?;
        self.time(path).await?;
        self.look_here(path).await?;
        let complaints = self.browser.complaints().await?;
        if is_quiet {
            self.found(path, "", complaints);
        }
        Ok(())
    }

    /// Looks at the page that is open.
    async fn look_here(&mut self, path: &str) -> Result<()> {
        self.axe.enter(&self.browser).await?;
        let missing = self.browser.run(MISSING_ICONS).await?;
        let missing = missing.as_array().into_iter().flatten();
        self.found(path, "", missing.map(|icon| format!("has no icon {icon}")).collect());
        for (width, height) in WIDTHS {
            for dark in [false, true] {
                let phone = width < 800;
                self.browser
                    .look(Look {
                        width,
                        height,
                        phone,
                        dark,
                    })
                    .await?;
                let look = format!("{width} px, {}", if dark { "dark" } else { "light" });
                let over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
                let over = self.browser.run(over).await?.as_i64().unwrap_or(i64::MAX);
                if over > 0 {
                    self.found(path, &look, vec![format!("is {over} px wider than the window")]);
                }
                if width != 820 {
                    let violations = axe::violations(&self.browser).await?;
                    self.found(path, &look, violations);
                }
            }
        }
        Ok(())
    }

    /// Loads the page again until it is ready in time.
    async fn time(&mut self, path: &str) -> Result<()> {
        let mut quickest = self.browser.loaded().await?.ready_ms;
        let mut loads = 1;
        while quickest > READY_BUDGET_MS && loads < LOADS {
            self.browser.reload().await?;
            quickest = quickest.min(self.browser.loaded().await?.ready_ms);
            loads += 1;
        }
        if quickest > READY_BUDGET_MS {
            let what = format!("is ready {quickest:.1} ms after its document came, at the quickest of {loads} loads");
            self.found(path, "", vec![what]);
        }
        Ok(())
    }

    async fn weigh(&mut self, path: &str) -> Result<()> {
        let loaded = self.browser.loaded().await?;
        let bytes = loaded.bytes();
        let _ = writeln!(
            self.weights,
            "{bytes:>7} B, {:>2} files, ready in {:>5.1} ms  {path}",
            loaded.files.len() + 1,
            loaded.ready_ms
        );
        if bytes > PAGE_BUDGET_BYTES {
            let most: Vec<_> = loaded
                .files
                .iter()
                .map(|(file, bytes)| format!("{file} {bytes}"))
                .collect();
            let what = format!("weighs {bytes} bytes: document {}, {most:?}", loaded.document_bytes);
            self.found(path, "", vec![what]);
        }
        if loaded.files.len() >= PAGE_BUDGET_FILES {
            self.found(
                path,
                "",
                vec![format!("loads {} files: {:?}", loaded.files.len(), loaded.files)],
            );
        }
        let foreign: Vec<_> = loaded
            .files
            .iter()
            .filter(|(file, _)| !file.starts_with(&self.url))
            .map(|(file, _)| format!("loads {file} from elsewhere"))
            .collect();
        self.found(path, "", foreign);
        Ok(())
    }

    fn found(&mut self, path: &str, look: &str, what: Vec<String>) {
        for what in what {
            let looks = self.wrong.entry((path.to_owned(), what)).or_default();
            looks.push(look.to_owned());
        }
    }

    fn conclude(self) -> Result<()> {
        eprintln!("{}", self.weights);
        let wrong: Vec<_> = self
            .wrong
            .iter()
            .map(|((path, what), looks)| format!("{path}: {what} [{}]", looks.join("; ")))
            .collect();
        ensure!(wrong.is_empty(), "{} mistakes:\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    }
}

#[tokio::test]
async fn pages_for_everybody_are_accessible_small_and_quiet() -> Result<()> {
    let server = Server::start(Options::default())?;
    let mut visit = Visit::new(server.api_url())?;
    let walk = site::walk(&mut visit, &["/"]).await?;
    let mut inspector = Inspector::start(&server, &visit).await?;
    inspector.look_at_all(walk, "/").await?;
    inspector.look_at("/account/no-such-page", false).await?;
    inspector.conclude()
}

#[tokio::test]
async fn an_owners_pages_are_accessible_small_and_quiet_while_empty() -> Result<()> {
    let server = Server::start(Options::default())?;
    let mut visit = site::owner(&server).await?;
    let walk = site::walk(&mut visit, &["/account"]).await?;
    let mut inspector = Inspector::start(&server, &visit).await?;
    inspector.look_at_all(walk, "/account").await?;
    inspector.conclude()
}

#[tokio::test]
async fn an_owners_pages_are_accessible_small_and_quiet_when_a_month_has_passed() -> Result<()> {
    let server = Server::start(Options::default())?;
    a_month(&server).await?;
    let mut visit = site::owner(&server).await?;
    let walk = site::walk(&mut visit, &["/account"]).await?;
    let mut inspector = Inspector::start(&server, &visit).await?;
    inspector.look_at_all(walk, "/account").await?;
    let (statement, entries) = fullest_statement(&mut visit).await?;
    ensure!(entries >= STATEMENT_ENTRIES, "{statement} has {entries} entries only");
    inspector.look_at(&statement, true).await?;
    inspector.conclude()
}

/// The statement with the longest first page: its path, and how many entries that has.
async fn fullest_statement(visit: &mut Visit) -> Result<(String, usize)> {
    let mut fullest = (String::new(), 0);
    let list = visit.get("/account/balance/statements").await?;
    let is_statement = |link: &String| link.starts_with("/account/balance/statements/") && !link.contains('.');
    for path in site::html::links(&list.body).into_iter().filter(is_statement) {
        let page = visit.get(&path).await?;
        let entries = page.body.split("id=\"entries\"").nth(1).unwrap_or_default();
        let entries = entries.matches("<tr").count().saturating_sub(1);
        if entries > fullest.1 {
            fullest = (path, entries);
        }
    }
    Ok(fullest)
}

#[tokio::test]
async fn the_operators_pages_are_accessible_small_and_quiet() -> Result<()> {
    let server = Server::start(Options::default())?;
    a_month(&server).await?;
    let mut visit = site::operator(&server).await?;
    let walk = site::walk(&mut visit, &["/operator"]).await?;
    let mut inspector = Inspector::start(&server, &visit).await?;
    inspector.look_at_all(walk, "/operator").await?;
    inspector.conclude()
}

/// Whether a page is one of those that begin with a path. Those for everybody are looked at once.
fn is_under(path: &str, root: &str) -> bool {
    let rest = path.strip_prefix(root);
    root == "/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

async fn a_month(server: &Server) -> Result<()> {
    let sink = Sink::start().await?;
    let happened = Demo {
        requests: 120,
        days: 30,
        callback_url: Some(sink.url().to_owned()),
        lost_callback_url: None,
    };
    demo::happen(server, &server.api()?, &happened).await
}
