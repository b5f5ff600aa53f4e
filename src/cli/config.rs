//! `connectoid config`, and the config file that it shows: what a person would say on each command line otherwise.
//!
//! An option goes first, then an environment variable, then the file, then what is built in.

use std::{
    cell::OnceCell,
    env, fmt, fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::Args;
use serde::{Deserialize, Deserializer, de::Error as _};
use zeroize::Zeroizing;

use super::{Failure, print, print_line, say, variable};
use crate::{
    client::{keystore::Keystore, sessions::LINK_LIFE},
    ice::{self, host_and_port, show_host_and_port},
    protocol::{NotARelayUrl, RelayUrl},
};

/// Show the settings in effect, and where each comes from
///
/// What you would say on every command line can stand in one file: your relays, where your keys are, STUN and TURN servers.
/// connectoid config --example prints one to begin with.
///
/// An option of a command goes first, then an environment variable, then the file. A relay (connectoid serve) does not read it.
#[derive(Args)]
pub(super) struct ShowConfig {
    #[command(flatten)]
    file: ConfigFile,
    /// Print an example of the file, which sets nothing as it stands
    #[arg(long)]
    example: bool,
}

/// The config file that a command reads, once.
#[derive(Args, Default)]
pub(super) struct ConfigFile {
    /// The config file [default: connectoid/config.toml in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, env = "CONNECTOID_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(skip)]
    read: OnceCell<Settings>,
}

/// What the file says.
#[derive(Default)]
pub(super) struct Settings {
    /// Where it is or would be; none without a home folder.
    path: Option<PathBuf>,
    is_there: bool,
    said: Said,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    relays: Option<Vec<RelayUrl>>,
    keys: Option<PathBuf>,
    expires: Option<Expiry>,
    stun: Option<Vec<StunServer>>,
    turn: Option<Vec<TurnServer>>,
}

/// When a link stops being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expiry {
    /// This long after it was made.
    In(Duration),
    Never,
}

impl Expiry {
    /// How long a link is answered; for ever, if none.
    pub(super) fn life(self) -> Option<Duration> {
        match self {
            Self::In(life) => Some(life),
            Self::Never => None,
        }
    }
}

/// A server that tells this device its address (RFC 7064).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct StunServer {
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// A server that passes on what cannot go directly (RFC 7065). It has a password, and no `Debug` for that reason.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TurnServer {
    pub(super) url: TurnUrl,
    pub(super) username: String,
    #[serde(deserialize_with = "password")]
    pub(super) password: Zeroizing<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TurnUrl {
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether one speaks to it by TCP, not by UDP.
    pub(super) tcp: bool,
}

/// The variable that lists relays, separated by spaces.
const RELAY: &str = "CONNECTOID_RELAY";

const KEYS: &str = "CONNECTOID_KEYS";

const EXAMPLE: &str = include_str!("config.example.toml");

impl ConfigFile {
    /// What the file says, read when it is first asked for.
    ///
    /// # Errors
    /// If it cannot be read or says what it must not; that it is not there counts only if it was named.
    pub(super) fn settings(&self) -> Result<&Settings, Failure> {
        if let Some(settings) = self.read.get() {
            return Ok(settings);
        }
        let settings = match &self.config {
            Some(path) => Settings::read(path)?,
            None => Settings::at_default()?,
        };
        Ok(self.read.get_or_init(|| settings))
    }
}

