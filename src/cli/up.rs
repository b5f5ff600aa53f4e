//! `connectoid up`: a relay and a share in one terminal, for a first try.

use std::{env, fs, os::unix::fs::DirBuilderExt as _, path::PathBuf, process, sync::Arc, time::Duration};

use clap::{Args, CommandFactory as _, FromArgMatches as _, builder::Resettable};
use tokio::{sync::oneshot, time};

use super::{
    Cli, Command, Failure, Home, entropy,
    meet::{Meeting, Work},
    say,
    share::{LinkForm, print_for_the_other, print_link},
};
use crate::{
    clock::SystemClock,
    server::{Config, Environment, Server, Sockets, StartError},
};

/// Try it: a relay and a link in this terminal, and the line for the other one
///
/// Nothing is kept: the relay holds its messages in memory, and the keys of this side are deleted at the end. It is for this machine
/// only: the relay listens on 127.0.0.1:8080, or on a free port if that is taken.
#[derive(Args)]
pub(super) struct Up {
    /// Do not draw the link as a QR code. It is drawn on terminals only
    #[arg(long)]
    no_qr: bool,
    #[command(flatten)]
    work: Work,
}

/// What the other one is called here.
const OTHER: &str = "Bob";

/// What this one is called there.
const OWN: &str = "Alice";

/// A folder that is gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = env::temp_dir().join(format!("connectoid-up-{}", process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Up {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let folder = Folder::new()?;
        let server = relay().await?;
        let relay = format!("http://{}", server.address());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move { drop(stopped.await) }));
        say(&format!("a relay for this try: {relay}"));

        let home = Home::at(folder.0.join("keys.json"));
        let mut meeting = Meeting::new(&home, OTHER, &self.work).await?;
        let link = LinkForm::at(relay.parse().map_err(Failure::new)?).make(&home, &mut meeting, OTHER)?;
        print_link(&link, self.no_qr, &self.work)?;
        let counterpart = self.work.counterpart();
        say("in another terminal:");
        let line = format!("connectoid connect {link} --for {OWN}{counterpart}");
        print_for_the_other(&line, "", &self.work)?;
        let met = meeting.run_sharing("waiting for it (Ctrl-C ends)").await;
        drop(stop);
        // Nobody waits for its last requests.
        drop(time::timeout(Duration::from_secs(1), running).await);
        met
    }
}

async fn relay() -> Result<Server, Failure> {
    let environment = || {
        let clock = Arc::new(SystemClock);
        Ok::<_, Failure>(Environment {
            clock,
            store_clock: None,
            rng: entropy()?,
            sockets: Sockets::default(),
        })
    };
    match Server::bind(config("127.0.0.1:8080")?, environment()?).await {
        Err(StartError::Listen { .. }) => Ok(Server::bind(config("127.0.0.1:0")?, environment()?).await?),
        bound => Ok(bound?),
    }
}

/// That of `connectoid serve` with messages in memory.
fn config(listen: &str) -> Result<Config, Failure> {
    let words = ["connectoid", "serve", "--database", "sqlite::memory:", "--no-demo", "--listen", listen];
    // What variables say of a relay is not for this one.
    let matches = without_variables(Cli::command()).try_get_matches_from(words).map_err(Failure::new)?;
    match Cli::from_arg_matches(&matches).map_err(Failure::new)?.command {
        Command::Serve(serve) => serve.config(),
        _ => Err(Failure::new("no relay")),
    }
}

fn without_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.env(Resettable::Reset)).mut_subcommands(without_variables)
}
