//! The icons of pages. A template names one as `{{ icons }}#tick`; once the page is rendered, [`put_in`] gives it the symbols
//! that it names, each once. So a page is ready as soon as it is read: a file of icons would be asked for only then, and it would
//! hold up every page by a look into the browser's cache.

use std::fmt::Write as _;

/// What stands for the icons in templates until [`put_in`].
pub(crate) const ICONS: &str = "icons";
/// Each icon is one line: a `<symbol>` with its name as id.
static SYMBOLS: &str = include_str!("assets/icons.svg");
const NAMED: &str = "href=\"icons#";
const SYMBOL: &str = "<symbol id=\"";

/// The page with the icons that it names.
pub(crate) fn put_in(page: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut written = String::with_capacity(page.len() + 4096);
    let mut pieces = page.split(NAMED);
    written.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let name = piece.split('"').next().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
        written.push_str("href=\"#icon-");
        written.push_str(piece);
    }
    // Behind the `<body>` tag.
    let place = written
        .find("<body")
        .and_then(|tag| written[tag..].find('>').map(|end| tag + end + 1));
    if let (Some(place), false) = (place, names.is_empty()) {
        written.insert_str(place, &sprite(&names));
    }
    written
}

fn sprite(names: &[&str]) -> String {
    let mut sprite = "\n<svg id=\"icons\" hidden>".to_owned();
    for (name, line) in symbols().filter(|(name, _)| names.contains(name)) {
        let _ = write!(sprite, "<symbol id=\"icon-{name}{}", &line[SYMBOL.len() + name.len()..]);
    }
    sprite.push_str("</svg>");
    sprite
}

/// Every icon: its name and its line.
fn symbols() -> impl Iterator<Item = (&'static str, &'static str)> {
    SYMBOLS.lines().filter_map(|line| {
        let name = line.strip_prefix(SYMBOL)?.split('"').next()?;
        Some((name, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gets_the_icons_that_it_names_and_each_once() {
        let page = r#"<body class="a"><use href="icons#tick"></use><use href="icons#back"></use><use href="icons#tick"></use>"#;
        let written = put_in(page);
        assert_eq!(written.matches("<symbol").count(), 2);
        assert!(written.starts_with("<body class=\"a\">\n<svg id=\"icons\" hidden><symbol id=\"icon-back\" viewBox="));
        assert!(written.ends_with(
            r##"</svg><use href="#icon-tick"></use><use href="#icon-back"></use><use href="#icon-tick"></use>"##
        ));
    }

    #[test]
    fn a_page_without_icons_stays_as_it_is_and_typed_text_names_none() {
        for page in [
            "<body>Nothing</body>",
            "no page",
            "<body>&lt;use href=&quot;icons#tick&quot;&gt;</body>",
        ] {
            assert_eq!(put_in(page), page);
        }
    }

    #[test]
    fn every_icon_that_a_template_names_is_there() {
        let known: Vec<&str> = symbols().map(|(name, _)| name).collect();
        assert!(known.len() > 20, "{known:?}");
        let templates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        for template in std::fs::read_dir(templates).unwrap() {
            let text = std::fs::read_to_string(template.unwrap().path()).unwrap();
            for piece in text.split("icons }}#").skip(1) {
                let name = piece.split('"').next().unwrap();
                assert!(name.starts_with("{{ ") || known.contains(&name), "{name}");
            }
            for piece in text.split("parts::icon(frame.icons, \"").skip(1) {
                let name = piece.split('"').next().unwrap();
                assert!(known.contains(&name), "{name}");
            }
        }
    }
}
