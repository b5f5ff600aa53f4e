//! A real reverse proxy before relays, Caddy, and clients that come from addresses of their own.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::harness::Reply;

/// Caddy as a process, killed when dropped. It tells relays in X-Forwarded-For who asked it, and drops what the asker
/// says there.
pub struct Gateway {
    pub url: String,
    child: Child,
    folder: TempDir,
}

impl Gateway {
    /// Before the relays of these URLs.
    pub fn before(relays: &[&str]) -> Self {
        Self::with(relays, "")
    }

    /// With a line more in its `reverse_proxy`.
    pub fn with(relays: &[&str], line: &str) -> Self {
        Self::site(&format!("reverse_proxy {} {{\n {line}\n }}", addresses(relays)))
    }

    /// With these directives.
    pub fn site(directives: &str) -> Self {
        // Caddy cannot be told to take any port that is free, and the one it is told may be taken.
        (0..10).find_map(|_| Self::start(directives)).expect("Caddy found no free port")
    }

    fn start(directives: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        // Below the ports that the other tests' listeners and outgoing connections get.
        let port = rand::random_range(20_000..32_000);
        let mark = format!("/gateway-{}-{port}", std::process::id());
        let config = format!(
            "{{\n admin off\n auto_https off\n}}\n:{port} {{\n bind 127.0.0.1\n respond {mark} 204\n {directives}\n}}\n"
        );
        fs::write(home.join("Caddyfile"), config).unwrap();
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"]).current_dir(home);
        command.env("HOME", home).env("XDG_CONFIG_HOME", home).env("XDG_DATA_HOME", home);
        command.stderr(fs::File::create(home.join("log")).unwrap());
        let child = command.spawn().unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!(
                "these tests need Caddy: run scripts/test, which installs it, or install it (Debian: apt-get install caddy)"
            ),
            _ => panic!("caddy: {error}"),
        });
        let mut gateway = Self { url: format!("http://127.0.0.1:{port}"), child, folder };
        gateway.is_ready(&mark).then_some(gateway)
    }

    /// Waits until it answers, by a path that nobody else knows. Not ready: somebody else has the port.
    fn is_ready(&mut self, mark: &str) -> bool {
        let started = Instant::now();
        loop {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap();
            if self.child.try_wait().unwrap().is_some() {
                assert!(log().contains("address already in use"), "Caddy did not start: {}", log());
                return false;
            }
            let patience = Duration::from_millis(500);
            let reply = try_ask("127.0.0.1", "GET", &format!("{}{mark}", self.url), &[], "", patience);
            if reply.is_ok_and(|reply| reply.status == 204) {
                return true;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "Caddy does not answer: {}", log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where the relays of these URLs listen, as `reverse_proxy` takes them.
pub fn addresses(relays: &[&str]) -> String {
    relays.iter().map(|url| url.strip_prefix("http://").unwrap()).collect::<Vec<_>>().join(" ")
}

/// A request from this address of the machine, one of 127.0.0.0/8, on a connection of its own.
pub fn ask(from: &str, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let patience = Duration::from_secs(30);
    try_ask(from, method, url, headers, body, patience)
        .unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

fn try_ask(
    from: &str,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
    patience: Duration,
) -> std::io::Result<Reply> {
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (from, to): (SocketAddr, SocketAddr) =
        (format!("{from}:0").parse().unwrap(), authority.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let connecting = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(from)?;
        socket.connect(to).await?.into_std()
    };
    let mut connection = runtime.block_on(connecting)?;
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(patience))?;
    let mut request = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    connection.write_all(format!("{request}\r\n{body}").as_bytes())?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Ok(Reply { status, headers, body: body.to_owned() }.without_line_end())
}
