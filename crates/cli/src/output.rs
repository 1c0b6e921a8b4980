//! What a command prints: JSON for programs, aligned text for people. Everything goes through here, so that a closed pipe
//! (`countersign … | head`) is an error to be handled, never a panic.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use serde::Serialize;

/// Where a command prints, and how.
pub(crate) struct Output {
    json: bool,
    colour: bool,
}

/// How text is shown on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Labels and hints.
    Quiet,
    /// The one thing to look at.
    Strong,
    /// It went well.
    Good,
    /// Not finished, or to be noticed.
    Waiting,
    /// It went wrong.
    Bad,
}

impl Output {
    /// Prints JSON where asked for; colours only on a terminal, and not where `NO_COLOR` is set.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            colour: !json && io::stdout().is_terminal() && !no_colour(),
        }
    }

    /// Whether a program reads.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    /// Prints one JSON value on one line.
    fn json(value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value).context("the answer can't be written as JSON")?;
        Self::print(&format!("{text}\n"))
    }

    /// Prints JSON, or what people read.
    pub(crate) fn show(&self, value: &impl Serialize, people: impl FnOnce(&Self) -> String) -> anyhow::Result<()> {
        if self.json {
            return Self::json(value);
        }
        Self::print(&people(self))
    }

    /// Prints text as it is: no macro, which would panic on a closed pipe.
    fn print(text: &str) -> anyhow::Result<()> {
        Self::print_bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        Ok(())
    }

    /// Text with its style, where there are colours.
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        paint(self.colour, style, text)
    }

    /// Lines of label and value, the values under each other.
    pub(crate) fn facts(&self, facts: &[(&str, String)]) -> String {
        let width = facts.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (label, value) in facts {
            let label = self.styled(Style::Quiet, &format!("{label:width$}"));
            text.extend([label.as_str(), "  ", value, "\n"]);
        }
        text
    }

    /// A table: a quiet head and aligned columns.
    pub(crate) fn table(&self, head: &[&str], rows: &[Vec<Cell>]) -> String {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(Cell::width)
                .chain(head.get(column).map(|text| text.chars().count()))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let head: Vec<Cell> = head.iter().map(|text| Cell::new(*text).style(Style::Quiet)).collect();
        let mut text = String::new();
        for row in std::iter::once(&head).chain(rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let last = column + 1 == row.len();
                let right = rows
                    .first()
                    .and_then(|first| first.get(column))
                    .is_some_and(|cell| cell.right);
                let padding = " ".repeat(widths.get(column).map_or(0, |width| width.saturating_sub(cell.width())));
                let shown = cell.shown(self);
                if right {
                    line.push_str(&padding);
                    line.push_str(&shown);
                } else {
                    line.push_str(&shown);
                    line.push_str(&padding);
                }
                if !last {
                    line.push_str("  ");
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// One cell of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Option<Style>,
    right: bool,
}

impl Cell {
    /// Plain text, on the left.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style: None,
            right: false,
        }
    }

    /// A number, on the right, so that digits stand under each other.
    pub(crate) fn number(text: impl Into<String>) -> Self {
        Self {
            right: true,
            ..Self::new(text)
        }
    }

    /// With a style.
    pub(crate) fn style(mut self, style: Style) -> Self {
        self.style = Some(style);
        self
    }

    /// Its text with its style.
    pub(crate) fn shown(&self, output: &Output) -> String {
        let style = |style| output.styled(style, &self.text);
        self.style.map_or_else(|| self.text.clone(), style)
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Whether standard error takes colours.
pub(crate) fn stderr_colour() -> bool {
    io::stderr().is_terminal() && !no_colour()
}

/// Text with its style, where `colour` says so.
pub(crate) fn paint(colour: bool, style: Style, text: &str) -> String {
    if !colour {
        return text.to_owned();
    }
    let code = match style {
        Style::Quiet => "2",
        Style::Strong => "1",
        Style::Good => "32",
        Style::Waiting => "33",
        Style::Bad => "31",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// `NO_COLOR` set to anything but nothing means none (no-color.org).
fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Output = Output {
        json: false,
        colour: false,
    };

    #[test]
    fn columns_are_aligned_and_numbers_stand_on_the_right() {
        let rows = [
            vec![Cell::new("Acme"), Cell::number("$10.00"), Cell::new("open")],
            vec![Cell::new("Bücher & Söhne"), Cell::number("$1,234.50"), Cell::new("")],
        ];
        assert_eq!(
            PLAIN.table(&["name", "balance", "state"], &rows),
            "name              balance  state\nAcme               $10.00  open\nBücher & Söhne  $1,234.50\n"
        );
    }

    #[test]
    fn colours_do_not_disturb_the_columns() {
        let coloured = Output {
            json: false,
            colour: true,
        };
        let rows = [vec![Cell::new("x").style(Style::Good), Cell::new("y")]];
        let text = coloured.table(&["long", "z"], &rows);
        let plain: String = text
            .replace("\x1b[2m", "")
            .replace("\x1b[32m", "")
            .replace("\x1b[0m", "");
        assert_eq!(plain, PLAIN.table(&["long", "z"], &rows));
        assert!(text.contains("\x1b[32mx\x1b[0m"));
    }

    #[test]
    fn facts_stand_under_each_other() {
        let facts = [("Id", "1".to_owned()), ("Balance", "$1.00".to_owned())];
        assert_eq!(PLAIN.facts(&facts), "Id       1\nBalance  $1.00\n");
    }
}
