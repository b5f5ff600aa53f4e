//! The store's promises, each one test on every database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use connectoid::{
    clock::{Clock, HandClock, SystemClock},
    protocol::{At, PublicKey},
    store::{
        self, Append, Appended, BoxCap, Held, Keep, OpenError, Role, Store, StoreError, Under, Usage, Used,
    },
};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, Executor as _};

use crate::harness::{Kind, NOW, SECOND, TestDatabase, block_on, fresh_pub, keep};

/// One test per promise and database.
macro_rules! promises {
    ($($promise:ident)*) => {
        mod sqlite {
            $(#[test] fn $promise() { super::block_on(super::$promise(super::World::new(super::Kind::Sqlite))); })*
        }
        mod postgres {
            $(#[test] fn $promise() { super::block_on(super::$promise(super::World::new(super::Kind::Postgres))); })*
        }
        /// PostgreSQL with one instance, which answers from memory as on SQLite.
        mod sole {
            $(#[test] fn $promise() { super::block_on(super::$promise(super::World::sole())); })*
        }
    };
}

mod reader;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A database and the clock its stores go by.
struct World {
    kind: Kind,
    role: Role,
    database: TestDatabase,
    clock: Arc<HandClock>,
}

impl World {
    fn new(kind: Kind) -> Self {
        let (database, clock) = (TestDatabase::new(kind), Arc::new(HandClock::at(NOW)));
        Self { kind, role: Role::Shared, database, clock }
    }

    fn sole() -> Self {
        Self { role: Role::Sole, ..Self::new(Kind::Postgres) }
    }

    /// Whether there may be several instances.
    fn is_shared(&self) -> bool {
        self.kind == Kind::Postgres && self.role == Role::Shared
    }

    async fn open(&self) -> Arc<dyn Store> {
        self.open_with(keep()).await
    }

    async fn open_with(&self, keep: Keep) -> Arc<dyn Store> {
        store::open(&self.database.url, keep, self.role, Some(self.clock.clone())).await.unwrap()
    }

    /// By the database's own clock.
    async fn open_in_real_time(&self, keep: Keep) -> Arc<dyn Store> {
        store::open(&self.database.url, keep, self.role, None).await.unwrap()
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

fn without_caps() -> Keep {
    Keep { box_cap: None, ..keep() }
}

/// A message from nobody in particular.
pub fn letter(key: PublicKey, data: Vec<u8>) -> Append {
    Append { key, data, sender: None, under: None }
}

async fn has_newer(store: &dyn Store, key: PublicKey, at: At) -> bool {
    store.have_newer(vec![(key, at)]).await.unwrap() == [true]
}

/// The cursor that a message was stored under.
async fn stored(store: &dyn Store, key: PublicKey, data: &[u8]) -> At {
    match store.append(letter(key, data.to_vec())).await.unwrap() {
        Appended::Stored(at) => at,
        other => panic!("{other:?}"),
    }
}

async fn bodies(store: &dyn Store, key: PublicKey, at: At) -> Vec<String> {
    let messages = store.newer(key, at, 100).await.unwrap();
    messages.into_iter().map(|message| String::from_utf8(message.data).unwrap()).collect()
}

promises! {
    messages_come_back_in_order_behind_a_cursor
    sixty_four_at_once_get_distinct_increasing_cursors
    what_comes_at_once_is_stored_as_one_after_the_other
    the_same_body_is_stored_once_in_its_life
    a_box_holds_32_messages
    a_box_holds_512_kib
    a_sender_has_a_share_of_a_box
    a_share_as_large_as_the_box_is_none
    all_boxes_together_hold_what_they_may
    what_is_held_is_counted
    many_boxes_are_looked_at_in_one_go
    an_idle_check_asks_no_database
    the_newest_messages_are_in_memory
    an_api_key_makes_so_many_boxes_at_once
    who_waits_is_told_what_comes
    what_came_last_is_told_before_the_end
    without_caps_a_box_holds_what_comes
    messages_expire_to_the_second
    a_sweep_deletes_what_expired_and_nothing_else
    sweeps_are_bounded
    two_sweepers_at_once_delete_each_message_once
    unchecked_boxes_go_checked_ones_stay
    a_check_makes_no_box
    a_clock_set_back_keeps_the_order_and_loses_nothing
    a_clock_that_ran_ahead_does_not_keep_mail_for_ever
    deleting_up_to_a_cursor_and_a_whole_box
    what_was_stored_is_there_after_reopening
    every_instance_has_the_same_secret
    what_instances_use_of_a_key_adds_up
    closing_finishes_what_was_accepted
    the_databases_own_clock_is_right
    a_newer_schema_is_left_alone
}

async fn messages_come_back_in_order_behind_a_cursor(world: World) {
    let store = world.open().await;
    let (key, other) = (fresh_pub(), fresh_pub());
    assert!(!has_newer(&*store, key, At::START).await);
    let first = stored(&*store, key, b"first").await;
    world.advance(Duration::from_secs(1));
    let second = stored(&*store, key, b"second").await;
    assert_eq!((first.as_i64(), second.as_i64()), (NOW, NOW + SECOND));
    stored(&*store, other, b"other").await;

    assert_eq!(bodies(&*store, key, At::START).await, ["first", "second"]);
    assert_eq!(bodies(&*store, key, first).await, ["second"]);
    assert_eq!(bodies(&*store, key, second).await, [""; 0]);
    assert_eq!(bodies(&*store, key, At::MAX).await, [""; 0]);
    assert_eq!(bodies(&*store, fresh_pub(), At::START).await, [""; 0]);
    assert!(has_newer(&*store, key, At::START).await);
    assert!(has_newer(&*store, key, first).await);
    assert!(!has_newer(&*store, key, second).await);
    let limited = store.newer(key, At::START, 1).await.unwrap();
    assert_eq!((limited.len(), limited[0].at, limited[0].data.as_slice()), (1, first, &b"first"[..]));
}

async fn sixty_four_at_once_get_distinct_increasing_cursors(world: World) {
    let store = world.open_with(without_caps()).await;
    let key = fresh_pub();
    let sends = (0..64u32).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { stored(&*store, key, &n.to_be_bytes()).await })
    });
    let mut cursors = BTreeSet::new();
    for send in sends.collect::<Vec<_>>() {
        cursors.insert(send.await.unwrap());
    }
    // The clock stands still: only the box can have told them apart.
    assert_eq!(cursors.len(), 64);
    assert_eq!(cursors.first().unwrap().as_i64(), NOW);
    assert_eq!(cursors.last().unwrap().as_i64(), NOW + 63);
    let read: Vec<At> = store.newer(key, At::START, 100).await.unwrap().iter().map(|m| m.at).collect();
    assert_eq!(read, cursors.into_iter().collect::<Vec<_>>());
}

/// Enough of them that one transaction takes many, in statements of every length, and several for each box.
async fn what_comes_at_once_is_stored_as_one_after_the_other(world: World) {
    let store = world.open().await;
    let boxes: Vec<PublicKey> = (0..150).map(|_| fresh_pub()).collect();
    let full = fresh_pub();
    let several = boxes.iter().flat_map(|key| [(*key, 1), (*key, 2), (*key, 1), (*key, 3)]);
    let sends = several.chain((0..40).map(|n| (full, n))).map(|(key, n)| {
        let store = store.clone();
        tokio::spawn(async move { (key, store.append(letter(key, vec![n])).await.unwrap()) })
    });
    let mut results: BTreeMap<PublicKey, (u32, u32, u32)> = BTreeMap::new();
    let mut cursors: BTreeMap<PublicKey, BTreeSet<At>> = BTreeMap::new();
    for send in sends.collect::<Vec<_>>() {
        let (key, appended) = send.await.unwrap();
        let (stored, duplicates, refused) = results.entry(key).or_default();
        match appended {
            Appended::Stored(at) => {
                *stored += 1;
                assert!(cursors.entry(key).or_default().insert(at), "a cursor given twice");
            }
            Appended::Duplicate => *duplicates += 1,
            Appended::Full => *refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(results.remove(&full), Some((32, 0, 8)));
    assert_eq!(results.len(), 150);
    for (key, result) in results {
        assert_eq!(result, (3, 1, 0));
        let mut messages = store.newer(key, At::START, 100).await.unwrap();
        assert!(messages.iter().map(|message| message.at).eq(cursors[&key].iter().copied()));
        messages.sort_by(|a, b| a.data.cmp(&b.data));
        assert_eq!(messages.into_iter().map(|m| m.data).collect::<Vec<_>>(), [[1], [2], [3]]);
    }
}

async fn the_same_body_is_stored_once_in_its_life(world: World) {
    let store = world.open().await;
    let (key, other) = (fresh_pub(), fresh_pub());
    let at = stored(&*store, key, b"hello").await;
    world.advance(Duration::from_secs(3599));
    assert_eq!(store.append(letter(key, b"hello".to_vec())).await, Ok(Appended::Duplicate));
    assert_eq!(bodies(&*store, key, At::START).await, ["hello"]);
    stored(&*store, key, b"hello!").await;
    stored(&*store, other, b"hello").await;
    world.advance(Duration::from_secs(1));
    let again = stored(&*store, key, b"hello").await;
    assert!(again > at);
    assert_eq!(bodies(&*store, key, At::START).await, ["hello!", "hello"]);
    store.delete_upto(key, again).await.unwrap();
    stored(&*store, key, b"hello").await;

    // 16 at once, of which one counts.
    let key = fresh_pub();
    let sends = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.append(letter(key, b"same".to_vec())).await.unwrap() })
    });
    let mut stored = 0;
    for send in sends.collect::<Vec<_>>() {
        stored += usize::from(send.await.unwrap() != Appended::Duplicate);
    }
    assert_eq!(stored, 1);
    assert_eq!(bodies(&*store, key, At::START).await, ["same"]);
}

