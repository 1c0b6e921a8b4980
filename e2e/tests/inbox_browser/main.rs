//! The inbox page in a real browser: what a person sees, hears of and touches, against the real binary.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Api, Browser, Look, Options, Server};
use serde_json::{Value, json};

const PHONE: &str = "+391234567890";
const OTHER: &str = "+447400123456";

/// Sends a code that we choose; answers its request id.
async fn send(api: &Api, phone: &str, code: &str) -> Result<String> {
    let answer = api
        .call(
            "sendVerificationMessage",
            &json!({ "phone_number": phone, "code": code }),
        )
        .await?;
    let id = answer["result"]["request_id"].as_str();
    Ok(id.with_context(|| answer.to_string())?.to_owned())
}

async fn delivery_status(api: &Api, id: &str) -> Result<String> {
    let answer = api
        .call("checkVerificationStatus", &json!({ "request_id": id }))
        .await?;
    let status = answer["result"]["delivery_status"]["status"].as_str();
    Ok(status.with_context(|| answer.to_string())?.to_owned())
}

/// Asks until the status is there. It comes within milliseconds of what the page shows; the deadline is for a loaded machine.
async fn wait_for_status(api: &Api, id: &str, wanted: &str) -> Result<()> {
    let asked = async {
        while delivery_status(api, id).await? != wanted {}
        Ok(())
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), asked)
        .await
        .with_context(|| format!("{id} never became {wanted}"))?
}

fn inbox_of(server: &Server, phone: &str) -> String {
    format!("{}/inbox?phone={}", server.api_url(), phone.replace('+', "%2B"))
}

/// The page believes to be in the background until the test says otherwise.
async fn start_in_background(browser: &Browser) -> Result<()> {
    let script = "window.shown = 'hidden';
        Object.defineProperty(Document.prototype, 'visibilityState', { get: () => window.shown });";
    browser
        .devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }))
        .await
        .map(drop)
}

#[tokio::test]
async fn a_code_appears_without_a_reload_and_is_delivered_then_read() -> Result<()> {
    let server = Server::start(Options::default())?;
    let api = server.api()?;
    let browser = Browser::start().await?;
    start_in_background(&browser).await?;
    browser.open(&inbox_of(&server, PHONE)).await?;
    browser
        .wait_until("document.getElementById('live-word').textContent === 'Live'")
        .await?;
    browser.run("window.neverReloaded = true").await?;

    // An open inbox takes the message, even in the background.
    let id = send(&api, PHONE, "482913").await?;
    browser
        .wait_until("document.querySelector('.code')?.textContent === '482913'")
        .await?;
    browser.wait_until("document.querySelector('.chip.delivered')").await?;
    wait_for_status(&api, &id, "delivered").await?;
    browser.wait_until("document.title.startsWith('(1) ')").await?;

    // In the foreground it is read.
    browser
        .run("window.shown = 'visible'; document.dispatchEvent(new Event('visibilitychange'))")
        .await?;
    browser.wait_until("document.querySelector('.chip.read')").await?;
    ensure!(delivery_status(&api, &id).await? == "read");
    browser.wait_until("!document.title.startsWith('(')").await?;
    ensure!(
        browser.run("return window.neverReloaded").await? == true,
        "the page was reloaded"
    );
    Ok(())
}

#[tokio::test]
async fn the_list_of_numbers_lives_and_takes_nothing() -> Result<()> {
    let server = Server::start(Options::default())?;
    let api = server.api()?;
    let browser = Browser::start().await?;
    browser.open(&format!("{}/inbox", server.api_url())).await?;
    browser
        .wait_until("document.getElementById('live-word').textContent === 'Live'")
        .await?;
    let first = send(&api, PHONE, "1111").await?;
    browser
        .wait_until("document.querySelectorAll('.number').length === 1 && document.querySelector('.count').textContent.startsWith('1')")
        .await?;
    send(&api, OTHER, "2222").await?;
    // The number that was sent something last comes first.
    browser
        .wait_until("[...document.querySelectorAll('.who')].map(who => who.textContent).join() === '+44 7400 123456,+39 123 456 7890'")
        .await?;
    ensure!(delivery_status(&api, &first).await? == "sent");

    // By keyboard to the second number, whose inbox takes the message.
    browser.press("j").await?;
    browser
        .wait_until("document.querySelector('h1')?.textContent === '+44 7400 123456'")
        .await?;
    browser.press("j").await?;
    browser
        .wait_until("document.querySelector('h1')?.textContent === '+39 123 456 7890'")
        .await?;
    wait_for_status(&api, &first, "read").await
}

