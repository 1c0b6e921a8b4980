//! A person at a browser, with what she does more than once.

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Browser, Server};
use serde_json::json;

/// A person, and the browser before her.
pub(crate) struct Person {
    pub(crate) browser: Browser,
    url: String,
}

impl Person {
    /// She opens the start page.
    pub(crate) async fn arrives(server: &Server) -> Result<Self> {
        let person = Self {
            browser: Browser::start().await?,
            url: server.api_url().to_owned(),
        };
        let permissions =
            json!({ "origin": person.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
        person.browser.devtools("Browser.grantPermissions", permissions).await?;
        person.browser.open(&person.at("/")).await?;
        Ok(person)
    }

    /// The address of a path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Opens a number's inbox in a tab of its own; answers the tab that she comes from.
    pub(crate) async fn opens_inbox(&self, phone: &str) -> Result<String> {
        let before = self.browser.open_tab().await?;
        self.browser.open(&self.inbox(phone)).await?;
        Ok(before)
    }

    /// The same, with scripts off in the new tab, too.
    pub(crate) async fn opens_inbox_without_scripts(&self, phone: &str) -> Result<String> {
        let before = self.browser.open_tab().await?;
        self.browser.without_scripts().await?;
        self.browser.open(&self.inbox(phone)).await?;
        Ok(before)
    }

    fn inbox(&self, phone: &str) -> String {
        self.at(&format!("/inbox?phone={}", phone.replace('+', "%2B")))
    }

    /// Goes back to a tab once what she did in this one is done; answers this one.
    pub(crate) async fn back_to(&self, tab: &str) -> Result<String> {
        self.shows(tab).await
    }

    /// Goes to a tab; answers the one that she comes from.
    pub(crate) async fn shows(&self, tab: &str) -> Result<String> {
        let before = self.browser.tab().await?;
        self.browser.show_tab(tab).await?;
        Ok(before)
    }

    /// Answers what the first sign-in asks.
    pub(crate) async fn introduces_herself(&self) -> Result<()> {
        let browser = &self.browser;
        browser.fill("Name of the account", "Acme").await?;
        browser.fill("Company", "Acme Ltd").await?;
        browser.fill("Website", "https://acme.example").await?;
        browser.choose("Country", "United Kingdom").await?;
        browser
            .fill("What do you send codes for?", "Sign-in to our shop")
            .await?;
        browser.tick("I accept the").await?;
        browser.click("Open my account").await
    }

    /// Shows the live token and presses its button; answers what is on the clipboard.
    pub(crate) async fn copies_token(&self) -> Result<String> {
        let browser = &self.browser;
        browser.click("Show the live token").await?;
        browser.click("Copy live token").await?;
        browser
            .wait_until("document.getElementById('announce').textContent === 'Copied'")
            .await?;
        let copied = browser.run("return navigator.clipboard.readText()").await?;
        let copied = copied.as_str().context("a text on the clipboard")?;
        ensure!(
            copied == browser.text_of(".copy code").await?,
            "another text was copied: {copied}"
        );
        Ok(copied.to_owned())
    }
}
