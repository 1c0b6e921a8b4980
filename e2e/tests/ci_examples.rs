//! The examples of how other projects test against a sandbox (`examples/ci`), run as they stand there and as the page shows them. The one
//! in Rust is a member of the workspace, and its tests are run with all others.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::binary;

#[test]
fn the_example_for_pytest_runs() -> Result<()> {
    let python = installed("COUNTERSIGN_TEST_PYTHON", "test-python/bin/python3")?;
    let scratch = tempfile::tempdir()?;
    let mut command = Command::new(python);
    command
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp"])
        .arg(scratch.path().join("pytest"))
        .arg(examples().join("pytest"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    ensure!(run(&mut command)?.contains("4 passed"), "pytest found other tests");
    Ok(())
}

#[test]
fn the_example_for_jest_runs() -> Result<()> {
    let modules = installed("COUNTERSIGN_TEST_NODE", "test-node/node_modules")?;
    let scratch = tempfile::tempdir()?;
    let mut command = Command::new("node");
    command
        .arg(modules.join("jest/bin/jest.js"))
        .args(["--ci", "--colors=false", "--cacheDirectory"])
        .arg(scratch.path().join("jest"))
        .current_dir(examples().join("jest"))
        // Where its sandbox keeps its data.
        .env("TMPDIR", scratch.path());
    let told = run(&mut command)?;
    ensure!(told.contains("4 passed, 4 total"), "Jest found other tests: {told}");
    let left = std::fs::read_dir(scratch.path())?.filter_map(Result::ok);
    let left: Vec<_> = left
        .map(|entry| entry.file_name())
        .filter(|name| *name != "jest")
        .collect();
    ensure!(left.is_empty(), "the sandbox left {left:?}");
    Ok(())
}

#[test]
fn the_page_shows_the_examples_as_they_are() -> Result<()> {
    let page = std::fs::read_to_string(examples().join("../../docs/ci.md"))?;
    for file in [
        "pytest/conftest.py",
        "pytest/test_sign_in.py",
        "jest/package.json",
        "jest/start-sandbox.js",
        "jest/stop-sandbox.js",
        "jest/sign-in.test.js",
        "rust/src/lib.rs",
        "rust/tests/sign_in.rs",
    ] {
        let text = std::fs::read_to_string(examples().join(file))?;
        ensure!(page.contains(&text), "docs/ci.md shows another {file}");
    }
    Ok(())
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ci")
}

/// What `./test` installs: named in a variable, else beside the build.
fn installed(variable: &str, beside: &str) -> Result<PathBuf> {
    let path = if let Some(named) = std::env::var_os(variable) {
        PathBuf::from(named)
    } else {
        // target/PROFILE/deps/this-test
        let own = std::env::current_exe().context("where this test is")?;
        own.ancestors().nth(3).context("cargo's target directory")?.join(beside)
    };
    ensure!(path.exists(), "{} is missing: ./test puts it there", path.display());
    Ok(path)
}

/// Runs it against the binary under test, and answers all that it said.
fn run(command: &mut Command) -> Result<String> {
    // A developer's own settings must not reach the sandbox.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COUNTERSIGN_") {
            command.env_remove(name);
        }
    }
    let output = command
        .env("COUNTERSIGN_BIN", binary()?)
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}"))?;
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    ensure!(
        output.status.success(),
        "{command:?} ended with {}:\n{told}",
        output.status
    );
    Ok(told)
}