async fn a_box_holds_32_messages(world: World) {
    let store = world.open().await;
    let key = fresh_pub();
    for n in 0..31 {
        stored(&*store, key, format!("{n}").as_bytes()).await;
    }
    world.advance(Duration::from_secs(1));
    let last = stored(&*store, key, b"31").await;
    assert_eq!(store.append(letter(key, b"32".to_vec())).await, Ok(Appended::Full));
    assert_eq!(
        store.append(letter(key, b"7".to_vec())).await,
        Ok(Appended::Duplicate),
        "a retry is safe even then"
    );
    assert_eq!(store.newer(key, At::START, 100).await.unwrap().len(), 32, "nothing is thrown out for it");
    stored(&*store, fresh_pub(), b"32").await;

    world.advance(HOUR - Duration::from_secs(1));
    stored(&*store, key, b"32").await;
    assert_eq!(
        bodies(&*store, key, At::START).await,
        ["31", "32"],
        "what expired makes room before any sweep"
    );
    store.delete_upto(key, last).await.unwrap();
    assert_eq!(bodies(&*store, key, At::START).await, ["32"]);
}

async fn a_box_holds_512_kib(world: World) {
    let cap = BoxCap { messages: 100, bytes: 512 * 1024, messages_per_sender: 100 };
    let store = world.open_with(Keep { box_cap: Some(cap), ..keep() }).await;
    let key = fresh_pub();
    for n in 0..32 {
        stored(&*store, key, &[n; 16_384]).await;
    }
    assert_eq!(store.append(letter(key, b"x".to_vec())).await, Ok(Appended::Full));
}

async fn a_sender_has_a_share_of_a_box(world: World) {
    let cap = BoxCap { messages: 32, bytes: 512 * 1024, messages_per_sender: 8 };
    let store = world.open_with(Keep { box_cap: Some(cap), ..keep() }).await;
    let key = fresh_pub();
    let send = async |sender: i64, text: &str| {
        let append = Append { key, data: text.as_bytes().to_vec(), sender: Some(sender), under: None };
        match store.append(append).await.unwrap() {
            Appended::Stored(_) => "stored",
            Appended::Duplicate => "duplicate",
            Appended::ShareUsed => "share used",
            Appended::Full => "full",
            other => panic!("{other:?}"),
        }
    };
    for sender in [1, 2, 3] {
        for n in 0..8 {
            assert_eq!(send(sender, &format!("{sender} {n}")).await, "stored");
        }
        assert_eq!(send(sender, &format!("{sender} more")).await, "share used");
        assert_eq!(send(sender, &format!("{sender} 7")).await, "duplicate", "a retry is safe even then");
    }
    // 24 of 32: the last quarter is for those who have nothing in it.
    for sender in 4..12 {
        assert_eq!(send(sender, &format!("{sender}")).await, "stored");
        if sender < 11 {
            assert_eq!(send(sender, &format!("{sender} more")).await, "share used");
        }
    }
    assert_eq!(send(12, "12").await, "full");
    assert_eq!(send(1, "1 more").await, "full");
    let another = Append { key: fresh_pub(), data: b"1 more".to_vec(), sender: Some(1), under: None };
    assert!(matches!(store.append(another).await, Ok(Appended::Stored(_))));

    // What expired counts no longer.
    world.advance(HOUR);
    assert_eq!(send(1, "1 more").await, "stored");
}

