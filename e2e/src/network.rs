//! Networks that can be cut (Linux, as root): a test that runs in a network of its own, with a machine at the other end of a cable.
//! Both are namespaces without a name, so they vanish with the last process in them, however that ends.

use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::binary::binary;

/// Says to a test that it runs in its own network already.
const INSIDE: &str = "COUNTERSIGN_TEST_OWN_NETWORK";
/// The test's own end of the cable.
const NEAR: &str = "10.77.0.1";

/// Runs a test in a network of its own, in which only its own servers are: the test binary runs this one test once more, in there.
/// `false`, and nothing was tried, where the system permits no namespaces.
pub fn in_own_network(test: &str, body: impl Future<Output = Result<()>>) -> Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        ip(&[], &["link", "set", "lo", "up"])?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        return runtime.block_on(body).map(|()| true);
    }
    if !permitted() {
        return Ok(false);
    }
    // Built out here: in there cargo would reach no registry.
    let status = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env("COUNTERSIGN_BIN", binary()?)
        .env(INSIDE, "1")
        .status()
        .context("unshare")?;
    ensure!(status.success(), "in its own network the test ended with {status}");
    Ok(true)
}

fn permitted() -> bool {
    let tried = Command::new("unshare")
        .args(["--net", "ip", "link", "set", "lo", "up"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// What of a cable is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing comes through, in either direction, and nobody is told.
    Both,
    /// The far end hears everything, and its answers are lost: what it was asked to do, it does.
    Answers,
}

/// A cable from this test's own network to another machine.
#[derive(Debug)]
pub struct Cable {
    /// Holds the far namespace, and ends when its standard input closes.
    keeper: Child,
    cut: Option<Cut>,
}

impl Cable {
    /// The far end's address.
    pub const FAR: &str = "10.77.0.2";

    /// Lays it. Only for a test inside of [`in_own_network`]: elsewhere it would change the machine's own network.
    pub fn lay() -> Result<Self> {
        ensure!(std::env::var_os(INSIDE).is_some(), "a cable needs in_own_network");
        let mut keeper = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec cat >/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let mut line = String::new();
        let output = keeper.stdout.take().context("the keeper's output")?;
        BufReader::new(output).read_line(&mut line)?;
        let cable = Self { keeper, cut: None };
        let far_id = cable.keeper.id().to_string();
        ip(
            &[],
            &[
                "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &far_id,
            ],
        )?;
        for (wrapper, address, end) in [(vec![], NEAR, "near"), (cable.far(), Self::FAR, "far")] {
            ip(&wrapper, &["address", "add", &format!("{address}/30"), "dev", end])?;
            ip(&wrapper, &["link", "set", end, "up"])?;
        }
        Ok(cable)
    }

    /// What starts a program at the far end.
    pub fn far(&self) -> Vec<String> {
        vec![
            "nsenter".to_owned(),
            format!("--target={}", self.keeper.id()),
            "--net".to_owned(),
        ]
    }

    /// Cuts it.
    pub fn cut(&mut self, what: Cut) -> Result<()> {
        ensure!(self.cut.is_none(), "the cable is cut already");
        self.far_end(what, true)?;
        self.cut = Some(what);
        Ok(())
    }

    /// Joins it again.
    pub fn mend(&mut self) -> Result<()> {
        let what = self.cut.context("the cable isn't cut")?;
        self.far_end(what, false)?;
        self.cut = None;
        Ok(())
    }

    /// All is done at the far end: of its own end the near machine would know, and tell its programs at once.
    fn far_end(&self, what: Cut, cut: bool) -> Result<()> {
        match (what, cut) {
            (Cut::Both, true) => ip(&self.far(), &["link", "set", "far", "down"]),
            (Cut::Both, false) => ip(&self.far(), &["link", "set", "far", "up"]),
            (Cut::Answers, true) => ip(&self.far(), &["route", "add", "blackhole", NEAR]),
            (Cut::Answers, false) => ip(&self.far(), &["route", "del", "blackhole", NEAR]),
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn ip(wrapper: &[String], arguments: &[&str]) -> Result<()> {
    let mut words = wrapper
        .iter()
        .map(String::as_str)
        .chain(["ip"])
        .chain(arguments.iter().copied());
    let program = words.next().context("a program")?;
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {} failed: {said}", arguments.join(" "));
    Ok(())
}
