//! What the program is made of, without a network: licences, sources, and crates that are there in several versions, each held to a list. A
//! new entry is a decision, to be made in a commit. What advisories say isn't known here (SECURITY.md).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Licences that ask for no more than to be named.
const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "WTFPL",
    "Zlib",
];

/// Crates with more than one version, and why. Each costs building time, and is looked at twice where it has a weakness.
const SEVERAL: [(&str, &str); 19] = [
    ("base64", "what we depend on has not all moved on"),
    (
        "const-oid",
        "two generations of the hash traits, below PostgreSQL's client",
    ),
    ("fallible-iterator", "SQLite's and PostgreSQL's clients"),
    ("foldhash", "two generations of hashbrown"),
    ("getrandom", "ring has the older one"),
    ("hashbrown", "one for each collection that wraps it"),
    ("itertools", "templates and protocol buffers"),
    ("logos", "a lexer of tests"),
    ("logos-codegen", "the same"),
    ("logos-derive", "the same"),
    ("nom", "parsers of mail and of texts"),
    ("pastey", "a macro of two generations"),
    ("prettyplease", "build scripts"),
    ("syn", "macros of two generations"),
    ("synstructure", "the same"),
    ("thiserror", "one crate has the older one"),
    ("thiserror-impl", "the same"),
    ("wasi", "of no platform that we build for"),
    ("windows-sys", "of no platform that we test on"),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    source: Option<String>,
}

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace's directory")
}

fn output(command: &mut Command) -> Result<String> {
    let done = command.output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?)
}

/// What is compiled on this machine's platform: of other platforms' crates nothing may have been fetched.
fn packages() -> Result<Vec<Package>> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let metadata = output(
        Command::new("cargo")
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--offline",
                "--filter-platform",
            ])
            .arg(host.context("rustc names no host")?)
            .current_dir(root()?),
    )?;
    Ok(serde_json::from_str::<Metadata>(&metadata)?.packages)
}

/// Whether an expression of licences can be kept with those of the list: `OR` binds looser than `AND`, and an old way of writing `OR` is a
/// slash.
fn is_permitted(expression: &str) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut place = 0;
    let permitted = any_of(&words, &mut place);
    permitted && place == words.len()
}

fn any_of(words: &[&str], place: &mut usize) -> bool {
    let mut permitted = all_of(words, place);
    while words.get(*place) == Some(&"OR") {
        *place += 1;
        permitted |= all_of(words, place);
    }
    permitted
}

fn all_of(words: &[&str], place: &mut usize) -> bool {
    let mut permitted = one(words, place);
    while words.get(*place) == Some(&"AND") {
        *place += 1;
        permitted &= one(words, place);
    }
    permitted
}

fn one(words: &[&str], place: &mut usize) -> bool {
    let Some(word) = words.get(*place) else {
        // An expression that ends too soon is no expression.
        *place = words.len() + 1;
        return false;
    };
    *place += 1;
    if *word == "(" {
        let permitted = any_of(words, place);
        let closed = words.get(*place) == Some(&")");
        *place += 1;
        return permitted && closed;
    }
    let mut name = (*word).to_owned();
    if words.get(*place) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*place + 1).unwrap_or(&""));
        *place += 2;
    }
    LICENCES.contains(&name.as_str())
}

#[test]
fn every_licence_is_one_that_we_can_keep() -> Result<()> {
    ensure!(is_permitted("(MIT OR GPL-3.0) AND Unicode-3.0") && is_permitted("Unlicense/MIT"));
    for refused in [
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "",
        "MIT OR",
        "(MIT",
        "Apache-2.0 WITH Something",
    ] {
        ensure!(!is_permitted(refused), "{refused:?} passed");
    }
    let packages = packages()?;
    ensure!(packages.len() > 100, "cargo named {} packages", packages.len());
    for package in packages {
        let licence = package.license.unwrap_or_default();
        ensure!(is_permitted(&licence), "{} is under {licence:?}", package.name);
    }
    Ok(())
}

#[test]
fn every_crate_comes_from_one_registry_or_is_ours() -> Result<()> {
    let sources: BTreeSet<String> = packages()?.into_iter().filter_map(|package| package.source).collect();
    ensure!(sources.len() == 1, "{sources:?}");
    ensure!(
        sources.iter().all(|source| source.starts_with("registry+")),
        "{sources:?}"
    );
    let lock = std::fs::read_to_string(root()?.join("Cargo.lock"))?;
    // Other platforms' crates as well; and whatever comes from elsewhere is pinned by its hash.
    ensure!(!lock.contains("source = \"git+"), "a crate comes from a repository");
    let (fetched, pinned) = (
        lock.matches("\nsource = ").count(),
        lock.matches("\nchecksum = ").count(),
    );
    ensure!(
        fetched == pinned,
        "{fetched} crates with a source, {pinned} with a checksum"
    );
    Ok(())
}

#[test]
fn crates_in_several_versions_are_those_that_are_known() -> Result<()> {
    let lock = std::fs::read_to_string(root()?.join("Cargo.lock"))?;
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lock.lines().filter_map(|line| line.strip_prefix("name = \"")) {
        *versions.entry(line.trim_end_matches('"')).or_default() += 1;
    }
    let several: BTreeSet<&str> = versions
        .iter()
        .filter(|(_, count)| **count > 1)
        .map(|(name, _)| *name)
        .collect();
    let known: BTreeSet<&str> = SEVERAL.iter().map(|(name, _)| *name).collect();
    let new: Vec<_> = several.difference(&known).collect();
    let gone: Vec<_> = known.difference(&several).collect();
    ensure!(
        new.is_empty() && gone.is_empty(),
        "new: {new:?}; gone from the lock file: {gone:?}"
    );
    Ok(())
}
