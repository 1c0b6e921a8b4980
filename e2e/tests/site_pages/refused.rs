//! Pages that no link leads to: those of a sign-in, and forms that were refused. Each is brought about as a person would, and
//! then held to what every page is held to.

use anyhow::{Result, ensure};
use countersign_e2e::{Options, Server, site};

use super::Inspector;

const NEWCOMER: &str = "+447400123456";

impl Inspector {
    /// Fills a form on the page and sends it: the answer must be a refusal. What a browser would refuse by itself is sent, too.
    async fn look_at_refusal(&mut self, path: &str, typed: &[(&str, &str)], button: &str) -> Result<()> {
        self.browser.open(&format!("{}{path}", self.url)).await?;
        self.refuse_here(path, typed, button).await
    }

    async fn refuse_here(&mut self, path: &str, typed: &[(&str, &str)], button: &str) -> Result<()> {
        let before = self
            .browser
            .run("return document.querySelector('[aria-invalid]') === null")
            .await?;
        ensure!(before == true, "{path} complains before anything was sent");
        self.browser
            .run("for (const form of document.forms) form.noValidate = true; for (const one of document.querySelectorAll('details')) one.open = true")
            .await?;
        for (label, text) in typed {
            self.browser.fill(label, text).await?;
        }
        self.browser.click(button).await?;
        let told = "performance.getEntriesByType('navigation')[0].responseStatus === 422 && document.querySelector('[aria-invalid]')";
        self.browser.wait_until(told).await?;
        let name = format!("{path}, “{button}” refused");
        self.look_at_this(&name).await
    }

    /// Weighs and looks at the page that is open.
    async fn look_at_this(&mut self, name: &str) -> Result<()> {
        self.weigh(name).await?;
        self.look_here(name).await?;
        // The browser notes the status of a refusal, and nothing else.
        let complaints = self.browser.complaints().await?;
        let unexpected = complaints.into_iter().filter(|line| !line.contains("422")).collect();
        self.found(name, "", unexpected);
        Ok(())
    }
}

#[tokio::test]
async fn the_pages_of_a_sign_in_are_accessible_small_and_quiet() -> Result<()> {
    let server = Server::start(Options::default())?;
    let visit = site::Visit::new(server.api_url())?;
    let mut inspector = Inspector::start(&server, &visit).await?;
    let url = server.api_url();
    inspector
        .look_at_refusal("/login", &[("Phone number", "12")], "Continue")
        .await?;
    inspector.browser.open(&format!("{url}/login")).await?;
    inspector.browser.fill("Phone number", NEWCOMER).await?;
    inspector.browser.click("Continue").await?;
    inspector.browser.wait_for_path("/login/wait").await?;
    inspector.look_at_this("/login/wait").await?;
    inspector
        .refuse_here("/login/wait", &[("Or type the code", "12")], "Sign in with the code")
        .await?;

    let waiting = inspector.browser.open_tab().await?;
    let inbox = format!("{url}/inbox?phone={}", NEWCOMER.replace('+', "%2B"));
    inspector.browser.open(&inbox).await?;
    inspector.browser.click("Confirm").await?;
    inspector
        .browser
        .wait_until("!document.querySelector('.answers')")
        .await?;
    inspector.browser.show_tab(&waiting).await?;
    inspector.browser.wait_for_path("/account/welcome").await?;
    inspector.browser.sees("Open my account").await?;
    inspector.look_at_this("/account/welcome").await?;
    inspector
        .refuse_here(
            "/account/welcome",
            &[("Name of the account", ""), ("Website", "no website")],
            "Open my account",
        )
        .await?;
    inspector.conclude()
}

#[tokio::test]
async fn an_owners_refused_forms_are_accessible_small_and_quiet() -> Result<()> {
    let server = Server::start(Options::default())?;
    server.cli_json(["sender", "add", "acme_shop", "--account", site::OWNER])?;
    let visit = site::owner(&server).await?;
    let mut inspector = Inspector::start(&server, &visit).await?;
    let long = "x".repeat(600);
    for (path, typed, button) in [
        (
            "/account/api",
            &[("Addresses and ranges", "here")][..],
            "Save addresses",
        ),
        (
            "/account/api",
            &[("Callback URL", "ftp://example.com")],
            "Send a test ping",
        ),
        (
            "/account/api",
            &[("Tell me below", "much"), ("Report to", "nowhere")],
            "Save",
        ),
        (
            "/account/senders",
            &[
                ("Username", "A!"),
                ("Display name", "Acme"),
                ("Or a colour", "#ffffff"),
                ("Support link", "help"),
            ],
            "Register",
        ),
        ("/account/senders/acme_shop", &[("Support link", "help")], "Save"),
        (
            "/account/senders/acme_shop",
            &[("What shows that this name", long.as_str())],
            "Request verification",
        ),
        ("/account/guard", &[("Country or prefix", "Germany")], "Add the rule"),
        ("/account/balance", &[("Amount in US dollars", "much")], "Order credit"),
        ("/account/settings", &[("Name of the account", "")], "Save"),
        (
            "/account/settings",
            &[
                ("Host name of your website", "https://acme.example"),
                ("Hash of your Android app", "short"),
            ],
            "Save for new messages",
        ),
        (
            "/account/settings",
            &[("Type the last four", "1234")],
            "Close it for good",
        ),
    ] {
        inspector.look_at_refusal(path, typed, button).await?;
    }
    inspector.conclude()
}

#[tokio::test]
async fn the_operators_refused_forms_are_accessible_small_and_quiet() -> Result<()> {
    let server = Server::start(Options::default())?;
    let mut visit = site::operator(&server).await?;
    let accounts = visit.get("/operator/accounts").await?;
    let account = site::html::links(&accounts.body)
        .into_iter()
        .find(|link| link.starts_with("/operator/accounts/"));
    let account = account.unwrap_or_default();
    let guard = format!("{account}/guard");
    let mut inspector = Inspector::start(&server, &visit).await?;
    for (path, typed, button) in [
        (guard.as_str(), &[("Country or prefix", "Germany")][..], "Add the rule"),
        (account.as_str(), &[("Amount in dollars", "much")][..], "Add credit"),
        ("/operator/prices", &[("Number prefix", "banana")], "Set the price"),
    ] {
        inspector.look_at_refusal(path, typed, button).await?;
    }
    inspector.conclude()
}
