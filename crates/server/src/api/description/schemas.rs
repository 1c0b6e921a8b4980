//! The schemas behind the description: of each parameter, of answers, and of what isn't a method.

use countersign_core::{
    ApiError, DeliveryState, DeliveryStatus, MAX_CODE_LENGTH, MAX_ENTERED_CODE_BYTES, MAX_TTL_SECONDS, MIN_CODE_LENGTH,
    MIN_TTL_SECONDS, RequestStatus, VerificationState, VerificationStatus,
};
use serde_json::{Value, json};
use utoipa::PartialSchema as _;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Components, HeaderBuilder, Ref, RefOr, Required, Response, ResponseBuilder};

use super::{COMMON_ERRORS, Described, METHODS};
use crate::api::parameters::Parameter;

/// A status besides 200: the server could not get as far as an answer.
pub(super) struct Failure {
    pub(super) status: &'static str,
    error: &'static str,
    about: &'static str,
}

pub(super) static FAILURES: [Failure; 4] = [
    Failure {
        status: "408",
        error: "REQUEST_TIMEOUT",
        about: "The request did not arrive in time",
    },
    Failure {
        status: "413",
        error: "BODY_TOO_LARGE",
        about: "The body is over 64 KiB",
    },
    Failure {
        status: "500",
        error: "INTERNAL_ERROR",
        about: "Something broke; the outcome is unknown",
    },
    Failure {
        status: "503",
        error: "UNAVAILABLE",
        about: "Nothing was done or charged: try again after `Retry-After` seconds",
    },
];

impl Failure {
    pub(super) fn response(&self) -> Response {
        let error = object(
            &[("ok", constant(json!(false))), ("error", constant(json!(self.error)))],
            &[],
        );
        let content = ContentBuilder::new()
            .schema(Some(error))
            .example(Some(json!({"ok": false, "error": self.error})))
            .build();
        let response = ResponseBuilder::new()
            .description(self.about)
            .content("application/json", content);
        if self.status == "503" {
            let seconds = HeaderBuilder::new()
                .schema(Some(integer(1, 3_600)))
                .description(Some("Seconds"))
                .build();
            response.header("Retry-After", seconds).build()
        } else {
            response.build()
        }
    }
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn integer(minimum: i64, maximum: i64) -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(minimum))
        .maximum(Some(maximum))
        .into()
}

fn constant(value: Value) -> Schema {
    let kind = if value.is_boolean() {
        Type::Boolean
    } else {
        Type::String
    };
    ObjectBuilder::new().schema_type(kind).enum_values(Some([value])).into()
}

fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> Schema {
    text().enum_values(Some(names)).into()
}

/// An object with these fields and no others; all of the first are always there.
fn object(always: &[(&str, Schema)], sometimes: &[(&str, Schema)]) -> Schema {
    let mut object = ObjectBuilder::new();
    for (name, schema) in always {
        object = object.property(*name, schema.clone()).required(*name);
    }
    for (name, schema) in sometimes {
        object = object.property(*name, schema.clone());
    }
    object
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .into()
}

