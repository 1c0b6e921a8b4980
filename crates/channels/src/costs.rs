//! Money as upstreams write it: channels read it here, and tell it to the books in millionths.

/// A decimal number (JSON's form) in millionths, digit by digit: no float touches money. A finer fraction is rounded up, since it is a cost.
/// `None` where it isn't a number, is negative, or doesn't fit.
pub(crate) fn micros_of(number: &str) -> Option<i64> {
    // Some libraries write 0.00001 as 1e-05.
    let (decimal, exponent) = match number.split_once(['e', 'E']) {
        Some((decimal, exponent)) => (decimal, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || digits.len() > 30 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    if value == 0 {
        return Some(0);
    }
    let shift = 6_i32
        .checked_sub(i32::try_from(fraction.len()).ok()?)?
        .checked_add(exponent)?;
    let scale = 10_i128.checked_pow(shift.unsigned_abs());
    let micros = match (scale, shift >= 0) {
        (Some(scale), true) => value.checked_mul(scale)?,
        (Some(scale), false) => (value + scale - 1) / scale,
        // Something, and less than a millionth.
        (None, false) => 1,
        (None, true) => return None,
    };
    i64::try_from(micros).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_digit_by_digit() {
        for (number, micros) in [
            ("0.01", Some(10_000)),
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("12", Some(12_000_000)),
            ("0.000001", Some(1)),
            ("0.0000001", Some(1)),
            ("0.0100000000000000002", Some(10_001)),
            ("1e-05", Some(10)),
            ("1.5E+2", Some(150_000_000)),
            ("1e-300", Some(1)),
            ("0e999999999", Some(0)),
            ("1e999999999", None),
            ("1e99999999999", None),
            ("-0.01", None),
            ("\"0.01\"", None),
            ("null", None),
            ("9223372036855", None),
            (".", None),
        ] {
            assert_eq!(micros_of(number), micros, "{number}");
        }
    }
}
