//! The methods in words and schemas: what `/openapi.json` and the tables of `docs/api.md` are made of. It stands beside the
//! code that reads the parameters and takes its limits from the same constants.

mod schemas;
#[cfg(test)]
mod tables;

use countersign_core::ApiError;
use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Components, HttpMethod, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref, Required, ResponseBuilder,
};

use super::parameters::Parameter;

/// A method of the Gateway API.
struct Described {
    name: &'static str,
    summary: &'static str,
    parameters: &'static [Given],
    /// The component of a successful answer.
    answer: &'static str,
    /// Those that every method has come on top.
    errors: &'static [ApiError],
    /// What may be asked next about the request that the answer names.
    next: &'static [Next],
}

/// A method that goes on with an answer, and what of the answer it takes.
struct Next {
    method: &'static str,
    takes: &'static [Parameter],
}

/// A method that takes an answer's `request_id`.
const fn next(method: &'static str) -> Next {
    Next {
        method,
        takes: &[Parameter::RequestId],
    }
}

/// A parameter of a method.
struct Given {
    parameter: Parameter,
    is_required: bool,
    /// Markdown, as docs/api.md has it.
    about: &'static str,
}

const fn required(parameter: Parameter, about: &'static str) -> Given {
    Given {
        parameter,
        is_required: true,
        about,
    }
}

const fn optional(parameter: Parameter, about: &'static str) -> Given {
    Given {
        parameter,
        is_required: false,
        about,
    }
}

/// What any method may answer, before it looks at its own parameters.
const COMMON_ERRORS: [ApiError; 4] = [
    ApiError::AccessTokenRequired,
    ApiError::AccessTokenInvalid,
    ApiError::IpNotAllowed,
    ApiError::BadRequest,
];

const FLOOD_WAIT: ApiError = ApiError::FloodWait { seconds: 30 };

static METHODS: [Described; 5] = [
    Described {
        name: "sendVerificationMessage",
        summary: "Send a code to a phone number",
        parameters: &[
            required(
                Parameter::PhoneNumber,
                "E.164: `+391234567890`. *(ours)* The `+` may be missing.",
            ),
            optional(
                Parameter::RequestId,
                "From `checkSendAbility`, for the same number: this send is free then.",
            ),
            optional(
                Parameter::SenderUsername,
                "A verified sender of your account; the recipient sees it as the message's origin. A leading `@` is accepted.",
            ),
            optional(
                Parameter::Code,
                "Your own code, 4 to 8 digits. `code_length` is ignored then.",
            ),
            optional(
                Parameter::CodeLength,
                "4 to 8: how many digits to generate. *(ours)* Without `code` and `code_length`: 6.",
            ),
            optional(
                Parameter::CallbackUrl,
                "Where delivery reports go: HTTPS, at most 256 bytes, without user name or password *(ours)*. *(ours)* In the \
                 sandbox `http://` and loopback, too.",
            ),
            optional(
                Parameter::Payload,
                "At most 128 bytes of your own. It comes back with every answer and report and is never shown to the recipient.",
            ),
            optional(
                Parameter::Ttl,
                "The message's life, 30 to 3600 seconds. *(ours)* Without it: 3600.",
            ),
            optional(
                Parameter::Locale,
                "*(ours)* The language in which the recipient reads: a BCP 47 tag like `de` or `pt-BR`. Without it, or where there \
                 are no texts in it, the number's country decides.",
            ),
            optional(
                Parameter::Email,
                "*(ours)* The recipient's e-mail address, for a route with a leg that carries mail. It is kept sealed.",
            ),
        ],
        answer: "RequestStatusAnswer",
        errors: &[
            ApiError::PhoneNumberInvalid,
            ApiError::RequestIdInvalid,
            ApiError::CodeInvalid,
            ApiError::CodeLengthInvalid,
            ApiError::CallbackUrlInvalid,
            ApiError::PayloadInvalid,
            ApiError::TtlInvalid,
            ApiError::LocaleInvalid,
            ApiError::EmailInvalid,
            ApiError::SenderUsernameInvalid,
            ApiError::SenderNotOwned,
            ApiError::SenderNotVerified,
            FLOOD_WAIT,
            ApiError::BalanceNotEnough,
            ApiError::PhoneNumberNotFound,
        ],
        next: &[
            next("checkVerificationStatus"),
            next("revokeVerificationMessage"),
            next("resendVerificationMessage"),
        ],
    },
    Described {
        name: "checkSendAbility",
        summary: "Ask whether a number can be reached",
        parameters: &[
            required(
                Parameter::PhoneNumber,
                "E.164: `+391234567890`. *(ours)* The `+` may be missing.",
            ),
            optional(
                Parameter::Email,
                "*(ours)* The recipient's e-mail address. The send must give it again: it isn't kept with the check.",
            ),
        ],
        answer: "RequestStatusAnswer",
        errors: &[
            ApiError::PhoneNumberInvalid,
            ApiError::EmailInvalid,
            FLOOD_WAIT,
            ApiError::BalanceNotEnough,
            ApiError::PhoneNumberNotFound,
        ],
        next: &[Next {
            method: "sendVerificationMessage",
            takes: &[Parameter::RequestId, Parameter::PhoneNumber],
        }],
    },
    Described {
        name: "checkVerificationStatus",
        summary: "Ask what became of a request, and judge a code",
        parameters: &[
            required(Parameter::RequestId, "From a send or a check."),
            optional(Parameter::Code, "What the person typed, at most 64 bytes."),
        ],
        answer: "RequestStatusAnswer",
        errors: &[
            ApiError::RequestIdRequired,
            ApiError::RequestIdInvalid,
            ApiError::CodeInvalid,
        ],
        next: &[next("checkVerificationStatus"), next("revokeVerificationMessage")],
    },
    Described {
        name: "revokeVerificationMessage",
        summary: "Take a message back",
        parameters: &[required(Parameter::RequestId, "From a send.")],
        answer: "RevocationAnswer",
        errors: &[ApiError::RequestIdRequired, ApiError::RequestIdInvalid],
        next: &[],
    },
    Described {
        name: "resendVerificationMessage",
        summary: "Let the next leg go at once",
        parameters: &[required(Parameter::RequestId, "From a send.")],
        answer: "RequestStatusAnswer",
        errors: &[
            ApiError::RequestIdRequired,
            ApiError::RequestIdInvalid,
            FLOOD_WAIT,
            ApiError::ResendNotPossible,
        ],
        next: &[next("checkVerificationStatus"), next("revokeVerificationMessage")],
    },
];

