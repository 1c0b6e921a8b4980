//! The parameters of a call, from wherever they came: query, form, JSON or multipart. Lenient in type, strict in encoding,
//! and borrowed from the request: nothing is copied but what is escaped.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use countersign_core::ApiError;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Every parameter that some method knows. Others are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    AccessToken,
    PhoneNumber,
    RequestId,
    SenderUsername,
    Code,
    CodeLength,
    CallbackUrl,
    Payload,
    Ttl,
    AdvanceSeconds,
    Locale,
    Email,
}

const PARAMETERS: usize = 12;

impl Parameter {
    /// All of them, in the order of their places.
    pub(super) const ALL: [Self; PARAMETERS] = [
        Self::AccessToken,
        Self::PhoneNumber,
        Self::RequestId,
        Self::SenderUsername,
        Self::Code,
        Self::CodeLength,
        Self::CallbackUrl,
        Self::Payload,
        Self::Ttl,
        Self::AdvanceSeconds,
        Self::Locale,
        Self::Email,
    ];

    /// As it is written in a call.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::PhoneNumber => "phone_number",
            Self::RequestId => "request_id",
            Self::SenderUsername => "sender_username",
            Self::Code => "code",
            Self::CodeLength => "code_length",
            Self::CallbackUrl => "callback_url",
            Self::Payload => "payload",
            Self::Ttl => "ttl",
            Self::AdvanceSeconds => "advance_seconds",
            Self::Locale => "locale",
            Self::Email => "email",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "access_token" => Self::AccessToken,
            "phone_number" => Self::PhoneNumber,
            "request_id" => Self::RequestId,
            "sender_username" => Self::SenderUsername,
            "code" => Self::Code,
            "code_length" => Self::CodeLength,
            "callback_url" => Self::CallbackUrl,
            "payload" => Self::Payload,
            "ttl" => Self::Ttl,
            "advance_seconds" => Self::AdvanceSeconds,
            "locale" => Self::Locale,
            "email" => Self::Email,
            _ => return None,
        })
    }
}

/// One value as it was written.
#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    /// Text, or a JSON number as it stands: its digits say everything that it says.
    Text(Cow<'a, str>),
    /// `true`, `false`, an array or an object: no parameter is one.
    WrongType,
}

/// A parameter whose value is neither text nor a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrongType;

/// The parameters of one call. Empty strings and `null` are absent; where a name comes again, its last value counts.
#[derive(Debug, Default)]
pub(super) struct Parameters<'a> {
    values: [Option<Value<'a>>; PARAMETERS],
}

