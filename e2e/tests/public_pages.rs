//! The pages that anybody may see, as a real server answers them: the start page with its live prices, and the documentation,
//! whose links all lead somewhere and whose pages are light.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Options, Server, http_client};

/// A page with its style sheets and its script, in bytes.
const MAX_PAGE_BYTES: usize = 60 * 1024;

const UNKNOWN_METHOD: &str = r#"{"ok":false,"error":"UNKNOWN_METHOD"}"#;

struct Site {
    server: Server,
    client: reqwest::Client,
}

struct Page {
    status: u16,
    headers: reqwest::header::HeaderMap,
    html: String,
}

impl Site {
    fn start() -> Result<Self> {
        Ok(Self {
            server: Server::start(Options::default())?,
            client: http_client()?,
        })
    }

    async fn page(&self, path: &str) -> Result<Page> {
        let response = self
            .client
            .get(format!("{}{path}", self.server.api_url()))
            .send()
            .await?;
        Ok(Page {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            html: response.text().await?,
        })
    }

    /// Every page of the documentation, by its path.
    async fn docs(&self) -> Result<BTreeMap<String, Page>> {
        let index = self.page("/docs").await?;
        let mut pages = BTreeMap::new();
        for path in values(&index.html, "href=\"").filter(|href| href.starts_with("/docs/")) {
            let page = self.page(path).await?;
            ensure!(page.status == 200, "{path} is answered with {}", page.status);
            pages.insert(path.to_owned(), page);
        }
        pages.insert("/docs".to_owned(), index);
        Ok(pages)
    }
}

/// The values of an attribute.
#[cfg(test)]
fn values<'a>(html: &'a str, attribute: &'a str) -> impl Iterator<Item = &'a str> {
    html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next())
}