async fn a_share_as_large_as_the_box_is_none(world: World) {
    let cap = BoxCap { messages: 32, bytes: 512 * 1024, messages_per_sender: 32 };
    let store = world.open_with(Keep { box_cap: Some(cap), ..keep() }).await;
    let key = fresh_pub();
    for n in 0..32 {
        let append = Append { key, data: vec![n], sender: Some(1), under: None };
        assert!(matches!(store.append(append).await, Ok(Appended::Stored(_))), "{n}");
    }
    // The last quarter of the bytes is kept for others, too.
    let cap = BoxCap { messages: 1000, bytes: 400, messages_per_sender: 8 };
    store.close().await;
    drop(store);
    let store = world.open_with(Keep { box_cap: Some(cap), ..keep() }).await;
    let key = fresh_pub();
    let send = |sender: i64, byte: u8| {
        store.append(Append { key, data: vec![byte; 100], sender: Some(sender), under: None })
    };
    for n in 0..3 {
        assert!(matches!(send(1, n).await, Ok(Appended::Stored(_))));
    }
    assert_eq!(send(1, 3).await, Ok(Appended::ShareUsed));
    assert!(matches!(send(2, 4).await, Ok(Appended::Stored(_))));
    assert_eq!(send(3, 5).await, Ok(Appended::Full));
}

async fn all_boxes_together_hold_what_they_may(world: World) {
    // Each message takes 256 bytes beside its own; each box 160, once a sweep has counted it.
    let small = Keep { max_bytes: Some(3 * 256 + 10), ..keep() };
    let store = world.open_with(small).await;
    let (key, other) = (fresh_pub(), fresh_pub());
    stored(&*store, key, b"1234").await;
    let last = stored(&*store, other, b"5678").await;
    assert_eq!(store.append(letter(key, b"90a".to_vec())).await, Ok(Appended::NoRoom));
    stored(&*store, key, b"90").await;
    assert_eq!(store.append(letter(fresh_pub(), b"x".to_vec())).await, Ok(Appended::NoRoom));
    assert_eq!(store.append(letter(key, b"90".to_vec())).await, Ok(Appended::Duplicate), "a retry is safe");
    assert_eq!(bodies(&*store, key, At::START).await, ["1234", "90"], "nothing is thrown out for it");

    store.delete_upto(other, last).await.unwrap();
    stored(&*store, key, b"abcd").await;
    assert_eq!(store.append(letter(key, b"x".to_vec())).await, Ok(Appended::NoRoom));
    store.close().await;
    drop(store);

    // Counted anew when it is opened: 2 boxes and 3 messages of 10 bytes.
    let exact = Keep { max_bytes: Some(2 * 160 + 4 * 256 + 20), ..keep() };
    let store = world.open_with(exact).await;
    stored(&*store, key, b"1234567890").await;
    assert_eq!(store.append(letter(key, b"x".to_vec())).await, Ok(Appended::NoRoom));
    world.advance(HOUR);
    assert_eq!(store.append(letter(key, b"x".to_vec())).await, Ok(Appended::NoRoom), "until it is swept");
    store.sweep(100).await.unwrap();
    assert_eq!(store.held().on_disk(), 2 * 160);
    for n in 0..4 {
        stored(&*store, key, &[n; 5]).await;
    }
    assert_eq!(store.append(letter(key, b"x".to_vec())).await, Ok(Appended::NoRoom));
    store.delete_box(key).await.unwrap();
    stored(&*store, other, b"1234567890").await;
}

async fn what_is_held_is_counted(world: World) {
    let counted = |store: &dyn Store| (store.held().messages, store.held().bytes);
    let store = world.open().await;
    assert_eq!(store.held(), Held::default());
    assert_eq!(counted(&*store), (0, 0));
    let (key, other) = (fresh_pub(), fresh_pub());
    let first = stored(&*store, key, b"first").await;
    stored(&*store, key, b"second").await;
    stored(&*store, other, &[7; 16_384]).await;
    assert_eq!(store.append(letter(key, b"first".to_vec())).await, Ok(Appended::Duplicate));
    assert_eq!(counted(&*store), (3, 16_395));
    store.delete_upto(key, first).await.unwrap();
    assert_eq!(counted(&*store), (2, 16_390));
    store.delete_box(other).await.unwrap();
    assert_eq!(counted(&*store), (1, 6));
    world.advance(HOUR);
    store.sweep(100).await.unwrap();
    assert_eq!(counted(&*store), (0, 0));

    assert_eq!(store.held().boxes, 1);

    if world.is_shared() {
        let second = world.open().await;
        stored(&*second, key, b"through another instance").await;
        assert_eq!(counted(&*store), (0, 0));
        store.sweep(100).await.unwrap();
        assert_eq!(counted(&*store), (1, 24));
    }
}

async fn many_boxes_are_looked_at_in_one_go(world: World) {
    let store = world.open().await;
    for count in [1, 2, 10, 11, 100, 101, 250] {
        let boxes: Vec<PublicKey> = (0..count).map(|_| fresh_pub()).collect();
        let mut cursors = Vec::new();
        for key in boxes.iter().step_by(3) {
            stored(&*store, *key, b"one").await;
            world.advance(Duration::from_secs(1));
            cursors.push(stored(&*store, *key, b"two").await);
        }
        let from = |at: At| boxes.iter().map(|key| (*key, at)).collect::<Vec<_>>();
        let found = store.have_newer(from(At::START)).await.unwrap();
        let expected: Vec<bool> = (0..count).map(|n| n % 3 == 0).collect();
        assert_eq!(found, expected, "{count}");
        assert_eq!(store.have_newer(from(At::MAX)).await.unwrap(), vec![false; count]);
        // Each box has its own cursor: behind the last message of the first box there is more in the others.
        let behind_first = store.have_newer(from(cursors[0])).await.unwrap();
        let expected: Vec<bool> = (0..count).map(|n| n % 3 == 0 && n > 0).collect();
        assert_eq!(behind_first, expected, "{count}");
        let mut own = cursors.iter();
        let own = boxes
            .iter()
            .enumerate()
            .map(|(n, key)| (*key, if n % 3 == 0 { *own.next().unwrap() } else { At::START }));
        assert_eq!(store.have_newer(own.collect()).await.unwrap(), vec![false; count]);
    }
    assert_eq!(store.have_newer(Vec::new()).await.unwrap(), [false; 0]);
}