impl<'a> Parameters<'a> {
    /// A parameter's text; `None` where it is absent.
    pub(super) fn text(&self, parameter: Parameter) -> Result<Option<&str>, WrongType> {
        match &self.values[parameter as usize] {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::WrongType) => Err(WrongType),
        }
    }

    /// A parameter's text, where a value that can't be one counts as absent.
    pub(super) fn plain_text(&self, parameter: Parameter) -> Option<&str> {
        self.text(parameter).ok().flatten()
    }

    /// A parameter's integer, from a JSON number or a decimal string; `None` where it is absent.
    pub(super) fn integer(&self, parameter: Parameter) -> Result<Option<i64>, WrongType> {
        let text = self.text(parameter)?;
        text.map(|text| text.parse().map_err(|_| WrongType)).transpose()
    }

    /// Reads a query string or a form body. Fails where a name or a value isn't UTF-8.
    pub(super) fn read_form(&mut self, text: &'a str) -> Result<(), ApiError> {
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = form_decode(name)?;
            let value = form_decode(value)?;
            let Some(parameter) = Parameter::named(&name) else {
                continue;
            };
            // A plus sign that nobody escaped reads as a space. No number starts with one, so its meaning is clear.
            let value = match value.strip_prefix(' ') {
                Some(digits) if parameter == Parameter::PhoneNumber => Cow::Owned(format!("+{digits}")),
                _ => value,
            };
            self.set(parameter, value);
        }
        Ok(())
    }

    /// Reads a body as its content type says. One without a type, or called plain text, is JSON if it starts like an
    /// object, else a form; an empty one holds nothing, whatever its type.
    pub(super) async fn read_body(&mut self, headers: &HeaderMap, body: &'a Bytes) -> Result<(), ApiError> {
        if body.is_empty() {
            return Ok(());
        }
        let kind = BodyKind::of(headers)?;
        if let BodyKind::Multipart { boundary } = kind {
            return self.read_multipart(boundary, body).await;
        }
        let text = std::str::from_utf8(body).map_err(|_| ApiError::BadRequest)?;
        let is_object = text.trim_ascii_start().starts_with('{');
        match kind {
            BodyKind::Json => self.read_json(text),
            BodyKind::Unsaid if is_object => self.read_json(text),
            // No form of ours starts with a brace: this is JSON that was sent under the wrong name.
            BodyKind::Form if is_object => Err(ApiError::BadRequest),
            _ => self.read_form(text.trim_ascii_end()),
        }
    }

    fn read_json(&mut self, text: &'a str) -> Result<(), ApiError> {
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = deserializer.deserialize_any(JsonObject(self));
        read.and_then(|()| deserializer.end()).map_err(|_| ApiError::BadRequest)
    }

    async fn read_multipart(&mut self, boundary: String, body: &Bytes) -> Result<(), ApiError> {
        let whole = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(body.clone())]);
        let mut multipart = multer::Multipart::new(whole, boundary);
        while let Some(field) = multipart.next_field().await.map_err(|_| ApiError::BadRequest)? {
            let parameter = field.name().and_then(Parameter::named);
            let value = field.bytes().await.map_err(|_| ApiError::BadRequest)?;
            let value = String::from_utf8(value.into()).map_err(|_| ApiError::BadRequest)?;
            if let Some(parameter) = parameter {
                self.set(parameter, Cow::Owned(value));
            }
        }
        Ok(())
    }

    fn set(&mut self, parameter: Parameter, text: Cow<'a, str>) {
        if !text.is_empty() {
            self.values[parameter as usize] = Some(Value::Text(text));
        }
    }

    /// Sets a parameter from the text of one valid JSON value.
    fn set_json(&mut self, parameter: Parameter, raw: &'a str) -> Result<(), serde_json::Error> {
        match raw.as_bytes().first() {
            Some(b'"') => {
                let inner = &raw[1..raw.len() - 1];
                if inner.contains('\\') {
                    self.set(parameter, Cow::Owned(serde_json::from_str(raw)?));
                } else {
                    self.set(parameter, Cow::Borrowed(inner));
                }
            }
            Some(b'0'..=b'9' | b'-') => self.set(parameter, Cow::Borrowed(raw)),
            Some(b'n') | None => {}
            Some(_) => self.values[parameter as usize] = Some(Value::WrongType),
        }
        Ok(())
    }
}

/// What a body claims to be.
enum BodyKind {
    Json,
    Form,
    Multipart { boundary: String },
    Unsaid,
}

impl BodyKind {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Ok(Self::Unsaid);
        };
        let value = value.to_str().map_err(|_| ApiError::BadRequest)?;
        let essence = value.split(';').next().unwrap_or_default().trim_ascii();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("application/json") || is("text/json") {
            Ok(Self::Json)
        } else if is("application/x-www-form-urlencoded") {
            Ok(Self::Form)
        } else if is("multipart/form-data") {
            let boundary = multer::parse_boundary(value).map_err(|_| ApiError::BadRequest)?;
            Ok(Self::Multipart { boundary })
        } else if is("text/plain") || essence.is_empty() {
            // What browsers and some libraries call a body that nobody gave a type.
            Ok(Self::Unsaid)
        } else {
            Err(ApiError::BadRequest)
        }
    }
}

/// Reads a JSON object straight into the parameters; `null` is an object without any.
struct JsonObject<'p, 'a>(&'p mut Parameters<'a>);

