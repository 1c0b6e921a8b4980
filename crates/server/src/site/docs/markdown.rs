//! Markdown to HTML, for the pages under `/docs`. On top of what the parser does: headings have the anchors that code hosts
//! give them, links between files lead between pages, tables scroll in a frame, code has a button that copies it, neighbouring
//! blocks of code with a `tab="…"` behind their language are tabs, and the states of messages and codes are badges.

use std::collections::HashMap;
use std::fmt::Write as _;

use countersign_core::{DeliveryState, VerificationState};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::site::icons;
use crate::site::state::Badge;

/// A heading of the second or third level, for the list of what is on the page.
pub(super) struct Heading {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) is_sub: bool,
}

/// A page's content.
pub(super) struct Rendered {
    pub(super) html: String,
    pub(super) headings: Vec<Heading>,
}

/// Renders one file.
pub(super) fn render(markdown: &str) -> Rendered {
    let events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let mut page = Page::default();
    let mut place = 0;
    while place < events.len() {
        place += page.take(&events[place..]);
    }
    let mut text = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut text, page.out.into_iter());
    Rendered {
        html: text,
        headings: page.headings,
    }
}

#[derive(Default)]
struct Page<'a> {
    out: Vec<Event<'a>>,
    headings: Vec<Heading>,
    /// How often a heading's anchor was used: its second use gets `-1`.
    anchors: HashMap<String, usize>,
    /// Tables so far under each heading: a screen reader lists them, and tells them apart by their names.
    tables: HashMap<String, usize>,
    /// Blocks of code so far, which gives groups of tabs their names.
    blocks: usize,
    in_table: bool,
}

