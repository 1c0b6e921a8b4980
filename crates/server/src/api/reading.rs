//! How the parameters of a call are read, for whoever holds no server: `fuzz/` compares what the four ways of giving them say.

use bytes::Bytes;
use countersign_core::ApiError;
use http::HeaderMap;

use super::parameters::{Parameter, Parameters};

/// A parameter that was given: its name, and its text; `None` where its value is neither text nor a number.
pub type ReadParameter = (&'static str, Option<String>);

/// Reads the parameters of a call as [`router`](super::router) does: those of the body win over those of the query, which is what
/// follows the question mark. A parameter that says nothing isn't among them. The longest body is
/// [`MAX_BODY_BYTES`](super::MAX_BODY_BYTES), which whoever reads it from the wire sees to.
pub async fn read_parameters(
    query: Option<&str>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Vec<ReadParameter>, ApiError> {
    let mut parameters = Parameters::default();
    query.map_or(Ok(()), |query| parameters.read_form(query))?;
    parameters.read_body(headers, body).await?;
    let given = Parameter::ALL.into_iter().filter_map(|parameter| {
        let text = parameters.text(parameter).map(|text| text.map(str::to_owned));
        let read = match text {
            Ok(None) => return None,
            Ok(text) => text,
            Err(_wrong_type) => None,
        };
        Some((parameter.name(), read))
    });
    Ok(given.collect())
}
