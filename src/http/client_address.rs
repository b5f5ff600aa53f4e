//! Which address a request comes from: the socket's peer, or what a proxy that we trust says about it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
};

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderMap, HeaderName},
};
use ipnet::IpNet;
use serde::Deserialize;

use crate::relay::Source;

/// How to learn the address of a client. By default it is the socket's peer.
#[derive(Debug, Clone, Default)]
pub struct ClientAddress {
    /// Proxies whose word counts. If the peer is one, the client is the right-most hop of X-Forwarded-For that is not.
    pub trusted_proxies: Vec<IpNet>,
    /// Where a platform says it instead. Read from trusted proxies; from every peer if there are none, since platforms
    /// do not publish theirs.
    pub told_by: Option<ToldBy>,
}

/// Where a platform says the address of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToldBy {
    /// In this hop of X-Forwarded-For, counted from the right; 1 is the right-most.
    Hop(usize),
    /// In a header of its own.
    Header(HeaderName),
    /// In what AWS Lambda says of a request, which the Lambda Web Adapter passes on in `x-amzn-request-context`. A function's
    /// URL leaves the X-Forwarded-For of a client as it came.
    Lambda,
}

/// Where the Lambda Web Adapter writes the `requestContext` of an event, in place of what a client says there.
const LAMBDA_CONTEXT: &str = "x-amzn-request-context";

/// What matters of an event's `requestContext`.
#[derive(Deserialize)]
struct LambdaContext {
    http: LambdaHttp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LambdaHttp {
    source_ip: String,
}

impl FromStr for ToldBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "expected xff:N with N from 1 to 100, header:NAME as header:Fly-Client-IP, or lambda".to_owned()
        };
        match text.split_once(':') {
            Some(("xff", hop)) => match hop.parse() {
                Ok(hop @ 1..=100) => Ok(Self::Hop(hop)),
                _ => Err(wrong()),
            },
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| wrong()),
            None if text == "lambda" => Ok(Self::Lambda),
            _ => Err(wrong()),
        }
    }
}

impl ClientAddress {
    /// The client's address, as far as it can be known. What is missing or unreadable counts as not said.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        match &self.told_by {
            _ if !self.trusted_proxies.is_empty() && !self.trusts(peer) => peer,
            Some(ToldBy::Hop(number)) => {
                hops(headers).rev().nth(number - 1).as_deref().and_then(address).unwrap_or(peer)
            }
            Some(ToldBy::Header(name)) => {
                // If there are several, the last is what the nearest proxy added.
                let value = headers.get_all(name).last();
                value.and_then(|value| address(value.to_str().ok()?)).unwrap_or(peer)
            }
            Some(ToldBy::Lambda) => {
                // As bytes: who asks chooses the User-Agent that stands in it, too.
                let context = headers.get_all(LAMBDA_CONTEXT).last();
                let context =
                    context.and_then(|json| serde_json::from_slice::<LambdaContext>(json.as_bytes()).ok());
                context.and_then(|context| address(&context.http.source_ip)).unwrap_or(peer)
            }
            None if self.trusted_proxies.is_empty() => peer,
            None => self.last_untrusted(peer, headers),
        }
    }

    /// Walks from the peer to the left, as far as each hop was written down by a proxy that is trusted. Further left
    /// anybody may have written anything.
    fn last_untrusted(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut last = peer;
        for hop in hops(headers).rev() {
            match address(&hop) {
                Some(hop) if self.trusts(hop) => last = hop,
                Some(client) => return client,
                None => break,
            }
        }
        last
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }

    /// Whether this request was passed on by a proxy that this relay was not told of.
    fn overlooks(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let forwarded =
            headers.contains_key(header::X_FORWARDED_FOR) || headers.contains_key(header::FORWARDED);
        forwarded && self.told_by.is_none() && !self.trusts(peer.to_canonical())
    }
}

