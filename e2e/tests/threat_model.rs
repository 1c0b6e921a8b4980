//! What the threat model names is there: a file that moves takes its line along.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

#[test]
fn every_path_that_the_threat_model_and_the_security_policy_name_is_there() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace's directory")?;
    let mut named = 0;
    for page in ["docs/threat-model.md", "SECURITY.md"] {
        let text = std::fs::read_to_string(root.join(page))?;
        let quoted = text.split('`').skip(1).step_by(2);
        for path in quoted.filter(|word| word.contains('/') && !word.contains(' ')) {
            named += 1;
            ensure!(root.join(path).exists(), "{page} names {path}, which isn't there");
        }
    }
    ensure!(named > 50, "only {named} paths were found");
    Ok(())
}