impl<'a> Visitor<'a> for JsonObject<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of parameters")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        use serde::de::Error as _;
        while let Some(name) = map.next_key_seed(ParameterName)? {
            match name {
                Some(parameter) => {
                    let raw = map.next_value::<&RawValue>()?;
                    self.0.set_json(parameter, raw.get()).map_err(A::Error::custom)?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a JSON key as the parameter that it names, if any.
struct ParameterName;

impl<'de> serde::de::DeserializeSeed<'de> for ParameterName {
    type Value = Option<Parameter>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ParameterName {
    type Value = Option<Parameter>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a parameter's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Parameter::named(name))
    }
}

/// Decodes a name or a value of a form (WHATWG URL, "application/x-www-form-urlencoded parsing"), but refuses what isn't
/// UTF-8 instead of replacing it. A percent sign without two hex digits stands for itself.
fn form_decode(text: &str) -> Result<Cow<'_, str>, ApiError> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => match after {
                [high, low, after @ ..] => match (hex_digit(*high), hex_digit(*low)) {
                    (Some(high), Some(low)) => {
                        rest = after;
                        high * 16 + low
                    }
                    _ => b'%',
                },
                _ => b'%',
            },
            byte => byte,
        });
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| ApiError::BadRequest)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Runs a future that never waits.
    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(future)
    }

    fn read<'a>(content_type: &'static str, body: &'a Bytes) -> Result<Parameters<'a>, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let mut parameters = Parameters::default();
        run(parameters.read_body(&headers, body))?;
        Ok(parameters)
    }

    #[test]
    fn json_values_are_borrowed_unless_they_are_escaped() {
        let body = Bytes::from_static(br#"{"code":"4711","payload":"a\tb","ttl":60,"unknown":{"x":[1,"\\"]}}"#);
        let parameters = read("application/json", &body).unwrap();
        let value = |parameter| parameters.values[parameter as usize].as_ref().unwrap();
        assert!(matches!(value(Parameter::Code), Value::Text(Cow::Borrowed("4711"))));
        assert!(matches!(value(Parameter::Payload), Value::Text(Cow::Owned(text)) if text == "a\tb"));
        assert!(matches!(value(Parameter::Ttl), Value::Text(Cow::Borrowed("60"))));
        assert_eq!(parameters.integer(Parameter::Ttl), Ok(Some(60)));
    }

    #[test]
    fn form_values_are_borrowed_unless_they_are_escaped() {
        let body = Bytes::from_static(b"code=4711&payload=a%20b+c&ttl=6%30");
        let parameters = read("application/x-www-form-urlencoded", &body).unwrap();
        let value = |parameter| parameters.values[parameter as usize].as_ref().unwrap();
        assert!(matches!(value(Parameter::Code), Value::Text(Cow::Borrowed("4711"))));
        assert_eq!(parameters.text(Parameter::Payload), Ok(Some("a b c")));
        assert_eq!(parameters.integer(Parameter::Ttl), Ok(Some(60)));
    }

    #[test]
    fn integers_are_decimal_and_whole() {
        for (written, read_as) in [
            ("60", Ok(Some(60))),
            ("\"60\"", Ok(Some(60))),
            ("\"060\"", Ok(Some(60))),
            ("-1", Ok(Some(-1))),
            ("\"\"", Ok(None)),
            ("null", Ok(None)),
            ("60.0", Err(WrongType)),
            ("6e1", Err(WrongType)),
            ("\"0x3c\"", Err(WrongType)),
            ("\" 60\"", Err(WrongType)),
            ("99999999999999999999", Err(WrongType)),
            ("true", Err(WrongType)),
            ("[60]", Err(WrongType)),
        ] {
            let body = Bytes::from(format!("{{\"ttl\": {written} }}"));
            let parameters = read("application/json", &body).unwrap();
            assert_eq!(parameters.integer(Parameter::Ttl), read_as, "{written}");
        }
    }

    #[test]
    fn a_later_value_replaces_an_earlier_one_unless_it_says_nothing() {
        let query = "code=1111&payload=query&request_id=query";
        let body = Bytes::from_static(br#"{"code":"2222","code":"3333","payload":"","request_id":null}"#);
        let mut parameters = Parameters::default();
        parameters.read_form(query).unwrap();
        run(parameters.read_body(&HeaderMap::new(), &body)).unwrap();
        assert_eq!(parameters.plain_text(Parameter::Code), Some("3333"));
        assert_eq!(parameters.plain_text(Parameter::Payload), Some("query"));
        assert_eq!(parameters.plain_text(Parameter::RequestId), Some("query"));
    }

    #[test]
    fn an_unescaped_plus_before_a_phone_number_is_a_plus() {
        let mut parameters = Parameters::default();
        parameters.read_form("phone_number=+391234567890&payload=+x").unwrap();
        assert_eq!(parameters.plain_text(Parameter::PhoneNumber), Some("+391234567890"));
        assert_eq!(parameters.plain_text(Parameter::Payload), Some(" x"));
    }

    #[test]
    fn what_is_not_utf_8_is_refused_wherever_it_stands() {
        for form in [
            "payload=%ff",
            "unknown=%ff",
            "%ff=1",
            "payload=%c3%28",
            "payload=%ed%a0%80",
        ] {
            assert_eq!(
                Parameters::default().read_form(form),
                Err(ApiError::BadRequest),
                "{form}"
            );
        }
        let body = Bytes::from_static(b"{\"unknown\":\"\xff\"}");
        assert!(read("application/json", &body).is_err());
    }

    #[test]
    fn deep_nesting_is_skipped_or_refused_without_a_deep_stack() {
        for name in ["payload", "unknown"] {
            let nested = format!("{{\"{name}\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
            // Either is fine; what counts is that it comes back.
            let _ = read("application/json", &Bytes::from(nested));
        }
    }
}
