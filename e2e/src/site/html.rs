//! As much of HTML as the tests ask for: tags with their attributes, and the forms of a page with what they would send. The
//! pages are our own templates', so every attribute stands in double quotes.

/// An opening tag.
#[derive(Debug, Clone)]
pub struct Tag {
    /// In lower case.
    pub name: String,
    attributes: Vec<(String, String)>,
    /// Where its content begins in the page.
    end: usize,
}

impl Tag {
    /// An attribute's value, empty where it has none; `None` where it isn't there.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A form with what it sends when nobody types into it.
#[derive(Debug, Clone)]
pub struct Form {
    /// `get` or `post`.
    pub method: String,
    /// Where it sends to, without the query.
    pub action: String,
    /// Its fields by name, with the value that stands in each. Submit buttons with a name are among them, the first one only.
    pub fields: Vec<(String, String)>,
}

/// Every opening tag of a page, in order.
pub fn tags(page: &str) -> Vec<Tag> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = page[at..].find('<').map(|start| at + start + 1) {
        at = start;
        if !page[start..].starts_with(|first: char| first.is_ascii_alphabetic()) {
            continue;
        }
        let name_end = start
            + page[start..]
                .find(|next: char| next.is_whitespace() || next == '>' || next == '/')
                .unwrap_or(0);
        let (attributes, end) = attributes(page, name_end);
        at = end;
        found.push(Tag {
            name: page[start..name_end].to_ascii_lowercase(),
            attributes,
            end,
        });
    }
    found
}

fn attributes(page: &str, mut at: usize) -> (Vec<(String, String)>, usize) {
    let mut found = Vec::new();
    loop {
        let rest = page[at..].trim_start_matches(|next: char| next.is_whitespace() || next == '/');
        at = page.len() - rest.len();
        if rest.is_empty() || rest.starts_with('>') {
            return (found, at + usize::from(!rest.is_empty()));
        }
        let length = rest
            .find(|next: char| next.is_whitespace() || "=>/".contains(next))
            .unwrap_or(rest.len())
            .max(1);
        let (name, after) = rest.split_at(length);
        at += length;
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix("=\"") {
            let length = quoted.find('"').unwrap_or(quoted.len());
            value = decoded(&quoted[..length]);
            at = (at + 2 + length + 1).min(page.len());
        } else if let Some(bare) = after.strip_prefix('=') {
            let length = bare
                .find(|next: char| next.is_whitespace() || next == '>')
                .unwrap_or(bare.len());
            value = decoded(&bare[..length]);
            at += 1 + length;
        }
        found.push((name.to_ascii_lowercase(), value));
    }
}

/// A text of the page without its escapes.
fn decoded(text: &str) -> String {
    [
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&lt;", "<"),
        ("&#60;", "<"),
        ("&gt;", ">"),
        ("&#62;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (escape, letter)| text.replace(escape, letter))
}

/// The addresses of a page's links to pages of the same site, without their fragments.
pub fn links(page: &str) -> Vec<String> {
    tags(page)
        .iter()
        .filter(|tag| tag.name == "a")
        .filter_map(|tag| tag.attribute("href"))
        .filter(|href| href.starts_with('/') && !href.starts_with("//"))
        .map(|href| href.split('#').next().unwrap_or_default().to_owned())
        .collect()
}

/// The forms of the page at `path`.
pub fn forms(page: &str, path: &str) -> Vec<Form> {
    let here = path.split('?').next().unwrap_or_default();
    let mut forms: Vec<Form> = Vec::new();
    let mut closes_at = 0;
    let tags = tags(page);
    for (index, tag) in tags.iter().enumerate() {
        if tag.name == "form" {
            closes_at = page[tag.end..]
                .find("</form")
                .map_or(page.len(), |length| tag.end + length);
            let action = tag.attribute("action").unwrap_or_default();
            let action = action.split('?').next().unwrap_or_default();
            forms.push(Form {
                method: tag.attribute("method").unwrap_or("get").to_ascii_lowercase(),
                action: if action.is_empty() { here } else { action }.to_owned(),
                fields: Vec::new(),
            });
            continue;
        }
        let Some(form) = forms.last_mut().filter(|_| tag.end < closes_at) else {
            continue;
        };
        let Some(name) = tag.attribute("name") else { continue };
        if tag.attribute("disabled").is_some() {
            continue;
        }
        let kind = tag.attribute("type").unwrap_or_default();
        let ticked = tag.attribute("checked").is_some();
        let known = form.fields.iter().any(|(own, _)| own == name);
        let value = match (tag.name.as_str(), kind) {
            ("input", "checkbox" | "radio") if !ticked => continue,
            ("input", "checkbox" | "radio") => tag.attribute("value").unwrap_or("on").to_owned(),
            ("button", _) if known => continue,
            ("input" | "button", _) => tag.attribute("value").unwrap_or_default().to_owned(),
            ("textarea", _) => {
                let content = &page[tag.end..];
                decoded(&content[..content.find("</textarea").unwrap_or(content.len())])
            }
            ("select", _) => chosen(&tags[index + 1..]),
            _ => continue,
        };
        form.fields.push((name.to_owned(), value));
    }
    forms
}

/// What a list has chosen: the option that says so, else the first.
fn chosen(after: &[Tag]) -> String {
    let options: Vec<_> = after
        .iter()
        .take_while(|tag| matches!(tag.name.as_str(), "option" | "optgroup"))
        .filter(|tag| tag.name == "option")
        .collect();
    let option = options
        .iter()
        .find(|option| option.attribute("selected").is_some())
        .or(options.first());
    let value = option.and_then(|option| option.attribute("value"));
    value.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<!doctype html><a class="x" href="/a?b=1&amp;c=2#d">A</a><a href="https://example.com/">B</a>
        <form method="post" action="/go"><input type="hidden" name="csrf" value="abc"><input name=empty disabled>
        <select name="zone"><option value="a">A<option value="b" selected>B</option></select><textarea name="t">1 &lt; 2</textarea>
        <input type="checkbox" name="no"><button name="do" value="it">Do it</button><button name="do" value="not">Don’t</button></form>
        <input name="outside"><form><input name="q" value="w"></form>"#;

    #[test]
    fn links_stay_on_the_site() {
        assert_eq!(links(PAGE), ["/a?b=1&c=2"]);
    }

    #[test]
    fn a_form_sends_what_stands_in_it() {
        let forms = forms(PAGE, "/here?x=y");
        assert_eq!(forms.len(), 2);
        assert_eq!((forms[0].method.as_str(), forms[0].action.as_str()), ("post", "/go"));
        let sent: Vec<_> = forms[0]
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(sent, ["csrf=abc", "zone=b", "t=1 < 2", "do=it"]);
        assert_eq!((forms[1].method.as_str(), forms[1].action.as_str()), ("get", "/here"));
    }
}