#[tokio::test]
async fn every_file_of_the_documentation_is_a_page() -> Result<()> {
    let site = Site::start()?;
    let pages = site.docs().await?;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let slug = path.file_stem().context("a file's name")?.to_string_lossy();
            ensure!(
                pages.contains_key(&format!("/docs/{slug}")),
                "docs/{slug}.md is no page: name it in crates/server/src/site/docs/list.rs"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_link_of_the_public_pages_leads_somewhere() -> Result<()> {
    let site = Site::start()?;
    let mut pages = site.docs().await?;
    pages.insert("/".to_owned(), site.page("/").await?);
    let ids: BTreeMap<&String, BTreeSet<&str>> = pages
        .iter()
        .map(|(path, page)| (path, values(&page.html, " id=\"").collect()))
        .collect();
    let mut others = BTreeSet::new();
    let mut dead = Vec::new();
    for (path, page) in &pages {
        let inside = values(&page.html, "href=\"").filter(|href| !href.contains("://"));
        for href in inside {
            let (target, anchor) = href.split_once('#').unwrap_or((href, ""));
            let target = if target.is_empty() { path } else { target };
            match ids.get(&target.to_owned()) {
                Some(ids) if anchor.is_empty() || ids.contains(anchor) => {}
                Some(_) => dead.push(format!("{path}: {href}")),
                None => {
                    others.insert(target.to_owned());
                }
            }
        }
    }
    for path in others {
        let status = site.page(&path).await?.status;
        if status != 200 && status != 303 {
            dead.push(format!("{path}: {status}"));
        }
    }
    ensure!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    Ok(())
}

#[tokio::test]
async fn no_public_page_is_heavier_than_60_kb_with_all_that_it_loads() -> Result<()> {
    let site = Site::start()?;
    let mut pages = site.docs().await?;
    pages.insert("/".to_owned(), site.page("/").await?);
    for (path, page) in &pages {
        let mut bytes = page.html.len();
        let loaded = values(&page.html, "href=\"").chain(values(&page.html, "src=\""));
        for asset in loaded
            .filter(|href| href.starts_with("/assets/"))
            .map(|href| href.split('#').next().unwrap_or(href))
            .collect::<BTreeSet<_>>()
        {
            bytes += site.page(asset).await?.html.len();
        }
        println!("{path}: {bytes} bytes");
        ensure!(bytes <= MAX_PAGE_BYTES, "{path} has {bytes} bytes");
    }
    Ok(())
}

#[tokio::test]
async fn public_pages_say_what_they_are_and_allow_nothing_from_elsewhere() -> Result<()> {
    let site = Site::start()?;
    for path in ["/", "/docs", "/docs/api"] {
        let page = site.page(path).await?;
        let policy = page
            .headers
            .get("content-security-policy")
            .context("no policy")?
            .to_str()?;
        ensure!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        ensure!(page.headers.get("x-frame-options").is_some_and(|value| value == "DENY"));
        ensure!(page.html.contains("<meta name=\"description\" content=\""), "{path}");
        ensure!(page.html.matches("<h1").count() == 1, "{path} has not one h1");
        // Inline styles and scripts would be refused by the policy.
        ensure!(
            !page.html.contains(" style=") && !page.html.contains("<script>"),
            "{path}"
        );
        // Only an operator who named the server's address knows the page's one address.
        ensure!(!page.html.contains("rel=\"canonical\""), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_page_of_the_documentation_is_a_page_with_the_way_back() -> Result<()> {
    let site = Site::start()?;
    for path in ["/docs/nothing", "/docs/api/deeper"] {
        let page = site.page(path).await?;
        ensure!(page.status == 404, "{path}: {}", page.status);
        ensure!(page.html.contains("href=\"/docs\""), "{path}");
    }
    // At the root it is a method that doesn't exist, as ever.
    let method = site.page("/nothing").await?;
    ensure!(method.html == UNKNOWN_METHOD, "{}", method.html);
    let posted = site.client.post(format!("{}/", site.server.api_url())).send().await?;
    ensure!(posted.status() == 200 && posted.text().await? == UNKNOWN_METHOD);
    Ok(())
}

#[tokio::test]
async fn the_start_page_shows_the_live_price_list() -> Result<()> {
    let site = Site::start()?;
    ensure!(
        site.page("/").await?.html.contains("$0.01"),
        "the default price is missing"
    );
    for (prefix, price) in [("+39", "0.0275"), ("+4930", "0.04"), ("default", "0.015")] {
        let output = site.server.cli(["price", "set", prefix, price])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let page = site.page("/").await?.html;
    for text in ["+39", "Italy", "$0.0275", "Part of Germany", "$0.04", "$0.015"] {
        ensure!(page.contains(text), "{text} is missing");
    }
    ensure!(site.server.cli(["price", "unset", "+39"])?.status.success());
    ensure!(
        !site.page("/").await?.html.contains("$0.0275"),
        "a price that was taken away is still shown"
    );
    Ok(())
}

#[tokio::test]
async fn the_start_page_counts_what_the_reader_pays_today_and_keeps_what_was_typed() -> Result<()> {
    let site = Site::start()?;
    let page = site.page("/?sms=0.05&codes=10000").await?;
    ensure!(page.status == 200 && page.html.contains("$400.00"), "{}", page.html);
    let wrong = site.page("/?sms=%3Cb%3E&codes=10000").await?;
    ensure!(wrong.status == 422 && wrong.html.contains("aria-invalid=\"true\""));
    ensure!(wrong.html.contains("value=\"10000\"") && !wrong.html.contains("<b>\""));
    Ok(())
}

#[tokio::test]
async fn examples_name_the_host_that_the_reader_came_to() -> Result<()> {
    let site = Site::start()?;
    let page = site.page("/docs/quick-start").await?.html;
    ensure!(page.contains(site.server.api_url()), "the reader's host is missing");
    ensure!(!page.contains("http://127.0.0.1:8099"), "the example's host is left");
    Ok(())
}
