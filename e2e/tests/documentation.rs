//! What the documentation says is there: its links, the errors, the settings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use countersign_core::ApiError;

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace's directory")
}

/// Every page: those at the root and those in `docs/`.
fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for directory in [root()?.to_owned(), root()?.join("docs")] {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    ensure!(pages.len() > 8, "the pages were not found in {}", root()?.display());
    Ok(pages)
}

/// What follows `](` up to `)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
}

/// The anchors that a renderer gives to a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|character| character.is_alphanumeric() || " -_".contains(*character))
                .map(|character| if character == ' ' { '-' } else { character })
                .collect()
        })
        .collect()
}

#[test]
fn every_link_between_pages_leads_somewhere() -> Result<()> {
    let mut dead = Vec::new();
    for page in pages()? {
        let text = std::fs::read_to_string(&page)?;
        let directory = page.parent().context("a page's directory")?;
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                directory.join(file)
            };
            let leads = match std::fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || anchors(&text).contains(anchor),
                Err(_) => target.is_dir() && anchor.is_empty(),
            };
            if !leads {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    ensure!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    Ok(())
}

#[test]
fn the_page_of_errors_names_every_error() -> Result<()> {
    let page = std::fs::read_to_string(root()?.join("docs/errors.md"))?;
    for error in ApiError::NAMED {
        let name = error.wire_name();
        ensure!(
            page.contains(&format!("`{name}`")),
            "docs/errors.md doesn't name {name}"
        );
    }
    ensure!(
        page.contains("`FLOOD_WAIT_n`"),
        "docs/errors.md doesn't name FLOOD_WAIT_n"
    );
    Ok(())
}

#[test]
fn the_page_for_operators_names_every_setting_that_init_writes() -> Result<()> {
    let page = std::fs::read_to_string(root()?.join("docs/self-hosting.md"))?;
    let directory = tempfile::tempdir()?;
    let output = std::process::Command::new(countersign_e2e::binary()?)
        .args(["init", "--mode", "sandbox"])
        .current_dir(directory.path())
        .output()?;
    ensure!(
        output.status.success(),
        "init: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = std::fs::read_to_string(directory.path().join("countersign.toml"))?;
    let mut section = String::new();
    let mut names = Vec::new();
    for line in file.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            names.push(format!("{section}{key}"));
        }
    }
    ensure!(names.len() > 15, "settings were not found in:\n{file}");
    for name in names {
        ensure!(
            page.contains(&format!("`{name}`")),
            "docs/self-hosting.md doesn't name {name}"
        );
    }
    Ok(())
}
