//! axe-core in the page: it looks at what the browser made of it, as a screen reader would.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::Browser;
use serde_json::Value;

/// The rules that must find nothing: WCAG 2.2 A and AA, and what axe calls best practice.
const RUN: &str = "
    return axe.run(document, {
        runOnly: { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] },
        resultTypes: ['violations'],
        // No script runs in the frames of letters, so axe can't ask in there: the browser would call each try a mistake of the page.
        iframes: false,
    }).then(({ violations }) => violations.flatMap(({ id, help, nodes }) => nodes.map(
        ({ html, any, all, none }) => `${id} (${help}): ${html.slice(0, 300)} ${[...any, ...all, ...none].map(why => why.message).join('; ')}`
    )));";

/// The library's text, once read.
pub(crate) struct Axe(String);

impl Axe {
    /// Reads the file that `./test` fetched: named in `COUNTERSIGN_TEST_AXE`, else where `./test` puts it.
    pub(crate) fn read() -> Result<Self> {
        let path = if let Some(named) = std::env::var_os("COUNTERSIGN_TEST_AXE") {
            PathBuf::from(named)
        } else {
            // target/PROFILE/deps/this-test
            let own = std::env::current_exe().context("where this test is")?;
            let target = own.ancestors().nth(3).context("cargo's target directory")?;
            target.join("test-node/node_modules/axe-core/axe.min.js")
        };
        ensure!(
            path.exists(),
            "axe-core is missing ({}): run ./test once, which fetches it",
            path.display()
        );
        Ok(Self(std::fs::read_to_string(path)?))
    }

    /// Gives it to the page. The page's content security policy doesn't concern what a driver runs.
    pub(crate) async fn enter(&self, browser: &Browser) -> Result<()> {
        let script = format!("{}\nreturn typeof axe.run", self.0);
        let there = browser.run(&script).await?;
        ensure!(there == "function", "axe-core didn’t start: {there}");
        Ok(())
    }
}

/// What axe finds on the page as it looks now.
pub(crate) async fn violations(browser: &Browser) -> Result<Vec<String>> {
    let found = browser.run(RUN).await?;
    let found = found.as_array().context("axe's answer")?;
    Ok(found.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}