/// The hops of X-Forwarded-For, left to right. Several lines are one list.
fn hops(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = String> {
    let lines = headers.get_all(header::X_FORWARDED_FOR);
    let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    let hops = lines.collect::<Vec<_>>().join(",");
    hops.split(',').map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// A hop as proxies write it: an address, with or without a port, brackets, quotes and spaces.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"').trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

/// Tells the sources of requests, and says once if it looks as if they were all one proxy's.
#[derive(Debug)]
pub(crate) struct Clients {
    by: ClientAddress,
    warned: AtomicBool,
}

impl Clients {
    pub(crate) fn new(by: ClientAddress) -> Self {
        Self { by, warned: AtomicBool::new(false) }
    }

    /// The proxies that are trusted.
    pub(crate) fn proxies(&self) -> &[IpNet] {
        &self.by.trusted_proxies
    }

    /// Who this request counts as.
    pub(crate) fn source(&self, request: &HttpRequest) -> Source {
        // Only a Unix socket has no address, and the relay listens on none.
        let peer = request.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
        if self.by.overlooks(peer, request.headers()) && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a request came through a proxy that is not in --trusted-proxies: if the proxy is yours, all its clients \
                 share the limits of one; set --trusted-proxies"
            );
        }
        Source::of(self.by.client(peer, request.headers()))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(by: &ClientAddress, peer: &str, headers: &[(&str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        by.client(peer.parse().unwrap(), &map).to_string()
    }

    fn by(trusted: &[&str], told_by: Option<&str>) -> ClientAddress {
        ClientAddress {
            trusted_proxies: trusted.iter().map(|network| network.parse().unwrap()).collect(),
            told_by: told_by.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn without_trusted_proxies_it_is_the_peer() {
        let forged = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")];
        assert_eq!(client(&by(&[], None), "198.51.100.7", &forged), "198.51.100.7");
        assert_eq!(client(&by(&[], None), "::ffff:198.51.100.7", &forged), "198.51.100.7");
        let trusting = by(&["10.0.0.0/8"], None);
        assert_eq!(client(&trusting, "198.51.100.7", &forged), "198.51.100.7", "not a trusted peer");
    }

    #[test]
    fn behind_trusted_proxies_it_is_the_right_most_hop_that_is_none() {
        let trusting = by(&["10.0.0.0/8", "fd00::/8"], None);
        for (hops, expected) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9,fd00::5 , 10.9.9.9"], "203.0.113.9"),
            (&["1.1.1.1", "203.0.113.9", "10.9.9.9"], "203.0.113.9"),
            (&["203.0.113.9:567"], "203.0.113.9"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:567"], "2001:db8::1"),
            (&["\"[2001:db8::1]:567\""], "2001:db8::1"),
            (&[" \" 203.0.113.9 \" "], "203.0.113.9"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&["1.1.1.1, ::ffff:10.2.3.4"], "1.1.1.1"),
            // Nothing readable: the last proxy that was.
            (&[], PROXY),
            (&[""], PROXY),
            (&["unknown"], PROXY),
            (&["1.1.1.1, unknown"], PROXY),
            (&["1.1.1.1, unknown, 10.9.9.9"], "10.9.9.9"),
            (&["1.1.1.1, , 10.9.9.9"], "10.9.9.9"),
            (&["1.1.1.1, f\u{fc}nf"], PROXY),
            (&["203.0.113.9:99999"], PROXY),
            (&["203.0.113.999"], PROXY),
            (&["fe80::1%eth0"], PROXY),
            (&["10.7.7.7, 10.9.9.9"], "10.7.7.7"),
        ] {
            let headers: Vec<_> = hops.iter().map(|line| ("x-forwarded-for", *line)).collect();
            assert_eq!(client(&trusting, PROXY, &headers), expected, "{hops:?}");
            assert_eq!(client(&trusting, "::ffff:10.0.0.1", &headers), expected, "{hops:?}");
        }
    }

    #[test]
    fn platforms_say_it_in_a_hop_or_a_header_of_their_own() {
        let list = [("x-forwarded-for", "1.1.1.1, 203.0.113.9"), ("x-forwarded-for", "198.51.100.1")];
        assert_eq!(client(&by(&[], Some("xff:1")), PROXY, &list), "198.51.100.1");
        assert_eq!(client(&by(&[], Some("xff:2")), PROXY, &list), "203.0.113.9");
        assert_eq!(client(&by(&[], Some("xff:3")), PROXY, &list), "1.1.1.1");
        assert_eq!(client(&by(&[], Some("xff:4")), PROXY, &list), PROXY, "no such hop");
        assert_eq!(client(&by(&[], Some("xff:1")), PROXY, &[("x-forwarded-for", "unknown")]), PROXY);
        assert_eq!(client(&by(&[], Some("xff:1")), PROXY, &[]), PROXY);

        let fly = by(&[], Some("header:Fly-Client-IP"));
        assert_eq!(client(&fly, PROXY, &[("fly-client-ip", "203.0.113.9")]), "203.0.113.9");
        assert_eq!(client(&fly, PROXY, &[("fly-client-ip", "2001:db8::1")]), "2001:db8::1");
        let twice = [("fly-client-ip", "1.1.1.1"), ("fly-client-ip", "203.0.113.9")];
        assert_eq!(client(&fly, PROXY, &twice), "203.0.113.9");
        assert_eq!(client(&fly, PROXY, &list), PROXY, "missing");
        assert_eq!(client(&fly, PROXY, &[("fly-client-ip", "1.1.1.1, 2.2.2.2")]), PROXY, "not one address");

        let lambda = by(&[], Some("lambda"));
        let context = "x-amzn-request-context";
        for (json, expected) in [
            (r#"{"accountId":"anonymous","http":{"method":"POST","sourceIp":"203.0.113.9"}}"#, "203.0.113.9"),
            (r#"{"http":{"sourceIp":"2001:db8::1","userAgent":"fünf"}}"#, "2001:db8::1"),
            (r#"{"http":{"method":"POST"}}"#, PROXY),
            (r#"{"identity":{"sourceIp":"203.0.113.9"}}"#, PROXY),
            ("203.0.113.9", PROXY),
        ] {
            let headers = [
                (context, r#"{"http":{"sourceIp":"1.1.1.1"}}"#),
                (context, json),
                ("x-forwarded-for", "1.1.1.1"),
            ];
            assert_eq!(client(&lambda, PROXY, &headers), expected, "{json}");
        }
        assert_eq!(client(&lambda, PROXY, &list), PROXY, "missing");

        // With trusted proxies, from these only.
        let both = by(&["10.0.0.0/8"], Some("xff:2"));
        assert_eq!(client(&both, PROXY, &list), "203.0.113.9");
        assert_eq!(client(&both, "198.51.100.7", &list), "198.51.100.7");
    }

    #[test]
    fn a_proxy_that_was_not_declared_is_noticed() {
        let overlooks = |by: &ClientAddress, peer: &str, name: &str| {
            let mut headers = HeaderMap::new();
            headers.append(name.parse().unwrap(), HeaderValue::from_static("for=203.0.113.9"));
            by.overlooks(peer.parse().unwrap(), &headers)
        };
        for name in ["x-forwarded-for", "forwarded"] {
            assert!(overlooks(&by(&[], None), PROXY, name));
            assert!(overlooks(&by(&["192.0.2.0/24"], None), PROXY, name));
            assert!(!overlooks(&by(&["10.0.0.0/8"], None), "::ffff:10.0.0.1", name));
            assert!(!overlooks(&by(&[], Some("xff:1")), PROXY, name));
        }
        assert!(!overlooks(&by(&[], None), PROXY, "via"));
    }

    #[test]
    fn platforms_by_name() {
        assert_eq!("xff:2".parse(), Ok(ToldBy::Hop(2)));
        assert_eq!("lambda".parse(), Ok(ToldBy::Lambda));
        assert_eq!("header:fly-client-ip".parse(), "header:Fly-Client-IP".parse::<ToldBy>());
        for wrong in
            ["", "xff", "xff:", "xff:0", "xff:-1", "xff:101", "header:", "header:a b", "fly", "lambda:"]
        {
            assert_eq!(
                wrong.parse::<ToldBy>(),
                Err("expected xff:N with N from 1 to 100, header:NAME as header:Fly-Client-IP, or lambda"
                    .to_owned()),
                "{wrong}"
            );
        }
    }
}