async fn an_idle_check_asks_no_database(world: World) {
    let store = world.open().await;
    let known = |key, at| store.known_newer(&[(key, at)]);
    let (key, other) = (fresh_pub(), fresh_pub());
    if world.is_shared() {
        let at = stored(&*store, key, b"one").await;
        assert!(has_newer(&*store, key, At::START).await && !has_newer(&*store, key, at).await);
        assert_eq!((known(key, At::START), known(key, at)), (None, None), "others may have changed it");
        return;
    }
    assert_eq!(known(key, At::START), None);
    assert!(!has_newer(&*store, key, At::START).await);
    assert_eq!(known(key, At::START), Some(false), "it was looked at");
    let one = stored(&*store, key, b"one").await;
    assert_eq!(known(key, At::START), Some(true));
    assert_eq!(known(key, one), Some(false));
    assert_eq!(store.known_newer(&[(key, one), (other, one)]), None, "one of them is not known");
    let two = stored(&*store, key, b"two").await;
    assert_eq!((known(key, one), known(key, two)), (Some(true), Some(false)));
    assert_eq!(store.append(letter(key, b"two".to_vec())).await, Ok(Appended::Duplicate));
    assert!(has_newer(&*store, key, one).await);

    store.delete_upto(key, two).await.unwrap();
    assert_eq!(known(key, At::START), None);
    assert!(!has_newer(&*store, key, At::START).await);
    assert_eq!(known(key, At::START), Some(false));

    // What has expired is looked for: another may have been stored by a clock that was ahead.
    stored(&*store, key, b"three").await;
    world.advance(HOUR);
    assert_eq!((known(key, At::START), known(key, At::MAX)), (None, Some(false)));
    assert!(!has_newer(&*store, key, At::START).await);
    assert_eq!(store.sweep(100).await.unwrap().messages, 1);
    assert!(!has_newer(&*store, key, At::START).await);
    assert_eq!(known(key, At::START), Some(false));
    // A day later the check is to be noted.
    world.advance(DAY - HOUR + Duration::from_secs(1));
    assert_eq!(known(key, At::START), None);
    assert!(!has_newer(&*store, key, At::START).await);
    assert_eq!(known(key, At::START), Some(false));

    store.delete_box(key).await.unwrap();
    assert_eq!(known(key, At::START), None);
    // Stored by a clock that ran ahead and was set right: the sweep dates it anew.
    world.advance(30 * DAY);
    stored(&*store, key, b"ahead").await;
    world.clock.set(NOW);
    assert_eq!(known(key, At::START), Some(true));
    store.sweep(100).await.unwrap();
    assert_eq!(known(key, At::START), None);
}

/// Where nobody else writes, what was stored a moment ago is received without the database.
async fn the_newest_messages_are_in_memory(world: World) {
    let store = world.open().await;
    let (key, other) = (fresh_pub(), fresh_pub());
    let known = |store: &Arc<dyn Store>, key, at, limit| {
        let messages = store.known_messages(&key, at, limit)?;
        Some(messages.into_iter().map(|message| String::from_utf8(message.data).unwrap()).collect::<Vec<_>>())
    };
    let one = stored(&*store, key, b"one").await;
    let two = stored(&*store, key, b"two").await;
    if world.is_shared() {
        assert_eq!(known(&store, key, At::START, 10), None, "others may have changed it");
        return;
    }
    assert_eq!(known(&store, other, At::START, 10), None);
    assert_eq!(known(&store, key, At::START, 1).unwrap(), ["one"]);
    assert_eq!(known(&store, key, At::START, 10).unwrap(), ["one", "two"]);
    assert_eq!(known(&store, key, one, 10).unwrap(), ["two"]);
    assert_eq!(known(&store, key, two, 10).unwrap(), [""; 0]);
    assert_eq!(store.append(letter(key, b"two".to_vec())).await, Ok(Appended::Duplicate));
    assert_eq!(known(&store, key, one, 10), None, "the first copy may be of a commit of which nobody knew");
    assert_eq!(bodies(&*store, key, At::START).await, ["one", "two"]);
    let three = stored(&*store, key, b"three").await;
    assert_eq!(known(&store, key, one, 10), None);
    assert_eq!(known(&store, key, two, 10).unwrap(), ["three"]);

    stored(&*store, other, b"to go").await;
    store.delete_upto(other, At::MAX).await.unwrap();
    assert_eq!(known(&store, other, At::START, 10), None);
    assert_eq!(bodies(&*store, other, At::START).await, [""; 0]);
    assert!(!has_newer(&*store, other, At::START).await);
    stored(&*store, other, b"anew").await;
    assert_eq!(known(&store, other, At::START, 10).unwrap(), ["anew"], "there is none before it");
    world.advance(HOUR);
    assert_eq!(known(&store, other, At::START, 10), None, "the database says whether it has expired");

    stored(&*store, key, b"four").await;
    store.close().await;
    let store = world.open().await;
    assert_eq!(known(&store, key, three, 10), None);
    assert_eq!(bodies(&*store, key, three).await, ["four"]);
    let five = stored(&*store, key, b"five").await;
    assert_eq!(known(&store, key, three, 10), None, "there is one between");
    assert_eq!(bodies(&*store, key, three).await, ["four", "five"]);
    assert_eq!(known(&store, key, five, 10).unwrap(), [""; 0]);
    store.close().await;

    // An old box is not taken for a new one, though its owner is seen, and it is written to, at one time.
    let store = world.open_with(Keep { message_ttl: 3 * DAY, ..keep() }).await;
    let old = fresh_pub();
    stored(&*store, old, b"one").await;
    assert_eq!(store.append(letter(old, b"one".to_vec())).await, Ok(Appended::Duplicate));
    world.advance(DAY + Duration::from_secs(1));
    assert!(has_newer(&*store, old, At::START).await);
    stored(&*store, old, b"two").await;
    assert_eq!(bodies(&*store, old, At::START).await, ["one", "two"]);
}

