//! A sandbox of Countersign for one test: on a free port, with its data in a directory that goes with it. It is small enough to be copied
//! into a project's own tests.

use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use countersign_client::Client;
use tempfile::TempDir;

/// A sandbox that ends when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    server: Child,
    /// Where the app under test sends its calls.
    pub url: String,
    /// With what it opens them.
    pub token: String,
    _directory: TempDir,
}

impl Sandbox {
    /// Starts one and waits until it takes calls.
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let directory = TempDir::new()?;
        let mut server = Command::new(program())
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        // One line once it takes calls; none if it could not start: its own words are in the test's output.
        if let Some(output) = server.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let ready: serde_json::Value = serde_json::from_str(&line).map_err(|_| "the sandbox did not start")?;
        let text = |name: &str| ready[name].as_str().map(str::to_owned).ok_or("no readiness line");
        Ok(Self {
            url: text("api_url")?,
            token: text("token")?,
            server,
            _directory: directory,
        })
    }

    /// A client of it.
    pub fn client(&self) -> Result<Client, Box<dyn Error>> {
        Ok(Client::new(self.url.as_str(), self.token.as_str())?)
    }

    /// Moves the account's clock. What is due then is done before this returns: a test never has to wait.
    pub async fn advance_clock(&self, seconds: u32) -> Result<(), Box<dyn Error>> {
        let clock = reqwest::Client::builder().no_proxy().build()?;
        let request = clock
            .post(format!("{}/sandbox/clock", self.url))
            .bearer_auth(&self.token);
        let answer: serde_json::Value = request
            .json(&serde_json::json!({ "advance_seconds": seconds }))
            .send()
            .await?
            .json()
            .await?;
        if answer["ok"] == true {
            Ok(())
        } else {
            Err(answer.to_string().into())
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It may have ended already; either way nothing of it stays behind.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// `COUNTERSIGN_BIN`, else the one that was built in the same workspace, else that of the `PATH`.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("COUNTERSIGN_BIN") {
        return named.into();
    }
    // target/PROFILE/deps/this-test
    let own = std::env::current_exe().unwrap_or_default();
    let built = own.ancestors().nth(2).map(|profile| profile.join("countersign"));
    built
        .filter(|built| built.is_file())
        .unwrap_or_else(|| "countersign".into())
}
