//! The command line: what each command takes, what it prints, and the exit codes a script can use.
//!
//! Data goes to standard output, everything else to standard error.

mod admin;
mod answer;
mod ask;
mod completions;
mod config;
mod connect;
mod contacts;
mod database;
mod demo;
mod doctor;
mod health;
mod keys_file;
mod link;
mod meet;
mod online;
mod passphrase;
mod profile;
#[expect(dead_code, reason = "no command moves files yet")]
mod progress;
mod prune;
mod receive;
mod rename;
mod send;
mod serve;
mod share;
mod size;
mod systemd;
mod unshare;
mod up;
mod verify;

use std::{
    ffi::OsStr,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, builder::Resettable};
use rand::{SeedableRng as _, rngs::StdRng, rngs::SysRng};

use crate::{
    client::{
        ClientError,
        contact::{Contact, OwnBox},
        exchange::NoReply,
        keystore::{Keys, Keystore, KeystoreError, Passphrase},
        sessions::NotDone,
        transport::TransportError,
    },
    clock::{Clock as _, SystemClock},
};

/// Send a link; two apps connect.
///
/// share and connect join two terminals: files, pipes, TCP ports. A relay stores the short sealed messages by which they find
/// each other; link, send and receive use it for notes alone.
#[derive(Parser)]
#[command(name = "connectoid", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something failed; standard error says what. doctor: a check is bad
  2  the command line is not right
  3  there is nothing: no new message, no such contact
  4  the relay refused
  5  the relay cannot be reached. unshare: something is left to do later, standard error says what
  6  the relay misbehaves: it sent what an honest one would not
  7  share, connect: no packets get through between the two
 10  serve: cannot listen on the address
 11  serve, prune, admin: the database cannot be used
 12  serve, prune, admin: the database was last used by a newer connectoid
130  share, connect, admin backup: stopped by Ctrl-C. serve: stopped at once by a second signal";

/// Where this user's settings and keys are.
#[derive(Args)]
struct Home {
    #[command(flatten)]
    file: config::ConfigFile,
    /// The file that keeps this user's keys [default: connectoid/keys.json in $XDG_DATA_HOME or ~/.local/share, or what the
    /// config file says]
    #[arg(long, env = "CONNECTOID_KEYS", value_name = "FILE")]
    keys: Option<PathBuf>,
    /// A file whose first line is the passphrase of the keys, if they have one [env: CONNECTOID_PASSPHRASE, the passphrase
    /// itself; without either it is asked for on the terminal]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

// What a command is for stands at its arguments: a comment here would take the place of the whole of it.
#[derive(Subcommand)]
enum Command {
    Up(up::Up),
    Share(share::Share),
    Connect(connect::Connect),
    Serve(serve::Serve),
    Demo(demo::Demo),
    Doctor(doctor::Doctor),
    Health(health::Health),
    Link(link::Link),
    /// Bring a key of your own
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    Contacts(contacts::Contacts),
    Verify(verify::Verify),
    Unshare(unshare::Unshare),
    Send(send::Send),
    Receive(receive::Receive),
    Seal(send::Seal),
    Answer(answer::Answer),
    Open(receive::Open),
    /// Look after a relay, also while it runs
    Admin {
        #[command(subcommand)]
        command: admin::AdminCommand,
    },
    Prune(prune::Prune),
    Config(config::ShowConfig),
    Completions(completions::Completions),
    Man(completions::Man),
}

#[derive(Subcommand)]
enum KeyCommand {
    Import(link::Import),
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let matches = profile::with_defaults(without_empty_variables(Cli::command())).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let done = match cli.command {
        Command::Up(up) => online(up.run()),
        Command::Share(share) => online(share.run()),
        Command::Connect(connect) => online(connect.run()),
        Command::Serve(serve) => serve.run(profile::in_force(&matches)),
        Command::Demo(demo) => demo.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Health(health) => health.run(),
        Command::Link(link) => link.run(),
        Command::Key { command: KeyCommand::Import(import) } => import.run(),
        Command::Contacts(contacts) => contacts.run(),
        Command::Verify(verify) => online(verify.run()),
        Command::Unshare(unshare) => online(unshare.run()),
        Command::Send(send) => online(send.run()),
        Command::Receive(receive) => online(receive.run()),
        Command::Seal(seal) => seal.run(),
        Command::Answer(answer) => answer.run(),
        Command::Open(open) => open.run(),
        Command::Admin { command } => command.run(),
        Command::Prune(prune) => prune.run(),
        Command::Config(config) => config.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("connectoid: {}", failure.message));
            ExitCode::from(failure.code)
        }
    }
}

/// Runs what talks to relays. One thread is enough for one person.
fn online<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    let done = runtime.block_on(work);
    // The system may still be looking up a name that was given up: nobody waits for that.
    runtime.shutdown_background();
    done
}

/// Lets a variable that is set to nothing count as not set, as lists of variables for containers have it.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| match arg.get_env() {
            Some(name) if is_empty(name) => arg.env(Resettable::Reset),
            _ => arg,
        })
        .mut_subcommands(without_empty_variables)
}