/// The quota counts what comes before in the same batch, too.
async fn an_api_key_makes_so_many_boxes_at_once(world: World) {
    let store = world.open().await;
    // All of one writer's queue: two writers may not see each other's boxes.
    let boxes = std::iter::repeat_with(fresh_pub).filter(|key| key.as_bytes()[48] % 4 == 0).take(30);
    let sends = boxes.map(|key| {
        let store = store.clone();
        let under = Some(Under { key: 7, boxes: Some(5) });
        tokio::spawn(async move { store.append(Append { under, ..letter(key, vec![1]) }).await.unwrap() })
    });
    let mut stored = 0;
    for send in sends.collect::<Vec<_>>() {
        match send.await.unwrap() {
            Appended::Stored(_) => stored += 1,
            other => assert_eq!(other, Appended::NoMoreBoxes),
        }
    }
    assert_eq!(stored, 5);
}

/// A commit that was given up took effect all the same, after the owner had looked; then the sender tries again.
#[test]
fn a_retry_shows_what_nobody_knew_of() {
    let world = World::new(Kind::Sqlite);
    block_on(async {
        let store = world.open_with(Keep { max_bytes: Some(0), ..keep() }).await;
        let key = fresh_pub();
        assert!(!has_newer(&*store, key, At::START).await);
        let mut other = sqlx::SqliteConnection::connect(&world.database.url).await.unwrap();
        let tag = i64::from_be_bytes(*Sha256::digest(b"late").first_chunk().unwrap());
        let insert = sqlx::query("insert into boxes (id, pub, last_at, seen_at) values (1, $1, $2, $2)");
        insert.bind(key.as_bytes().to_vec()).bind(NOW).execute(&mut other).await.unwrap();
        let insert = sqlx::query(
            "insert into messages (box, at, stored_at, tag, data) values (1, $1, $1, $2, cast('late' as blob))",
        );
        insert.bind(NOW).bind(tag).execute(&mut other).await.unwrap();
        assert!(!has_newer(&*store, key, At::START).await, "nobody knows of it");
        assert_eq!(store.append(letter(key, b"late".to_vec())).await, Ok(Appended::Duplicate));
        assert!(has_newer(&*store, key, At::START).await);
    });
}

/// What a visitor deletes is no longer held.
#[test]
fn a_visitor_sweeps_beside_a_sole_instance() {
    let world = World::sole();
    block_on(async {
        let store = world.open().await;
        stored(&*store, fresh_pub(), b"one").await;
        assert_eq!((store.held().messages, store.is_empty()), (1, false));
        world.advance(HOUR);
        let clock = Some(world.clock.clone() as Arc<dyn Clock>);
        let visitor = store::open(&world.database.url, keep(), Role::Visitor, clock).await.unwrap();
        assert_eq!(visitor.sweep(100).await.unwrap().messages, 1);
        assert!(visitor.now().await.is_ok());
        visitor.close().await;
        assert_eq!(store.sweep(100).await.unwrap().messages, 0);
        assert_eq!((store.held().messages, store.is_empty()), (0, true));
    });
}

#[test]
fn taking_over_waits_for_what_is_being_stored() {
    let world = World::sole();
    block_on(async {
        let first = world.open().await;
        let mut storing = sqlx::PgConnection::connect(&world.database.url).await.unwrap();
        storing.execute("begin; select pg_advisory_xact_lock_shared(1668180324)").await.unwrap();
        let (url, clock) = (world.database.url.clone(), world.clock.clone());
        let opening =
            tokio::spawn(async move { store::open(&url, keep(), Role::Sole, Some(clock)).await.unwrap() });
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
                         and database = (select oid from pg_database where datname = current_database())";
        let mut watching = sqlx::PgConnection::connect(&world.database.url).await.unwrap();
        while sqlx::query_as::<_, (i64,)>(waiting).fetch_one(&mut watching).await.unwrap() == (0,) {
            tokio::task::yield_now().await;
        }
        assert!(!opening.is_finished());
        storing.execute("commit").await.unwrap();
        let second = opening.await.unwrap();
        assert_eq!(first.append(letter(fresh_pub(), vec![1])).await, Err(StoreError::Displaced));
        assert_eq!(first.now().await, Err(StoreError::Displaced), "it is not ready, either");
        stored(&*second, fresh_pub(), b"one").await;
    });
}

/// On tables of which PostgreSQL has no figures: whatever is about a box does not read all that live.
#[test]
fn what_is_about_a_box_reads_its_messages_only() {
    let world = World::new(Kind::Postgres);
    block_on(async {
        let store = world.open().await;
        for n in 0..20u8 {
            let boxes: Vec<PublicKey> = (0..20).map(|_| fresh_pub()).collect();
            let sends = boxes.iter().map(|key| store.append(letter(*key, vec![n])));
            for sent in sends.collect::<Vec<_>>() {
                assert!(matches!(sent.await, Ok(Appended::Stored(_))));
            }
            assert_eq!(store.append(letter(boxes[0], vec![n])).await, Ok(Appended::Duplicate));
            assert!(has_newer(&*store, boxes[0], At::START).await);
            assert_eq!(store.newer(boxes[0], At::START, 2).await.unwrap().len(), 1);
        }
        store.close().await;
        let mut watching = sqlx::PgConnection::connect(&world.database.url).await.unwrap();
        let scans = "select cast(coalesce(sum(idx_scan) filter (where indexrelname = $1), 0) as bigint) from pg_stat_user_indexes";
        let mut scans = async |index: &str| -> i64 {
            let (count,): (i64,) = sqlx::query_as(scans).bind(index).fetch_one(&mut watching).await.unwrap();
            count
        };
        // PostgreSQL counts a little later.
        while scans("messages_by_box").await < 400 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scans("messages_by_stored_at").await, 0);
    });
}

/// The statement is that of the relay, as a unit test sees to.
#[test]
fn postgresql_receives_in_the_order_of_the_index_without_a_sort() {
    let script = include_str!("../../benches/relay/rows/postgres/receive.sql");
    let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with(['-', '\\'])).collect();
    let mut statement = lines.join(" ");
    for (variable, value) in [(":box", "'1'"), (":at", "0"), (":message_ttl", "1"), (":limit", "1")] {
        statement = statement.replace(variable, value);
    }
    let world = World::new(Kind::Postgres);
    let plan = block_on(async {
        world.open().await.close().await;
        let mut database = sqlx::PgConnection::connect(&world.database.url).await.unwrap();
        // A table of nothing would be read as a whole.
        database.execute("set enable_seqscan = off").await.unwrap();
        let explain = sqlx::AssertSqlSafe(format!("explain {statement}"));
        let plan: Vec<(String,)> = sqlx::query_as(explain).fetch_all(&mut database).await.unwrap();
        plan.into_iter().map(|(line,)| line + "\n").collect::<String>()
    });
    assert!(plan.contains("using messages_by_box on messages") && !plan.contains("Sort"), "{plan}");
}

