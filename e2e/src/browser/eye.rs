//! What there is to be seen: the page's words, its looks at a size and in colours, its picture, what it loaded and how long
//! that took, and what the browser complained about.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Browser, PATIENCE};

/// How large a page is shown, and in which colours.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Whether it is a touch screen, which lays pages out by their `viewport`.
    pub phone: bool,
    /// Whether the person prefers dark pages.
    pub dark: bool,
}

/// How a picture is taken.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    /// From 1 to 100 for WebP; `None` for PNG.
    pub quality: Option<u32>,
    /// How much of the page, from its top, in CSS pixels; `None` for what the window shows.
    pub height: Option<u32>,
    /// How many pixels of the picture for one of the window; where `height` is given.
    pub scale: f64,
}

/// What a page took to load. Bytes are those of bodies as they were sent, whether they came from the cache or not.
#[derive(Debug, Clone, Deserialize)]
pub struct Loaded {
    /// The document's own bytes.
    pub document_bytes: u64,
    /// Every other file: its address and its bytes.
    pub files: Vec<(String, u64)>,
    /// From the last byte of the document to the end of `load`, in milliseconds.
    pub ready_ms: f64,
    /// From asking for the document to its last byte, in milliseconds.
    pub answered_ms: f64,
}

impl Loaded {
    /// The document and all that it loads.
    pub fn bytes(&self) -> u64 {
        self.document_bytes + self.files.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}

const LOADED: &str = "
    const page = performance.getEntriesByType('navigation')[0];
    const files = performance.getEntriesByType('resource').map(file => [file.name, file.encodedBodySize]);
    return {
        document_bytes: page.encodedBodySize,
        files,
        ready_ms: page.loadEventEnd - page.responseEnd,
        answered_ms: page.responseEnd - page.requestStart,
    };";

impl Browser {
    /// Shows the page at a size and in colours.
    pub async fn look(&self, look: Look) -> Result<()> {
        self.look_at_scale(look, 2.0).await
    }

    /// Like [`Browser::look`], with so many of the picture's pixels for one of CSS.
    pub async fn look_at_scale(&self, look: Look, scale: f64) -> Result<()> {
        let metrics = json!({
            "width": look.width,
            "height": look.height,
            "deviceScaleFactor": scale,
            "mobile": look.phone,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await?;
        let scheme = if look.dark { "dark" } else { "light" };
        let media = json!({ "features": [
            { "name": "prefers-color-scheme", "value": scheme },
            // A picture, or a measurement of colours, in the middle of a movement shows neither state.
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ] });
        self.devtools("Emulation.setEmulatedMedia", media).await.map(drop)
    }

    /// All that the page says, as it is to be seen.
    pub async fn text(&self) -> Result<String> {
        let text = self.run("return document.body?.innerText ?? ''").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The words of the first thing that a CSS selector finds.
    pub async fn text_of(&self, selector: &str) -> Result<String> {
        let script = "return document.querySelector(arguments[0])?.textContent.trim() ?? null";
        let text = self.run_with(script, json!([selector])).await?;
        let text = text.as_str().with_context(|| format!("there is no {selector}"))?;
        Ok(text.to_owned())
    }

    /// Waits until the page says something. It asks the page from outside, so that it works without scripts, too.
    pub async fn sees(&self, words: &str) -> Result<()> {
        let seen = async {
            loop {
                // A page on its way to the next one can't be asked.
                if self.text().await.is_ok_and(|text| text.contains(words)) {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            bail!("“{words}” never was to be seen\n{}", self.told().await);
        }
        Ok(())
    }

    /// The page doesn't say something.
    pub async fn sees_no(&self, words: &str) -> Result<()> {
        ensure!(
            !self.text().await?.contains(words),
            "“{words}” is to be seen\n{}",
            self.told().await
        );
        Ok(())
    }

    /// What the page loaded and how long that took, once it is loaded.
    pub async fn loaded(&self) -> Result<Loaded> {
        self.wait_until("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
            .await?;
        serde_json::from_value(self.run(LOADED).await?).context("what the page loaded")
    }

    /// What the browser complained about since it was last asked: errors of scripts, files that failed, and whatever the
    /// page's content security policy forbade.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let log = self.command("se/log", &json!({ "type": "browser" })).await?;
        let log = log.as_array().context("the browser's log")?;
        let bad = log
            .iter()
            .filter(|line| matches!(line["level"].as_str(), Some("SEVERE" | "WARNING")));
        Ok(bad.map(|line| line["message"].to_string()).collect())
    }

    /// Writes what is to be seen into a PNG file.
    pub async fn screenshot(&self, file: &Path) -> Result<()> {
        let picture = Picture {
            quality: None,
            height: None,
            scale: 1.0,
        };
        let png = self.picture(picture).await?;
        std::fs::write(file, png).with_context(|| file.display().to_string())
    }

    /// The picture of what is to be seen.
    pub async fn picture(&self, picture: Picture) -> Result<Vec<u8>> {
        let mut wanted = match picture.quality {
            None => json!({ "format": "png" }),
            Some(quality) => json!({ "format": "webp", "quality": quality }),
        };
        if let Some(most) = picture.height {
            let size = "const page = document.documentElement; return [page.clientWidth, page.scrollHeight]";
            let size = self.run(size).await?;
            let height = size[1].as_u64().unwrap_or_default().min(u64::from(most));
            wanted["clip"] = json!({ "x": 0, "y": 0, "width": size[0], "height": height, "scale": picture.scale });
            wanted["captureBeyondViewport"] = Value::Bool(true);
        }
        let shot = self.devtools("Page.captureScreenshot", wanted).await?;
        Ok(STANDARD.decode(shot["data"].as_str().context("a picture")?)?)
    }
}
