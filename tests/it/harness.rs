//! What the tests stand on: databases, a relay in this process with a hand-set clock, the program as a process,
//! and a person with curl.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use connectoid::{
    clock::HandClock,
    protocol::{PublicKey, RelayUrl},
    relay::Rates,
    seal::{BoxKey, question::Secrets},
    server::{ClientAddress, Config, Connections, Environment, Server, Sockets},
    store::{BoxCap, Keep},
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// 2026-11-20T07:00:00Z, Unix microseconds: when the hand-set clocks start.
pub const NOW: i64 = 1_795_158_000_000_000;

pub const SECOND: i64 = 1_000_000;

/// The published example key.
pub const KEY: &str = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw";

/// The limits as they are by default.
pub fn keep() -> Keep {
    Keep {
        message_ttl: Duration::from_secs(3600),
        box_ttl: Duration::from_secs(30 * 86_400),
        box_cap: Some(BoxCap { messages: 32, bytes: 512 * 1024, messages_per_sender: 32 }),
        max_bytes: None,
    }
}

/// An address on which a server may listen, end, and listen again: of a port that the system gives to nobody who takes any.
pub fn address_to_come_back_to() -> String {
    let mut ports = 10_000 + std::process::id() as u16 % 10_000..30_000;
    let free = ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    format!("127.0.0.1:{}", free.expect("some port is free"))
}

/// Another box each time.
pub fn fresh_key() -> BoxKey {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    connectoid::seal::derive_box_key(format!("test box {count} of {}", std::process::id()).as_bytes())
        .unwrap()
}

pub fn fresh_pub() -> PublicKey {
    fresh_key().public()
}

/// A database of its own for one test.
pub struct TestDatabase {
    pub url: String,
    /// Deleted with it; none for PostgreSQL, whose cluster is thrown away as a whole.
    _folder: Option<TempDir>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

impl TestDatabase {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}", folder.path().join("relay.db").display());
                Self { url, _folder: Some(folder) }
            }
            Kind::Postgres => Self { url: new_postgres_database(), _folder: None },
        }
    }
}

/// The cluster that `scripts/with-postgres` started.
pub fn postgres_cluster() -> String {
    std::env::var("CONNECTOID_TEST_POSTGRES").expect(
        "these tests need a PostgreSQL server: run scripts/test, or scripts/with-postgres cargo test, which start one",
    )
}

fn new_postgres_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cluster = postgres_cluster();
    let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    block_on(async {
        let mut connection = sqlx::PgConnection::connect(&cluster).await.unwrap();
        connection.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
        connection.close().await.unwrap();
    });
    let (server, _) = cluster.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// Runs a future to its end on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A relay in this process, with time and chance in the test's hand.
pub struct TestRelay {
    pub url: String,
    /// Where its metrics are, if they are apart.
    pub metrics_url: Option<String>,
    pub clock: Arc<HandClock>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _database: Option<TestDatabase>,
}

impl TestRelay {
    pub fn start() -> Self {
        Self::with(|_| ())
    }

    pub fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::new(Kind::Sqlite);
        let mut relay = Self::on(&database.url, configure);
        relay._database = Some(database);
        relay
    }

    /// A relay on this database. What the test does not change is as by default, but for one URL,
    /// `https://connecto.id`, a fixed secret, and no rates: all tests come from one address.
    pub fn on(database: &str, configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: "127.0.0.1:0".into(),
            metrics_listen: None,
            database: database.into(),
            urls: vec!["https://connecto.id".parse().unwrap()],
            led_by_host: false,
            secrets: Some(Secrets::one(&[0x4B; 48]).unwrap()),
            keep: keep(),
            answer_ttl: Duration::from_secs(60),
            sweep_interval: Duration::from_secs(60),
            sweep_with_requests: false,
            sole_instance: false,
            max_wait: Duration::from_secs(25),
            max_waiters: 100,
            connections: Connections::default(),
            require_api_key: false,
            client_address: ClientAddress::default(),
            rates: Rates::OFF,
            demo: true,
            demo_stun: Vec::new(),
        };
        configure(&mut config);
        let clock = Arc::new(HandClock::at(NOW));
        let environment = Environment {
            clock: clock.clone(),
            store_clock: Some(clock.clone()),
            rng: StdRng::seed_from_u64(1),
            sockets: Sockets::default(),
        };
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            block_on(async {
                let server = Server::bind(config, environment).await.unwrap();
                ready.send((server.address(), server.metrics_address())).unwrap();
                let stopped = async { drop(stopped.await) };
                server.run(stopped).await.unwrap();
            });
        });
        let (address, metrics) = address.recv().expect("the relay did not start");
        let url = format!("http://{address}");
        let metrics_url = metrics.map(|address| format!("http://{address}"));
        Self { url, metrics_url, clock, stop: Some(stop), thread: Some(thread), _database: None }
    }

    pub fn post(&self, body: &Value) -> Reply {
        post(&self.url, &body.to_string())
    }

    /// Sends a message; the reply must be ok.
    pub fn send(&self, to: &PublicKey, data: &[u8]) {
        let data = connectoid::protocol::base64url::encode(data);
        let reply = self.post(&json!({"pub": to, "ext": null, "action": "send", "data": data}));
        assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"ok":true}"#));
    }

    /// Asks for a question and opens it.
    pub fn answer(&self, key: &BoxKey) -> String {
        let check = json!({"pub": key.public(), "action": "check", "at": 0, "ask": true});
        let reply = self.post(&check).json();
        let relay: RelayUrl = reply["relay"].as_str().unwrap().parse().unwrap();
        let answer =
            connectoid::seal::question::open_question(key, &relay, reply["question"].as_str().unwrap());
        connectoid::protocol::base64url::encode(answer.unwrap().0)
    }

    /// Stops the relay and waits until it let go of its database.
    fn stop_now(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the relay's thread failed");
        }
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop_now();
        }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// JSON ends its line, which is one test's business.
    pub fn without_line_end(mut self) -> Self {
        if self.header("content-type") == Some("application/json") && self.body.ends_with('\n') {
            self.body.pop();
        }
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}