/// A command that did not do what it should: one clear line, and a code.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    const FAILED: u8 = 1;
    const NOTHING: u8 = 3;
    const REFUSED: u8 = 4;
    const UNREACHABLE: u8 = 5;
    const MISBEHAVES: u8 = 6;
    const NO_PATH: u8 = 7;
    const INTERRUPTED: u8 = 130;

    fn new(message: impl ToString) -> Self {
        Self::with(Self::FAILED, message)
    }

    fn with(code: u8, message: impl ToString) -> Self {
        Self { code, message: message.to_string() }
    }
}

impl From<KeystoreError> for Failure {
    fn from(error: KeystoreError) -> Self {
        Self::new(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::NotDone(NotDone::NoContact(_)) => Self::NOTHING,
            _ => Self::FAILED,
        };
        Self::with(code, error)
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        let code = match error.why {
            NoReply::Refused(_) => Self::REFUSED,
            NoReply::Unreachable(_) => Self::UNREACHABLE,
            NoReply::Misbehaves(_) => Self::MISBEHAVES,
        };
        Self::with(code, error)
    }
}

impl Home {
    /// One whose keys are in this file.
    fn at(keys: PathBuf) -> Self {
        Self { file: config::ConfigFile::default(), keys: Some(keys), passphrase_file: None }
    }

    /// What the config file says.
    fn settings(&self) -> Result<&config::Settings, Failure> {
        self.file.settings()
    }

    /// The keys, with the passphrase that is given for them, or asked for if they need one.
    fn keystore(&self) -> Result<Keystore, Failure> {
        let path = self.path()?;
        let elsewhere = format!(
            "{} is sealed under a passphrase: give it with --passphrase-file FILE or in CONNECTOID_PASSPHRASE",
            path.display()
        );
        let keystore = Keystore::new(path);
        let passphrase = match self.passphrase()? {
            None if keystore.is_sealed()? => {
                Some(passphrase::ask("The passphrase of the keys: ", &elsewhere)?)
            }
            given => given,
        };
        Ok(match passphrase {
            Some(passphrase) => keystore.with_passphrase(&mut entropy()?, passphrase),
            None => keystore,
        })
    }

    /// The passphrase that is given for the keys.
    fn passphrase(&self) -> Result<Option<Passphrase>, Failure> {
        passphrase::given(self.passphrase_file.as_deref())
    }

    fn path(&self) -> Result<PathBuf, Failure> {
        // Read in any case: what is wrong with it is said, and not only by some commands.
        let settings = self.settings()?;
        if let Some(path) = self.keys.as_deref().or(settings.keys()) {
            return Ok(path.to_owned());
        }
        Keystore::default_path("connectoid").ok_or_else(|| {
            Failure::new("there is no home folder to keep keys in: set HOME, or name a file with --keys")
        })
    }
}

/// The contact with this nickname, or the error that says which there are.
fn known<'a>(keys: &'a Keys, name: &str) -> Result<&'a Contact, Failure> {
    keys.contact(name).ok_or_else(|| {
        let others = there_is(keys.contacts.iter().map(|contact| contact.name.as_str()));
        Failure::with(
            Failure::NOTHING,
            format!("there is no contact {name:?}{others}: make a link with connectoid link --relay URL --for NAME"),
        )
    })
}

/// The box of a contact to read by hand.
fn mailbox(contact: &Contact) -> Result<&OwnBox, Failure> {
    contact.mailbox().ok_or_else(|| Failure::new(format!("{:?} has no box", contact.name)))
}

/// What there is instead of what was asked for: ` (there is Bob, Carol)`, or nothing.
fn there_is<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { String::new() } else { format!(" (there is {})", names.join(", ")) }
}

/// A relay's API key: in the environment, where no list of processes and no history of a shell shows it.
const API_KEY: &str = "CONNECTOID_API_KEY";

/// An environment variable, unless it is set to nothing.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Fresh randomness from the system.
fn entropy() -> Result<StdRng, Failure> {
    StdRng::try_from_rng(&mut SysRng)
        .map_err(|error| Failure::new(format!("the system gives no randomness: {error}")))
}

/// Unix time in milliseconds.
fn now_ms() -> u64 {
    u64::try_from(SystemClock.now() / 1000).unwrap_or(0)
}

/// Data, to standard output.
fn print(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes.as_ref())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("standard output was closed: {error}")))
}

/// A line of data, to standard output.
fn print_line(line: impl AsRef<str>) -> Result<(), Failure> {
    print(format!("{}\n", line.as_ref()))
}

/// A value as one line of JSON, to standard output.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print_line(serde_json::to_string(value).map_err(Failure::new)?)
}

/// Words for a person, to standard error. A closed one is no reason to fail.
///
/// They may quote what a relay or a link said: on a terminal that must not move the cursor.
fn say(line: &str) {
    drop(writeln!(io::stderr(), "{}", without_controls(line)));
}

/// The text with every control character but line ends and tabs made visible.
fn without_controls(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}
