//! The least that a server of durable sends does: actix, as the relay uses it, takes a message out of its JSON and base64url, and
//! stores it, many in one commit, before it says `ok`. No box is found again, no key looked at, nothing limited, nothing counted.
//!
//! A process of its own, started as `barest STORAGE FILE`, so that it has the server's core as the relay has it.

use std::{fs::File, io::Write as _, mem::take, thread};

use actix_web::{
    HttpResponse,
    error::ErrorInternalServerError,
    http::header::ContentType,
    web::{Bytes, Data},
};
use clap::ValueEnum as _;
use connectoid::{
    clock::{Clock as _, SystemClock},
    protocol::base64url,
};
use sqlx::{
    AssertSqlSafe, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use crate::{Outcome, constant, say};

/// The first argument that makes this program that server.
pub(crate) const COMMAND: &str = "barest";

/// Messages in one commit at most, and messages that wait for one: more than there are connections.
const BATCH: usize = 256;
const QUEUE: usize = 4096;

/// Messages in one statement.
const STATEMENT: usize = 64;

/// Bytes of the write-ahead log after which it is folded: with pages of 4 KiB, SQLite's default.
const LOG: u32 = 4096 << 10;

const TABLE: &str = "create table messages (id integer primary key, pub blob, at integer, data blob) strict";

/// Where the messages go.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Storage {
    /// A table of SQLite in the order of arrival, without any index, in pages of 4 KiB, as the relay has them.
    Table,
    /// That in the largest pages.
    TableInLargePages,
    /// A file that grows, one behind the other: with the size each sync writes the file's own record, too.
    File,
}

impl Storage {
    /// What `serve` is told.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// A message on its way.
struct Message {
    key: Vec<u8>,
    data: Vec<u8>,
    done: oneshot::Sender<()>,
}

#[derive(serde::Deserialize)]
struct Request<'a> {
    r#pub: &'a str,
    data: &'a str,
}

/// Serves until it is killed; the first line on standard output is its address.
pub(crate) fn serve(storage: &str, path: String) -> Outcome<()> {
    let storage = Storage::from_str(storage, false)?;
    let (sender, queue) = mpsc::channel(QUEUE);
    thread::spawn(move || {
        // What is sent from then on is refused, and that ends the run.
        if let Err(error) = write(storage, path, queue) {
            say(&format!("{}: {error}", storage.name()));
        }
    });
    constant::listen(sender, |body: Bytes, queue: Data<mpsc::Sender<Message>>| async move {
        let stored = send(&body, &queue).await.map_err(ErrorInternalServerError);
        stored.map(|()| HttpResponse::Ok().content_type(ContentType::json()).body("{\"ok\":true}\n"))
    })
}

async fn send(body: &[u8], queue: &mpsc::Sender<Message>) -> Outcome<()> {
    let request: Request<'_> = serde_json::from_slice(body)?;
    let (done, stored) = oneshot::channel();
    let (key, data) = (base64url::decode(request.r#pub)?, base64url::decode(request.data)?);
    queue.try_send(Message { key, data, done })?;
    Ok(stored.await?)
}

/// Stores what comes.
fn write(storage: Storage, path: String, mut queue: mpsc::Receiver<Message>) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut store = Store::create(storage, path).await?;
        let mut waiting = Vec::with_capacity(BATCH);
        while queue.recv_many(&mut waiting, BATCH).await > 0 {
            store.store(&mut waiting).await?;
            waiting.drain(..).for_each(|message| _ = message.done.send(()));
        }
        Ok(())
    })
}

enum Store {
    Table(SqliteConnection),
    File(File),
}

impl Store {
    async fn create(storage: Storage, path: String) -> Outcome<Self> {
        let page = match storage {
            Storage::Table => 4_096,
            Storage::TableInLargePages => 65_536,
            Storage::File => return Ok(Self::File(File::create_new(path)?)),
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .page_size(page)
            .pragma("wal_autocheckpoint", (LOG / page).to_string())
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut database = SqliteConnection::connect_with(&options).await?;
        sqlx::query(TABLE).execute(&mut database).await?;
        Ok(Self::Table(database))
    }

    /// Stores them for good.
    async fn store(&mut self, messages: &mut [Message]) -> Outcome<()> {
        let now = SystemClock.now();
        match self {
            Self::Table(database) => {
                let mut commit = database.begin_with("begin immediate").await?;
                for some in messages.chunks_mut(STATEMENT) {
                    let rows = vec!["(?, ?, ?)"; some.len()].join(", ");
                    let text = format!("insert into messages (pub, at, data) values {rows}");
                    let mut insert = sqlx::query(AssertSqlSafe(text));
                    for Message { key, data, .. } in some {
                        insert = insert.bind(take(key)).bind(now).bind(take(data));
                    }
                    insert.execute(&mut *commit).await?;
                }
                commit.commit().await?;
            }
            Self::File(file) => {
                let mut bytes = Vec::new();
                for Message { key, data, .. } in messages {
                    bytes.extend_from_slice(key);
                    bytes.extend_from_slice(&now.to_be_bytes());
                    bytes.extend_from_slice(data);
                }
                file.write_all(&bytes)?;
                file.sync_data()?;
            }
        }
        Ok(())
    }
}
