//! A headless Chromium, driven by its `WebDriver` over plain HTTP: no more than these tests need. Here is the session and
//! what runs in a page; `hand` is what a person does with keys and a mouse, `eye` what there is to be seen. Whatever
//! happens to the test, the browser is gone when its [`Browser`] is.

mod driver;
mod eye;
mod hand;

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::http_client;
use driver::Driver;

pub use eye::{Loaded, Look, Picture};
pub use hand::keys;

/// How long a condition on the page may take to come true. Far above what is promised: a loaded machine is no error.
const PATIENCE: Duration = Duration::from_secs(20);

/// How soon a page is looked at again for what it doesn't show yet.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A browser with one window, and the tabs that a test opens in it.
#[derive(Debug)]
pub struct Browser {
    driver: Driver,
    client: reqwest::Client,
    /// Deleted after the browser has ended.
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with a profile of its own.
    pub async fn start() -> Result<Self> {
        let profile = TempDir::with_prefix("countersign-browser-")?;
        let data_dir = profile.path().display().to_string();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--lang=en-GB",
            "--window-size=1280,800",
            &format!("--user-data-dir={data_dir}"),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            // A thing that a page is to show may be on its way: looking for it waits.
            "timeouts": { "script": PATIENCE.as_millis(), "implicit": PATIENCE.as_millis() },
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let client = http_client()?;
        let mut driver = Driver::start()?;
        let session = ask(&client, "POST", driver.url("/session"), &wanted).await?;
        driver.took(session["sessionId"].as_str().unwrap_or_default())?;
        Ok(Self {
            driver,
            client,
            _profile: profile,
        })
    }

    /// Opens a page and waits until it is loaded.
    pub async fn open(&self, url: &str) -> Result<()> {
        self.command("url", &json!({ "url": url })).await.map(drop)
    }

    /// Loads the page again.
    pub async fn reload(&self) -> Result<()> {
        self.command("refresh", &json!({})).await.map(drop)
    }

    /// Where the window is.
    pub async fn url(&self) -> Result<String> {
        let url = self.get("url").await?;
        Ok(url.as_str().unwrap_or_default().to_owned())
    }

    /// Runs a function's body in the page; answers what it returns, or what the promise that it returns comes to.
    pub async fn run(&self, script: &str) -> Result<Value> {
        self.run_with(script, json!([])).await
    }

    /// Like [`Browser::run`], with `arguments`.
    pub async fn run_with(&self, script: &str, arguments: Value) -> Result<Value> {
        self.command("execute/sync", &json!({ "script": script, "args": arguments }))
            .await
    }

    /// Waits until an expression is true in the page, which may go on to another page meanwhile. It is asked again and again:
    /// a script that waits in a page is lost with the page, and the driver then waits for it in vain.
    pub async fn wait_until(&self, expression: &str) -> Result<()> {
        let script = format!("return Boolean({expression})");
        let looked = async {
            loop {
                match self.run(&script).await {
                    Ok(Value::Bool(true)) => return Ok(()),
                    Ok(_) => {}
                    // The page that was asked is gone: its successor is asked.
                    Err(error) if is_unloaded(&error) => {}
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        };
        match tokio::time::timeout(PATIENCE, looked).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => bail!("never came true: {expression}\n{error}\n{}", self.told().await),
            Err(_) => bail!("never came true: {expression}\n{}", self.told().await),
        }
    }

    /// Waits until the window is at a path, without what follows it.
    pub async fn wait_for_path(&self, path: &str) -> Result<()> {
        self.wait_until(&format!("location.pathname === {}", json!(path))).await
    }

    /// A command of the browser's own protocol.
    pub async fn devtools(&self, name: &str, parameters: Value) -> Result<Value> {
        self.command("goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
            .await
    }

    /// Switches the pages' own scripts off, in this tab. What a test runs in a page still runs, but for timers: what waits
    /// for something asks again and again instead.
    pub async fn without_scripts(&self) -> Result<()> {
        let off = json!({ "value": true });
        self.devtools("Emulation.setScriptExecutionDisabled", off)
            .await
            .map(drop)
    }

    /// Where the page is and what it says, for a test's failure.
    async fn told(&self) -> String {
        let at = self.url().await.unwrap_or_default();
        let text = self.text().await.unwrap_or_default();
        format!("The page {at} says:\n{text}")
    }

    async fn get(&self, name: &str) -> Result<Value> {
        ask(&self.client, "GET", self.driver.of_session(name), &Value::Null).await
    }

    async fn delete(&self, name: &str) -> Result<Value> {
        ask(&self.client, "DELETE", self.driver.of_session(name), &Value::Null).await
    }

    async fn command(&self, name: &str, body: &Value) -> Result<Value> {
        ask(&self.client, "POST", self.driver.of_session(name), body).await
    }
}

/// What the driver says where a script's page went away under it.
fn is_unloaded(error: &anyhow::Error) -> bool {
    let text = error.to_string();
    text.contains("document unloaded")
        || text.contains("aborted by navigation")
        || text.contains("context was destroyed")
}

async fn ask(client: &reqwest::Client, method: &str, url: String, body: &Value) -> Result<Value> {
    let request = match method {
        "GET" => client.get(&url),
        "DELETE" => client.delete(&url),
        _ => client.post(&url).json(body),
    };
    let answer = request.timeout(2 * PATIENCE).send().await?;
    let failed = !answer.status().is_success();
    let answer: Value = answer.json().await?;
    if failed {
        let path = url.rsplit_once("/session/").map_or(&*url, |(_, path)| path);
        bail!("WebDriver {path}: {}", answer["value"]["message"]);
    }
    Ok(answer["value"].clone())
}