/// What a parameter takes. A code is judged more loosely where a person typed it.
pub(super) fn parameter(parameter: Parameter, method: &str) -> Schema {
    let digits = format!("^[0-9]{{{MIN_CODE_LENGTH},{MAX_CODE_LENGTH}}}$");
    match parameter {
        Parameter::PhoneNumber => text()
            .pattern(Some("^\\+?[1-9][0-9]{6,14}$"))
            .examples([json!("+391234567890")])
            .into(),
        Parameter::Code if method == "checkVerificationStatus" => {
            text().max_length(Some(MAX_ENTERED_CODE_BYTES)).into()
        }
        Parameter::Code => text().pattern(Some(digits)).into(),
        Parameter::CodeLength => integer(MIN_CODE_LENGTH.into(), MAX_CODE_LENGTH.into()),
        Parameter::CallbackUrl => text()
            .format(Some(SchemaFormat::Custom("uri".to_owned())))
            .max_length(Some(256))
            .into(),
        Parameter::Payload => text().max_length(Some(128)).into(),
        Parameter::Ttl => integer(MIN_TTL_SECONDS.into(), MAX_TTL_SECONDS.into()),
        Parameter::SenderUsername => text().pattern(Some("^@?[A-Za-z][A-Za-z0-9_]{4,31}$")).into(),
        Parameter::RequestId => text().pattern(Some("^[0-9A-Za-z]+$")).into(),
        Parameter::Locale => text()
            .pattern(Some("^[A-Za-z]{2,8}([_-][A-Za-z0-9]{1,8})*$"))
            .max_length(Some(35))
            .examples([json!("pt-BR")])
            .into(),
        Parameter::Email => text()
            .format(Some(SchemaFormat::Custom("email".to_owned())))
            .max_length(Some(254))
            .into(),
        Parameter::AdvanceSeconds => integer(0, 10 * 366 * 86_400),
        Parameter::AccessToken => text()
            .description(Some("The token, where it doesn't come in the header."))
            .into(),
    }
}

pub(super) fn idempotency_key() -> Schema {
    text()
        .min_length(Some(1))
        .max_length(Some(64))
        .pattern(Some("^[!-~]+$"))
        .into()
}

/// Every component.
pub(super) fn add(components: &mut Components) {
    let schemas = &mut components.schemas;
    let status = RequestStatus::schema();
    let mut insert = |name: String, schema: RefOr<Schema>| schemas.insert(name, schema);
    insert("RequestStatus".to_owned(), closed(status, |_| {}));
    insert(
        "DeliveryStatus".to_owned(),
        closed(DeliveryStatus::schema(), |object| {
            use DeliveryState::{Delivered, Expired, Read, Revoked, Sent};
            let names = [Sent, Delivered, Read, Expired, Revoked];
            set(
                object,
                "status",
                one_of(names.iter().filter_map(|state| state.wire_name())),
            );
        }),
    );
    insert(
        "VerificationStatus".to_owned(),
        closed(VerificationStatus::schema(), |object| {
            use VerificationState::{AttemptsExceeded, Expired, Invalid, Valid};
            let names = [Valid, Invalid, AttemptsExceeded, Expired];
            set(
                object,
                "status",
                one_of(names.iter().filter_map(|state| state.wire_name())),
            );
        }),
    );
    let ok = || ("ok", constant(json!(true)));
    let result = |schema: RefOr<Schema>| {
        ObjectBuilder::new()
            .property("ok", ok().1)
            .property("result", schema)
            .required("ok")
            .required("result")
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
    };
    insert(
        "RequestStatusAnswer".to_owned(),
        Schema::from(result(Ref::from_schema_name("RequestStatus").into())).into(),
    );
    insert(
        "RevocationAnswer".to_owned(),
        Schema::from(result(constant(json!(true)).into())).into(),
    );
    for method in &METHODS {
        let component = method.component();
        let error = error_of(method.all_errors());
        insert(format!("{component}Error"), error.into());
        let answer = OneOfBuilder::new()
            .item(Ref::from_schema_name(method.answer))
            .item(Ref::from_schema_name(format!("{component}Error")));
        insert(format!("{component}Answer"), Schema::from(answer).into());
        insert(component, body_of(method).into());
    }
}

/// `{"ok": false, "error": …}` with these names.
fn error_of(errors: impl Iterator<Item = ApiError>) -> Schema {
    let (waits, named): (Vec<_>, Vec<_>) = errors.partition(|error| matches!(error, ApiError::FloodWait { .. }));
    let named: Vec<_> = named.iter().map(ApiError::wire_name).collect();
    let choices = one_of(named.iter().map(AsRef::as_ref));
    let error = if waits.is_empty() {
        choices
    } else {
        let wait = text()
            .pattern(Some("^FLOOD_WAIT_[1-9][0-9]*$"))
            .description(Some("Too many calls: again in so many seconds."));
        AnyOfBuilder::new().item(choices).item(wait).into()
    };
    object(&[("ok", constant(json!(false))), ("error", error)], &[])
}

