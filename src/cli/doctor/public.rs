//! The way to the relay: each of its public URLs, asked as clients ask.

use std::{
    net::{IpAddr, ToSocketAddrs as _},
    time::Duration,
};

use hyper::{HeaderMap, Request, header};
use rand::rngs::StdRng;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Findings, clocks};
use crate::{
    cli::{Failure, entropy},
    client::{exchange::NoReply, transport::Transport},
    clock::{Clock as _, SystemClock},
    protocol::RelayUrl,
    seal::{BoxKey, question::open_question},
    server::{Config, ToldBy},
};

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The long poll that is tried.
const WAIT: u64 = 2;

/// As large as a check of many boxes may be, nearly.
const LARGE: usize = 60 * 1024;

/// An address for documentation (RFC 5737): nobody has it.
const FORGED: &str = "203.0.113.77";

/// Asks each URL as its clients do.
pub(super) async fn look(
    config: &Config,
    api_key: Option<&str>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    if config.urls.is_empty() && config.led_by_host {
        findings.ok(
            "url",
            "the Host header's, by which the platform leads requests here; with --url it is asked as clients ask",
        );
    } else if config.urls.is_empty() {
        findings.warn(
            "url",
            "there is no --url: the relay believes the Host header, and nothing can be asked as clients ask",
            "Set --url to what clients reach the relay under",
        );
    }
    let (mut rng, transport) = (entropy()?, Transport::new());
    for url in &config.urls {
        let mut public =
            Public { url, config, api_key, transport: transport.clone(), rng: &mut rng, findings };
        if let Some(info) = public.info().await {
            public.question().await;
            public.large_request().await;
            public.long_poll(info.limits.wait).await;
            public.client_address(&info).await;
            public.metrics().await;
        }
    }
    Ok(())
}

/// One URL of the relay.
struct Public<'a> {
    url: &'a RelayUrl,
    config: &'a Config,
    api_key: Option<&'a str>,
    transport: Transport,
    rng: &'a mut StdRng,
    findings: &'a mut Findings,
}

/// What came back.
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    /// When it was asked for, and when it was there: Unix microseconds.
    asked: i64,
    came: i64,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// What is wrong with it, in a few words.
    fn complaint(&self) -> String {
        let error = self.json().and_then(|body| {
            let detail = body["detail"].as_str().map(|detail| format!(" ({detail})")).unwrap_or_default();
            Some(format!(": {}{detail}", body["error"].as_str()?))
        });
        format!("status {}{}", self.status, error.unwrap_or_default())
    }

    fn refused(&self) -> Option<String> {
        Some(self.json()?["error"].as_str()?.to_owned())
    }
}

/// What doctor reads of `/info`.
#[derive(Deserialize)]
struct Info {
    name: String,
    version: String,
    protocol: u32,
    client: String,
    relays: Vec<String>,
    limits: Limits,
    /// The proxy that passed the reply on, as far as it says so.
    #[serde(skip)]
    proxy: Option<String>,
}

#[derive(Deserialize)]
struct Limits {
    wait: u64,
}

