//! How sums of usage stand in a column: which counts aren't zero, then those, then how often what took how long. Most rows count
//! few requests, so most of them take some twenty bytes. Nothing here may change: the books hold it.

use countersign_core::{TIME_SLOTS, TimeHistogram, USAGE_COUNTS, UsageSum};

const HAS_DELIVERED_TIMES: u64 = 1 << USAGE_COUNTS;
const HAS_VALID_TIMES: u64 = 1 << (USAGE_COUNTS + 1);

/// A number in groups of seven bits, the lowest first.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// A number with its sign in the lowest bit, so that small ones stay short.
const fn folded(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

const fn unfolded(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

fn put_times(bytes: &mut Vec<u8>, times: &TimeHistogram) {
    put(bytes, u64::try_from(times.slots().len()).unwrap_or(0));
    for &(slot, count) in times.slots() {
        bytes.push(slot);
        put(bytes, count);
    }
}

fn take_times(bytes: &mut &[u8], into: &mut TimeHistogram) -> Option<()> {
    for _ in 0..take(bytes)? {
        let (&slot, rest) = bytes.split_first().filter(|&(&slot, _)| slot < TIME_SLOTS)?;
        *bytes = rest;
        into.add_slot(slot, take(bytes)?);
    }
    Some(())
}

fn put_sum(bytes: &mut Vec<u8>, sum: &UsageSum) {
    let mut held = 0;
    for (place, &count) in sum.counts.iter().enumerate() {
        held |= u64::from(count != 0) << place;
    }
    if !sum.to_delivered.slots().is_empty() {
        held |= HAS_DELIVERED_TIMES;
    }
    if !sum.to_valid.slots().is_empty() {
        held |= HAS_VALID_TIMES;
    }
    put(bytes, held);
    for &count in sum.counts.iter().filter(|&&count| count != 0) {
        put(bytes, folded(count));
    }
    for (has, times) in [
        (HAS_DELIVERED_TIMES, &sum.to_delivered),
        (HAS_VALID_TIMES, &sum.to_valid),
    ] {
        if held & has != 0 {
            put_times(bytes, times);
        }
    }
}

/// Adds a sum that stands at the beginning of `bytes`, and goes behind it.
pub(crate) fn take_sum(bytes: &mut &[u8], into: &mut UsageSum) -> Option<()> {
    let held = take(bytes)?;
    for (place, count) in into.counts.iter_mut().enumerate() {
        if held >> place & 1 == 1 {
            *count = count.saturating_add(unfolded(take(bytes)?));
        }
    }
    if held & HAS_DELIVERED_TIMES != 0 {
        take_times(bytes, &mut into.to_delivered)?;
    }
    if held & HAS_VALID_TIMES != 0 {
        take_times(bytes, &mut into.to_valid)?;
    }
    Some(())
}

/// One sum.
pub(crate) fn bytes_of(sum: &UsageSum) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    put_sum(&mut bytes, sum);
    bytes
}

/// What [`bytes_of`] wrote.
pub(crate) fn sum_of(mut bytes: &[u8]) -> Option<UsageSum> {
    let mut sum = UsageSum::default();
    add_sum(&mut bytes, &mut sum)?;
    Some(sum)
}

/// Adds what [`bytes_of`] wrote.
pub(crate) fn add_sum(bytes: &mut &[u8], into: &mut UsageSum) -> Option<()> {
    take_sum(bytes, into)?;
    bytes.is_empty().then_some(())
}

/// The quarters of one day, each with its place in the day.
pub(crate) fn bytes_of_day(day: &[(u8, UsageSum)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24 * day.len());
    for (quarter, sum) in day {
        bytes.push(*quarter);
        put_sum(&mut bytes, sum);
    }
    bytes
}

/// What [`bytes_of_day`] wrote.
pub(crate) fn day_of(mut bytes: &[u8]) -> Option<Vec<(u8, UsageSum)>> {
    let mut day = Vec::new();
    while let Some(quarter) = take_quarter(&mut bytes) {
        let mut sum = UsageSum::default();
        take_sum(&mut bytes, &mut sum)?;
        day.push((quarter, sum));
    }
    Some(day)
}

/// The place in the day of the quarter that stands at the beginning of what [`bytes_of_day`] wrote; its sum comes next, for
/// [`take_sum`]. `None` at the end.
pub(crate) fn take_quarter(bytes: &mut &[u8]) -> Option<u8> {
    let (&quarter, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(quarter)
}

#[cfg(test)]
mod tests {
    use countersign_core::UsageCount;

    use super::*;

    fn sum(seed: i64) -> UsageSum {
        let mut sum = UsageSum::default();
        sum.counts[UsageCount::Sent as usize] = seed;
        sum.counts[UsageCount::ChargedMicros as usize] = -seed * 10_000;
        sum.to_valid.add_slot(17, seed.unsigned_abs());
        sum.to_valid.add_slot(95, 1);
        sum
    }

    #[test]
    fn sums_read_back_as_they_were_written() {
        for seed in [0, 1, -1, 200, i64::MAX / 20_000] {
            assert_eq!(sum_of(&bytes_of(&sum(seed))), Some(sum(seed)));
        }
        let mut extremes = UsageSum::default();
        extremes.counts[0] = i64::MIN;
        extremes.counts[USAGE_COUNTS - 1] = i64::MAX;
        assert_eq!(sum_of(&bytes_of(&extremes)), Some(extremes));
        assert_eq!(bytes_of(&UsageSum::default()).len(), 1);
    }

    #[test]
    fn a_days_quarters_read_back_and_what_is_cut_off_is_damaged() {
        let day = vec![(0, sum(3)), (95, sum(70_000))];
        let bytes = bytes_of_day(&day);
        let mut read = vec![UsageSum::default(); 96];
        let mut rest = bytes.as_slice();
        while let Some(quarter) = take_quarter(&mut rest) {
            take_sum(&mut rest, &mut read[usize::from(quarter)]).unwrap();
        }
        assert_eq!((&read[0], &read[95]), (&day[0].1, &day[1].1));
        let mut cut_off = &bytes_of_day(&day[..1])[..4];
        assert_eq!(take_quarter(&mut cut_off), Some(0));
        assert_eq!(take_sum(&mut cut_off, &mut UsageSum::default()), None);
        assert_eq!(sum_of(&[]), None);
    }
}