/// Posts a body as `curl -d` does.
pub fn post(url: &str, body: &str) -> Reply {
    request("POST", url, &[("content-type", "application/x-www-form-urlencoded")], body.as_bytes())
}

pub fn get(url: &str) -> Reply {
    request("GET", url, &[], b"")
}

/// The value of a metric, as `/metrics` shows it: `connectoid_waiters`, or with its labels as they stand there.
pub fn metric(url: &str, name: &str) -> u64 {
    let metrics = get(&format!("{url}/metrics")).body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

/// Looks until it is so.
pub fn until(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not come to be");
        std::thread::yield_now();
    }
}

/// A reply with a body that may be no text: the body as it came.
pub fn bytes(method: &str, url: &str, headers: &[(&str, &str)]) -> (Reply, Vec<u8>) {
    Client::new().bytes(method, url, headers, b"").unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

/// Any request, on a connection of its own.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    Client::new()
        .request(method, url, headers, body)
        .unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

/// Someone who keeps a connection. Blocks; not for use within a runtime.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    client: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Client {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, client: legacy::Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The reply, whatever its status; or why there is none.
    pub fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, String> {
        self.bytes(method, url, headers, body).map(|(reply, _)| reply)
    }

    /// The same, and its body as it came.
    fn bytes(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(Reply, Vec<u8>), String> {
        let mut request = hyper::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let replying = async {
            let response = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
            let headers = head
                .headers
                .iter()
                .map(|(name, value)| {
                    (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
                })
                .collect();
            let text = String::from_utf8_lossy(&body).into_owned();
            let reply = Reply { status: head.status.as_u16(), headers, body: text }.without_line_end();
            Ok((reply, body.to_vec()))
        };
        let patience = Duration::from_secs(40);
        self.runtime
            .block_on(async { tokio::time::timeout(patience, replying).await })
            .map_err(|e| e.to_string())?
    }
}

/// All tests come from one address. What a test says on the command line counts before this.
pub const NO_RATES: [(&str, &str); 4] = [
    ("CONNECTOID_LIMIT_SEND", "off"),
    ("CONNECTOID_LIMIT_SEND_TO_BOX", "off"),
    ("CONNECTOID_LIMIT_CHECK", "off"),
    ("CONNECTOID_LIMIT_RECEIVE", "off"),
];

/// The program as a process: `connectoid serve`, killed when dropped.
pub struct Serving {
    pub url: String,
    pub child: Child,
    stderr: JoinHandle<String>,
}

impl Serving {
    /// `args` come after `serve`; it takes a free port and has no rates, unless they say otherwise.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, |_| ())
    }

    pub fn start_with(args: &[&str], configure: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_connectoid"));
        command.arg("serve").args(args);
        Self::start_by(command, configure)
    }

    /// By a command that ends with `connectoid serve` and its options, such as one that enters a network.
    pub fn start_by(mut command: Command, configure: impl FnOnce(&mut Command)) -> Self {
        clean_environment(&mut command);
        command.env("CONNECTOID_LISTEN", "127.0.0.1:0").envs(NO_RATES);
        configure(&mut command);
        Self::spawn(command)
    }

    /// By a line of shell that ends with `exec` of the program.
    pub fn by_shell(line: &str, path: &str) -> Self {
        let mut command = Command::new("bash");
        command.args(["-c", line]);
        clean_environment(&mut command);
        command.env("CONNECTOID_LISTEN", "127.0.0.1:0").envs(NO_RATES).env("PATH", path);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        if url.is_empty() {
            drop(child.wait());
            panic!("the relay did not start: {}", stderr.join().unwrap());
        }
        Self { url: url.trim().to_owned(), child, stderr }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Whether it was stopped by a signal, and may go on.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    /// Waits for the end: the exit code (none if it was killed) and standard error.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        let stderr = std::mem::replace(&mut self.stderr, std::thread::spawn(String::new));
        (code, stderr.join().unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Nothing of the tester's own settings reaches the program.
pub fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CONNECTOID_") {
            command.env_remove(name);
        }
    }
    command
        .env_remove("PORT")
        .env_remove("DATABASE_URL")
        .env_remove("RENDER_EXTERNAL_URL")
        .env_remove("FLY_APP_NAME")
        .env_remove("STATE_DIRECTORY")
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME");
}

/// A program from `examples/`, which `cargo test` builds, and `cargo test --test it` does not.
pub fn example(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_connectoid")).parent().unwrap();
    let program = folder.join("examples").join(name);
    let remedy = format!("{} is missing or old: run cargo build --examples", program.display());
    let sources = std::fs::read_to_string(program.with_added_extension("d")).expect(&remedy);
    let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let built = changed(&program).expect(&remedy);
    // A space within a path is written as `\ `.
    let sources = sources.trim_end().replace("\\ ", "\0");
    let is_old =
        |source: &str| changed(Path::new(&source.replace('\0', " "))).is_none_or(|changed| changed > built);
    assert!(!sources.split(' ').skip(1).any(is_old), "{remedy}");
    program
}

/// A program that runs beside the test and is read line by line; killed when dropped.
pub struct Running {
    pub child: Child,
    lines: mpsc::Receiver<String>,
    /// What it printed that was looked at.
    pub printed: Vec<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (line, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|said| line.send(said)));
        Self { child, lines, printed: Vec::new() }
    }

    /// Waits for a line that begins like this: the rest of it.
    pub fn says(&mut self, start: &str) -> String {
        let until = Instant::now() + Duration::from_secs(40);
        loop {
            let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) else {
                panic!("no line {start:?} but {:#?}", self.printed);
            };
            self.printed.push(line.clone());
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    /// Waits until it has ended, and looks at all that it printed.
    pub fn ends(&mut self) {
        let until = Instant::now() + Duration::from_secs(40);
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.printed.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break drop(self.child.wait()),
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end: {:#?}", self.printed),
            }
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A person with a home folder and a terminal.
pub struct Person {
    pub home: TempDir,
}

impl Person {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn keys_file(&self) -> PathBuf {
        self.path(".local/share/connectoid/keys.json")
    }

    /// Runs `connectoid` with these arguments and this on standard input.
    pub fn run(&self, args: &[&str], stdin: impl AsRef<[u8]>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_connectoid"));
        command.args(args);
        self.pipe(command, stdin.as_ref())
    }

    /// Runs a line of shell, with `connectoid` on the path and in the home folder.
    pub fn shell(&self, line: &str) -> Output {
        let mut command = Command::new("bash");
        command.args(["-c", line]);
        self.pipe(command, b"")
    }

    /// A command as this person runs it: in the home folder, with `connectoid` on the path and no settings of the tester's.
    pub fn at_home(&self, mut command: Command) -> Command {
        clean_environment(&mut command);
        let program = Path::new(env!("CARGO_BIN_EXE_connectoid")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        command.env("HOME", self.home.path()).env("PATH", path).current_dir(self.home.path());
        command
    }

    fn pipe(&self, command: Command, stdin: &[u8]) -> Output {
        let mut command = self.at_home(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let stdin = stdin.to_owned();
        // A program that does not read closes the pipe: no matter.
        let writing = std::thread::spawn(move || drop(input.write_all(&stdin)));
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        output
    }

    /// As [`Person::run`]; it must succeed. What it printed.
    pub fn ok(&self, args: &[&str], stdin: impl AsRef<[u8]>) -> String {
        let output = self.run(args, stdin);
        assert!(output.status.success(), "connectoid {args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The Python with pyhpke and cryptography that `scripts/test` installed.
pub fn python() -> PathBuf {
    std::env::var_os("CONNECTOID_TEST_PYTHON").map(PathBuf::from).expect(
        "these tests need Python with tests/independent/requirements.txt: run scripts/test, or set CONNECTOID_TEST_PYTHON",
    )
}

/// Another implementation of the protocol, as a program: what both take and print is in `tests/independent/peer.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The second implementation, written from docs/protocol.md alone.
    Python,
    /// The browser library, in Node.
    Web,
}

impl Peer {
    pub const ALL: [Self; 2] = [Self::Python, Self::Web];

    /// Runs one of its commands.
    pub fn run(self, args: &[&str], stdin: &str) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (program, script) = match self {
            Self::Python => (python(), "tests/independent/peer.py"),
            Self::Web => ("node".into(), "web/tests/peer.js"),
        };
        let mut command = Command::new(&program);
        command.arg(root.join(script)).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{}: {error}: these tests need Python 3 and Node 20 or later", program.display())
        });
        // One that ends before it reads says why on stderr.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// As [`Peer::run`]; it must succeed. What it printed, without the end of the line.
    pub fn ok(self, args: &[&str], stdin: &str) -> String {
        let output = self.run(args, stdin);
        assert!(output.status.success(), "{self:?} {args:?}: {}", stderr(&output));
        stdout(&output).trim_end().to_owned()
    }
}

/// A key of the keys file as [`Peer`] takes it.
pub fn base64url_to_hex(text: &str) -> String {
    let bytes = connectoid::protocol::base64url::decode(text).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
