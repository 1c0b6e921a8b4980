//! The page behind the link in an e-mail: what was done, and what its reader may say. Pure: `inbound` answers with it, and the
//! operator's page of texts shows what stands on it.

use super::compose::{escape, page};
use crate::texts::Language;

/// What a recipient says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Disown,
    Stop,
    Start,
}

impl Wish {
    /// As a form says it, what stands on its button, and what is said once it was done.
    const fn names(self) -> [&'static str; 3] {
        match self {
            Self::Disown => ["disown", "email-page-disown", "email-page-disowned"],
            Self::Stop => ["stop", "email-page-stop", "email-page-stopped"],
            Self::Start => ["start", "email-page-start", "email-page-started"],
        }
    }
}

/// What stands on the page.
pub(crate) struct AnswerPage {
    pub(crate) heading: String,
    /// What was done, where something was.
    pub(crate) said: Option<String>,
    /// What can be said: the form's value, and the words on its button.
    pub(crate) choices: Vec<(&'static str, String)>,
}

impl AnswerPage {
    /// `done`: what the recipient said last. `stopped`: whether they want no more messages.
    pub(crate) fn new(language: &Language, done: Option<Wish>, stopped: bool) -> Self {
        let text = |id| language.text(id, &[]);
        let choice = if stopped { Wish::Start } else { Wish::Stop };
        let wishes = [Wish::Disown, choice].into_iter();
        let open = wishes.filter(|wish| done != Some(Wish::Disown) || *wish != Wish::Disown);
        let choices = open.map(|wish| {
            let [value, label, _] = wish.names();
            (value, text(label))
        });
        Self {
            heading: text("email-page-heading"),
            said: done.map(|wish| text(wish.names()[2])),
            choices: choices.collect(),
        }
    }

    /// Behind a link that means nothing any more.
    pub(crate) fn dead(language: &Language) -> Self {
        let text = |id| language.text(id, &[]);
        Self {
            heading: text("email-page-heading"),
            said: Some(text("email-page-dead")),
            choices: Vec::new(),
        }
    }

    /// The page.
    pub(super) fn html(&self, language: &Language) -> String {
        let mut body = format!(
            "<h1 style=\"margin:0 0 16px;font-size:20px;line-height:1.3\">{}</h1>\n",
            escape(&self.heading)
        );
        if let Some(said) = &self.said {
            let said = escape(said);
            body.push_str("<p role=\"status\" style=\"margin:0 0 16px\">");
            body.push_str(&said);
            body.push_str("</p>\n");
        }
        if self.choices.is_empty() {
            return page(language, &self.heading, &body);
        }
        body.push_str("<form method=\"post\">\n");
        for (value, label) in &self.choices {
            let button = format!(
                "<p style=\"margin:0 0 12px\"><button name=\"do\" value=\"{value}\" style=\"width:100%;padding:12px 16px;font:inherit\">{}</button></p>\n",
                escape(label)
            );
            body.push_str(&button);
        }
        body.push_str("</form>\n");
        page(language, &self.heading, &body)
    }
}
