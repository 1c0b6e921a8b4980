//! What a setting is: its name, how it is written, and what takes its value. All of them stand in `table`.

use super::Settings;
use crate::Mode;

/// How a setting is written in the file. In the environment everything is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Whole,
    /// An array of strings; in the environment separated by commas.
    List,
    /// An array of whole numbers; in the environment separated by commas.
    Numbers,
}

/// One setting.
pub struct Setting {
    /// Its section in the file; empty for the two at the top.
    pub section: &'static str,
    /// Its name within the section.
    pub key: &'static str,
    /// How it is written in the file.
    pub kind: Kind,
    /// What it must be, to complete "expected …".
    pub expects: &'static str,
    /// Its default as text, in the sandbox; empty for none.
    pub sandbox: &'static str,
    /// Its default as text, in production; empty for none.
    pub production: &'static str,
    /// What it does, one sentence or two.
    pub doc: &'static str,
    /// Takes the value as text; `None` where it isn't what [`Self::expects`] says. Empty text unsets it.
    pub(super) set: fn(&mut Settings, &str) -> Option<()>,
}

impl Setting {
    /// Its full name, as messages give it.
    pub fn name(&self) -> String {
        if self.section.is_empty() {
            self.key.to_owned()
        } else {
            format!("{}.{}", self.section, self.key)
        }
    }

    /// Its environment variable.
    pub fn variable(&self) -> String {
        let name = self.name().replace('.', "_").to_uppercase();
        format!("COUNTERSIGN_{name}")
    }

    /// Its default as text; empty for none.
    pub const fn default_of(&self, mode: Mode) -> &'static str {
        match mode {
            Mode::Sandbox => self.sandbox,
            Mode::Production => self.production,
        }
    }
}
