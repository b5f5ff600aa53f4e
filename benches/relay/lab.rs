//! What every row works with: options, cores, a folder on the disk, and boxes that nobody had before.

use std::{
    cell::{OnceCell, RefCell},
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{self, Command},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;

use crate::{
    Outcome,
    boxes::{Boxes, MailBox},
    load::{Client, Pace, Ran, Script, now},
    machine::{Cores, cpu_time},
    postgres::Postgres,
    requests::{MESSAGE_BYTES, Template},
    rows::stored::Stored,
    scripts::About,
    server::Server,
};

/// Connections of all rows that do not say otherwise.
pub(crate) const CONNECTIONS: usize = 64;

/// Boxes made for a round of sends, by the second. The constant may come to the end of them before the round does.
pub(crate) const SENDS_A_SECOND: f64 = 45_000.0;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// How often; the median counts.
    pub(crate) rounds: usize,
    /// How long, each time.
    pub(crate) length: Duration,
    /// Messages that are stored where many are.
    pub(crate) messages: usize,
    /// Checks that wait at once.
    pub(crate) waiters: usize,
    /// How long a check waits where its cost is counted, in seconds.
    pub(crate) wait: u64,
}

/// What every row works with.
pub(crate) struct Lab {
    pub(crate) extent: Extent,
    pub(crate) cores: Cores,
    pub(crate) program: PathBuf,
    /// Before the folder, so that it ends before its files are deleted.
    postgres: OnceCell<Postgres>,
    folder: TempDir,
    boxes: RefCell<Boxes>,
    pub(crate) stored: OnceCell<Stored>,
}

impl Lab {
    /// With a folder of its own in `folder`, gone at the end.
    pub(crate) fn new(extent: Extent, program: PathBuf, folder: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(folder)?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(folder)?;
        let cores = Cores::take()?;
        let boxes = RefCell::new(Boxes::new(&mut rng()));
        Ok(Self { extent, cores, program, folder, boxes, stored: OnceCell::new(), postgres: OnceCell::new() })
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// So many boxes that nobody had before.
    pub(crate) fn boxes(&self, count: usize) -> Vec<MailBox> {
        self.boxes.borrow_mut().take(count)
    }

    /// As many boxes as one round needs, at so many a second.
    pub(crate) fn boxes_for_a_round(&self, a_second: f64) -> Vec<MailBox> {
        self.boxes((self.extent.length.as_secs_f64() * a_second) as usize + 2 * CONNECTIONS)
    }

    /// A relay on a database of this name, new if there is none.
    pub(crate) fn relay(&self, database: &str, options: &[&str]) -> Outcome<Server> {
        let file = self.file(database);
        let url = format!("sqlite://{}", file.display());
        Server::relay(
            Command::new(&self.program),
            Some(self.cores),
            &url,
            &file.with_extension("log"),
            options,
        )
    }

    /// PostgreSQL; started the first time.
    pub(crate) fn postgres(&self) -> Outcome<&Postgres> {
        if let Some(postgres) = self.postgres.get() {
            return Ok(postgres);
        }
        let postgres = Postgres::start(self.cores, self.folder.path())?;
        Ok(self.postgres.get_or_init(|| postgres))
    }

    /// A server with connections to it.
    pub(crate) fn side(&self, server: Server) -> Outcome<Side> {
        let client = Client::connect(&server, CONNECTIONS)?;
        Ok(Side { server, client, length: self.extent.length })
    }

    /// How often this is done in a second of a core, about another box each time. On the core that is else the server's.
    pub(crate) fn a_second(
        &self,
        boxes: &[MailBox],
        mut work: impl FnMut(&MailBox) -> Outcome<()>,
    ) -> Outcome<f64> {
        self.cores.on_servers(|| {
            let (start, used, mut count) = (now(), cpu_time(process::id())?, 0);
            for to in boxes.iter().cycle().take_while(|_| now() - start < self.extent.length / 2) {
                work(to)?;
                count += 1;
            }
            // No less than the kernel counts.
            let used = (cpu_time(process::id())? - used).max(Duration::from_millis(10));
            Ok(f64::from(count) / used.as_secs_f64())
        })?
    }

    /// Messages a second that one after the other are appended to a file and synced, in the folder of the database.
    pub(crate) fn appends(&self) -> Outcome<f64> {
        let mut file = File::create(self.file("appended"))?;
        let message = [7; MESSAGE_BYTES];
        let start = now();
        let mut count = 0;
        while now() - start < self.extent.length / 2 {
            file.write_all(&message)?;
            file.sync_data()?;
            count += 1;
        }
        Ok(f64::from(count) / (now() - start).as_secs_f64())
    }

    /// Does it once to warm up, then as often as there are rounds.
    pub(crate) fn rounds<T>(&self, mut round: impl FnMut() -> Outcome<T>) -> Outcome<Vec<T>> {
        round()?;
        (0..self.extent.rounds).map(|_| round()).collect()
    }
}

/// Randomness for keys and messages that protect nothing.
pub(crate) fn rng() -> StdRng {
    StdRng::seed_from_u64(8)
}

/// A server, and the connections to it.
pub(crate) struct Side {
    pub(crate) server: Server,
    pub(crate) client: Client,
    length: Duration,
}

impl Side {
    /// As many requests as it can do in one round.
    pub(crate) fn run(&mut self, script: &mut impl Script) -> Outcome<Ran> {
        self.client.run(&self.server, script, Pace::Closed, self.length)
    }

    /// So many requests a second for one round.
    pub(crate) fn at_rate(&mut self, rate: f64, length: Duration, script: &mut impl Script) -> Outcome<Ran> {
        self.client.run(&self.server, script, Pace::Open(rate), length)
    }

    /// All that the script asks, however long it takes.
    pub(crate) fn all(&mut self, script: &mut impl Script) -> Outcome<Ran> {
        self.client.run(&self.server, script, Pace::Closed, Duration::MAX)
    }

    /// Puts a message into each of these boxes.
    pub(crate) fn send_to(&mut self, template: &Template, boxes: &[MailBox]) -> Outcome<Ran> {
        self.all(&mut sends(template, boxes))
    }
}

/// A message to each of these boxes.
pub(crate) fn sends<'a>(template: &'a Template, boxes: &'a [MailBox]) -> About<'a> {
    About { template, boxes, next: 0, again: false, messages: true, expect: r#""ok":true"# }
}
