//! What a person does: clicks what has a name, types into what has a label, presses keys, opens tabs. Things are found by the
//! words that people see, so that a page whose labels are missing fails its test.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Browser, PATIENCE, is_unloaded};

/// Keys that write nothing, as `WebDriver` names them (section 17.4.2 of its specification).
pub mod keys {
    /// The tabulator: on to the next thing that takes the focus.
    pub const TAB: &str = "\u{E004}";
    /// Enter.
    pub const ENTER: &str = "\u{E007}";
    /// The space bar.
    pub const SPACE: &str = " ";
    /// Escape.
    pub const ESCAPE: &str = "\u{E00C}";
}

/// The name of a reference to an element in `WebDriver`'s JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// Clicks the link, button or summary with that name, once there is one to be seen, and waits for where it leads.
    pub async fn click(&self, name: &str) -> Result<()> {
        let named = quoted(name);
        let path =
            format!("//*[self::a or self::button or self::summary][normalize-space(.)={named} or @aria-label={named}]");
        self.click_one("xpath", &path)
            .await
            .with_context(|| format!("clicking “{name}”"))
    }

    /// Clicks the first thing to be seen that a CSS selector finds.
    pub async fn click_on(&self, selector: &str) -> Result<()> {
        self.click_one("css selector", selector)
            .await
            .with_context(|| format!("clicking on {selector}"))
    }

    async fn click_one(&self, using: &str, value: &str) -> Result<()> {
        let clicked = async {
            loop {
                let element = self.visible(using, value).await?;
                self.center(&element).await;
                match self.command(&format!("element/{element}/click"), &json!({})).await {
                    // A live part of the page was drawn anew under the mouse, or the page went on.
                    Err(error) if is_gone(&error) => {}
                    clicked => return clicked.map(drop),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, clicked).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.context(self.told().await)),
            Err(_) => bail!("was never to be clicked\n{}", self.told().await),
        }
    }

    /// Types into the field with that label, in place of what stands in it.
    pub async fn fill(&self, label: &str, text: &str) -> Result<()> {
        let typed = async {
            loop {
                let field = self.field(label).await?;
                match self.type_into(&field, text).await {
                    // Its page went on, or its part was drawn anew, between looking and typing.
                    Err(error) if is_gone(&error) => {}
                    typed => return typed,
                }
            }
        };
        typed.await.with_context(|| format!("typing into “{label}”"))
    }

    async fn type_into(&self, field: &str, text: &str) -> Result<()> {
        self.command(&format!("element/{field}/clear"), &json!({})).await?;
        let typed = json!({ "text": text });
        self.command(&format!("element/{field}/value"), &typed).await.map(drop)
    }

    /// Chooses what a list with that label offers under a name.
    pub async fn choose(&self, label: &str, option: &str) -> Result<()> {
        let path = format!(
            "{}//option[normalize-space(.)={option}]",
            labelled(label),
            option = quoted(option)
        );
        self.click_one("xpath", &path)
            .await
            .with_context(|| format!("choosing “{option}” of “{label}”"))
    }

    /// Ticks the box, or presses the round button, with that label.
    pub async fn tick(&self, label: &str) -> Result<()> {
        let ticked = async {
            let field = self.field(label).await?;
            self.command(&format!("element/{field}/click"), &json!({}))
                .await
                .map(drop)
        };
        ticked.await.with_context(|| format!("ticking “{label}”"))
    }

    /// Presses keys, wherever the page has its focus.
    pub async fn press(&self, keys: &str) -> Result<()> {
        let actions: Vec<_> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({ "type": "keyDown", "value": key.to_string() }),
                    json!({ "type": "keyUp", "value": key.to_string() }),
                ]
            })
            .collect();
        let keyboard = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.command("actions", &keyboard).await.map(drop)
    }

    /// Presses the tabulator until what has the focus is so named, or labelled: no more often than a page has such things.
    /// Whatever had the focus on the way must have shown it.
    pub async fn tab_to(&self, name: &str) -> Result<()> {
        let mut seen = Vec::new();
        for _ in 0..200 {
            self.press(keys::TAB).await?;
            let focus = match self.run(FOCUS).await {
                // The page went on meanwhile; the next one is asked.
                Err(error) if is_unloaded(&error) => continue,
                focus => focus?,
            };
            let here = focus["name"].as_str().unwrap_or_default().to_owned();
            ensure!(focus["shown"] == true, "the focus on “{here}” can’t be seen: {focus}");
            if here == name || here.starts_with(&format!("{name} ")) {
                return Ok(());
            }
            seen.push(here);
        }
        bail!("the tabulator never came to “{name}”, but to {seen:?}")
    }

    /// Opens a tab and works in it from now on; answers the name of the one before.
    pub async fn open_tab(&self) -> Result<String> {
        let before = self.tab().await?;
        let tab = self.command("window/new", &json!({ "type": "tab" })).await?;
        self.show_tab(tab["handle"].as_str().context("a tab's name")?).await?;
        Ok(before)
    }

    /// The name of the tab that is worked in.
    pub async fn tab(&self) -> Result<String> {
        let tab = self.get("window").await?;
        Ok(tab.as_str().unwrap_or_default().to_owned())
    }

    /// Works in a tab from now on.
    pub async fn show_tab(&self, tab: &str) -> Result<()> {
        self.command("window", &json!({ "handle": tab })).await.map(drop)
    }

    /// The cookies that the page's address gets, as `WebDriver` tells them.
    pub async fn cookies(&self) -> Result<Vec<Value>> {
        let cookies = self.get("cookie").await?;
        Ok(cookies.as_array().cloned().unwrap_or_default())
    }

    /// Forgets every cookie of the page's address.
    pub async fn forget_cookies(&self) -> Result<()> {
        self.delete("cookie").await.map(drop)
    }

    /// Brings an element to the middle of the window, away from what stays at its edges. One that is gone is looked for anew.
    async fn center(&self, element: &str) {
        let script = "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })";
        let _ = self.run_with(script, json!([{ ELEMENT: element }])).await;
    }

    /// The first element that can be seen. Looking waits where there is none, but not where all are hidden yet.
    async fn visible(&self, using: &str, value: &str) -> Result<String> {
        let wanted = json!({ "using": using, "value": value });
        let looked = async {
            loop {
                let found = match self.command("elements", &wanted).await {
                    Err(error) if is_unloaded(&error) => continue,
                    found => found?,
                };
                let found = found.as_array().context("a list of elements")?;
                ensure!(!found.is_empty(), "there is none");
                for element in found {
                    let element = element[ELEMENT].as_str().context("an element")?;
                    match self.get(&format!("element/{element}/displayed")).await {
                        Ok(Value::Bool(true)) => return Ok(element.to_owned()),
                        Err(error) if !is_gone(&error) => return Err(error),
                        _ => {}
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, looked)
            .await
            .context("none is to be seen")?
    }

    async fn field(&self, label: &str) -> Result<String> {
        match self.visible("xpath", &labelled(label)).await {
            Ok(field) => Ok(field),
            Err(error) => Err(error.context(self.told().await)),
        }
    }
}

/// What has the focus: its name, and whether something shows that it has it.
const FOCUS: &str = "
    const focus = document.activeElement;
    const label = focus.labels?.[0]?.innerText ?? focus.getAttribute('aria-label') ?? focus.innerText ?? '';
    const style = getComputedStyle(focus);
    const place = focus.getBoundingClientRect();
    const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
    return {
        name: label.replace(/\\s+/g, ' ').trim(),
        shown: focus === document.body || (outlined && place.width > 0 && place.bottom > 0 && place.right > 0),
        outline: style.outline,
    };";

/// Finds the field that a label belongs to. A label may say more than its name: “Website (optional)”.
fn labelled(label: &str) -> String {
    let said = quoted(label);
    format!(
        "//*[(self::input or self::select or self::textarea) and \
         (@id=//label[starts-with(normalize-space(.), {said})]/@for or ancestor::label[starts-with(normalize-space(.), {said})] \
         or @aria-label={said})]"
    )
}

/// A text in `XPath`, which knows no escapes.
fn quoted(text: &str) -> String {
    if text.contains('"') {
        format!("'{text}'")
    } else {
        format!("\"{text}\"")
    }
}

/// Whether what was looked for is no longer there: the page went on, or its part was drawn anew.
fn is_gone(error: &anyhow::Error) -> bool {
    let text = error.to_string();
    is_unloaded(error)
        || text.contains("stale element")
        || text.contains("does not belong to the document")
        || text.contains("No node with given id")
}
