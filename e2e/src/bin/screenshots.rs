//! Makes the pictures in `docs/screenshots`: a sandbox in which a month has happened, and every page of the site on a phone, a
//! tablet and a desktop, in light and dark. `cargo run -p countersign-e2e --bin screenshots`; with `COUNTERSIGN_SCREENSHOTS=DIR`
//! they go to DIR instead, whole and sharp, to be looked at, and words behind `--` name the pages that are taken then
//! (`account-senders` names `account-senders-one`, too).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::browser::Picture;
use countersign_e2e::site::demo::{self, Demo};
use countersign_e2e::site::{self, Visit};
use countersign_e2e::{Browser, Look, Options, Server, Sink};

/// All pictures together; what doesn't fit is taken again with a lower quality.
const MAX_BYTES: usize = 2_000_000;
/// WebP qualities, the best first.
const QUALITIES: [u32; 6] = [65, 50, 35, 20, 14, 8];
/// Width and height of the window, how much of a long page is shown, and how large its picture is.
const SIZES: [(u32, u32, u32, f64); 3] = [(390, 844, 844, 0.8), (820, 1180, 900, 0.6), (1440, 900, 900, 0.5)];
/// A number that has no account yet.
const NEWCOMER: &str = "+447400123456";
/// Pages that look like another one.
const ALIKE: [&str; 28] = [
    "/operator/texts/de",
    "/operator/texts/en",
    "/operator/texts/es",
    "/operator/texts/pt",
    "/operator/texts/ru",
    "/docs/channel-email",
    "/docs/channel-sms-http",
    "/docs/channel-smpp",
    "/docs/channel-telegram-bot",
    "/docs/channel-telegram-gateway",
    "/docs/channel-webhook",
    "/docs/channel-whatsapp",
    "/docs/channels",
    "/docs/delivery-reports",
    "/docs/routes",
    "/docs/texts",
    "/docs/tokens",
    "/docs/management-api",
    "/docs/senders",
    "/docs/benchmarks",
    "/docs/cli",
    "/docs/errors",
    "/docs/inbox",
    "/docs/migration",
    "/docs/money",
    "/docs/self-hosting",
    "/docs/sandbox",
    "/docs/statistics",
];