impl<'a> Page<'a> {
    /// Takes what comes next; says how many events that were.
    fn take(&mut self, events: &[Event<'a>]) -> usize {
        match &events[0] {
            Event::Start(Tag::Heading { level, .. }) => self.heading(*level, events),
            Event::Start(Tag::CodeBlock(_)) => self.code(events),
            Event::Start(Tag::Table(_)) => {
                self.table_start(events);
                1
            }
            Event::End(TagEnd::Table) => {
                self.in_table = false;
                self.html("</tbody></table></div>\n");
                1
            }
            Event::Start(Tag::TableHead) => self.table_head(events),
            Event::Start(Tag::TableRow) => self.single("<tr>"),
            Event::End(TagEnd::TableRow) => self.single("</tr>\n"),
            Event::Start(Tag::TableCell) => self.single("<td>"),
            Event::End(TagEnd::TableCell) => self.single("</td>"),
            Event::Start(Tag::List(None)) => self.contents_or_list(events),
            Event::Start(Tag::Link { dest_url, .. }) => self.link(dest_url, events),
            Event::Code(text) if self.in_table => {
                match state_named(text) {
                    Some(badge) => self.badge(badge, text),
                    None => self.out.push(events[0].clone()),
                }
                1
            }
            // Comments are for those who write the pages.
            Event::Html(_) | Event::InlineHtml(_) | Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => 1,
            event => {
                self.out.push(event.clone());
                1
            }
        }
    }

    fn html(&mut self, text: impl Into<CowStr<'a>>) {
        self.out.push(Event::Html(text.into()));
    }

    fn single(&mut self, text: &'static str) -> usize {
        self.html(text);
        1
    }

    fn heading(&mut self, level: HeadingLevel, events: &[Event<'a>]) -> usize {
        let length = length_until(events, |event| matches!(event, Event::End(TagEnd::Heading(_))));
        let inner = &events[1..length - 1];
        let text = plain_text(inner);
        let id = self.anchor(&text);
        let tag = level as usize;
        self.html(format!("<h{tag} id=\"{id}\">"));
        self.out.extend(inner.iter().cloned());
        if tag > 1 {
            self.html(format!(
                "<a class=\"anchor\" href=\"#{id}\" aria-label=\"Link to {}\">#</a>",
                escaped(&text)
            ));
            self.headings.push(Heading {
                id,
                text,
                is_sub: tag > 2,
            });
        }
        self.html(format!("</h{tag}>\n"));
        length
    }

    /// The anchor that code hosts give to a heading.
    fn anchor(&mut self, text: &str) -> String {
        let id: String = text
            .to_lowercase()
            .chars()
            .filter(|character| character.is_alphanumeric() || " -_".contains(*character))
            .map(|character| if character == ' ' { '-' } else { character })
            .collect();
        let used = self.anchors.entry(id.clone()).or_default();
        *used += 1;
        if *used == 1 { id } else { format!("{id}-{}", *used - 1) }
    }

    /// A block of code, with those after it that are tabs beside it.
    fn code(&mut self, events: &[Event<'a>]) -> usize {
        let mut taken = 0;
        let mut tabs: Vec<(String, String)> = Vec::new();
        while let Some(Event::Start(Tag::CodeBlock(kind))) = events.get(taken) {
            let name = tab_of(kind);
            if taken > 0 && name.is_none() {
                break;
            }
            let block = &events[taken..];
            let length = length_until(block, |event| matches!(event, Event::End(TagEnd::CodeBlock)));
            let text = plain_text(&block[1..length - 1]);
            taken += length;
            let Some(name) = name else {
                let block = self.block(&text);
                self.html(block);
                return taken;
            };
            tabs.push((name, text));
        }
        let group = self.blocks;
        let mut html = String::from("<fieldset class=\"tabs\"><legend class=\"unseen\">Language</legend>");
        for (place, (name, _)) in tabs.iter().enumerate() {
            let checked = if place == 0 { " checked" } else { "" };
            let name = escaped(name);
            let _ = write!(
                html,
                "<input type=\"radio\" name=\"tabs-{group}\" id=\"tab-{group}-{place}\" data-tab=\"{name}\"{checked}>\
                 <label for=\"tab-{group}-{place}\">{name}</label>"
            );
        }
        for (_, text) in &tabs {
            html.push_str(&self.block(text));
        }
        html.push_str("</fieldset>\n");
        self.html(html);
        taken
    }

    fn block(&mut self, text: &str) -> String {
        self.blocks += 1;
        // The script adds the button that copies it: without a script it could do nothing.
        let text = escaped(text.trim_end());
        format!("<div class=\"code\"><pre tabindex=\"0\"><code>{text}</code></pre></div>\n")
    }

    fn table_start(&mut self, events: &[Event<'a>]) {
        self.in_table = true;
        let columns = events
            .iter()
            .take_while(|event| !matches!(event, Event::End(TagEnd::TableHead)))
            .filter(|event| matches!(event, Event::Start(Tag::TableCell)))
            .count();
        // Few columns become lines under each other on a phone; many scroll.
        let class = if columns > 4 { "table" } else { "table rows" };
        let about = self
            .headings
            .last()
            .map_or("on this page", |heading| heading.text.as_str());
        let mut label = escaped(about);
        let tables = self.tables.entry(label.clone()).or_default();
        *tables += 1;
        if *tables > 1 {
            label = format!("{label}, {tables}");
        }
        self.html(format!(
            "<div class=\"table-frame\" tabindex=\"0\" role=\"region\" aria-label=\"Table: {label}\"><table class=\"{class}\">"
        ));
    }

    /// The names of the columns; a column without one gets none, and a table without any no head.
    fn table_head(&mut self, events: &[Event<'a>]) -> usize {
        let length = length_until(events, |event| matches!(event, Event::End(TagEnd::TableHead)));
        let cells: Vec<&[Event<'a>]> = events[1..length - 1]
            .split(|event| matches!(event, Event::End(TagEnd::TableCell)))
            .filter(|cell| !cell.is_empty())
            .map(|cell| &cell[1..])
            .collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            self.html("<thead><tr>");
            for cell in cells {
                if cell.is_empty() {
                    self.html("<td></td>");
                } else {
                    self.html("<th scope=\"col\">");
                    self.out.extend(cell.iter().cloned());
                    self.html("</th>");
                }
            }
            self.html("</tr></thead>");
        }
        self.html("<tbody>");
        length
    }

    /// A list of the page's own headings is left out: the frame shows one.
    fn contents_or_list(&mut self, events: &[Event<'a>]) -> usize {
        let length = length_until(events, |event| matches!(event, Event::End(TagEnd::List(_))));
        let list = &events[..length];
        let links = list
            .iter()
            .filter(|event| matches!(event, Event::Start(Tag::Link { dest_url, .. }) if dest_url.starts_with('#')));
        let items = list
            .iter()
            .filter(|event| matches!(event, Event::Start(Tag::Item)))
            .count();
        let is_contents = self.headings.is_empty() && links.count() == items;
        if is_contents {
            length
        } else {
            self.out.push(events[0].clone());
            1
        }
    }

    /// Links between files lead between pages; a file that is no page is named, and not linked.
    fn link(&mut self, target: &str, events: &[Event<'a>]) -> usize {
        let length = length_until(events, |event| matches!(event, Event::End(TagEnd::Link)));
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let hash = if anchor.is_empty() { "" } else { "#" };
        let href = if file.is_empty() || target.contains("://") {
            Some(target.to_owned())
        } else {
            let slug = file.strip_suffix(".md").filter(|slug| !slug.contains('/'));
            slug.map(|slug| format!("/docs/{slug}{hash}{anchor}"))
        };
        if let Some(href) = &href {
            self.html(format!("<a href=\"{}\">", escaped(href)));
        }
        self.out.extend(events[1..length - 1].iter().cloned());
        if href.is_some() {
            self.html("</a>");
        }
        length
    }

    fn badge(&mut self, badge: Badge, word: &str) {
        self.html(format!(
            "<span class=\"badge {}\"><svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\"><use href=\"{}#{}\">\
             </use></svg><code>{}</code></span>",
            badge.name,
            icons::ICONS,
            badge.icon,
            escaped(word)
        ));
    }
}

/// How many events until the first that closes, itself included.
fn length_until(events: &[Event<'_>], closes: impl Fn(&Event<'_>) -> bool) -> usize {
    events.iter().position(closes).map_or(events.len(), |end| end + 1)
}

fn plain_text(events: &[Event<'_>]) -> String {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
            Event::SoftBreak | Event::HardBreak => Some(" "),
            _ => None,
        })
        .collect()
}

/// The name in `tab="…"`, behind the language of a block of code.
fn tab_of(kind: &CodeBlockKind<'_>) -> Option<String> {
    let CodeBlockKind::Fenced(info) = kind else {
        return None;
    };
    let (_, rest) = info.split_once("tab=\"")?;
    rest.split_once('"').map(|(name, _)| name.to_owned())
}

/// A state by its name on the wire.
fn state_named(word: &str) -> Option<Badge> {
    use DeliveryState::{Delivered, Expired, Read, Revoked, Sent};
    let delivery = [Sent, Delivered, Read, Expired, Revoked]
        .into_iter()
        .find(|state| state.wire_name() == Some(word))
        .map(Badge::delivery);
    delivery.or_else(|| {
        use VerificationState::{AttemptsExceeded, Invalid, Valid};
        [Valid, Invalid, AttemptsExceeded]
            .into_iter()
            .find(|state| state.wire_name() == Some(word))
            .and_then(Badge::verification)
    })
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_the_anchors_of_code_hosts() {
        let page = render("# Title\n\n## When the disk is full, or fails\n\n## `code` twice\n\n## `code` twice\n");
        let ids: Vec<&str> = page.headings.iter().map(|heading| heading.id.as_str()).collect();
        assert_eq!(ids, ["when-the-disk-is-full-or-fails", "code-twice", "code-twice-1"]);
    }

    #[test]
    fn links_lead_from_page_to_page_and_nowhere_else() {
        let page = render("[a](api.md#money) [b](../ARCHITECTURE.md) [c](https://example.com/x.md) [d](#here)\n");
        assert!(
            page.html
                .contains("<a href=\"/docs/api#money\">a</a> b <a href=\"https://example.com/x.md\">c</a>")
        );
        assert!(page.html.contains("<a href=\"#here\">d</a>"));
    }

    #[test]
    fn neighbouring_blocks_with_names_are_tabs() {
        let page = render("```sh tab=\"curl\"\na < b\n```\n\n```js tab=\"Node\"\nb\n```\n\n```\nplain\n```\n");
        assert_eq!(page.html.matches("<fieldset").count(), 1);
        assert_eq!(page.html.matches("type=\"radio\"").count(), 2);
        assert_eq!(page.html.matches(" checked").count(), 1);
        assert!(page.html.contains("a &lt; b"));
        assert!(page.html.find("</fieldset>") < page.html.find("plain"));
    }

    #[test]
    fn a_table_scrolls_in_a_frame_and_states_in_it_are_badges() {
        let page = render(
            "## States\n\n| status | |\n| --- | --- |\n| `read` | seen |\n| `other` | |\n\nMore:\n\n| a |\n| --- |\n| b |\n",
        );
        assert!(page.html.contains("aria-label=\"Table: States, 2\""));
        assert!(page.html.contains("role=\"region\" aria-label=\"Table: States\""));
        assert!(page.html.contains("<th scope=\"col\">status</th><td></td>"));
        assert!(page.html.contains("class=\"badge read\""));
        assert!(page.html.contains("<code>other</code>"));
    }

    #[test]
    fn a_list_of_the_pages_own_headings_is_left_to_the_frame() {
        let page = render("# T\n\n- [A](#a)\n- [B](#b)\n\n## A\n\n- [B](#b)\n\n## B\n");
        assert_eq!(page.html.matches("<li>").count(), 1);
    }
}
