//! Questions on a terminal: one line each, asked again until the answer makes sense. Without a terminal nobody is asked, and nothing is
//! guessed: what is missing is named by its options.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal as _, Write};

use anyhow::{Context as _, bail};

/// An answer that makes no sense is asked for again so often.
const PATIENCE: usize = 5;

/// Somebody who can be asked, or nobody.
pub(super) struct Asked<R, W>(Option<(R, W)>);

impl Asked<io::StdinLock<'static>, io::Stderr> {
    /// Whoever sits at the terminal. Questions go to standard error: standard output is for the result.
    pub(super) fn at_terminal() -> Self {
        let is_there = io::stdin().is_terminal() && io::stderr().is_terminal();
        Self(is_there.then(|| (io::stdin().lock(), io::stderr())))
    }
}

impl<R: BufRead, W: Write> Asked<R, W> {
    #[cfg(test)]
    pub(super) const fn with(input: R, output: W) -> Self {
        Self(Some((input, output)))
    }

    #[cfg(test)]
    pub(super) const fn nobody() -> Self {
        Self(None)
    }

    /// Whether anybody can be asked.
    pub(super) const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Asks for one of some words. `options` is what the command line takes instead.
    pub(super) fn choose(&mut self, question: &str, choices: &[(&str, &str)], options: &str) -> anyhow::Result<usize> {
        let mut text = format!("{question}\n");
        for (number, (word, about)) in choices.iter().enumerate() {
            // Writing to a string can't fail.
            let _ = writeln!(text, "  {}  {word}: {about}", number + 1);
        }
        let found = |answer: &str| {
            let by_word = choices.iter().position(|(word, _)| *word == answer);
            by_word
                .or_else(|| answer.parse::<usize>().ok()?.checked_sub(1))
                .filter(|place| *place < choices.len())
        };
        self.put(&text, "Number", None, options, |answer| {
            found(answer).ok_or_else(|| format!("1 to {}, please.", choices.len()))
        })
    }

    /// Asks for a line. Just Enter takes the default, which may be empty.
    pub(super) fn line<T>(
        &mut self,
        question: &str,
        default: &str,
        options: &str,
        understood: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        self.put("", question, Some(default), options, understood)
    }

    /// The same where there is no default.
    pub(super) fn needed<T>(
        &mut self,
        question: &str,
        options: &str,
        understood: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        self.put("", question, None, options, understood)
    }

    fn put<T>(
        &mut self,
        before: &str,
        question: &str,
        default: Option<&str>,
        options: &str,
        understood: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        let Some((input, output)) = &mut self.0 else {
            bail!("there is no terminal to ask on, and nothing is guessed: give {options}");
        };
        let hint = match default {
            Some("") => " [none]".to_owned(),
            Some(default) => format!(" [{default}]"),
            None => String::new(),
        };
        let asking = "asking on the terminal";
        write!(output, "{before}").context(asking)?;
        for _ in 0..PATIENCE {
            write!(output, "{question}{hint}: ").context(asking)?;
            output.flush().context(asking)?;
            let mut line = String::new();
            if input.read_line(&mut line).context("reading the answer")? == 0 {
                bail!("the answers ended before the last question: nothing was written");
            }
            let answer = match (line.trim(), default) {
                ("", Some(default)) => default,
                ("", None) => continue,
                (answer, _) => answer,
            };
            match understood(answer) {
                Ok(answer) => return Ok(answer),
                Err(why) => writeln!(output, "  {why}").context(asking)?,
            }
        }
        bail!("{question}: there was no answer that could be used. Nothing was written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(answer: &str) -> Result<u8, String> {
        answer.parse().map_err(|_| "a number, please".to_owned())
    }

    #[test]
    fn what_makes_no_sense_is_asked_again_and_enter_takes_the_default() {
        let mut told = Vec::new();
        let mut asked = Asked::with("x\n 7 \n\n".as_bytes(), &mut told);
        assert_eq!(asked.line("How many", "3", "--many", number).unwrap(), 7);
        assert_eq!(asked.line("How many", "3", "--many", number).unwrap(), 3);
        let ended = asked.needed("How many", "--many", number).unwrap_err();
        assert!(ended.to_string().contains("nothing was written"), "{ended}");
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains("How many [3]: "), "{told}");
        assert!(told.contains("a number, please"), "{told}");
    }

    #[test]
    fn a_choice_is_taken_by_number_and_by_word() {
        let choices = [("one", "the first"), ("two", "the second")];
        let mut asked = Asked::with("3\n2\none\n".as_bytes(), Vec::new());
        assert_eq!(asked.choose("Which?", &choices, "--which").unwrap(), 1);
        assert_eq!(asked.choose("Which?", &choices, "--which").unwrap(), 0);
    }

    #[test]
    fn without_a_terminal_the_option_is_named() {
        let mut asked = Asked::<&[u8], Vec<u8>>::nobody();
        let refused = asked.needed("How many", "--many", number).unwrap_err();
        assert!(refused.to_string().contains("--many"), "{refused}");
    }
}