/// Whoever is opened last has the database; the one before stores nothing more, and trusts its memory no more.
#[test]
fn a_sole_instance_is_displaced_by_the_next() {
    for next in [Role::Sole, Role::Shared] {
        block_on(displaced_by(World::sole(), next));
    }
}

async fn displaced_by(mut world: World, next: Role) {
    let first = world.open().await;
    let key = fresh_pub();
    let at = stored(&*first, key, b"one").await;
    assert!(!has_newer(&*first, key, at).await);
    let visitor = store::open(&world.database.url, keep(), Role::Visitor, None).await.unwrap();
    let two = stored(&*first, key, b"two").await;
    visitor.close().await;

    world.role = next;
    let second = world.open().await;
    assert_eq!(first.append(letter(key, b"three".to_vec())).await, Err(StoreError::Displaced));
    stored(&*second, key, b"three").await;
    assert_eq!(first.known_newer(&[(key, two)]), None);
    assert!(has_newer(&*first, key, two).await);
    assert_eq!(first.known_newer(&[(key, two)]), None);
    first.close().await;

    world.role = Role::Shared;
    let third = world.open().await;
    stored(&*third, key, b"four").await;
    let last = second.append(letter(key, b"five".to_vec())).await;
    assert_eq!(last.err(), (next == Role::Sole).then_some(StoreError::Displaced), "{next:?}");
    third.close().await;
    second.close().await;
}

async fn who_waits_is_told_what_comes(world: World) {
    let store = world.open().await;
    // On PostgreSQL the message comes through another instance.
    let sender = if world.is_shared() { world.open().await } else { store.clone() };
    let (key, other) = (fresh_pub(), fresh_pub());
    for n in 0..20u8 {
        let waiting = store.arrivals().wait_for([&key, &other]);
        assert!(!has_newer(&*store, key, At::START).await);
        // Listening may have begun just now, which wakes everyone once.
        stored(&*sender, fresh_pub(), &[n]).await;
        stored(&*sender, if n % 2 == 0 { key } else { other }, &[n]).await;
        let both = || store.have_newer(vec![(key, At::START), (other, At::START)]);
        while !both().await.unwrap().contains(&true) {
            waiting.arrived().await;
        }
        store.delete_box(key).await.unwrap();
        store.delete_box(other).await.unwrap();
    }
}

async fn what_came_last_is_told_before_the_end(world: World) {
    if !world.is_shared() {
        return;
    }
    let store = world.open().await;
    let key = fresh_pub();
    let waiting = store.arrivals().wait_for([&key]);
    // Until it listens.
    let first = world.open().await;
    while !has_newer(&*store, key, At::START).await {
        stored(&*first, key, b"first").await;
        waiting.arrived().await;
    }
    for n in 0..10u8 {
        let at = store.newer(key, At::START, 100).await.unwrap().last().unwrap().at;
        let stopping = world.open().await;
        stored(&*stopping, key, &[n]).await;
        stopping.close().await;
        while !has_newer(&*store, key, at).await {
            waiting.arrived().await;
        }
    }
}

async fn without_caps_a_box_holds_what_comes(world: World) {
    let store = world.open_with(without_caps()).await;
    let key = fresh_pub();
    for n in 0..40 {
        stored(&*store, key, &[n; 16_384]).await;
    }
    assert_eq!(store.newer(key, At::START, 100).await.unwrap().len(), 40);
}

async fn messages_expire_to_the_second(world: World) {
    let store = world.open().await;
    let key = fresh_pub();
    stored(&*store, key, b"hello").await;
    world.clock.set(NOW + 3600 * SECOND - 1);
    assert!(has_newer(&*store, key, At::START).await);
    assert_eq!(bodies(&*store, key, At::START).await, ["hello"]);
    world.clock.set(NOW + 3600 * SECOND);
    assert!(!has_newer(&*store, key, At::START).await, "no sweep was needed");
    assert_eq!(bodies(&*store, key, At::START).await, [""; 0]);
    // The clock was wrong: hidden, not destroyed.
    world.clock.set(NOW + SECOND);
    assert_eq!(bodies(&*store, key, At::START).await, ["hello"]);
}

async fn a_sweep_deletes_what_expired_and_nothing_else(world: World) {
    let store = world.open().await;
    let key = fresh_pub();
    stored(&*store, key, b"old").await;
    world.advance(HOUR / 2);
    stored(&*store, key, b"young").await;
    let none = store.sweep(100).await.unwrap();
    assert_eq!((none.messages, none.boxes), (0, 0));
    world.advance(HOUR / 2);
    let swept = store.sweep(100).await.unwrap();
    assert_eq!((swept.messages, swept.boxes), (1, 0));
    // Set back, the clock would show an expired message again if it were still there.
    world.clock.set(NOW + SECOND);
    assert_eq!(bodies(&*store, key, At::START).await, ["young"]);
}

async fn sweeps_are_bounded(world: World) {
    let store = world.open().await;
    for n in 0..5u8 {
        stored(&*store, fresh_pub(), &[n]).await;
    }
    world.advance(HOUR);
    let mut swept = Vec::new();
    for _ in 0..4 {
        swept.push(store.sweep(2).await.unwrap().messages);
    }
    assert_eq!(swept, [2, 2, 1, 0]);
}

async fn two_sweepers_at_once_delete_each_message_once(world: World) {
    let one = world.open_with(without_caps()).await;
    let two = if world.is_shared() { world.open_with(without_caps()).await } else { one.clone() };
    let key = fresh_pub();
    for n in 0..200u8 {
        stored(&*one, key, &[n]).await;
    }
    world.advance(HOUR);
    stored(&*one, key, b"young").await;
    let sweep = |store: Arc<dyn Store>| {
        tokio::spawn(async move {
            let mut total = 0;
            for _ in 0..100 {
                total += store.sweep(7).await.unwrap().messages;
            }
            total
        })
    };
    let (first, second) = (sweep(one.clone()), sweep(two));
    assert_eq!(first.await.unwrap() + second.await.unwrap(), 200);
    assert_eq!(bodies(&*one, key, At::START).await, ["young"]);
}

