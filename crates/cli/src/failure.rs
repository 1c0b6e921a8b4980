//! How a command ends when it can't do what was asked: one sentence on standard error, exit code 1, no stack trace.

use std::io::{self, Write as _};
use std::process::ExitCode;

use countersign_client::{ApiError, ClientError};
use serde::Serialize;

use crate::output::{Output, Style, paint, stderr_colour};

/// Exit code of `check` where the code isn't the right one.
pub(crate) const CODE_REFUSED: u8 = 3;

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
    /// The Gateway API's name, where it was the gateway that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// Says why a command failed. A reader that went away (`| head`) is no failure.
pub(crate) fn report(error: &anyhow::Error, output: &Output) -> ExitCode {
    let closed_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(closed_pipe) {
        return ExitCode::SUCCESS;
    }
    let sentence = format!("{error:#}");
    let line = if output.is_json() {
        let name = error.downcast_ref().and_then(|error: &Explained| error.name.clone());
        // Two strings always serialise.
        serde_json::to_string(&Failure { error: &sentence, name }).unwrap_or_default()
    } else {
        format!("{} {sentence}", paint(stderr_colour(), Style::Bad, "error:"))
    };
    // Nobody can be told that standard error is closed.
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::FAILURE
}

/// A gateway's error with what to do now.
#[derive(Debug)]
struct Explained {
    sentence: String,
    name: Option<String>,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Explained {}

/// A client's error as a sentence that says what to do.
pub(crate) fn explain(error: &ClientError) -> anyhow::Error {
    let remedy = match error {
        ClientError::Api(error) => api_remedy(*error),
        ClientError::Unreachable { reason, .. } => Some(unreachable_remedy(reason).to_owned()),
        ClientError::Unavailable { .. } => Some("nothing was done: try again".to_owned()),
        ClientError::Transport { .. } | ClientError::ServerFailed { .. } => {
            Some("look at the request's `countersign status` before you repeat it".to_owned())
        }
        ClientError::Protocol { .. } => Some("check --url or COUNTERSIGN_URL".to_owned()),
        _ => None,
    };
    let name = match error {
        ClientError::Api(error) => Some(error.to_string()),
        ClientError::UnknownError(name) => Some(name.clone()),
        _ => None,
    };
    let sentence = remedy.map_or_else(|| error.to_string(), |remedy| format!("{error}: {remedy}"));
    anyhow::Error::new(Explained { sentence, name })
}

/// What to do where no connection came about.
pub(crate) fn unreachable_remedy(reason: &str) -> &'static str {
    // rustls's own words for a certificate that nobody we trust has signed, or that is another host's.
    if reason.contains("certificate") {
        "trust its authority with --ca-file or COUNTERSIGN_CA_FILE, and call it by the name in its certificate"
    } else {
        "start a server with `countersign serve`, or name the running one's address with --url or COUNTERSIGN_URL"
    }
}

fn api_remedy(error: ApiError) -> Option<String> {
    let text = match error {
        ApiError::AccessTokenInvalid => {
            "this token is unknown, was rotated, or its account is closed; `countersign token show PHONE` shows the \
             present one"
        }
        ApiError::AccessTokenRequired => "give the token with --token or COUNTERSIGN_TOKEN",
        ApiError::IpNotAllowed => {
            "the account's allow-list doesn't hold this machine's address; `countersign account allow-list` sets it"
        }
        ApiError::PhoneNumberInvalid => "write the number in international form, like +391234567890",
        ApiError::ResendNotPossible => "there is no other way on which this message could go now",
        ApiError::PhoneNumberNotFound => "this number can't be reached; nothing was charged",
        ApiError::RequestIdInvalid => {
            "this account has no such request, or it can't be used for this; copy the id again from the answer to `send`"
        }
        ApiError::CodeInvalid | ApiError::CodeLengthInvalid => "a code has 4 to 8 digits",
        ApiError::TtlInvalid => "a message lives from 30 to 3600 seconds",
        ApiError::LocaleInvalid => "a language is a tag like de or pt-BR",
        ApiError::EmailInvalid => "an e-mail address is like ida@example.com, without a name around it",
        ApiError::PayloadInvalid => "a payload has at most 128 bytes",
        ApiError::CallbackUrlInvalid => "a callback URL is https:// and has at most 256 bytes",
        ApiError::SenderUsernameInvalid => {
            "nobody has registered this sender; `countersign sender add` does, and `sender verify` lets it be used"
        }
        ApiError::SenderNotOwned => "this sender is another account's",
        ApiError::SenderNotVerified => "`countersign sender verify` lets it be used",
        ApiError::BalanceNotEnough => "`countersign account credit` adds credit to the account",
        ApiError::FloodWait { seconds } => return Some(format!("try again in {seconds} s")),
        _ => return None,
    };
    Some(text.to_owned())
}
