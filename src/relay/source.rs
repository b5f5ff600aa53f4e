//! Who a request counts as coming from: what one person usually has of the internet, and not one address of it.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An IPv4 address, or the /64 of an IPv6 address: whoever has one IPv6 address has 2^64 of them.
///
/// Has no `Display`, and its `Debug` says nothing, so that no log names it by accident.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(Prefix);

/// The neighbourhood of a source: its IPv4 /24 or IPv6 /48. Renting many addresses of one provider is cheap.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(Prefix);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Hash for Prefix {
    /// In one piece. Of the two kinds no value hashes as one of the other: they have different lengths.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match *self {
            Self::V4(octets) => hasher.write_u32(u32::from_ne_bytes(octets)),
            Self::V6(octets) => hasher.write_u64(u64::from_ne_bytes(octets)),
        }
    }
}

impl Source {
    /// The source that this address belongs to. An IPv4 address in IPv6 form (`::ffff:1.2.3.4`) is an IPv4 address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(Prefix::V4(address.octets())),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self(Prefix::V6([a, b, c, d, e, f, g, h]))
            }
        }
    }

    /// The network around it.
    pub fn network(self) -> Network {
        Network(match self.0 {
            Prefix::V4([a, b, c, _]) => Prefix::V4([a, b, c, 0]),
            Prefix::V6([a, b, c, d, e, f, _, _]) => Prefix::V6([a, b, c, d, e, f, 0, 0]),
        })
    }

    /// The 4 or 8 octets that its addresses share.
    pub fn octets(&self) -> &[u8] {
        match &self.0 {
            Prefix::V4(octets) => octets,
            Prefix::V6(octets) => octets,
        }
    }

    /// As its owner may see it: `203.0.113.9` or `2001:db8::/64`. Not for logs.
    pub fn text(self) -> String {
        match self.0 {
            Prefix::V4(octets) => Ipv4Addr::from(octets).to_string(),
            Prefix::V6([a, b, c, d, e, f, g, h]) => {
                let octets = [a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0];
                format!("{}/64", Ipv6Addr::from(octets))
            }
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(…)")
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_counts_for_itself() {
        assert_eq!(source("203.0.113.9").text(), "203.0.113.9");
        assert_eq!(source("::ffff:203.0.113.9"), source("203.0.113.9"));
        assert_ne!(source("203.0.113.9"), source("203.0.113.8"));
        assert_eq!(source("203.0.113.9").network(), source("203.0.113.200").network());
        assert_ne!(source("203.0.113.9").network(), source("203.0.112.9").network());
    }

    #[test]
    fn an_ipv6_address_counts_for_its_64() {
        assert_eq!(source("2001:db8:1:2:3:4:5:6").text(), "2001:db8:1:2::/64");
        assert_eq!(source("::1").text(), "::/64");
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("2001:db8::1").network(), source("2001:db8:0:ffff::1").network());
        assert_ne!(source("2001:db8::1").network(), source("2001:db8:1::1").network());
    }

    #[test]
    fn logs_cannot_name_it() {
        assert_eq!(format!("{:?} {:?}", source("::1"), source("::1").network()), "Source(…) Network(…)");
    }
}