impl Described {
    fn component(&self) -> String {
        component(self.name)
    }

    fn all_errors(&self) -> impl Iterator<Item = ApiError> {
        COMMON_ERRORS.into_iter().chain(self.errors.iter().copied())
    }

    /// Filled in as a reader would.
    fn example(&self) -> Value {
        match self.name {
            "sendVerificationMessage" => {
                json!({"phone_number": "+391234567890", "code_length": 6, "ttl": 300, "payload": "order 17"})
            }
            "checkSendAbility" => json!({"phone_number": "+391234567890"}),
            "checkVerificationStatus" => json!({"request_id": "0BCjWtAwwDisw1trTFF", "code": "482913"}),
            _ => json!({"request_id": "0BCjWtAwwDisw1trTFF"}),
        }
    }

    fn answer_example(&self) -> Value {
        let status = |more: Value| {
            let mut result = json!({
                "request_id": "0BCjWtAwwDisw1trTFF",
                "phone_number": "+391234567890",
                "request_cost": 0.01,
            });
            if let (Some(result), Value::Object(more)) = (result.as_object_mut(), more) {
                result.extend(more);
            }
            result
        };
        let result = match self.name {
            "sendVerificationMessage" => status(json!({
                "remaining_balance": 9.99,
                "delivery_status": {"status": "sent", "updated_at": 1_764_000_000},
                "payload": "order 17",
            })),
            "checkSendAbility" => status(json!({"remaining_balance": 9.99})),
            "checkVerificationStatus" => status(json!({
                "delivery_status": {"status": "read", "updated_at": 1_764_000_060},
                "verification_status": {
                    "status": "code_valid", "updated_at": 1_764_000_060, "code_entered": "482913"
                },
                "payload": "order 17",
            })),
            _ => json!(true),
        };
        json!({"ok": true, "result": result})
    }

    fn operation(&self, verb: &HttpMethod) -> OperationBuilder {
        let component = self.component();
        let mut operation = OperationBuilder::new()
            .operation_id(Some(operation_id(verb, &component)))
            .summary(Some(self.summary))
            .tag("Gateway")
            .security(SecurityRequirement::new("bearer", [""; 0]))
            .security(SecurityRequirement::new("accessToken", [""; 0]))
            .parameter(idempotency_key());
        if *verb == HttpMethod::Get {
            let example = self.example();
            for given in self.parameters {
                let name = given.parameter.name();
                operation = operation.parameter(
                    ParameterBuilder::new()
                        .name(name)
                        .parameter_in(ParameterIn::Query)
                        .required(if given.is_required {
                            Required::True
                        } else {
                            Required::False
                        })
                        .description(Some(given.about))
                        .schema(Some(schemas::parameter(given.parameter, self.name)))
                        .example(example.get(name).cloned()),
                );
            }
        } else {
            operation = operation.request_body(Some(self.body(&component)));
        }
        self.answers(operation, &component)
    }

