//! Phone numbers as callers write them.
#![no_main]

use countersign_core::{PhoneNumber, SandboxNumbers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for sandbox in [SandboxNumbers::Accepted, SandboxNumbers::Refused, SandboxNumbers::Only] {
        let Some(phone) = PhoneNumber::parse(text, sandbox) else {
            continue;
        };
        let written = phone.to_string();
        // What was written may differ by a trunk prefix, or by San Marino's area code; it begins with the same calling code.
        let digits = text.strip_prefix('+').unwrap_or(text);
        assert_eq!(written.as_bytes().get(1), digits.as_bytes().first());
        assert!((3..=16).contains(&written.len()));
        assert_eq!(PhoneNumber::parse(&written, sandbox), Some(phone));
        assert_eq!(PhoneNumber::from_stored(phone.digits()), phone);
        match sandbox {
            SandboxNumbers::Accepted => {}
            SandboxNumbers::Refused => assert!(!phone.is_sandbox()),
            SandboxNumbers::Only => assert!(phone.is_sandbox()),
        }
        // What goes into logs shows four digits at most.
        for shown in [phone.masked(), format!("{phone:?}")] {
            let digits = shown.bytes().filter(u8::is_ascii_digit).count();
            assert!(digits <= 4, "{digits} digits are shown");
        }
        // For people: the same digits, in groups.
        let grouped: String = phone.grouped().chars().filter(char::is_ascii_digit).collect();
        assert_eq!(grouped, written[1..], "the same digits, in groups");
        let region = phone.details().region;
        assert!(region.is_none_or(|region| {
            region
                .iter()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        }));
    }
});
