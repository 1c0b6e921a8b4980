//! JSON bodies, held to what serde_json makes of the same text.
#![no_main]

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use countersign_fuzz::runtime;
use countersign_server::api::read_parameters;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

/// The fields of an object in their order, those that come again among them.
struct Fields(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fuzz_target!(|body: &[u8]| {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let bytes = Bytes::copy_from_slice(body);
    thread_local!(static RUNTIME: tokio::runtime::Runtime = runtime());
    let read = RUNTIME.with(|runtime| runtime.block_on(read_parameters(None, &headers, &bytes)));
    let Ok(Fields(fields)) = serde_json::from_slice(body) else {
        // What isn't even JSON is refused; of what is skipped, we may be more lenient.
        return;
    };
    let read = read.expect("an object is read");
    let mut expected = BTreeMap::new();
    for (name, value) in fields {
        match value {
            // They say nothing.
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            value => {
                expected.insert(name, value);
            }
        }
    }
    for (name, value) in &read {
        let expected = expected.remove(*name).expect("what was read was said");
        match (expected, value) {
            (Value::String(text), Some(read)) => assert_eq!(*read, text, "{name}"),
            // As it was written, whatever number it is.
            (Value::Number(_), Some(read)) => assert!(serde_json::from_str::<f64>(read).is_ok(), "{name}: {read}"),
            (Value::Bool(_) | Value::Array(_) | Value::Object(_), None) => {}
            (expected, read) => panic!("{name}: {expected} was read as {read:?}"),
        }
    }
    // What is left has no names of ours.
    for (name, _) in expected {
        let body = format!("{{{}:\"x\"}}", serde_json::json!(name));
        let read = RUNTIME.with(|runtime| runtime.block_on(read_parameters(None, &headers, &Bytes::from(body))));
        assert_eq!(read, Ok(Vec::new()), "{name} was passed over");
    }
});