impl Settings {
    fn at_default() -> Result<Self, Failure> {
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
        let Some(path) = folder.map(|folder| folder.join("connectoid/config.toml")) else {
            return Ok(Self::default());
        };
        // A folder that may not be looked into is an error: what it holds would be missed.
        match fs::metadata(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(Self { path: Some(path), ..Self::default() })
            }
            _ => Self::read(&path),
        }
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
        let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
        let mut said = parse(&text).map_err(|error| Failure::new(format!("{}, {error}", path.display())))?;
        if let Some(keys) = &mut said.keys {
            *keys = beside(path, keys);
        }
        let readable = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o044 != 0;
        if readable && said.turn.as_ref().is_some_and(|turn| !turn.is_empty()) {
            let path = path.display();
            say(&format!(
                "connectoid: others can read {path}, which holds a TURN password: chmod 600 {path}"
            ));
        }
        Ok(Self { path: Some(path.to_owned()), is_there: true, said })
    }

    /// Where the keys are to be, if the file says so.
    pub(super) fn keys(&self) -> Option<&Path> {
        self.said.keys.as_deref()
    }

    /// The relays for a new link: those given on the command line, else those of the environment, else those of the file. May be
    /// none, or too many.
    pub(super) fn relays(&self, given: &[RelayUrl]) -> Result<Vec<RelayUrl>, Failure> {
        if given.is_empty() { Ok(self.other_relays()?.0) } else { Ok(given.to_vec()) }
    }

    fn other_relays(&self) -> Result<(Vec<RelayUrl>, Origin), Failure> {
        let listed = variable(RELAY).unwrap_or_default();
        let relays: Result<Vec<RelayUrl>, NotARelayUrl> = listed.split_whitespace().map(str::parse).collect();
        let relays = relays.map_err(|error| Failure::with(2, format!("{RELAY}: {error}")))?;
        Ok(match &self.said.relays {
            _ if !relays.is_empty() => (relays, Origin::Variable(RELAY)),
            Some(relays) => (relays.clone(), Origin::File),
            None => (Vec::new(), Origin::BuiltIn),
        })
    }

    /// What to say if a link names too few relays, or too many.
    pub(super) fn wrong_relays(&self) -> Failure {
        let file =
            self.path.as_ref().map_or("the file of --config FILE".into(), |path| path.to_string_lossy());
        Failure::with(
            2,
            format!("a link names 1 to 4 relays: --relay URL, or {RELAY}, or relays = [\"URL\"] in {file}"),
        )
    }

    /// How long a new link is answered: as given on the command line, else as the file says.
    pub(super) fn expiry(&self, given: Option<Expiry>) -> Expiry {
        given.or(self.said.expires).unwrap_or(Expiry::In(LINK_LIFE))
    }

    /// The STUN servers to ask: those given on the command line, else those of the file. `none` is none.
    pub(super) fn stun_of(&self, given: &[String]) -> Result<Vec<StunServer>, Failure> {
        match given {
            [] => Ok(self.stun()),
            [none] if none == "none" => Ok(Vec::new()),
            given => {
                let servers: Result<Vec<StunServer>, String> =
                    given.iter().map(|text| text.parse()).collect();
                servers.map_err(|error| Failure::with(2, format!("--stun: {error}")))
            }
        }
    }

    /// The STUN servers of the file.
    fn stun(&self) -> Vec<StunServer> {
        let built_in = || vec![StunServer { host: "stun.l.google.com".into(), port: 19302 }];
        self.said.stun.clone().unwrap_or_else(built_in)
    }

    /// The TURN servers that may be used.
    pub(super) fn turn(&self) -> &[TurnServer] {
        self.said.turn.as_deref().unwrap_or_default()
    }
}

/// What a text says; an error names its line, and does not quote it: it may hold a password.
fn parse(text: &str) -> Result<Said, String> {
    let at_line = |at: usize, what: &str| {
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        format!("line {line}: {}", what.trim_end())
    };
    toml::from_str(text).map_err(|error| match error.span() {
        Some(span) => at_line(span.start, error.message()),
        None => error.message().to_owned(),
    })
}

/// A path that the file names: `~/` is the home folder, and what is not absolute begins beside the file.
fn beside(file: &Path, path: &Path) -> PathBuf {
    if let (Ok(in_home), Some(home)) = (path.strip_prefix("~"), env::var_os("HOME")) {
        return PathBuf::from(home).join(in_home);
    }
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// Where a setting comes from.
#[derive(Clone, Copy)]
enum Origin {
    Variable(&'static str),
    File,
    BuiltIn,
}

impl Origin {
    fn of_file<T>(said: Option<&T>) -> Self {
        if said.is_some() { Self::File } else { Self::BuiltIn }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "({name})"),
            Self::File => f.write_str("(config file)"),
            Self::BuiltIn => f.write_str("(built in)"),
        }
    }
}

