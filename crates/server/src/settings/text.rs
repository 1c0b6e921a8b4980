//! The commented file that `countersign init` writes: every setting, with its documentation and its default, or what was answered.

use std::fmt::Write as _;

use toml::Value;

use super::table::{Kind, Setting, TABLE};

const HEAD: &str = "\
# Countersign's settings. Each one stands here with its default; to change one, remove its `#` and edit it.
# An environment variable wins over this file, and an option of the command line over both.
# Paths are relative to the directory in which `countersign serve` is started.
";

const CHANNELS: &str = "
# ---- Channels and routes ---------------------------------------------------------------------------
# A channel is a way to reach phones; docs/channels.md has the kinds and their settings. Each key is also an
# environment variable: channels.sms.password is COUNTERSIGN_CHANNELS_SMS_PASSWORD. `countersign doctor` tries them.
#
#   [channels.telegram]
#   kind = \"telegram_bot\"
#   token_file = \"/etc/countersign/bot-token\"
#
#   [channels.sms]
#   kind = \"smpp\"
#   host = \"smsc.example.com\"
#   system_id = \"acme\"
#   password_file = \"/etc/countersign/smsc-password\"
#   cost = \"0.045\"
#
# A route is the legs that messages take, in their order: docs/routes.md. Without one, all messages go to the inbox.
#
#   [routes.main]
#   legs = [\"telegram\", \"sms\"]
#   shares = [40, 60]
";

/// A configuration file that sets nothing and explains everything.
pub fn commented_file() -> String {
    file_with(&[])
}

/// The same with some settings, by their names and as their variables would have them. They are checked when the file is read.
pub fn file_with(set: &[(&str, String)]) -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for setting in TABLE {
        if setting.section != section {
            section = setting.section;
            // `write!` to a string can't fail.
            let _ = write!(text, "\n[{section}]\n");
        }
        let name = setting.name();
        let value = set.iter().find(|(wanted, _)| *wanted == name);
        describe(&mut text, setting, value.map(|(_, value)| value.as_str()));
    }
    text.push_str(CHANNELS);
    text
}

fn describe(text: &mut String, setting: &Setting, value: Option<&str>) {
    text.push('\n');
    for line in wrapped(setting.doc) {
        let _ = writeln!(text, "# {line}");
    }
    let _ = writeln!(text, "# ({})", setting.variable());
    if let Some(value) = value {
        let _ = writeln!(text, "{} = {}", setting.key, written(setting.kind, value));
        return;
    }
    let written = match (setting.kind, setting.sandbox) {
        (Kind::Text, value) => format!("{value:?}"),
        (Kind::List, value) => format!("[{value}]"),
        (Kind::Numbers, value) => format!("[{}]", value.replace(',', ", ")),
        (Kind::Flag | Kind::Whole, value) => value.to_owned(),
    };
    let otherwise = if setting.sandbox == setting.production || setting.key == "mode" {
        String::new()
    } else {
        format!("    # in production: {}", setting.production)
    };
    let _ = writeln!(text, "#{} = {written}{otherwise}", setting.key);
}

/// A value as the file has it.
fn written(kind: Kind, value: &str) -> String {
    let text = |value: &str| Value::String(value.to_owned()).to_string();
    match kind {
        Kind::Text => text(value),
        Kind::List => format!(
            "[{}]",
            value
                .split(',')
                .map(|part| text(part.trim()))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        Kind::Numbers => format!("[{value}]"),
        Kind::Flag | Kind::Whole => value.to_owned(),
    }
}

/// Breaks a sentence into lines that fit a terminal.
fn wrapped(sentence: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < 98 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