    fn body(&self, component: &str) -> utoipa::openapi::request_body::RequestBody {
        let content = || {
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(component)))
                .example(Some(self.example()))
                .build()
        };
        RequestBodyBuilder::new()
            .description(Some(
                "Parameters may also stand in the query string; the body wins. Unknown ones are ignored.",
            ))
            .required(Some(Required::True))
            .content("application/json", content())
            .content("application/x-www-form-urlencoded", content())
            .content("multipart/form-data", content())
            .build()
    }

    fn answers(&self, operation: OperationBuilder, component: &str) -> OperationBuilder {
        let answer = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(format!("{component}Answer"))))
            .examples_from_iter([
                ("done", example("Done", self.answer_example())),
                (
                    "refused",
                    example("Refused", json!({"ok": false, "error": self.errors[0].wire_name()})),
                ),
            ])
            .build();
        let done = ResponseBuilder::new()
            .description(
                "The method's answer: its result, or the name of an error, after which nothing was charged or sent",
            )
            .content("application/json", answer);
        let done = self
            .links()
            .into_iter()
            .fold(done, |done, (name, link)| done.link(name, link));
        let done = done.build();
        schemas::FAILURES
            .iter()
            .fold(operation.response("200", done), |operation, failure| {
                operation.response(failure.status, failure.response())
            })
    }
}

impl Described {
    /// What may be asked next, by both HTTP methods, as OpenAPI's links say it.
    fn links(&self) -> Vec<(String, Link)> {
        let both = [HttpMethod::Get, HttpMethod::Post];
        let links = self
            .next
            .iter()
            .flat_map(|next| both.iter().map(move |verb| next.link(verb)));
        links.collect()
    }
}

impl Next {
    fn link(&self, verb: &HttpMethod) -> (String, Link) {
        let id = operation_id(verb, &component(self.method));
        let takes = self.takes.iter().map(|parameter| {
            let name = parameter.name();
            (name, format!("$response.body#/result/{name}"))
        });
        let link = LinkBuilder::new()
            .operation_id(&id)
            .description("About the same request.");
        let link = if *verb == HttpMethod::Get {
            takes.fold(link, |link, (name, value)| link.parameter(name, value))
        } else {
            let body: serde_json::Map<_, _> = takes.map(|(name, value)| (name.to_owned(), value.into())).collect();
            link.request_body(Some(body))
        };
        (id, link.build())
    }
}

/// `SendVerificationMessage`: what components of a method begin with.
fn component(method: &str) -> String {
    let (first, rest) = method.split_at(1);
    format!("{}{rest}", first.to_ascii_uppercase())
}

fn operation_id(verb: &HttpMethod, component: &str) -> String {
    let prefix = if *verb == HttpMethod::Get { "get" } else { "post" };
    format!("{prefix}{component}")
}

fn example(summary: &str, value: Value) -> utoipa::openapi::example::Example {
    utoipa::openapi::example::ExampleBuilder::new()
        .summary(summary)
        .value(Some(value))
        .build()
}

fn idempotency_key() -> ParameterBuilder {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The same key with the same parameters gives the first answer again, for 24 hours.",
        ))
        .schema(Some(schemas::idempotency_key()))
}

/// The Gateway methods, the sandbox's clock, and the probes.
pub(crate) fn describe() -> OpenApi {
    let mut paths = PathsBuilder::new();
    for method in &METHODS {
        for verb in [HttpMethod::Get, HttpMethod::Post] {
            let operation = method.operation(&verb).build();
            paths = paths.path(format!("/{}", method.name), PathItem::new(verb, operation));
        }
    }
    paths = paths
        .path("/sandbox/clock", PathItem::new(HttpMethod::Post, schemas::clock()))
        .path("/healthz", PathItem::new(HttpMethod::Get, schemas::alive()))
        .path("/readyz", PathItem::new(HttpMethod::Get, schemas::ready()));
    let mut components = Components::new();
    schemas::add(&mut components);
    OpenApiBuilder::new().paths(paths).components(Some(components)).build()
}