impl Public<'_> {
    async fn ask(&self, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Reply, NoReply> {
        let url = format!("{}{path}", if path.is_empty() { self.url.as_str() } else { self.base() });
        let asked = SystemClock.now();
        let mut request = Request::builder().uri(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = match body {
            Some(body) => {
                request.method("POST").header(header::CONTENT_TYPE, "text/plain").body(body.to_owned())
            }
            None => request.body(Vec::new()),
        };
        let request = request.map_err(|error| NoReply::Unreachable(error.to_string()))?;
        let (head, body) = self.transport.run(request, PATIENCE).await?.into_parts();
        let (status, headers) = (head.status.as_u16(), head.headers);
        Ok(Reply { status, headers, body, asked, came: SystemClock.now() })
    }

    /// The URL without a slash at its end.
    fn base(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    async fn post(&self, body: &Value) -> Result<Reply, NoReply> {
        self.ask("", &[], Some(body.to_string().as_bytes())).await
    }

    /// Whether a relay is there, and whether it is this one.
    async fn info(&mut self) -> Option<Info> {
        const CHECK: &str = "url";
        let url = self.url;
        let reply = match self.ask("/info", &[], None).await {
            Ok(reply) => reply,
            Err(error) => {
                let change = "Start the relay if it does not run; else look at its DNS entry, certificate, firewall and proxy";
                self.findings.bad(CHECK, format!("{url} {error}"), change);
                return None;
            }
        };
        let info = serde_json::from_slice::<Info>(&reply.body).ok().filter(|info| info.name == "connectoid");
        let Some(mut info) = info.filter(|_| reply.status == 200) else {
            let (found, change) = no_relay(&reply);
            self.findings.bad(CHECK, format!("{url} {found}"), change);
            return None;
        };
        let ours = env!("CARGO_PKG_VERSION");
        if !info.relays.iter().any(|relay| relay == url.as_str()) {
            let others = if info.relays.is_empty() { "nothing".to_owned() } else { info.relays.join(", ") };
            self.findings.bad(
                CHECK,
                format!("the relay at {url} calls itself {others}: clients refuse its questions"),
                format!("Start it with --url {url}, or correct the --url of this check"),
            );
        } else if info.protocol != 1 {
            self.findings.bad(
                CHECK,
                format!("the relay at {url} speaks protocol {}", info.protocol),
                "Check it with the program that runs there",
            );
        } else if info.version != ours {
            self.findings.warn(
                CHECK,
                format!("the relay at {url} is connectoid {}, this is {ours}", info.version),
                "Restart the relay if it was updated, or check it with the program that runs there",
            );
        } else if url.as_str().ends_with('/') {
            self.findings.warn(
                CHECK,
                format!("{url} ends in a slash, which every link would carry"),
                format!("Set --url {}", self.base()),
            );
        } else {
            self.findings.ok(CHECK, format!("{url} is this relay, connectoid {ours}"));
        }
        if let Some(date) = reply.header("date").and_then(unix_seconds) {
            clocks(ahead(date, &reply), url.as_str(), self.findings);
        }
        let by = ["via", "server"].into_iter().find_map(|name| reply.header(name));
        info.proxy = by.map(str::to_owned);
        Some(info)
    }

    /// Whether questions get through as they are: body, URL and reply.
    async fn question(&mut self) {
        const CHECK: &str = "question";
        let url = self.url;
        let key = BoxKey::generate(self.rng);
        let check = json!({"pub": key.public(), "ext": self.api_key, "action": "check", "at": 0, "ask": true,
                           "relay": url});
        let reply = match self.post(&check).await {
            Ok(reply) => reply,
            Err(error) => return self.unanswered(CHECK, &error),
        };
        self.cors(&reply);
        if reply.refused().is_some_and(|error| error == "Not allowed") {
            return self.findings.warn(
                CHECK,
                format!("{url} asks for an API key, so its questions cannot be looked at"),
                "Name a key in CONNECTOID_API_KEY: connectoid admin keys add makes one",
            );
        }
        let body = reply.json().unwrap_or_default();
        let Some(question) = body["question"].as_str().filter(|_| reply.status == 200) else {
            return self.findings.bad(
                CHECK,
                format!("{url} was asked for one and gave {}", reply.complaint()),
                "Let the proxy pass POST bodies and replies on unchanged",
            );
        };
        if body["relay"] != url.as_str() || open_question(&key, url, question).is_err() {
            return self.findings.bad(
                CHECK,
                format!("that of {url} is bound to {}: clients do not answer it", body["relay"]),
                format!("Start the relay with --url {url}"),
            );
        }
        self.findings.ok(CHECK, format!("that of {url} opens"));
    }

    /// Whether pages of other sites may ask.
    fn cors(&mut self, reply: &Reply) {
        const CHECK: &str = "CORS";
        let allowed: Vec<&[u8]> =
            reply.headers.get_all(header::ACCESS_CONTROL_ALLOW_ORIGIN).iter().map(|v| v.as_bytes()).collect();
        match &*allowed {
            [b"*"] => self.findings.ok(CHECK, format!("{} lets any page ask", self.url)),
            _ => self.findings.bad(
                CHECK,
                format!(
                    "{} sends {} headers Access-Control-Allow-Origin, not one that is *: browsers refuse its replies",
                    self.url,
                    allowed.len()
                ),
                "Let the proxy neither add nor take headers: the relay sends its own",
            ),
        }
    }

    /// Whether the proxy takes bodies as large as the relay does.
    async fn large_request(&mut self) {
        const CHECK: &str = "large requests";
        let url = self.url;
        let key = BoxKey::generate(self.rng).public();
        let check = json!({"ext": self.api_key, "action": "check", "boxes": [{"pub": key, "at": 0}]});
        // Spaces count for nothing but their bytes.
        let body = format!("{check:<LARGE$}", check = check.to_string());
        match self.ask("", &[], Some(body.as_bytes())).await {
            Ok(reply) if reply.status == 200 || is_refusal_of_key(&reply) => {
                self.findings.ok(CHECK, format!("{url} takes 60 KiB"));
            }
            Ok(reply) if reply.status == 429 => self.too_often(CHECK),
            Ok(reply) => self.findings.bad(
                CHECK,
                format!("{url} answers one of 60 KiB with {}", reply.complaint()),
                "Let the proxy take bodies of 64 KiB (client_max_body_size of nginx)",
            ),
            Err(error) => self.unanswered(CHECK, &error),
        }
    }

    /// Whether the proxy waits as long as the relay lets clients wait; two seconds of it.
    async fn long_poll(&mut self, longest: u64) {
        const CHECK: &str = "long poll";
        let url = self.url;
        let wait = WAIT.min(longest);
        if wait == 0 {
            return self.findings.ok(CHECK, format!("{url} lets nobody wait"));
        }
        let key = BoxKey::generate(self.rng).public();
        let check = json!({"pub": key, "ext": self.api_key, "action": "check", "at": 0, "wait": wait});
        let started = SystemClock.elapsed();
        let reply = match self.post(&check).await {
            Ok(reply) => reply,
            Err(error) => return self.unanswered(CHECK, &error),
        };
        let took = SystemClock.elapsed().saturating_sub(started).as_millis();
        if is_refusal_of_key(&reply) {
            return;
        }
        if reply.status == 429 {
            self.too_often(CHECK);
        } else if reply.status != 200 {
            self.findings.bad(
                CHECK,
                format!("{url} answers a check that waits {wait} s with {}", reply.complaint()),
                "Let the proxy wait for replies longer than --max-wait (proxy_read_timeout of nginx), and see that the relay is not full",
            );
        } else if took < u128::from(wait) * 1000 {
            self.findings.warn(
                CHECK,
                format!("{url} was to wait {wait} s with its answer, and took {took} ms"),
                "Let the proxy keep its side open: it seems to say that nothing more will come",
            );
        } else {
            self.findings.ok(CHECK, format!("{url} waits"));
        }
    }

    /// Whether the relay knows its clients apart, and whether they can pretend to be others.
    async fn client_address(&mut self, info: &Info) {
        const CHECK: &str = "client address";
        let url = self.url;
        let by = &self.config.client_address;
        let hops = if let Some(ToldBy::Hop(number)) = by.told_by { number } else { 1 };
        let chain = vec![FORGED; hops].join(", ");
        let mut headers = vec![("X-Forwarded-For", chain.as_str())];
        if let Some(ToldBy::Header(name)) = &by.told_by {
            headers.push((name.as_str(), FORGED));
        }
        let context = format!(r#"{{"http":{{"sourceIp":"{FORGED}"}}}}"#);
        if by.told_by == Some(ToldBy::Lambda) {
            headers.push(("X-Amzn-Request-Context", &context));
        }
        let forged = match self.ask("/info", &headers, None).await {
            Ok(reply) => serde_json::from_slice::<Info>(&reply.body).ok().map(|info| info.client),
            Err(error) => return self.unanswered(CHECK, &error),
        };
        if forged.as_deref() == Some(FORGED) {
            let change = match &by.told_by {
                Some(ToldBy::Header(name)) => format!(
                    "Let the proxy set {name} itself, whatever its clients say there, or use --trusted-proxies instead of --client-address"
                ),
                Some(ToldBy::Lambda) => "Use --client-address lambda behind the Lambda Web Adapter only".to_owned(),
                Some(ToldBy::Hop(_)) => "Lower the N of --client-address xff:N, and let nobody reach the relay but through its proxies".to_owned(),
                None => "List in --trusted-proxies the proxies alone, and let the first of them drop the X-Forwarded-For of its clients".to_owned(),
            };
            let found =
                format!("{url} believes what a client says of itself: anyone can get around the limits");
            return self.findings.bad(CHECK, found, change);
        }
        let declared = by.told_by.is_some() || !by.trusted_proxies.is_empty();
        if let Some(proxy) = info.proxy.as_ref().filter(|_| !declared) {
            return self.findings.bad(
                CHECK,
                format!("{url} is behind a proxy ({proxy}) that the relay was not told of: all its clients share one limit"),
                "Set --trusted-proxies to the proxy's addresses, or --client-address where a platform says it",
            );
        }
        let client = &info.client;
        if !is_private(client) || self.url.as_str().starts_with("http://") {
            return self
                .findings
                .ok(CHECK, format!("{url} takes this machine for {client}, whatever it says"));
        }
        let found = format!("{url} takes this machine for {client}, which is no public address");
        if self.is_public() {
            let change = "Set --trusted-proxies to all proxies before the relay: it seems to take one of them for its client";
            self.findings.bad(CHECK, found, change);
        } else {
            let change =
                "Ask its /info from outside: here the URL leads to a private address, so this may be right";
            self.findings.warn(CHECK, found, change);
        }
    }

    /// Whether the URL's name leads to a public address from here.
    fn is_public(&self) -> bool {
        let Ok(url) = Url::parse(self.url.as_str()) else {
            return false;
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let addresses = (host, url.port_or_known_default().unwrap_or(443)).to_socket_addrs();
        addresses.is_ok_and(|mut all| all.any(|address| !is_private_address(address.ip())))
    }

    /// Whether strangers see the metrics.
    async fn metrics(&mut self) {
        const CHECK: &str = "metrics";
        let url = self.url;
        match self.ask("/metrics", &[], None).await {
            Ok(reply) if String::from_utf8_lossy(&reply.body).contains("connectoid_") => self.findings.warn(
                CHECK,
                format!("anyone can read {}/metrics", self.base()),
                "Set --metrics-listen, as 127.0.0.1:9090, or let the proxy refuse /metrics",
            ),
            Ok(_) => self.findings.ok(CHECK, format!("not at {url}")),
            Err(error) => self.unanswered(CHECK, &error),
        }
    }

    fn unanswered(&mut self, check: &'static str, error: &NoReply) {
        let found = format!("{} {error}", self.url);
        self.findings.bad(check, found, "Look at the proxy's timeouts and limits, and at the relay's log");
    }

    fn too_often(&mut self, check: &'static str) {
        let found = format!("{} was asked too often to tell", self.url);
        self.findings.warn(check, found, "Wait a minute and check again");
    }
}

/// What is there instead of a relay, and what to do.
fn no_relay(reply: &Reply) -> (String, String) {
    let status = reply.status;
    match status {
        300..=399 => {
            let to = reply.header("location").unwrap_or("elsewhere");
            let change = format!("Let --url be where it leads, {to}: clients follow no redirects");
            (format!("redirects, with status {status}"), change)
        }
        502..=504 => (
            format!("answers with status {status}: a proxy is there, and reaches no relay"),
            "Start the relay, or correct the address that the proxy passes requests to".to_owned(),
        ),
        404 => (
            "has no /info: status 404".to_owned(),
            "Correct --url; if the relay lives under a path, let the proxy strip it".to_owned(),
        ),
        _ => (
            format!("is no relay: its /info is {}", reply.complaint()),
            "Correct --url, or let the proxy pass everything on".to_owned(),
        ),
    }
}

fn is_refusal_of_key(reply: &Reply) -> bool {
    reply.refused().is_some_and(|error| error == "Not allowed")
}

/// Whether this, as `/info` says it, is no address of the internet.
fn is_private(client: &str) -> bool {
    client.trim_end_matches("/64").parse().is_ok_and(is_private_address)
}

fn is_private_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            // 100.64.0.0/10 is between a provider and its customers (RFC 6598).
            let is_shared = a == 100 && (64..128).contains(&b);
            address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_unspecified()
                || is_shared
        }
        IpAddr::V6(address) => {
            // The /64 of ::1 is ::/64.
            address.segments()[..4] == [0; 4] || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// How much the clock that wrote this date is ahead of ours, in microseconds. A date has whole seconds, and was written
/// between the asking and the coming: none of that counts.
fn ahead(date: i64, reply: &Reply) -> i64 {
    let (earliest, latest) = (date * 1_000_000, (date + 1) * 1_000_000);
    if reply.came < earliest {
        earliest - reply.came
    } else if reply.asked > latest {
        latest - reply.asked
    } else {
        0
    }
}

/// A date as servers write it, `Fri, 20 Nov 2026 07:00:00 GMT` (RFC 9110, section 5.6.7), as Unix time in seconds.
fn unix_seconds(date: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = date.split(' ').skip(1);
    let mut next = || words.next();
    let (day, month, year, time) = (next()?, next()?, next()?, next()?);
    let month = MONTHS.find(month).filter(|at| at % 3 == 0 && month.len() == 3)? / 3 + 1;
    let text = format!("{year}-{month:02}-{day}T{time}Z");
    let moment = humantime::parse_rfc3339(&text).ok()?;
    let since = moment.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_servers() {
        assert_eq!(unix_seconds("Fri, 20 Nov 2026 07:00:00 GMT"), Some(1_795_158_000));
        for wrong in ["", "Fri, 20 anF 2026 07:00:00 GMT", "Fri, 20 No 2026 07:00:00 GMT", "1795158000"] {
            assert_eq!(unix_seconds(wrong), None, "{wrong}");
        }
        let between = |asked, came| {
            let (headers, body) = (HeaderMap::new(), Vec::new());
            ahead(100, &Reply { status: 200, headers, body, asked, came })
        };
        assert_eq!(between(99_500_000, 100_000_000), 0);
        assert_eq!(between(100_999_999, 101_500_000), 0);
        assert_eq!(between(97_000_000, 98_000_000), 2_000_000);
        assert_eq!(between(104_000_000, 105_000_000), -3_000_000);
    }

    #[test]
    fn addresses_that_are_not_of_the_internet() {
        for private in
            ["127.0.0.1", "10.1.2.3", "192.168.0.1", "100.64.0.1", "::/64", "fd00::/64", "fe80::/64"]
        {
            assert!(is_private(private), "{private}");
        }
        for public in ["203.0.113.9", "100.128.0.1", "2001:db8::/64", "nonsense"] {
            assert!(!is_private(public), "{public}");
        }
    }
}
