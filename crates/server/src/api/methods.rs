//! The four methods, and one of ours: each reads its parameters in the order of its row in the contract, and makes a command of them.

use countersign_core::{
    Action, ApiError, CallbackUrl, Code, CodeLength, EmailAddress, EnteredCode, Idempotency, IdempotencyKey, Locale,
    Payload, PhoneNumber, PlainHttp, Reach, RequestId, SandboxNumbers, Send, SendCode, SenderUsername, Timestamp,
    TokenKind, Ttl,
};
use countersign_store::Store;
use http::HeaderMap;

use super::caller::Caller;
use super::parameters::{Parameter, Parameters, WrongType};
use crate::app::{App, Mode};
use crate::random;

/// Stands for an id that no request can have: it was made in 1970. A malformed id is an unknown one, and is refused where
/// unknown ids are, after every other parameter was judged.
const UNKNOWN_REQUEST: RequestId = RequestId::new(Timestamp::from_millis(0), 0);

/// A method of the Gateway API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// `sendVerificationMessage`.
    Send,
    /// `checkSendAbility`.
    CheckAbility,
    /// `checkVerificationStatus`.
    CheckStatus,
    /// `revokeVerificationMessage`.
    Revoke,
    /// `resendVerificationMessage`: ours, not the Gateway's.
    Resend,
}

impl Method {
    /// The method of that name, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        let is = |method: &str| name.eq_ignore_ascii_case(method);
        if is("sendVerificationMessage") {
            Some(Self::Send)
        } else if is("checkVerificationStatus") {
            Some(Self::CheckStatus)
        } else if is("checkSendAbility") {
            Some(Self::CheckAbility)
        } else if is("revokeVerificationMessage") {
            Some(Self::Revoke)
        } else if is("resendVerificationMessage") {
            Some(Self::Resend)
        } else {
            None
        }
    }

    /// Its name, as the contract writes it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Send => "sendVerificationMessage",
            Self::CheckAbility => "checkSendAbility",
            Self::CheckStatus => "checkVerificationStatus",
            Self::Revoke => "revokeVerificationMessage",
            Self::Resend => "resendVerificationMessage",
        }
    }

    /// What the call asks of the books.
    pub(super) fn action(self, app: &App, caller: &Caller, parameters: &Parameters<'_>) -> Result<Action, ApiError> {
        let kind = caller.access.token.kind;
        match self {
            Self::Send => send(app, kind, parameters).map(|send| Action::Send(Box::new(send))),
            Self::CheckAbility => {
                let phone = phone(app, kind, parameters)?;
                Ok(Action::CheckAbility {
                    phone,
                    email: email(parameters)?,
                    id_entropy: u64::from_ne_bytes(random::bytes()),
                    // What can be reached is planned after all that is read here (routes::submit).
                    reach: Reach::Unreachable,
                    plan: None,
                    skipped: Vec::new(),
                    guard: None,
                })
            }
            Self::CheckStatus => {
                let request = required_request_id(parameters)?;
                let code = parameters
                    .text(Parameter::Code)
                    .map_err(|WrongType| ApiError::CodeInvalid)?;
                let code = code.map(|code| EnteredCode::new(code.to_owned()).ok_or(ApiError::CodeInvalid));
                Ok(Action::Check {
                    request,
                    code: code.transpose()?,
                })
            }
            Self::Revoke => Ok(Action::Revoke {
                request: required_request_id(parameters)?,
            }),
            Self::Resend => Ok(Action::NextLeg {
                request: required_request_id(parameters)?,
            }),
        }
    }
}

fn send(app: &App, kind: TokenKind, parameters: &Parameters<'_>) -> Result<Send, ApiError> {
    let phone = phone(app, kind, parameters)?;
    let request = request_id(parameters);
    let sender = optional(parameters, Parameter::SenderUsername, SenderUsername::parse)
        .map_err(|WrongType| ApiError::SenderUsernameInvalid)?;
    // One draw for both: a call of the operating system costs more than the bytes.
    let [id_entropy, code_high, code_low] = draw_entropy();
    let code = optional(parameters, Parameter::Code, Code::parse).map_err(|WrongType| ApiError::CodeInvalid)?;
    let code = match code {
        Some(code) => SendCode::Supplied(code),
        None => SendCode::Generate {
            length: code_length(parameters).ok_or(ApiError::CodeLengthInvalid)?,
            entropy: u128::from(code_high) << 64 | u128::from(code_low),
        },
    };
    let plain_http = match app.mode {
        Mode::Sandbox => PlainHttp::Accepted,
        Mode::Production => PlainHttp::Refused,
    };
    let callback_url = optional(parameters, Parameter::CallbackUrl, |url| {
        CallbackUrl::parse(url, plain_http)
    })
    .map_err(|WrongType| ApiError::CallbackUrlInvalid)?;
    let payload = optional(parameters, Parameter::Payload, |text| Payload::new(text.to_owned()))
        .map_err(|WrongType| ApiError::PayloadInvalid)?;
    let ttl = match parameters.integer(Parameter::Ttl) {
        Ok(None) => Ttl::default(),
        Ok(Some(seconds)) => Ttl::new(seconds).ok_or(ApiError::TtlInvalid)?,
        Err(WrongType) => return Err(ApiError::TtlInvalid),
    };
    let locale = optional(parameters, Parameter::Locale, Locale::parse).map_err(|WrongType| ApiError::LocaleInvalid)?;
    let email = email(parameters)?;
    Ok(Send {
        phone,
        request,
        sender,
        code,
        callback_url,
        payload,
        ttl,
        locale,
        email,
        id_entropy,
        reach: Reach::Unreachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    })
}

