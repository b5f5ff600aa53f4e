//! Figures in the words of a page.

/// `3600` as "1 hour", `90` as "90 seconds": the largest unit that needs no fraction.
pub(super) fn in_words(seconds: u64) -> String {
    let (count, unit) = match seconds {
        s if s > 0 && s % 86_400 == 0 => (s / 86_400, "day"),
        s if s > 0 && s % 3600 == 0 => (s / 3600, "hour"),
        s if s > 0 && s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// `16384` as "16 KiB": whole, or in bytes.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        b if b > 0 && b % (1024 * 1024 * 1024) == 0 => format!("{} GiB", b / (1024 * 1024 * 1024)),
        b if b > 0 && b % (1024 * 1024) == 0 => format!("{} MiB", b / (1024 * 1024)),
        b if b > 0 && b % 1024 == 0 => format!("{} KiB", b / 1024),
        b => format!("{b} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        let words: Vec<String> = [0, 1, 90, 60, 3600, 5400, 86_400, 2_592_000].map(in_words).into();
        assert_eq!(
            words,
            ["0 seconds", "1 second", "90 seconds", "1 minute", "1 hour", "90 minutes", "1 day", "30 days"]
        );
    }

    #[test]
    fn sizes_in_words() {
        assert_eq!(
            [0, 1000, 1024, 524_288, 1 << 30].map(size),
            ["0 bytes", "1000 bytes", "1 KiB", "512 KiB", "1 GiB"]
        );
    }
}
