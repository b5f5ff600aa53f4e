//! The cursor of a mailbox.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point in a box's order of messages: Unix time in microseconds, strictly increasing per box, 0 … 2⁵³−1 so that
/// JavaScript keeps every digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(from = "i64")]
pub struct At(i64);

impl From<i64> for At {
    /// Clamps to 0 … 2⁵³−1.
    fn from(micros: i64) -> Self {
        Self(micros.clamp(0, Self::MAX.0))
    }
}

impl At {
    /// Before every message.
    pub const START: Self = Self(0);
    /// 2⁵³−1, the largest integer JavaScript counts to (in the year 2255).
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The cursor as an integer.
    pub fn as_i64(self) -> i64 {
        self.0
    }

    /// Reads the cursor of a request: the text of a JSON integer, or a decimal string.
    ///
    /// 20 digits are the draft's calendar form (`YYYYMMDDhhmmss` and microseconds, UTC) and are converted; every other
    /// integer, however long, is clamped. `None` if it is not an integer at all.
    pub fn from_digits(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        if digits.is_empty() {
            return None;
        }
        let mut micros = 0_i64;
        for digit in digits.bytes() {
            if !digit.is_ascii_digit() {
                return None;
            }
            micros = micros.saturating_mul(10).saturating_add((digit - b'0').into());
        }
        if negative {
            return Some(Self::START);
        }
        let calendar = if digits.len() == 20 { from_calendar(digits) } else { None };
        Some(Self::from(calendar.unwrap_or(micros)))
    }
}

/// Unix microseconds of `YYYYMMDDhhmmssffffff`, if that is a moment of the Gregorian calendar since 1970.
fn from_calendar(digits: &str) -> Option<i64> {
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second, micros) = (part(8, 10)?, part(10, 12)?, part(12, 14)?, part(14, 20)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970-01-01, counting years from March so that the leap day comes last
    // (H. Hinnant, "chrono-compatible low-level date algorithms", days_from_civil).
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    let days = 365 * y + y / 4 - y / 100 + y / 400 + day_of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_clamped_and_calendars_converted() {
        for (given, expected) in [
            ("0", 0),
            ("-0", 0),
            ("-5", 0),
            ("1795170000000000", 1_795_170_000_000_000),
            ("9007199254740991", 9_007_199_254_740_991),
            ("9007199254740992", 9_007_199_254_740_991),
            ("999999999999999999999999999999", 9_007_199_254_740_991),
            ("-99999999999999999999", 0),
            // The draft's own example, and both ends of a leap day.
            ("20221231235959123456", 1_672_531_199_123_456),
            ("19700101000000000000", 0),
            ("20000229235959999999", 951_868_799_999_999),
            ("20240301000000000000", 1_709_251_200_000_000),
            // 20 digits that are no date are an integer like any other.
            ("20230229000000000000", 9_007_199_254_740_991),
            ("20221331235959123456", 9_007_199_254_740_991),
            ("00000000000000000007", 7),
        ] {
            assert_eq!(At::from_digits(given).map(At::as_i64), Some(expected), "{given}");
        }
    }

    #[test]
    fn what_is_not_an_integer() {
        for wrong in ["", "-", "1.0", "1e3", "+1", " 1", "0x10", "١", "NaN"] {
            assert_eq!(At::from_digits(wrong), None, "{wrong:?}");
        }
    }
}