fn phone(app: &App, kind: TokenKind, parameters: &Parameters<'_>) -> Result<PhoneNumber, ApiError> {
    let sandbox_numbers = match (kind, app.mode) {
        (TokenKind::Test, _) => SandboxNumbers::Only,
        (TokenKind::Live, Mode::Sandbox) => SandboxNumbers::Accepted,
        (TokenKind::Live, Mode::Production) => SandboxNumbers::Refused,
    };
    let text = parameters.plain_text(Parameter::PhoneNumber);
    text.and_then(|text| PhoneNumber::parse(text, sandbox_numbers))
        .ok_or(ApiError::PhoneNumberInvalid)
}

fn email(parameters: &Parameters<'_>) -> Result<Option<EmailAddress>, ApiError> {
    optional(parameters, Parameter::Email, EmailAddress::parse).map_err(|WrongType| ApiError::EmailInvalid)
}

fn request_id(parameters: &Parameters<'_>) -> Option<RequestId> {
    match parameters.text(Parameter::RequestId) {
        Ok(text) => text.map(|text| RequestId::parse(text).unwrap_or(UNKNOWN_REQUEST)),
        Err(WrongType) => Some(UNKNOWN_REQUEST),
    }
}

fn required_request_id(parameters: &Parameters<'_>) -> Result<RequestId, ApiError> {
    request_id(parameters).ok_or(ApiError::RequestIdRequired)
}

fn code_length(parameters: &Parameters<'_>) -> Option<CodeLength> {
    match parameters.integer(Parameter::CodeLength) {
        Ok(None) => Some(CodeLength::default()),
        Ok(Some(digits)) => CodeLength::new(digits),
        Err(WrongType) => None,
    }
}

/// A parameter that may be absent; `Err` where it is there and `parse` refuses it.
fn optional<T>(
    parameters: &Parameters<'_>,
    parameter: Parameter,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, WrongType> {
    let text = parameters.text(parameter)?;
    text.map(|text| parse(text).ok_or(WrongType)).transpose()
}

fn draw_entropy() -> [u64; 3] {
    let bytes: [u8; 24] = random::bytes();
    let mut words = [0; 3];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    words
}

/// The `Idempotency-Key` of a call, with the fingerprint of what it is used for.
pub(super) fn idempotency(
    store: &dyn Store,
    headers: &HeaderMap,
    caller: &Caller,
    action: &Action,
) -> Result<Option<Idempotency>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = std::str::from_utf8(key.as_bytes()).ok().and_then(IdempotencyKey::new);
    let key = key.ok_or(ApiError::BadRequest)?;
    Ok(Some(Idempotency {
        key: match caller.access.token.kind {
            TokenKind::Live => key,
            TokenKind::Test => key.of_test_mode(),
        },
        fingerprint: store.fingerprint(caller.access.key, &canonical(action)),
    }))
}

/// The method and its parameters as they were understood: however they were written, the same call reads the same. What is
/// kept of it is a keyed hash: a plain one over a code of few digits would tell the code to whoever reads a backup (P7).
fn canonical(action: &Action) -> Vec<u8> {
    let mut fields = Fields(Vec::with_capacity(128));
    match action {
        Action::Send(send) => {
            fields.add(Some("send"));
            fields.add(Some(&send.phone.to_string()));
            fields.add(send.request.map(|id| id.to_string()).as_deref());
            fields.add(send.sender.as_ref().map(SenderUsername::as_str));
            match &send.code {
                SendCode::Supplied(code) => fields.add(Some(code.as_str())),
                SendCode::Generate { length, .. } => {
                    fields.add(None);
                    fields.add(Some(&length.digits().to_string()));
                }
            }
            fields.add(send.callback_url.as_ref().map(CallbackUrl::as_str));
            fields.add(send.payload.as_ref().map(Payload::as_str));
            fields.add(Some(&send.ttl.millis().to_string()));
            // Only where they are there: calls without them read as they did before there were any.
            fields.add_named("locale", send.locale.as_ref().map(Locale::to_string).as_deref());
            fields.add_named("email", send.email.as_ref().map(EmailAddress::as_str));
        }
        Action::CheckAbility { phone, email, .. } => {
            fields.add(Some("check ability"));
            fields.add(Some(&phone.to_string()));
            fields.add_named("email", email.as_ref().map(EmailAddress::as_str));
        }
        Action::Check { request, code } => {
            fields.add(Some("check"));
            fields.add(Some(&request.to_string()));
            fields.add(code.as_ref().map(EnteredCode::as_str));
        }
        Action::Revoke { request } => {
            fields.add(Some("revoke"));
            fields.add(Some(&request.to_string()));
        }
        Action::NextLeg { request } => {
            fields.add(Some("resend"));
            fields.add(Some(&request.to_string()));
        }
        // No other action is a method's.
        _ => {}
    }
    fields.0
}

/// Texts in a row, each behind its length, so that no two rows read the same. An absent one differs from an empty one.
struct Fields(Vec<u8>);

impl Fields {
    fn add_named(&mut self, name: &str, text: Option<&str>) {
        if text.is_some() {
            self.add(Some(name));
            self.add(text);
        }
    }

    fn add(&mut self, text: Option<&str>) {
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(text.unwrap_or_default().as_bytes());
    }
}
