//! Sizes as people write them: `4096`, `512KiB`, `10MB`.

/// Bytes: a whole number, and if it has one its unit.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = match text[digits.len()..].trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        _ => return Err("expected bytes, or a unit of kB, KiB, MB, MiB, GB, GiB, TB or TiB".to_owned()),
    };
    let count: u64 =
        digits.parse().map_err(|_| "expected a whole number and a unit, as 512KiB".to_owned())?;
    // What a database counts in 64 bits with a sign.
    let bytes = count.checked_mul(unit).filter(|bytes| i64::try_from(*bytes).is_ok() && *bytes > 0);
    bytes.ok_or_else(|| "expected 1 byte to 8 million TiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_units() {
        for (text, bytes) in [
            ("1", 1),
            ("4096", 4096),
            ("512KiB", 524_288),
            ("10MB", 10_000_000),
            ("10 mib", 10_485_760),
            ("1GiB", 1_073_741_824),
            ("2tb", 2_000_000_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "0", "-1", "1.5MB", "MB", "1 0", "1m", "1PB", "99999999TiB", "99999999999999999999"]
        {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
