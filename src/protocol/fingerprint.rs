//! The fingerprint of a DTLS certificate, as SDP carries it (RFC 8122, section 5).

use std::fmt;

/// SHA-256 of the certificate that one side of a WebRTC connection uses: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; Fingerprint::BYTES]);

impl Fingerprint {
    /// The length in bytes.
    pub const BYTES: usize = 32;

    /// The fingerprint in an SDP: the value that every line `a=fingerprint:sha-256 …` gives, in the session and in each
    /// of its media.
    ///
    /// `None` if there is no such line, if one cannot be read, or if two differ: then it would depend on the WebRTC
    /// stack whose certificate it takes. Lines with other hashes say nothing here.
    pub fn of_sdp(sdp: &str) -> Option<Self> {
        let mut found = None;
        for line in sdp.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            let Some(attribute) = line.strip_prefix("a=fingerprint:") else {
                continue;
            };
            let (hash, hex) = attribute.split_once(' ').unwrap_or((attribute, ""));
            // ABNF's strings, so hash names too, are the same in capitals; a stack may well take them.
            if !hash.eq_ignore_ascii_case("sha-256") {
                continue;
            }
            let value = Self::from_hex(hex)?;
            if *found.get_or_insert(value) != value {
                return None;
            }
        }
        found
    }

    /// `5B:5B:…`, 32 pairs.
    fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; Self::BYTES];
        let mut pairs = hex.split(':');
        for byte in &mut bytes {
            let pair = pairs.next()?;
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        pairs.next().is_none().then_some(Self(bytes))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It names a device for as long as its certificate lives.
        f.write_str("Fingerprint(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hash: &str, byte: &str) -> String {
        format!("a=fingerprint:{hash} {}\r\n", [byte; 32].join(":"))
    }

    #[test]
    fn one_value_in_an_sdp() {
        let chromium = include_str!("../../tests/fixtures/chromium-offer.json");
        let chromium: serde_json::Value = serde_json::from_str(chromium).unwrap();
        let found = Fingerprint::of_sdp(chromium["sdp"].as_str().unwrap()).unwrap();
        assert_eq!(found.0[..4], [0xFC, 0x90, 0xA1, 0xF5]);
        assert_eq!(found.0[28..], [0xF4, 0xE3, 0xFF, 0xC9, 0xF8][1..]);
        assert_eq!(format!("{found:?}"), "Fingerprint(…)");

        let one = line("sha-256", "5B");
        for same in [
            one.clone(),
            one.trim_end().to_owned(),
            one.replace("\r\n", "\n"),
            format!("v=0\r\n{one}m=audio\r\n{one}"),
            format!("{one}{}", line("sha-256", "5b")),
            format!("{}{one}{}", line("sha-512", "01"), line("sha-1", "02")),
            line("SHA-256", "5B"),
        ] {
            assert_eq!(Fingerprint::of_sdp(&same), Some(Fingerprint([0x5B; 32])), "{same}");
        }
        let other = line("sha-256", "5A");
        for wrong in [
            String::new(),
            "v=0\r\n".into(),
            line("sha-512", "5B"),
            format!("{one}{other}"),
            format!("{one}{}", line("SHA-256", "5A")),
            format!("{one}a=fingerprint:sha-256 5A\r\n"),
            format!("{one}a=fingerprint:sha-256\r\n"),
            one.replacen("5B:", "", 1),
            one.replacen("5B:", "5B:5B:", 1),
            one.replacen("5B:", "5:", 1),
            one.replacen("5B:", "+B:", 1),
            one.replacen("5B:", "é:", 1),
            one.replacen("\r\n", " \r\n", 1),
            format!(" {one}"),
        ] {
            assert_eq!(Fingerprint::of_sdp(&wrong), None, "{wrong}");
        }
    }
}
