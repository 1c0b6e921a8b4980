//! The process `chromedriver`, on a free port, with the one session that it serves. The session ends, and the process with
//! it, when the [`Driver`] is dropped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::PATIENCE;

/// The driver and its session.
#[derive(Debug)]
pub(super) struct Driver {
    process: Child,
    port: u16,
    /// Empty until the browser runs.
    session: String,
}

impl Driver {
    /// Starts the process; the session is the caller's to ask for.
    pub(super) fn start() -> Result<Self> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver: install the packages chromium and chromium-driver, as ./test does")?;
        match port_of(&mut process) {
            Ok(port) => Ok(Self {
                process,
                port,
                session: String::new(),
            }),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(error)
            }
        }
    }

    /// Notes the session, so that it ends with this value.
    pub(super) fn took(&mut self, session: &str) -> Result<()> {
        ensure!(!session.is_empty(), "the driver named no session");
        session.clone_into(&mut self.session);
        Ok(())
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn of_session(&self, command: &str) -> String {
        self.url(&format!("/session/{}/{command}", self.session))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Ending the session ends the browser. By hand, as nothing can be awaited here; the driver may be gone already.
        if !self.session.is_empty() {
            let _ = end_session(self.port, &self.session);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
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
