//! URLs of servers that help two sides to find a path.

use std::{fmt, str::FromStr};

use url::Host;

/// The port of STUN and TURN, if none is named (RFC 8489, section 18.6; RFC 8656).
pub(crate) const PORT: u16 = 3478;

/// The same over TLS.
const TLS_PORT: u16 = 5349;

/// A STUN server as a browser takes it (RFC 7064): `stun:HOST`, `stun:HOST:PORT`, or `stuns:` for one over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StunUrl {
    is_over_tls: bool,
    host: String,
    port: u16,
}

impl StunUrl {
    fn default_port(is_over_tls: bool) -> u16 {
        if is_over_tls { TLS_PORT } else { PORT }
    }
}

impl FromStr for StunUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (scheme, server) = text.trim().split_once(':')?;
            let is_over_tls = scheme == "stuns";
            if !is_over_tls && scheme != "stun" {
                return None;
            }
            let (host, port) = host_and_port(server, Self::default_port(is_over_tls))?;
            // Hosts of URLs may have more in them than browsers take here, and a page with a URL that they do not take is of no use.
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
            host.bytes().all(is_plain).then_some(Self { is_over_tls, host, port })
        };
        parse().ok_or_else(|| not_stun(text))
    }
}

impl fmt::Display for StunUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_over_tls, host, port } = self;
        f.write_str(if *is_over_tls { "stuns:" } else { "stun:" })?;
        let port = Some(*port).filter(|port| *port != Self::default_port(*is_over_tls));
        show_host_and_port(f, host, port)
    }
}

/// What is said of a text that names no STUN server.
pub(crate) fn not_stun(text: &str) -> String {
    format!("{text:?} is not a STUN server: expected one like stun:stun.example.org:3478")
}

/// A host and a port, as `host`, `host:port` or `[2001:db8::1]:port`; the host without its brackets.
pub(crate) fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let after_host = text.find(']').map_or(0, |end| end + 1);
    let (host, port) = match text[after_host..].find(':') {
        Some(colon) => {
            let (host, port) = text.split_at(after_host + colon);
            // Not `parse` alone, which takes a sign.
            let digits = port[1..].bytes().all(|byte| byte.is_ascii_digit());
            (host, port[1..].parse().ok().filter(|port| digits && *port != 0)?)
        }
        None => (text, default),
    };
    let host = match Host::parse(host).ok()? {
        Host::Domain(name) => name,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Some((host, port))
}

pub(crate) fn show_host_and_port(f: &mut fmt::Formatter<'_>, host: &str, port: Option<u16>) -> fmt::Result {
    if host.contains(':') {
        write!(f, "[{host}]")?
    } else {
        f.write_str(host)?
    }
    port.map_or(Ok(()), |port| write!(f, ":{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_stun_servers() {
        for (text, shown) in [
            ("stun:stun.example.org", "stun:stun.example.org"),
            ("stun:STUN.example.org:3478", "stun:stun.example.org"),
            (" stun:stun.example.org:19302 ", "stun:stun.example.org:19302"),
            ("stun:192.0.2.1:5349", "stun:192.0.2.1:5349"),
            ("stun:[2001:db8::1]", "stun:[2001:db8::1]"),
            ("stun:[2001:DB8::1]:65535", "stun:[2001:db8::1]:65535"),
            ("stuns:stun.example.org:5349", "stuns:stun.example.org"),
            ("stuns:stun.example.org:3478", "stuns:stun.example.org:3478"),
        ] {
            assert_eq!(text.parse::<StunUrl>().map(|url| url.to_string()), Ok(shown.to_owned()), "{text}");
        }
        for wrong in [
            "",
            "stun",
            "stun:",
            "stun.example.org",
            "stun://stun.example.org",
            "turn:turn.example.org",
            "https://stun.example.org",
            "stun:stun.example.org:0",
            "stun:stun.example.org?transport=udp",
            "stun:a stun:b",
            "stun:a\"b",
            "stun:a&b",
            "stun:a;b",
        ] {
            let error =
                format!("{wrong:?} is not a STUN server: expected one like stun:stun.example.org:3478");
            assert_eq!(wrong.parse::<StunUrl>(), Err(error));
        }
    }
}