impl ShowConfig {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.example {
            return print(EXAMPLE);
        }
        let settings = self.file.settings()?;
        let Settings { path, is_there, said } = settings;
        match path {
            Some(path) if *is_there => print_line(format!("config   {}", path.display()))?,
            Some(path) => print_line(format!("config   {} (not there)", path.display()))?,
            None => print_line("config   none: there is no home folder")?,
        }
        if let (Some(path), false) = (path, is_there) {
            let folder = path.parent().unwrap_or(path).display();
            let path = path.display();
            say(&format!("make it with: mkdir -p {folder} && connectoid config --example > {path}"));
        }
        let (relays, origin) = settings.other_relays()?;
        list("relay", &relays, origin)?;
        list("expires", &[settings.expiry(None)], Origin::of_file(said.expires.as_ref()))?;
        let (keys, origin) = match (env::var_os(KEYS).filter(|keys| !keys.is_empty()), &said.keys) {
            (Some(keys), _) => (Some(keys.into()), Origin::Variable(KEYS)),
            (None, Some(keys)) => (Some(keys.clone()), Origin::File),
            (None, None) => (Keystore::default_path("connectoid"), Origin::BuiltIn),
        };
        let keys: Vec<String> = keys.iter().map(|keys| keys.display().to_string()).collect();
        list("keys", &keys, origin)?;
        list("stun", &settings.stun(), Origin::of_file(said.stun.as_ref()))?;
        list("turn", settings.turn(), Origin::of_file(said.turn.as_ref()))
    }
}

/// A line for each value of a setting.
fn list(name: &str, values: &[impl fmt::Display], origin: Origin) -> Result<(), Failure> {
    if values.is_empty() {
        return print_line(format!("{name:8} none {origin}"));
    }
    values.iter().try_for_each(|value| print_line(format!("{name:8} {value} {origin}")))
}

pub(super) fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    humantime::parse_duration(text)
        .map(Expiry::In)
        .map_err(|error| format!("{error}; expected a time as 7d or 12h, or never"))
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(time) => humantime::format_duration(*time).fmt(f),
            Self::Never => f.write_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        expiry(&String::deserialize(input)?).map_err(D::Error::custom)
    }
}

impl fmt::Display for StunServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stun:")?;
        show_host_and_port(f, &self.host, Some(self.port))
    }
}

impl<'de> Deserialize<'de> for StunServer {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(D::Error::custom)
    }
}

impl FromStr for StunServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let server = text.strip_prefix("stun:").and_then(|server| host_and_port(server, ice::PORT));
        let (host, port) = server.ok_or_else(|| ice::not_stun(text))?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for TurnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("turn:")?;
        show_host_and_port(f, &self.host, Some(self.port))?;
        if self.tcp { f.write_str("?transport=tcp") } else { Ok(()) }
    }
}

impl<'de> Deserialize<'de> for TurnUrl {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        if text.starts_with("turns:") {
            return Err(D::Error::custom(
                "turns: is not supported: turn: (what it passes on is encrypted anyway)",
            ));
        }
        let parse = || {
            let text = text.strip_prefix("turn:")?;
            let (server, transport) = text.split_once('?').unwrap_or((text, "transport=udp"));
            let tcp = match transport {
                "transport=udp" => false,
                "transport=tcp" => true,
                _ => return None,
            };
            let (host, port) = host_and_port(server, ice::PORT)?;
            Some(Self { host, port, tcp })
        };
        parse().ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is not a TURN server: expected one like turn:turn.example.org:3478, or with ?transport=tcp behind it"
            ))
        })
    }
}

impl fmt::Display for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:?}, password hidden", self.url, self.username)
    }
}

