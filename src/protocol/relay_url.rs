//! The canonical URL of a relay: what links carry, what questions are bound to, compared byte by byte.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use url::{Host, Url};

/// A relay's URL in canonical form: the WHATWG href without user, query and fragment, a bare "/" path dropped.
///
/// `https://connecto.id`, `https://example.com/relay`, `http://127.0.0.1:8080`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayUrl(String);

/// Why a text is not the URL of a relay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARelayUrl {
    /// Not a URL at all.
    #[error("{0:?} is not a URL: expected one like https://connecto.id")]
    Malformed(String),
    /// A scheme other than http and https.
    #[error("{0:?} is not a relay's URL: it must start with https:// (or http:// for this machine)")]
    Scheme(String),
    /// http to another machine.
    #[error(
        "{0} would be unencrypted: http is accepted for this machine only (localhost, 127.0.0.1, [::1]); use https"
    )]
    Unencrypted(String),
}

/// The longest Host header: a name of 255 characters (RFC 1035, section 2.3.4), a colon and a port.
const MAX_HOST_CHARS: usize = 261;

/// The longest URL of a relay. Its length must fit the two bytes of `lp16`.
const MAX_CHARS: usize = 2048;

impl RelayUrl {
    /// The URL of the relay that was reached under this Host header, for a relay that was told no URL of its own.
    ///
    /// Such a relay is for local use, so the scheme is http; unless it is `led_by_host`, behind a platform
    /// that takes TLS off and leads nothing to it but what is for its host: then it is https. `None` if the header is not a host and port.
    pub fn from_host_header(host: &str, led_by_host: bool) -> Option<Self> {
        if host.is_empty()
            || host.len() > MAX_HOST_CHARS
            || host.contains(['/', '?', '#', '@', '\\', ' ', '\t'])
        {
            return None;
        }
        let scheme = if led_by_host { "https" } else { "http" };
        canonical(&Url::parse(&format!("{scheme}://{host}")).ok()?)
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        Url::parse(&self.0).is_ok_and(|url| is_loopback(&url))
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn canonical(url: &Url) -> Option<RelayUrl> {
    let mut url = url.clone();
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    let href = url.as_str();
    // A space separates the relays of a link; WHATWG percent-encodes it in paths and refuses it in hosts.
    let bare = if url.path() == "/" { href.trim_end_matches('/') } else { href };
    Some(RelayUrl(bare.to_owned()))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        // RFC 6761, section 6.3: names under localhost are this machine.
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

impl FromStr for RelayUrl {
    type Err = NotARelayUrl;

    fn from_str(text: &str) -> Result<Self, NotARelayUrl> {
        let malformed = || NotARelayUrl::Malformed(text.chars().take(200).collect());
        let url = Url::parse(text).map_err(|_| malformed())?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => return Err(NotARelayUrl::Unencrypted(text.to_owned())),
            _ => return Err(NotARelayUrl::Scheme(text.to_owned())),
        }
        canonical(&url).filter(|url| url.0.len() <= MAX_CHARS).ok_or_else(malformed)
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RelayUrl {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RelayUrl {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form() {
        for (given, expected) in [
            ("https://connecto.id", "https://connecto.id"),
            ("https://connecto.id/", "https://connecto.id"),
            ("HTTPS://Connecto.ID:443/", "https://connecto.id"),
            ("https://user:pw@example.com/relay?x=1#y", "https://example.com/relay"),
            ("https://example.com/relay/", "https://example.com/relay/"),
            ("https://example.com:8443/a b", "https://example.com:8443/a%20b"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("http://127.1:80", "http://127.0.0.1"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://relay.localhost", "http://relay.localhost"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            let url: RelayUrl = given.parse().unwrap();
            assert_eq!(url.as_str(), expected);
            assert_eq!(url.as_str().parse(), Ok(url.clone()), "canonical form is a fixed point");
        }
    }

    #[test]
    fn refused() {
        assert!(matches!("http://example.com".parse::<RelayUrl>(), Err(NotARelayUrl::Unencrypted(_))));
        assert!(matches!("http://192.168.1.5:8080".parse::<RelayUrl>(), Err(NotARelayUrl::Unencrypted(_))));
        assert!(matches!(
            "http://localhost.example.com".parse::<RelayUrl>(),
            Err(NotARelayUrl::Unencrypted(_))
        ));
        assert!(matches!("ftp://127.0.0.1".parse::<RelayUrl>(), Err(NotARelayUrl::Scheme(_))));
        assert!(matches!("connecto.id".parse::<RelayUrl>(), Err(NotARelayUrl::Malformed(_))));
        assert!(matches!("https://".parse::<RelayUrl>(), Err(NotARelayUrl::Malformed(_))));
        let long = format!("https://example.com/{}", "x".repeat(2028));
        assert!(long.parse::<RelayUrl>().is_ok());
        assert!(matches!(format!("{long}x").parse::<RelayUrl>(), Err(NotARelayUrl::Malformed(_))));
        assert_eq!(RelayUrl::from_host_header(&"x".repeat(262), false), None);
    }

    #[test]
    fn from_a_host_header() {
        let from = |host: &str| RelayUrl::from_host_header(host, false).map(|url| url.to_string());
        assert_eq!(from("localhost:8080").as_deref(), Some("http://localhost:8080"));
        assert_eq!(from("192.168.1.5:8080").as_deref(), Some("http://192.168.1.5:8080"));
        assert_eq!(from("Relay.LAN").as_deref(), Some("http://relay.lan"));
        for wrong in ["", "a/b", "user@host", "host?x", "host#y", "ho st", "host:notaport", "\\evil"] {
            assert_eq!(from(wrong), None, "{wrong:?}");
            assert_eq!(RelayUrl::from_host_header(wrong, true), None, "{wrong:?}");
        }
        let led = |host: &str| RelayUrl::from_host_header(host, true).map(|url| url.to_string());
        assert_eq!(led("Relay-ab1c-ew.a.run.app").as_deref(), Some("https://relay-ab1c-ew.a.run.app"));
        assert_eq!(led("relay.example:443").as_deref(), Some("https://relay.example"));
    }
}