#[tokio::test]
async fn a_code_is_copied_by_button_and_by_key_and_says_so() -> Result<()> {
    let server = Server::start(Options::default())?;
    let api = server.api()?;
    let browser = Browser::start().await?;
    let permissions =
        json!({ "origin": server.api_url(), "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
    browser.devtools("Browser.grantPermissions", permissions).await?;
    send(&api, PHONE, "00712345").await?;
    browser.open(&inbox_of(&server, PHONE)).await?;
    browser
        .wait_until("document.querySelector('.code-line button')")
        .await?;
    // The word stands there for a moment only, so the page itself watches for it.
    let watch = "window.said = [];
        new MutationObserver(() => document.querySelectorAll('.copied').forEach(button =>
            window.said.push(button.dataset.copy + button.textContent.trim())
        )).observe(document.getElementById('messages'), { subtree: true, childList: true, attributes: true })";
    browser.run(watch).await?;
    browser
        .run("document.querySelector('.code-line button').click()")
        .await?;
    browser.wait_until("window.said.includes('00712345Copied')").await?;
    browser
        .wait_until("document.getElementById('announce').textContent === 'Copied'")
        .await?;
    ensure!(clipboard(&browser).await? == "00712345");
    browser
        .wait_until("document.querySelector('.code-line button').textContent.trim() === 'Copy'")
        .await?;

    send(&api, PHONE, "8888").await?;
    browser
        .wait_until("document.querySelectorAll('.code').length === 2")
        .await?;
    browser.press("c").await?;
    browser.wait_until("window.said.includes('8888Copied')").await?;
    ensure!(clipboard(&browser).await? == "8888", "c copies the newest code");
    Ok(())
}

async fn clipboard(browser: &Browser) -> Result<Value> {
    browser.run("return navigator.clipboard.readText()").await
}

#[tokio::test]
async fn the_time_left_counts_down_on_the_accounts_clock() -> Result<()> {
    let server = Server::start(Options::default())?;
    let api = server.api()?;
    let browser = Browser::start().await?;
    browser.open(&inbox_of(&server, PHONE)).await?;
    let parameters = json!({ "phone_number": PHONE, "code": "5555", "ttl": 600 });
    api.call("sendVerificationMessage", &parameters).await?;
    browser.wait_until("document.querySelector('[data-countdown]')").await?;
    browser
        .run("window.seen = document.querySelector('[data-countdown]').textContent")
        .await?;
    browser
        .wait_until("/^9:[0-5]\\d$/.test(window.seen) || window.seen === '10:00'")
        .await?;
    browser
        .wait_until("document.querySelector('[data-countdown]').textContent !== window.seen")
        .await?;
    // The account's clock jumps, and the page with it.
    api.advance_clock(540).await?;
    browser
        .wait_until("/^0:[0-5]\\d$/.test(document.querySelector('[data-countdown]')?.textContent)")
        .await?;
    api.advance_clock(60).await?;
    browser
        .wait_until("document.querySelector('.chip.expired')?.textContent === 'Code expired' && !document.querySelector('[data-countdown]')")
        .await
}

#[tokio::test]
async fn the_page_says_what_became_of_a_code_and_finds_its_way_back() -> Result<()> {
    let mut server = Server::start(Options::default())?;
    let api = server.api()?;
    let browser = Browser::start().await?;
    browser.open(&inbox_of(&server, PHONE)).await?;
    let id = send(&api, PHONE, "121212").await?;
    browser.wait_until("document.querySelector('.chip.read')").await?;
    api.call("checkVerificationStatus", &json!({ "request_id": id, "code": "1" }))
        .await?;
    browser
        .wait_until("document.querySelector('.chip.invalid')?.textContent === 'Wrong code'")
        .await?;
    api.call(
        "checkVerificationStatus",
        &json!({ "request_id": id, "code": "121212" }),
    )
    .await?;
    browser
        .wait_until("document.querySelector('.chip.valid')?.textContent === 'Code valid'")
        .await?;
    server.terminate()?;
    browser
        .wait_until("document.getElementById('live-word').textContent === 'Reconnecting…'")
        .await
}

/// The pictures that people look at: `COUNTERSIGN_SCREENSHOTS=DIR` names where they go, else they stay beside the build.
fn screenshots() -> Result<PathBuf> {
    let directory = std::env::var_os("COUNTERSIGN_SCREENSHOTS").map_or_else(
        || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("inbox-screenshots"),
        PathBuf::from,
    );
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// A sandbox in which something has happened.
async fn fill(server: &Server, api: &Api) -> Result<()> {
    server.cli_json(["sender", "add", "acme_shop", "--account", "+9996600000"])?;
    server.cli_json(["sender", "verify", "acme_shop"])?;
    for (phone, code) in [
        ("+4915123456789", "904417"),
        ("+9996610002", "111111"),
        ("+19995550123", "7310"),
        (OTHER, "55120934"),
    ] {
        send(api, phone, code).await?;
    }
    let wrong = send(api, PHONE, "620184").await?;
    api.call(
        "checkVerificationStatus",
        &json!({ "request_id": wrong, "code": "620148" }),
    )
    .await?;
    let right = send(api, PHONE, "338271").await?;
    api.call(
        "checkVerificationStatus",
        &json!({ "request_id": right, "code": "338271" }),
    )
    .await?;
    let parameters = json!({ "phone_number": PHONE, "code": "482913", "ttl": 300, "sender_username": "acme_shop" });
    api.call("sendVerificationMessage", &parameters).await?;
    Ok(())
}

#[tokio::test]
async fn it_fits_phones_and_desktops_in_light_and_dark() -> Result<()> {
    let server = Server::start(Options::default())?;
    let api = server.api()?;
    let browser = Browser::start().await?;
    let directory = screenshots()?;
    let looks = [
        (
            "phone-light",
            Look {
                width: 390,
                height: 844,
                phone: true,
                dark: false,
            },
        ),
        (
            "phone-dark",
            Look {
                width: 390,
                height: 844,
                phone: true,
                dark: true,
            },
        ),
        (
            "desktop-light",
            Look {
                width: 1280,
                height: 800,
                phone: false,
                dark: false,
            },
        ),
        (
            "desktop-dark",
            Look {
                width: 1280,
                height: 800,
                phone: false,
                dark: true,
            },
        ),
    ];
    let list = format!("{}/inbox", server.api_url());
    let mut pages = vec![("empty", list.clone()), ("no-messages", inbox_of(&server, PHONE))];
    for filled in [false, true] {
        if filled {
            fill(&server, &api).await?;
            pages = vec![
                ("list", list.clone()),
                ("conversation", inbox_of(&server, PHONE)),
                ("refused", format!("{list}?phone=12")),
            ];
        }
        for (page, url) in &pages {
            for (name, look) in looks {
                browser.look(look).await?;
                browser.open(url).await?;
                browser
                    .wait_until("document.getElementById('live-word').textContent === 'Live'")
                    .await?;
                if *page == "conversation" {
                    browser
                        .wait_until("document.querySelectorAll('.chip.read').length === 3")
                        .await?;
                }
                browser
                    .screenshot(&directory.join(format!("{page}-{name}.png")))
                    .await?;
                let over = "const page = document.documentElement;
                    return [page.scrollWidth - innerWidth, page.scrollHeight - innerHeight]";
                let over = browser.run(over).await?;
                ensure!(over == json!([0, 0]), "{page} is larger than {name} by {over}");
            }
        }
    }
    Ok(())
}