fn password<'de, D: Deserializer<'de>>(input: D) -> Result<Zeroizing<String>, D::Error> {
    let password = Zeroizing::new(String::deserialize(input)?);
    if password.is_empty() { Err(D::Error::custom("a TURN server needs a password")) } else { Ok(password) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        parse(text).err().unwrap()
    }

    #[test]
    fn the_example_sets_nothing_and_each_of_its_lines_may_be_used() {
        let said = parse(EXAMPLE).unwrap();
        assert!(said.relays.is_none() && said.turn.is_none() && said.stun.is_none());
        // A setting is what begins right behind its `#`.
        let used = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
            _ => line,
        });
        let said = parse(&used.collect::<Vec<_>>().join("\n")).unwrap();
        assert_eq!(said.relays.unwrap()[0].as_str(), "https://connecto.id");
        assert_eq!(said.expires.unwrap(), Expiry::In(Duration::from_secs(604_800)));
        assert_eq!(said.keys.unwrap(), Path::new("~/.local/share/connectoid/keys.json"));
        assert_eq!(said.stun.unwrap(), Settings::default().stun());
        let turn = &said.turn.unwrap()[0];
        assert_eq!((turn.username.as_str(), turn.password.as_str()), ("alice", "correct horse"));
        assert_eq!(turn.url.to_string(), "turn:turn.example.org:3478");
    }

    #[test]
    fn servers_as_they_are_written() {
        let stun = |url: &str| {
            let said = parse(&format!("stun = [\"{url}\"]"))?;
            let StunServer { host, port } = &said.stun.unwrap()[0];
            Ok::<_, String>((host.clone(), *port))
        };
        for (url, host, port) in [
            ("stun:stun.example.org", "stun.example.org", 3478),
            ("stun:stun.example.org:19302", "stun.example.org", 19302),
            ("stun:192.0.2.1:5", "192.0.2.1", 5),
            ("stun:[2001:db8::1]", "2001:db8::1", 3478),
            ("stun:[2001:db8::1]:65535", "2001:db8::1", 65535),
        ] {
            assert_eq!(stun(url), Ok((host.to_owned(), port)), "{url}");
        }
        for url in [
            "stun.example.org",
            "stun:",
            "stun:x:0",
            "stun:x:65536",
            "stun:x:+1",
            "stun:x:",
            "stun:2001:db8::1",
            "stun:[2001:db8::1",
            "stun:[x]:1",
            "stun:a b",
            "stun://x",
            "stun:x?transport=udp",
            "turn:x",
        ] {
            let line = "is not a STUN server: expected one like stun:stun.example.org:3478";
            assert_eq!(stun(url), Err(format!("line 1: {url:?} {line}")), "{url}");
        }
        let turn = |url: &str| {
            let said = parse(&format!("turn = [{{ url = \"{url}\", username = \"u\", password = \"p\" }}]"))?;
            Ok::<_, String>(said.turn.unwrap()[0].url.clone())
        };
        for (url, host, port, tcp) in
            [("turn:[::1]?transport=tcp", "::1", 3478, true), ("turn:x:5?transport=udp", "x", 5, false)]
        {
            assert_eq!(turn(url), Ok(TurnUrl { host: host.into(), port, tcp }), "{url}");
        }
        assert_eq!(turn("turn:[::1]?transport=tcp").unwrap().to_string(), "turn:[::1]:3478?transport=tcp");
        assert!(turn("turn:x?transport=sctp").unwrap_err().contains("is not a TURN server"));
        assert!(turn("turns:x").unwrap_err().contains("turns: is not supported"));
    }

    #[test]
    fn errors_name_the_line_and_quote_no_password() {
        assert_eq!(
            wrong("\n# mine\nrelay = [\"https://connecto.id\"]\n"),
            "line 3: unknown field `relay`, expected one of `relays`, `keys`, `expires`, `stun`, `turn`"
        );
        for (turn, words) in [
            ("url = \"turn:x\", username = \"u\"", "missing field `password`"),
            ("url = \"turn:x\", username = \"u\", password = \"\"", "a TURN server needs a password"),
            (
                "url = \"turn:x\", username = \"u\", pasword = \"horse\"",
                "unknown field `pasword`, expected one of `url`, `username`, `password`",
            ),
            (
                "url = \"turn:x\", username = \"u\" password = \"horse\"",
                "missing comma between key-value pairs, expected `,`",
            ),
        ] {
            assert_eq!(wrong(&format!("relays = []\nturn = [{{ {turn} }}]")), format!("line 2: {words}"));
        }
        assert_eq!(
            wrong("expires = \"soon\""),
            "line 1: expected number at 0; expected a time as 7d or 12h, or never"
        );
        assert!(
            wrong("relays = [\"http://example.com\"]")
                .starts_with("line 1: http://example.com would be unencrypted")
        );
    }

    #[test]
    fn paths_begin_beside_the_file_or_at_home() {
        let file = Path::new("/etc/me/config.toml");
        assert_eq!(beside(file, Path::new("keys.json")), Path::new("/etc/me/keys.json"));
        assert_eq!(beside(file, Path::new("/var/k.json")), Path::new("/var/k.json"));
        assert_eq!(beside(Path::new("config.toml"), Path::new("keys.json")), Path::new("keys.json"));
        let home = PathBuf::from(env::var_os("HOME").unwrap());
        assert_eq!(beside(file, Path::new("~/k.json")), home.join("k.json"));
    }
}
