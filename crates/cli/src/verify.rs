//! The client's commands, `send`, `check`, `status` and `revoke`: the Gateway API through the client crate, against Countersign
//! or Telegram's own gateway.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use countersign_client::{Client, ClientError, RequestStatus, SendRequest, is_code_valid};
use serde::Serialize;

use crate::arguments::{Common, option_or_variable};
use crate::connection::{block_on, server_url, trusted_roots};
use crate::failure::{CODE_REFUSED, explain};
use crate::format;
use crate::output::{Output, Style};

/// Names the account that calls.
#[derive(Debug, Args)]
struct Caller {
    /// The account's API token [env: COUNTERSIGN_TOKEN]
    #[arg(long)]
    token: Option<String>,
}

/// Options of `send`.
#[derive(Debug, Args)]
#[command(
    override_usage = "countersign send [OPTIONS] <PHONE>",
    after_help = "\
Examples:
  countersign send +391234567890
  countersign send +391234567890 --code-length 4 --ttl 300
  countersign send +391234567890 --locale pt-BR --email ida@example.com
  countersign send +391234567890 --code 123456 --sender @acme_shop --payload 'order 17'"
)]
pub(crate) struct SendArguments {
    /// The recipient, like +391234567890
    #[arg(value_name = "PHONE", required_unless_present = "phone")]
    recipient: Option<String>,
    /// The recipient too, for those who name everything
    #[arg(long, hide = true, conflicts_with = "recipient")]
    phone: Option<String>,
    /// Your own code, 4 to 8 digits, instead of a generated one
    #[arg(long)]
    code: Option<String>,
    /// Digits of the generated code, 4 to 8
    #[arg(long, value_name = "DIGITS")]
    code_length: Option<u8>,
    /// The message's life in seconds, 30 to 3600; not delivered by then, the fee is refunded
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,
    /// The sender that the recipient sees; it must be verified
    #[arg(long, value_name = "NAME")]
    sender: Option<String>,
    /// The language in which the recipient reads, like de or pt-BR [default: their number's country's]
    #[arg(long, value_name = "TAG")]
    locale: Option<String>,
    /// The recipient's e-mail address, for channels that take one
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Where delivery reports go
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    /// Text that comes back with every answer and report
    #[arg(long, value_name = "TEXT")]
    payload: Option<String>,
    /// Send on this ability check, free of charge
    #[arg(long, value_name = "REQUEST_ID")]
    request_id: Option<String>,
    /// Makes the call safe to repeat: the same key gives the first answer again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    caller: Caller,
}

/// Options of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  the code is right
  1  it could not be judged
  3  the code is wrong, too late, or one of too many

Example:
  if countersign check \"$REQUEST_ID\" \"$TYPED\"; then echo welcome; fi")]
pub(crate) struct CheckArguments {
    /// The request, as `send` answered it
    request_id: String,
    /// What the person typed
    code: String,
    #[command(flatten)]
    caller: Caller,
}

/// Options of `status` and `revoke`.
#[derive(Debug, Args)]
pub(crate) struct RequestArguments {
    /// The request, as `send` answered it
    request_id: String,
    #[command(flatten)]
    caller: Caller,
}

/// Sends a code.
pub(crate) fn send(arguments: &SendArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let client = client(&arguments.caller, common)?;
    let recipient = arguments.recipient.as_ref().or(arguments.phone.as_ref());
    let mut request = SendRequest::new(recipient.cloned().unwrap_or_default());
    if let Some(code) = &arguments.code {
        request = request.code(code);
    }
    if let Some(digits) = arguments.code_length {
        request = request.code_length(digits);
    }
    if let Some(seconds) = arguments.ttl {
        request = request.ttl_seconds(seconds);
    }
    if let Some(sender) = &arguments.sender {
        request = request.sender_username(sender);
    }
    if let Some(tag) = &arguments.locale {
        request = request.locale(tag);
    }
    if let Some(address) = &arguments.email {
        request = request.email(address);
    }
    if let Some(url) = &arguments.callback_url {
        request = request.callback_url(url);
    }
    if let Some(payload) = &arguments.payload {
        request = request.payload(payload);
    }
    if let Some(id) = &arguments.request_id {
        request = request.request_id(id);
    }
    if let Some(key) = &arguments.idempotency_key {
        request = request.idempotency_key(key);
    }
    let status = call(client.send(&request))?;
    output.show(&status, |output| {
        let mut text = facts(&status, output);
        if output.is_terminal() {
            let next = format!("Next: countersign check {} CODE", status.request_id);
            text.extend(["\n", &output.styled(Style::Quiet, &next), "\n"]);
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Judges a code; exit code 3 where it isn't the right one.
pub(crate) fn check(arguments: &CheckArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let client = client(&arguments.caller, common)?;
    let status = call(client.check(&arguments.request_id, &arguments.code))?;
    output.show(&status, |output| facts(&status, output))?;
    Ok(if is_code_valid(&status) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(CODE_REFUSED)
    })
}

/// Tells how a request stands.
pub(crate) fn status(arguments: &RequestArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let client = client(&arguments.caller, common)?;
    let status = call(client.status(&arguments.request_id))?;
    output.show(&status, |output| facts(&status, output))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Revoked<'a> {
    request_id: &'a str,
    /// That the request was received: what was delivered already stays.
    received: bool,
}

/// Ends a code.
pub(crate) fn revoke(arguments: &RequestArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let client = client(&arguments.caller, common)?;
    call(client.revoke(&arguments.request_id))?;
    let revoked = Revoked {
        request_id: &arguments.request_id,
        received: true,
    };
    output.show(&revoked, |_| {
        "Received: the code no longer works, and the message is withdrawn unless it was delivered already.\n".to_owned()
    })?;
    Ok(ExitCode::SUCCESS)
}

fn client(caller: &Caller, common: &Common) -> anyhow::Result<Client> {
    let Some(token) = option_or_variable(caller.token.as_deref(), "COUNTERSIGN_TOKEN") else {
        bail!(
            "no token: give it with --token or COUNTERSIGN_TOKEN; a sandbox prints its own when it starts, and `countersign \
             token show PHONE` shows any account's"
        );
    };
    let mut builder = Client::builder(server_url(common), token.trim());
    if let Some((_, pem)) = trusted_roots(common)? {
        builder = builder.trust_root_pem(pem);
    }
    builder.build().map_err(|error| explain(&error))
}

fn call<T>(task: impl Future<Output = Result<T, ClientError>>) -> anyhow::Result<T> {
    block_on(async { task.await.map_err(|error| explain(&error)) })
}

fn facts(status: &RequestStatus, output: &Output) -> String {
    let now = format::now();
    let mut cost = format::money(status.request_cost);
    if status.is_refunded {
        cost.push_str(", refunded");
    }
    if let Some(left) = status.remaining_balance {
        cost = format!("{cost}, {} left", format::money(left));
    }
    let mut facts = vec![
        ("Request", output.styled(Style::Strong, &status.request_id)),
        ("Phone", format::phone(&status.phone_number)),
        ("Cost", cost),
    ];
    if let Some(delivery) = &status.delivery_status {
        let state = format::state_text(output, &delivery.status);
        facts.push((
            "Delivery",
            format!("{state}, {}", format::time(delivery.updated_at, now)),
        ));
    }
    if let Some(verification) = &status.verification_status {
        let state = format::state_text(output, &verification.status);
        facts.push((
            "Code",
            format!("{state}, {}", format::time(verification.updated_at, now)),
        ));
    }
    if let Some(payload) = &status.payload {
        facts.push(("Payload", payload.clone()));
    }
    output.facts(&facts)
}
