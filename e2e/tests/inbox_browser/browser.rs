//! A headless Chromium, driven by its `WebDriver` over plain HTTP: no more than these tests need. Whatever happens to the
//! test, the browser is gone when its [`Browser`] is.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_e2e::http_client;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a condition on the page may take to come true. Far above what is promised: a loaded machine is no error.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with one window.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    client: reqwest::Client,
    /// Deleted after the browser has ended.
    profile: TempDir,
}

/// How large a page is shown, and in which colours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) phone: bool,
    pub(crate) dark: bool,
}

impl Browser {
    /// Starts a browser with a profile of its own.
    pub(crate) async fn start() -> Result<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver: install the packages chromium and chromium-driver, as ./test does")?;
        let port = match port_of(&mut driver) {
            Ok(port) => port,
            Err(error) => {
                let _ = driver.kill();
                let _ = driver.wait();
                return Err(error);
            }
        };
        let profile = TempDir::with_prefix("countersign-browser-")?;
        // The session has no name until the browser runs; from here on the driver ends with this value.
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
            client: http_client()?,
            profile,
        };
        let data_dir = browser.profile.path().display().to_string();
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
            "timeouts": { "script": PATIENCE.as_millis() },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let session = browser.ask("/session", &wanted).await?;
        session["sessionId"]
            .as_str()
            .context("a session's name")?
            .clone_into(&mut browser.session);
        Ok(browser)
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) -> Result<()> {
        self.command("url", &json!({ "url": url })).await.map(drop)
    }

    /// Runs a function's body in the page; answers what it returns.
    pub(crate) async fn run(&self, script: &str) -> Result<Value> {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
            .await
    }

    /// Waits until an expression is true in the page. The page looks itself, so nothing is missed between two looks.
    pub(crate) async fn wait_until(&self, expression: &str) -> Result<()> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             const look = () => {{ if ({expression}) done(true); else setTimeout(look, 10); }};
             look();"
        );
        match self
            .command("execute/async", &json!({ "script": script, "args": [] }))
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => {
                let page = self.run("return document.body.innerText").await.unwrap_or_default();
                bail!(
                    "never came true: {expression}\n{error}\nThe page says:\n{}",
                    page.as_str().unwrap_or_default()
                )
            }
        }
    }

    /// A command of the browser's own protocol.
    pub(crate) async fn devtools(&self, name: &str, parameters: Value) -> Result<Value> {
        self.command("goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
            .await
    }

    /// Presses keys, wherever the page has its focus.
    pub(crate) async fn press(&self, keys: &str) -> Result<()> {
        let actions: Vec<_> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({ "type": "keyDown", "value": key.to_string() }),
                    json!({ "type": "keyUp", "value": key.to_string() }),
                ]
            })
            .collect();
        let keyboard = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.command("actions", &keyboard).await.map(drop)
    }

    /// Shows the page at a size and in colours.
    pub(crate) async fn look(&self, look: Look) -> Result<()> {
        let metrics = json!({
            "width": look.width,
            "height": look.height,
            "deviceScaleFactor": 2,
            "mobile": look.phone,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await?;
        let scheme = if look.dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", media).await.map(drop)
    }

    /// Writes what is to be seen into a PNG file.
    pub(crate) async fn screenshot(&self, file: &Path) -> Result<()> {
        let shot = self
            .devtools("Page.captureScreenshot", json!({ "format": "png" }))
            .await?;
        let png = STANDARD.decode(shot["data"].as_str().context("a picture")?)?;
        std::fs::write(file, png).with_context(|| file.display().to_string())
    }

    async fn command(&self, name: &str, body: &Value) -> Result<Value> {
        self.ask(&format!("/session/{}/{name}", self.session), body).await
    }

    async fn ask(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self
            .client
            .post(format!("http://127.0.0.1:{}{path}", self.port))
            .timeout(2 * PATIENCE)
            .json(body)
            .send()
            .await?;
        let failed = !answer.status().is_success();
        let answer: Value = answer.json().await?;
        if failed {
            bail!("WebDriver {path}: {}", answer["value"]["message"]);
        }
        Ok(answer["value"].clone())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ending the session ends the browser. By hand, as nothing can be awaited here; the driver may be gone already.
        if !self.session.is_empty() {
            let _ = end_session(self.port, &self.session);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn end_session(port: u16, session: &str) -> Result<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    write!(
        connection,
        "DELETE /session/{session} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    Ok(())
}

/// The free port that the driver chose and prints.
fn port_of(driver: &mut Child) -> Result<u16> {
    let output = driver.stdout.take().context("the driver's output")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next().transpose()? {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let port = port.trim_end_matches('.').parse()?;
            // Swallows what else comes, so that the driver never blocks.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(port);
        }
    }
    bail!("chromedriver ended before it was ready")
}