async fn unchecked_boxes_go_checked_ones_stay(world: World) {
    let store = world.open().await;
    let (unchecked, checked) = (fresh_pub(), fresh_pub());
    stored(&*store, unchecked, b"x").await;
    stored(&*store, checked, b"x").await;
    // A check within a day of the last noted one is not noted: a box may go up to a day early, never late.
    for _ in 0..28 {
        world.advance(DAY);
        has_newer(&*store, checked, At::START).await;
    }
    // Mail that comes all the time does not keep a box that nobody checks.
    world.advance(DAY);
    stored(&*store, unchecked, b"y").await;
    assert_eq!(store.sweep(100).await.unwrap().boxes, 0);
    assert_eq!(bodies(&*store, unchecked, At::START).await, ["y"]);
    world.advance(DAY - Duration::from_secs(1));
    assert_eq!(store.sweep(100).await.unwrap().boxes, 0);
    stored(&*store, unchecked, b"z").await;
    world.advance(Duration::from_secs(1));
    let swept = store.sweep(100).await.unwrap();
    assert_eq!((swept.boxes, swept.messages), (0, 0), "what was acknowledged is kept its hour");
    assert_eq!(bodies(&*store, unchecked, At::START).await, ["z"]);
    world.advance(HOUR);
    assert_eq!(store.sweep(100).await.unwrap().boxes, 1);
    world.advance(27 * DAY - HOUR);
    assert_eq!(store.sweep(100).await.unwrap().boxes, 0);
    world.advance(DAY);
    assert_eq!(store.sweep(100).await.unwrap().boxes, 1);
}

async fn a_check_makes_no_box(world: World) {
    let store = world.open().await;
    has_newer(&*store, fresh_pub(), At::START).await;
    world.advance(31 * DAY);
    assert_eq!(store.sweep(100).await.unwrap().boxes, 0);
}

async fn a_clock_set_back_keeps_the_order_and_loses_nothing(world: World) {
    let store = world.open().await;
    let key = fresh_pub();
    let before = stored(&*store, key, b"before").await;
    world.clock.set(NOW - 3600 * SECOND);
    let after = stored(&*store, key, b"after").await;
    assert_eq!(after.as_i64(), before.as_i64() + 1);
    assert_eq!(bodies(&*store, key, before).await, ["after"]);
    assert_eq!(bodies(&*store, key, At::START).await, ["before", "after"]);
    // Each lives its hour by the clock it was stored under.
    world.clock.set(NOW - SECOND);
    assert_eq!(bodies(&*store, key, At::START).await, ["before", "after"]);
    world.clock.set(NOW);
    assert_eq!(bodies(&*store, key, At::START).await, ["before"]);
}

async fn a_clock_that_ran_ahead_does_not_keep_mail_for_ever(world: World) {
    let store = world.open().await;
    let key = fresh_pub();
    world.clock.set(NOW + 365 * 86_400 * SECOND);
    stored(&*store, key, b"from next year").await;
    world.clock.set(NOW);
    assert_eq!(bodies(&*store, key, At::START).await, ["from next year"], "it is mail all the same");
    let swept = store.sweep(100).await.unwrap();
    assert_eq!((swept.messages, swept.boxes), (0, 0));
    world.advance(HOUR - Duration::from_secs(1));
    assert_eq!(bodies(&*store, key, At::START).await, ["from next year"]);
    world.advance(Duration::from_secs(1));
    assert_eq!(store.sweep(100).await.unwrap().messages, 1, "an hour after the sweep that saw it");
    // The box too: 30 days after the sweep that saw it, which noted it as checked then.
    world.clock.set(NOW + 30 * 86_400 * SECOND);
    assert_eq!(store.sweep(100).await.unwrap().boxes, 1);
}

async fn deleting_up_to_a_cursor_and_a_whole_box(world: World) {
    let store = world.open().await;
    let (key, other) = (fresh_pub(), fresh_pub());
    let first = stored(&*store, key, b"first").await;
    let second = stored(&*store, key, b"second").await;
    stored(&*store, other, b"other").await;
    store.delete_upto(key, first).await.unwrap();
    assert_eq!(bodies(&*store, key, At::START).await, ["second"]);
    store.delete_upto(key, At::MAX).await.unwrap();
    assert_eq!(bodies(&*store, key, At::START).await, [""; 0]);
    let third = stored(&*store, key, b"third").await;
    assert!(third > second, "the box remembers its cursor");
    store.delete_box(key).await.unwrap();
    assert_eq!(bodies(&*store, key, At::START).await, [""; 0]);
    world.advance(31 * DAY);
    assert_eq!(store.sweep(100).await.unwrap().boxes, 1, "the other one");
    store.delete_box(key).await.unwrap();
    store.delete_upto(fresh_pub(), At::MAX).await.unwrap();
}

async fn what_was_stored_is_there_after_reopening(world: World) {
    let store = world.open().await;
    let key = fresh_pub();
    let at = stored(&*store, key, b"hello").await;
    store.close().await;
    let store = world.open().await;
    assert_eq!(bodies(&*store, key, At::START).await, ["hello"]);
    assert_eq!(store.append(letter(key, b"hello".to_vec())).await, Ok(Appended::Duplicate));
    assert!(stored(&*store, key, b"again").await > at);
}

async fn every_instance_has_the_same_secret(world: World) {
    let store = world.open().await;
    assert_eq!(store.secret(vec![1; 48]).await.unwrap(), [1; 48]);
    assert_eq!(store.secret(vec![2; 48]).await.unwrap(), [1; 48]);
    store.close().await;
    let store = world.open().await;
    assert_eq!(store.secret(vec![3; 48]).await.unwrap(), [1; 48]);
}

async fn what_instances_use_of_a_key_adds_up(world: World) {
    // A SQLite file has one owner.
    let first = world.open().await;
    let second = if world.is_shared() { world.open().await } else { first.clone() };
    let used = |requests, bytes| Used { requests, bytes };
    let adding = [first.clone(), second].map(|store| {
        tokio::spawn(async move {
            for _ in 0..50 {
                let usage = [1, 2].map(|key| Usage { key, day: 20_777, used: used(2, 3) });
                store.add_usage(usage.into()).await.unwrap();
            }
        })
    });
    for adding in adding {
        adding.await.unwrap();
    }
    let more = vec![
        Usage { key: 1, day: 20_777, used: used(1, -1) },
        Usage { key: 2, day: 20_778, used: used(1, 0) },
    ];
    let totals = vec![
        Usage { key: 1, day: 20_777, used: used(201, 299) },
        Usage { key: 2, day: 20_778, used: used(1, 0) },
    ];
    assert_eq!(first.add_usage(more).await, Ok(totals));
    assert_eq!(first.api_key([7; 32], 20_777).await, Ok(None));
}

