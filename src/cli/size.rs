//! Sizes as people write them: `500000`, `10MB`, `10MiB`.

/// The bytes of a size; at most 2^63 - 1, as databases count.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(EXPECTED.to_owned()),
    };
    if number.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(|| "that is too large".to_owned())
}

const EXPECTED: &str = "expected bytes, as 500000, 10MB (10 million) or 10MiB (10 times 1024 times 1024)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_every_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("500000", 500_000),
            ("7B", 7),
            ("10kB", 10_000),
            ("10KB", 10_000),
            ("10MB", 10_000_000),
            ("10mb", 10_000_000),
            ("2GB", 2_000_000_000),
            ("1TB", 1_000_000_000_000),
            ("10KiB", 10_240),
            ("10MiB", 10_485_760),
            ("1GiB", 1_073_741_824),
            ("3TiB", 3_298_534_883_328),
            ("9223372036854775807", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size() {
        for text in ["", "MB", "-1", "+1", "1.5MB", "10 MB", "10M", "10MBs", "ten", "1e3", "１"] {
            assert!(size(text).is_err_and(|error| error.starts_with("expected bytes, as 500000")), "{text}");
        }
        for text in ["9223372036854775808", "18446744073709551616", "10000000TB", "9999999999999999999999B"] {
            assert_eq!(size(text), Err("that is too large".to_owned()), "{text}");
        }
    }
}