fn body_of(method: &Described) -> Schema {
    let mut body = ObjectBuilder::new();
    for given in method.parameters {
        let name = given.parameter.name();
        let mut schema = parameter(given.parameter, method.name);
        if let Schema::Object(object) = &mut schema {
            object.description = Some(given.about.to_owned());
        }
        body = body.property(name, schema);
        if given.is_required {
            body = body.required(name);
        }
    }
    let token = Parameter::AccessToken;
    body.property(token.name(), parameter(token, method.name)).into()
}

/// A result holds the documented fields and no other.
fn closed(schema: RefOr<Schema>, change: impl FnOnce(&mut Object)) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            change(&mut object);
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            RefOr::T(Schema::Object(object))
        }
        other => other,
    }
}

fn set(object: &mut Object, field: &str, schema: Schema) {
    object.properties.insert(field.to_owned(), schema.into());
}

/// `POST /sandbox/clock`.
pub(super) fn clock() -> OperationBuilder {
    let body = object(
        &[(
            "advance_seconds",
            parameter(Parameter::AdvanceSeconds, "/sandbox/clock"),
        )],
        &[],
    );
    let content = || {
        ContentBuilder::new()
            .schema(Some(body.clone()))
            .example(Some(json!({"advance_seconds": 3_600})))
            .build()
    };
    let now = object(&[("now", integer(0, i64::from(i32::MAX)))], &[]);
    let done = object(&[("ok", constant(json!(true))), ("result", now)], &[]);
    let errors = COMMON_ERRORS.into_iter().chain([ApiError::UnknownMethod]);
    let answer = OneOfBuilder::new().item(done).item(error_of(errors));
    let answer = ContentBuilder::new()
        .schema(Some(Schema::from(answer)))
        .example(Some(json!({"ok": true, "result": {"now": 1_764_003_600}})))
        .build();
    let operation = OperationBuilder::new()
        .operation_id(Some("advanceSandboxClock"))
        .summary(Some("Move the account's clock forward"))
        .description(Some(
            "In the sandbox only. What is due then is done before the answer comes. In production: `UNKNOWN_METHOD`.",
        ))
        .tag("Gateway")
        .security(SecurityRequirement::new("bearer", [""; 0]))
        .security(SecurityRequirement::new("accessToken", [""; 0]))
        .request_body(Some(
            RequestBodyBuilder::new()
                .required(Some(Required::True))
                .content("application/json", content())
                .content("application/x-www-form-urlencoded", content())
                .build(),
        ))
        .response(
            "200",
            ResponseBuilder::new()
                .description("The time on the account's clock, or the name of an error")
                .content("application/json", answer),
        );
    FAILURES.iter().fold(operation, |operation, failure| {
        operation.response(failure.status, failure.response())
    })
}

/// `GET /healthz`.
pub(super) fn alive() -> OperationBuilder {
    probe("health", "Whether the process lives")
}

/// `GET /readyz`.
pub(super) fn ready() -> OperationBuilder {
    probe("readiness", "Whether the server takes work").response(
        "503",
        ResponseBuilder::new().description("Not now, and why").content(
            "text/plain",
            ContentBuilder::new().schema(Some(Schema::from(text()))).build(),
        ),
    )
}

fn probe(id: &str, summary: &str) -> OperationBuilder {
    let ok = ContentBuilder::new().schema(Some(one_of(["ok"]))).build();
    OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(summary))
        .tag("Server")
        .response(
            "200",
            ResponseBuilder::new().description("Yes").content("text/plain", ok),
        )
}
