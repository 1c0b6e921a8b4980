//! Progress bars: one look for every command that takes a while. They stand on standard error, and not where a program
//! reads or no terminal is.

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes of a copy.
    Bytes,
    /// Rows of the books; how many there are is known about.
    Rows,
}

/// A bar that isn't drawn before it is told of progress.
pub(crate) fn bar(unit: Unit, output: &Output) -> ProgressBar {
    if output.is_json() {
        return ProgressBar::hidden();
    }
    let counted = match unit {
        Unit::Bytes => "{bytes} of {total_bytes}  {bytes_per_sec}",
        Unit::Rows => "{human_pos} of about {human_len} rows  {per_sec}",
    };
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template(&format!("{{bar:32}} {{percent:>3}} %  {counted}  {{eta}} left")) {
        Ok(style) => bar.with_style(style),
        // The plain one says the same with less.
        Err(_) => bar,
    }
}