/// Takes pictures and keeps them until it is known how good they may be.
struct Camera {
    browser: Browser,
    url: String,
    /// Where whole pictures go, instead of small ones.
    whole: Option<PathBuf>,
    /// Beginnings of the pages that are taken; all where there is none.
    only: Vec<String>,
    /// By file name, one for each quality.
    taken: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Camera {
    async fn open(&mut self, name: &str, path: &str) -> Result<()> {
        self.browser.open(&format!("{}{path}", self.url)).await?;
        self.take(name).await
    }

    /// Takes the page that is open, in every look.
    async fn take(&mut self, name: &str) -> Result<()> {
        if !self.only.is_empty() && !self.only.iter().any(|only| name.starts_with(only)) {
            return Ok(());
        }
        for (width, height, most, scale) in SIZES {
            for dark in [false, true] {
                let look = Look {
                    width,
                    height,
                    phone: width < 800,
                    dark,
                };
                self.browser.look_at_scale(look, 1.0).await?;
                if !dark {
                    // What a page does as it opens, it does for this width.
                    self.browser.reload().await?;
                }
                self.browser.run("scrollTo(0, 0)").await?;
                let file = format!("{name}-{width}-{}", if dark { "dark" } else { "light" });
                if let Some(directory) = &self.whole {
                    let picture = Picture {
                        quality: None,
                        height: Some(8000),
                        scale: 1.0,
                    };
                    std::fs::write(
                        directory.join(format!("{file}.png")),
                        self.browser.picture(picture).await?,
                    )?;
                    continue;
                }
                let mut pictures = Vec::new();
                for quality in QUALITIES {
                    let picture = Picture {
                        quality: Some(quality),
                        height: Some(most),
                        scale,
                    };
                    pictures.push(self.browser.picture(picture).await?);
                }
                self.taken.insert(format!("{file}.webp"), pictures);
            }
        }
        writeln!(std::io::stdout(), "{name}")?;
        Ok(())
    }

    /// Writes all pictures with the best quality in which they fit together.
    fn write(self, directory: &Path) -> Result<()> {
        if self.whole.is_some() {
            return Ok(());
        }
        let weight = |quality: usize| {
            self.taken
                .values()
                .map(|pictures| pictures[quality].len())
                .sum::<usize>()
        };
        let quality = (0..QUALITIES.len())
            .find(|quality| weight(*quality) <= MAX_BYTES)
            .with_context(|| {
                let weights: Vec<_> = (0..QUALITIES.len()).map(weight).collect();
                format!(
                    "{} pictures don't fit into {MAX_BYTES} bytes: {weights:?}",
                    self.taken.len()
                )
            })?;
        std::fs::create_dir_all(directory)?;
        for old in std::fs::read_dir(directory)? {
            let old = old?.path();
            if old.extension().is_some_and(|extension| extension == "webp") {
                std::fs::remove_file(old)?;
            }
        }
        for (file, pictures) in &self.taken {
            std::fs::write(directory.join(file), &pictures[quality])?;
        }
        writeln!(
            std::io::stdout(),
            "{} pictures, {} bytes, quality {}",
            self.taken.len(),
            weight(quality),
            QUALITIES[quality]
        )?;
        Ok(())
    }
}

/// `/account/messages/{}` is called `account-messages-one`.
fn name_of(shape: &str) -> String {
    let name = shape.trim_start_matches('/').replace('/', "-").replace("{}", "one");
    if name.is_empty() { "start".to_owned() } else { name }
}

async fn take_all(camera: &mut Camera, visit: &mut Visit, start: &str) -> Result<()> {
    let walk = site::walk(visit, &[start]).await?;
    ensure!(walk.dead.is_empty(), "links lead nowhere: {:?}", walk.dead);
    site::lend(visit, &camera.browser, &camera.url).await?;
    for page in walk.pages {
        let belongs = start == "/" || page.path == start || page.path.starts_with(&format!("{start}/"));
        if belongs && !ALIKE.contains(&page.path.as_str()) {
            camera.open(&name_of(&page.shape), &page.path).await?;
        }
    }
    Ok(())
}

/// Somebody who signs up: what she sees on the way.
async fn take_sign_up(camera: &mut Camera) -> Result<()> {
    let url = camera.url.clone();
    camera.browser.open(&format!("{url}/login")).await?;
    camera.browser.fill("Phone number", NEWCOMER).await?;
    camera.browser.click("Continue").await?;
    camera.browser.sees("Confirm on your phone").await?;
    camera.take("login-wait").await?;
    let waiting = camera.browser.open_tab().await?;
    let inbox = format!("{url}/inbox?phone={}", NEWCOMER.replace('+', "%2B"));
    camera.browser.open(&inbox).await?;
    camera.browser.wait_until("document.querySelector('.answers')").await?;
    camera.take("inbox-sign-in").await?;
    camera.browser.click("Confirm").await?;
    camera.browser.show_tab(&waiting).await?;
    camera.browser.wait_for_path("/account/welcome").await?;
    camera.take("account-welcome").await?;
    camera.browser.fill("Name of the account", "Acme").await?;
    camera
        .browser
        .fill("What do you send codes for?", "Sign-in to our shop")
        .await?;
    camera.browser.tick("I accept the").await?;
    camera.browser.click("Open my account").await?;
    camera.browser.wait_for_path("/account").await?;
    for place in ["", "/messages", "/statistics", "/balance"] {
        camera
            .open(
                &format!("account{}-empty", place.replace('/', "-")),
                &format!("/account{place}"),
            )
            .await?;
    }
    camera.browser.forget_cookies().await
}

/// Orders, other accounts, and reports that were lost.
async fn more_happens(server: &Server) -> Result<()> {
    let mut owner = site::owner(server).await?;
    for amount in ["120", "50"] {
        let form = owner.get("/account/balance").await?.form("/account/balance/orders")?;
        owner.send(&form.with("amount", amount)?).await?;
    }
    let mut operator = site::operator(server).await?;
    let orders = operator.get("/operator/orders").await?;
    let confirm = orders
        .forms()
        .into_iter()
        .find(|form| form.action.ends_with("/confirm"));
    operator.send(&confirm.context("an order to confirm")?).await?;
    for (phone, name, credit) in [
        ("+4915123456789", "Nordwind Versand", "40"),
        ("+33612345678", "Boulangerie Martin", "15.5"),
        ("+5511912345678", "Loja do Porto", "1200"),
        ("+919876543210", "Saffron Rides", "0"),
    ] {
        server.cli_json([
            "account", "create", "--phone", phone, "--name", name, "--credit", credit,
        ])?;
    }
    // Ten retries, the last of them ten seconds after the one before.
    for _ in 0..240 {
        let pending = server.cli_json(["reports", "list", "--state", "pending"])?;
        if pending.as_array().is_some_and(Vec::is_empty) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/screenshots");
    let whole = std::env::var_os("COUNTERSIGN_SCREENSHOTS").map(PathBuf::from);
    if let Some(whole) = &whole {
        std::fs::create_dir_all(whole)?;
    }
    let only: Vec<String> = std::env::args().skip(1).collect();
    ensure!(
        only.is_empty() || whole.is_some(),
        "docs/screenshots has all pages: name some of them with COUNTERSIGN_SCREENSHOTS=DIR"
    );
    let scratch = tempfile::TempDir::new()?;
    let config = scratch.path().join("countersign.toml");
    std::fs::write(
        &config,
        "[callbacks]\nretry_delays_seconds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n",
    )?;
    let server = Server::start(Options {
        args: vec!["--config".to_owned(), config.display().to_string()],
        ..Options::default()
    })?;
    let sink = Sink::start().await?;
    let deaf = Sink::start().await?;
    deaf.answer(reqwest::StatusCode::BAD_GATEWAY);
    let happened = Demo {
        requests: 420,
        days: 30,
        callback_url: Some(sink.url().to_owned()),
        lost_callback_url: Some(deaf.url().to_owned()),
    };
    writeln!(std::io::stdout(), "A month happens …")?;
    demo::happen(&server, &server.api()?, &happened).await?;
    more_happens(&server).await?;

    let url = server.api_url().to_owned();
    let mut camera = Camera {
        browser: Browser::start().await?,
        url: url.clone(),
        whole,
        only,
        taken: BTreeMap::new(),
    };
    take_all(&mut camera, &mut Visit::new(&url)?, "/").await?;
    camera.open("error", "/no-such-page").await?;
    take_sign_up(&mut camera).await?;
    take_all(&mut camera, &mut site::owner(&server).await?, "/account").await?;
    take_all(&mut camera, &mut site::operator(&server).await?, "/operator").await?;
    camera.write(&directory)
}
