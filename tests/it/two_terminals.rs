//! Two people, each at a terminal, as the README has it: real processes, a real relay, real WebRTC.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock},
    thread,
    time::{Duration, Instant},
};

use connectoid::protocol::base64url;

use crate::harness::{Kind, Person, Serving, TestDatabase};

mod broken;
mod networks;
mod tools;
mod words;

/// Longer than anything takes, also where many compile beside.
const PATIENCE: Duration = Duration::from_secs(150);

const MB: usize = 1_000_000;

/// What no compression makes smaller; other bytes for each length.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15 ^ length as u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// 100 MB, made once.
fn big() -> &'static [u8] {
    static BIG: OnceLock<Vec<u8>> = OnceLock::new();
    BIG.get_or_init(|| noise(100 * MB))
}

/// A person who asks no STUN server; the folder `into` is for what comes.
fn person() -> Person {
    let person = Person::new();
    configure(&person, "stun = []\n");
    fs::create_dir(person.path("into")).unwrap();
    person
}

fn configure(person: &Person, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let file = person.path(".config/connectoid/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A relay on SQLite, without rates.
fn relay(folder: &Path) -> Serving {
    Serving::start(&["--database", &format!("sqlite://{}", folder.join("relay.db").display())])
}

/// A `connectoid` that runs in a terminal of its own; killed when dropped.
struct Terminal {
    child: Child,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    output: Mutex<Output>,
    more: Condvar,
}

#[derive(Default)]
struct Output {
    out: Vec<u8>,
    err: Vec<u8>,
    closed: usize,
}

/// What a command came to: its exit code (none if it was killed), standard output and standard error.
struct Ended {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl Terminal {
    /// Runs `connectoid` with these arguments, without standard input.
    fn run(person: &Person, args: &[&str]) -> Self {
        Self::start(person, Command::new(env!("CARGO_BIN_EXE_connectoid")), args, Stdio::null())
    }

    /// The same, with standard input.
    fn fed(person: &Person, args: &[&str]) -> (Self, ChildStdin) {
        let command = Command::new(env!("CARGO_BIN_EXE_connectoid"));
        let mut terminal = Self::start(person, command, args, Stdio::piped());
        let stdin = terminal.child.stdin.take().unwrap();
        (terminal, stdin)
    }

    fn start(person: &Person, command: Command, args: &[&str], stdin: Stdio) -> Self {
        let mut command = person.at_home(command);
        command.args(args).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let seen = Arc::new(Seen::default());
        seen.watch(child.stdout.take().unwrap(), |output| &mut output.out);
        seen.watch(child.stderr.take().unwrap(), |output| &mut output.err);
        Self { child, seen }
    }

    /// Waits for a line on standard error that begins like this: the rest of it.
    fn says(&self, start: &str) -> String {
        let output = self.seen.wait(start, |output| said(&output.err, start).is_some() || output.closed == 2);
        let (said, shown) = (said(&output.err, start), format!("{output:?}"));
        drop(output);
        said.unwrap_or_else(|| panic!("no {start:?}: {shown}"))
    }

    /// Waits for the first line on standard output.
    fn prints(&self) -> String {
        let output = self.seen.wait("a line", |output| said(&output.out, "").is_some() || output.closed == 2);
        let (said, shown) = (said(&output.out, ""), format!("{output:?}"));
        drop(output);
        said.unwrap_or_else(|| panic!("no line: {shown}"))
    }

    /// Waits until this stands on standard output.
    fn shows(&self, what: &str) {
        drop(self.seen.wait(what, |output| text(&output.out).contains(what) || output.closed == 2));
    }

    /// Sends a signal by its name.
    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    fn killed(self) {
        self.signal("KILL");
        assert_eq!(self.ends().code, None);
    }

    /// Waits for the end.
    fn ends(mut self) -> Ended {
        let mut output = self.seen.wait("the end", |output| output.closed == 2);
        let (out, err) = (std::mem::take(&mut output.out), text(&output.err));
        drop(output);
        Ended { code: self.child.wait().unwrap().code(), out, err }
    }

    /// Waits for the end, which is a good one: standard error.
    fn well(self) -> String {
        let ended = self.ends();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        ended.err
    }

    /// Waits for the end, which is this exit code and this last line.
    fn fails(self, code: i32, words: &str) -> String {
        let ended = self.ends();
        let last = ended.err.lines().last().unwrap_or_default();
        assert_eq!(
            (ended.code, last),
            (Some(code), format!("connectoid: {words}").as_str()),
            "{}",
            ended.err
        );
        ended.err
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Seen {
    fn watch(self: &Arc<Self>, mut pipe: impl Read + Send + 'static, of: fn(&mut Output) -> &mut Vec<u8>) {
        let seen = self.clone();
        thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            loop {
                let length = pipe.read(&mut bytes).unwrap_or(0);
                let mut output = seen.output.lock().unwrap();
                of(&mut output).extend(&bytes[..length]);
                output.closed += usize::from(length == 0);
                seen.more.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
    }

    /// Waits until it is so.
    fn wait(&self, what: &str, mut is_so: impl FnMut(&Output) -> bool) -> MutexGuard<'_, Output> {
        let until = Instant::now() + PATIENCE;
        let mut output = self.output.lock().unwrap();
        while !is_so(&output) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let shown = format!("{output:?}");
                drop(output);
                panic!("waited for {what:?}: {shown}");
            }
            output = self.more.wait_timeout(output, left).unwrap().0;
        }
        output
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes on standard output, and on standard error:\n{}", self.out.len(), text(&self.err))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The rest of the first whole line that begins like this.
fn said(bytes: &[u8], start: &str) -> Option<String> {
    let text = text(bytes);
    let (whole, _) = text.rsplit_once('\n')?;
    whole.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned)
}

/// Makes a link for Bob and waits for him: the terminal, and the link.
fn share(alice: &Person, relay: &str, more: &[&str]) -> (Terminal, String) {
    let terminal = Terminal::run(alice, &[&["share", "--for", "Bob", "--relay", relay], more].concat());
    let link = terminal.prints();
    (terminal, link)
}

/// Uses the link that Alice made.
fn connect(bob: &Person, link: &str, more: &[&str]) -> Terminal {
    Terminal::run(bob, &[&["connect", link, "--for", "Alice"], more].concat())
}

/// A file in somebody's home folder.
fn put(person: &Person, name: &str, bytes: &[u8]) {
    let path = person.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Whether this came, and nothing is left beside it.
#[track_caller]
fn came(person: &Person, name: &str, bytes: &[u8]) {
    // Not `assert_eq`, which would print it.
    assert!(fs::read(person.path("into").join(name)).unwrap() == bytes, "{name} is another");
    let folder = fs::read_dir(person.path("into")).unwrap();
    let parts = folder.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("part"));
    assert_eq!(parts.count(), 0);
}

#[test]
fn a_link_and_a_file_of_100_mb() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    put(&alice, "big", big());
    let (sharing, link) = share(&alice, &relay.url, &["--file", "big"]);
    let connecting = connect(&bob, &link, &["--into", "into"]);
    let (there, here) = (connecting.well(), sharing.ends());
    came(&bob, "big", big());
    assert_eq!((here.code, text(&here.out)), (Some(0), format!("{link}\n")));

    // What a person reads: the same emoji, the way, how far it is, what it came to.
    let here: Vec<&str> = here.err.lines().collect();
    let there: Vec<&str> = there.lines().collect();
    let emoji = here[2].strip_prefix("connected to \"Bob\" ").unwrap();
    assert_eq!(emoji.split(' ').count(), 7, "{emoji}");
    assert_eq!(
        here[..2],
        ["waiting for \"Bob\" to use the link (Ctrl-C ends)", "the link for \"Bob\" is used: connecting"]
    );
    assert_eq!(
        there[..2],
        ["waiting for \"Alice\" (Ctrl-C ends)".to_owned(), format!("connected to \"Alice\" {emoji}")]
    );
    let (from, to) = here[3].strip_prefix("directly: ").unwrap().split_once(" to ").unwrap();
    assert_eq!(there[2], format!("directly: {to} to {from}"));
    assert_eq!(there[3], "receiving \"big\" (1 file, 95.37 MiB)");
    let tenths = |doing| (0..=10).map(move |tenth| format!("{doing}: {tenth}0 % of 95.37 MiB, big"));
    let lines = |doing, last: &str| {
        let lines = tenths(doing).chain([last.to_owned()]);
        lines.map(|line| line.replace(" 00 %", " 0 %")).collect::<Vec<_>>()
    };
    assert_eq!(here[4..], lines("sending", "sent 1 file, 95.37 MiB"));
    assert_eq!(there[4..], lines("receiving", "received 1 file, 95.37 MiB"));
}

#[test]
fn through_two_instances_on_postgresql() {
    let (alice, bob) = (person(), person());
    let database = TestDatabase::new(Kind::Postgres);
    let [one, two] = [(); 2].map(|()| Serving::start(&["--database", &database.url]));
    put(&alice, "big", big());
    let (sharing, link) = share(&alice, &one.url, &["--file", "big"]);
    // Bob's is the other instance.
    let [at_one, at_two] = [&one.url, &two.url].map(base64url::encode);
    assert!(link.contains(&at_one), "{link}");
    let connecting = connect(&bob, &link.replace(&at_one, &at_two), &["--into", "into"]);
    connecting.well();
    sharing.well();
    came(&bob, "big", big());
}

#[test]
fn the_relay_may_go_once_they_are_connected() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    put(&alice, "big", big());
    let (sharing, link) = share(&alice, &relay.url, &["--file", "big"]);
    let connecting = connect(&bob, &link, &["--into", "into"]);
    connecting.says("receiving: 10 % of 95.37 MiB");
    drop(relay);
    let (there, here) = (connecting.well(), sharing.well());
    came(&bob, "big", big());
    assert!(here.contains("\nsent 1 file, 95.37 MiB\n"), "{here}");
    assert!(there.contains("\nreceived 1 file, 95.37 MiB\n"), "{there}");
}