async fn closing_finishes_what_was_accepted(world: World) {
    let store = world.open_with(without_caps()).await;
    let key = fresh_pub();
    let mut sends: Vec<_> = (0..100u8).map(|n| store.append(letter(key, vec![n]))).collect();
    // Polled once, each is in the queue; none is waited for before the store is closed.
    for send in &mut sends {
        let waits = std::future::poll_fn(|cx| Poll::Ready(send.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
    }
    store.close().await;
    for send in sends {
        assert!(matches!(send.await, Ok(Appended::Stored(_))));
    }
    assert!(store.append(letter(key, b"late".to_vec())).await.is_err());
    let store = world.open().await;
    assert_eq!(store.newer(key, At::START, 200).await.unwrap().len(), 100);
}

async fn the_databases_own_clock_is_right(world: World) {
    let store = world.open_in_real_time(keep()).await;
    let before = SystemClock.now();
    let now = store.now().await.unwrap();
    let at = stored(&*store, fresh_pub(), b"hello").await.as_i64();
    let after = SystemClock.now();
    // SQLite's clock counts milliseconds.
    assert!((before - 1000..=after).contains(&now), "{before} {now} {after}");
    assert!((before - 1000..=after).contains(&at), "{before} {at} {after}");
}

async fn a_newer_schema_is_left_alone(world: World) {
    world.open().await.close().await;
    let url = &world.database.url;
    let later = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (9999, 'later', true, $1, 0)";
    let count = "select count(*) from _sqlx_migrations";
    let (before, after): (i64, i64) = match world.kind {
        Kind::Sqlite => {
            let mut database = sqlx::SqliteConnection::connect(url).await.unwrap();
            sqlx::query(later).bind(vec![0u8]).execute(&mut database).await.unwrap();
            let before = sqlx::query_scalar(count).fetch_one(&mut database).await.unwrap();
            database.close().await.unwrap();
            assert_eq!(refusal(url).await, OpenError::NewerSchema(9999));
            let mut database = sqlx::SqliteConnection::connect(url).await.unwrap();
            (before, sqlx::query_scalar(count).fetch_one(&mut database).await.unwrap())
        }
        Kind::Postgres => {
            let mut database = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::query(later).bind(vec![0u8]).execute(&mut database).await.unwrap();
            let before = sqlx::query_scalar(count).fetch_one(&mut database).await.unwrap();
            assert_eq!(refusal(url).await, OpenError::NewerSchema(9999));
            (before, sqlx::query_scalar(count).fetch_one(&mut database).await.unwrap())
        }
    };
    assert_eq!(after, before);
}

async fn refusal(url: &str) -> OpenError {
    store::open(url, keep(), Role::Shared, None).await.err().expect("it opened")
}

#[test]
fn a_sqlite_file_has_one_owner() {
    let world = World::new(Kind::Sqlite);
    block_on(async {
        let first = world.open().await;
        assert!(matches!(refusal(&world.database.url).await, OpenError::Locked(_)));
        let path = world.database.url.strip_prefix("sqlite://").unwrap();
        std::os::unix::fs::symlink(path, format!("{path}.link")).unwrap();
        let by_another_name = refusal(&format!("sqlite://{path}.link")).await;
        assert!(matches!(by_another_name, OpenError::Locked(_)), "{by_another_name}");
        first.close().await;
        drop(first);
        world.open().await.close().await;
    });
}

#[test]
fn files_that_are_not_ours_are_left_as_they_are() {
    use std::fs;
    let folder = tempfile::tempdir().unwrap();
    let reason = |name: &str| {
        let url = format!("sqlite://{}", folder.path().join(name).display());
        match block_on(refusal(&url)) {
            OpenError::File { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    };
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();

    write("text", b"a text of more than sixteen bytes");
    assert_eq!(reason("text"), "it is not a SQLite database; it was left as it is");
    assert_eq!(read("text"), b"a text of more than sixteen bytes");

    let other = folder.path().join("other.db");
    block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&other).create_if_missing(true);
        let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        database.execute("create table notes (text text)").await.unwrap();
        database.close().await.unwrap();
    });
    let before = read("other.db");
    assert_eq!(reason("other.db"), "it is the SQLite database of another program; it was left as it is");
    assert_eq!(read("other.db"), before);

    // The same while that program runs, with changes in its log.
    let (log, runtime_and_writer) = {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let writer = runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&other);
            let options = options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
            let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            database.execute("insert into notes values ('hello')").await.unwrap();
            database
        });
        (read("other.db-wal"), (runtime, writer))
    };
    let before = read("other.db");
    assert_eq!(reason("other.db"), "it is the SQLite database of another program; it was left as it is");
    assert_eq!((read("other.db"), read("other.db-wal")), (before, log));
    drop(runtime_and_writer);

    let mut damaged = b"SQLite format 3\0".to_vec();
    damaged.extend([7; 5000]);
    write("damaged.db", &damaged);
    assert!(reason("damaged.db").ends_with("restore it from a backup, or move it away to start anew"));
    assert_eq!(read("damaged.db"), damaged);

    fs::create_dir(folder.path().join("folder")).unwrap();
    assert_eq!(reason("folder"), "it is a folder: name a file in it");
    assert_eq!(reason("missing/relay.db"), "its folder does not exist: create it first");
}

#[test]
fn a_postgresql_that_does_not_sync_is_refused() {
    let world = World::new(Kind::Postgres);
    block_on(async {
        let mut database = sqlx::PgConnection::connect(&world.database.url).await.unwrap();
        let name = world.database.url.rsplit('/').next().unwrap();
        let off = format!("alter database {name} set synchronous_commit = off");
        database.execute(sqlx::AssertSqlSafe(off)).await.unwrap();
        let OpenError::Postgres(reason) = refusal(&world.database.url).await else { panic!() };
        assert_eq!(
            reason,
            "synchronous_commit is off there, so a message could be lost after it was acknowledged: \
             set synchronous_commit = on"
        );
    });
}

#[test]
fn what_is_no_database_is_said_so() {
    let text = |url| block_on(refusal(url)).to_string();
    assert!(text("mysql://me:secret@host/name").starts_with("\"mysql\" is not a database"));
    assert!(text("relay.db").starts_with("\"relay.db\" is not a database"));
    let unreachable = text("postgres://me:secret@127.0.0.1:1/name");
    assert!(unreachable.starts_with("cannot use PostgreSQL: 127.0.0.1:1: "), "{unreachable}");
    assert!(!unreachable.contains("secret"), "{unreachable}");
}
