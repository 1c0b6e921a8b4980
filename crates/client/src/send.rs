//! The parameters of a send.

use serde::Serialize;

/// The parameters of `sendVerificationMessage`; all but the number are optional. The gateway judges them.
#[derive(Clone, Serialize)]
pub struct SendRequest {
    phone_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_length: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// Goes into a header, not into the body.
    #[serde(skip)]
    pub(crate) idempotency_key: Option<String>,
}

impl SendRequest {
    /// A send to a number in E.164, such as `+391234567890`.
    pub fn new(phone_number: impl Into<String>) -> Self {
        Self {
            phone_number: phone_number.into(),
            request_id: None,
            sender_username: None,
            code: None,
            code_length: None,
            callback_url: None,
            payload: None,
            ttl: None,
            locale: None,
            email: None,
            idempotency_key: None,
        }
    }

    /// Sends on an ability check, free of charge.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// The sender that the recipient sees; it must be verified.
    #[must_use]
    pub fn sender_username(mut self, name: impl Into<String>) -> Self {
        self.sender_username = Some(name.into());
        self
    }

    /// Your own code, 4 to 8 digits, instead of one that the gateway makes.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The number of digits, 4 to 8, of the code that the gateway makes.
    #[must_use]
    pub fn code_length(mut self, digits: u8) -> Self {
        self.code_length = Some(digits);
        self
    }

    /// Where delivery reports go: at most 256 bytes.
    #[must_use]
    pub fn callback_url(mut self, url: impl Into<String>) -> Self {
        self.callback_url = Some(url.into());
        self
    }

    /// Text that comes back with every answer and report: at most 128 bytes.
    #[must_use]
    pub fn payload(mut self, text: impl Into<String>) -> Self {
        self.payload = Some(text.into());
        self
    }

    /// The message's life, 30 to 3600 seconds. Not delivered within it, the fee is refunded.
    #[must_use]
    pub fn ttl_seconds(mut self, seconds: u32) -> Self {
        self.ttl = Some(seconds);
        self
    }

    /// The language in which the recipient reads: a BCP 47 tag such as `pt-BR`. Countersign honours it; Telegram's own gateway
    /// doesn't.
    #[must_use]
    pub fn locale(mut self, tag: impl Into<String>) -> Self {
        self.locale = Some(tag.into());
        self
    }

    /// The recipient's e-mail address, for a route with a leg that carries mail. Countersign honours it; Telegram's own
    /// gateway doesn't.
    #[must_use]
    pub fn email(mut self, address: impl Into<String>) -> Self {
        self.email = Some(address.into());
        self
    }

    /// Makes the call safe to repeat: the same key (1 to 64 bytes) gives the first answer again for 24 hours. Countersign
    /// honours it; Telegram's own gateway doesn't.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

impl std::fmt::Debug for SendRequest {
    /// Without the code and the number: requests end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendRequest")
            .field("request_id", &self.request_id)
            .field("sender_username", &self.sender_username)
            .field("code_length", &self.code_length)
            .field("ttl_seconds", &self.ttl)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_set_goes_out() {
        let json = |request: &SendRequest| serde_json::to_string(request).unwrap();
        let least = SendRequest::new("+391234567890").idempotency_key("k");
        assert_eq!(json(&least), r#"{"phone_number":"+391234567890"}"#);
        let full = least
            .request_id("r")
            .sender_username("acme_shop")
            .code("1234")
            .code_length(4)
            .callback_url("https://example.com/")
            .payload("p")
            .ttl_seconds(60)
            .locale("de")
            .email("ida@example.com");
        assert_eq!(
            json(&full),
            r#"{"phone_number":"+391234567890","request_id":"r","sender_username":"acme_shop","code":"1234","code_length":4,"callback_url":"https://example.com/","payload":"p","ttl":60,"locale":"de","email":"ida@example.com"}"#
        );
        let debug = format!("{full:?}");
        assert!(!debug.contains("1234"), "{debug}");
    }
}
