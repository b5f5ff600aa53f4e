//! How often a source may ask: rates by source, by its network, and by source and box. Never by box alone, or whoever has
//! a link could lock its owner out.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState},
    num::NonZeroU32,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};
use serde::Serialize;

use super::Source;
use crate::{
    clock::Clock,
    metrics::Metrics,
    protocol::{PublicKey, Refusal, Request, limits},
};

/// What a network may do, in multiples of a source: a street of neighbours, but not a whole provider.
const NETWORK: u32 = 8;

/// The keys that one level remembers. A key is a hash of 8 bytes, and 8 more say when its bucket is full again. A table
/// for 100,000 has 131,072 places of 16 bytes and one of its own: 2.2 MB. There are seven such levels: 16 MB at most.
const MOST_KEYS: usize = 100_000;

/// The buckets that newcomers share while a level is full. Thirty of a thousand sources that ask too often spoil it for
/// three newcomers in a hundred, and not for all.
const SHARED: usize = 1_024;

/// How often a level that is full looks for keys to forget.
const FORGET_AGAIN: Duration = Duration::from_secs(1);

/// The most boxes one check may name where there is no rate.
const MOST_BOXES: u32 = limits::MAX_CHECK_BOXES;

/// A rate: so many a minute, evenly, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// What a minute gives.
    pub per_minute: NonZeroU32,
    /// What can be saved up.
    pub burst: NonZeroU32,
}

impl Rate {
    /// The largest figure of a rate.
    const MOST: u32 = 1_000_000;

    /// `None` if a figure is not 1 to 1,000,000.
    pub const fn new(per_minute: u32, burst: u32) -> Option<Self> {
        match (NonZeroU32::new(per_minute), NonZeroU32::new(burst)) {
            (Some(per_minute), Some(burst))
                if per_minute.get() <= Self::MOST && burst.get() <= Self::MOST =>
            {
                Some(Self { per_minute, burst })
            }
            _ => None,
        }
    }

    /// How long an empty bucket takes to be full.
    fn fills_in(self) -> Duration {
        Duration::from_secs(60) * self.burst.get() / self.per_minute.get()
    }

    fn quota(self, times: u32) -> Quota {
        let times = NonZeroU32::MIN.saturating_add(times - 1);
        Quota::per_minute(self.per_minute.saturating_mul(times)).allow_burst(self.burst.saturating_mul(times))
    }
}

impl FromStr for Rate {
    type Err = String;

    /// `PER_MINUTE[:BURST]`; the burst is what ten seconds give, if it is not said.
    fn from_str(text: &str) -> Result<Self, String> {
        let figure = |text: &str| text.parse::<u32>().ok();
        let rate = match text.split_once(':') {
            Some((per_minute, burst)) => figure(per_minute).zip(figure(burst)),
            None => figure(text).map(|per_minute| (per_minute, (per_minute / 6).max(1))),
        };
        rate.and_then(|(per_minute, burst)| Self::new(per_minute, burst)).ok_or_else(|| {
            "expected PER_MINUTE or PER_MINUTE:BURST, each 1 to 1000000, as 30:10; or off".to_owned()
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.per_minute, self.burst)
    }
}

/// How often one source may ask for what. `None`: as often as it likes. Its network may 8 times as often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// `send`.
    pub send: Option<Rate>,
    /// `send` to one and the same box. Another source's sends to it do not count.
    pub send_to_box: Option<Rate>,
    /// `check`, by the boxes it names, and what cannot be understood.
    pub check: Option<Rate>,
    /// `receive` and `delete` together.
    pub receive: Option<Rate>,
}

impl Rates {
    /// What a relay does if it is not told otherwise.
    pub const DEFAULT: Self = Self {
        send: Rate::new(30, 10),
        send_to_box: Rate::new(10, 5),
        check: Rate::new(600, 100),
        receive: Rate::new(300, 50),
    };

    /// No rates.
    pub const OFF: Self = Self { send: None, send_to_box: None, check: None, receive: None };

    /// How long a source is remembered at most after it asked: until the slowest of its buckets is full again. `None`
    /// without rates.
    pub fn longest_memory(&self) -> Option<Duration> {
        let rates = [self.send, self.send_to_box, self.check, self.receive];
        rates.into_iter().flatten().map(Rate::fills_in).max()
    }

    /// The most boxes that one check may name. More than its burst could never pass.
    pub fn most_boxes(&self) -> u32 {
        self.check.map_or(MOST_BOXES, |rate| rate.burst.get().min(MOST_BOXES))
    }
}

/// Counts requests by where they come from. It holds hashes under a key of its own, no address and no box.
pub struct Limiter {
    levels: Mutex<Levels>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
    now: Now,
    metrics: Arc<Metrics>,
    most_boxes: u32,
}

struct Levels {
    send: Option<BySource>,
    send_to_box: Option<Level>,
    check: Option<BySource>,
    receive: Option<BySource>,
}

struct BySource {
    source: Level,
    network: Level,
}

impl Levels {
    fn all(&self) -> impl Iterator<Item = (LevelName, &Level)> {
        let by_source = [("send", &self.send), ("check", &self.check), ("receive", &self.receive)];
        let by_source = by_source.into_iter().filter_map(|(limit, by)| Some((limit, by.as_ref()?)));
        let by_source = by_source
            .flat_map(|(limit, by)| [((limit, "source"), &by.source), ((limit, "network"), &by.network)]);
        by_source.chain(self.send_to_box.iter().map(|level| (("send_to_box", "source"), level)))
    }
}

/// A bucket that a request takes from.
struct Asked<'a> {
    level: &'a Level,
    key: u64,
    /// How a refusal calls it.
    whose: &'static str,
    /// How the metrics call it.
    name: LevelName,
}

/// A limit, and by whom it counts: `source` or `network`.
type LevelName = (&'static str, &'static str);

impl Limiter {
    /// `clock` says how much time passes.
    pub fn new(rates: Rates, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self::remembering(MOST_KEYS, rates, clock, metrics)
    }

    fn remembering(most_keys: usize, rates: Rates, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let now = Now::default();
        let level = |rate: Rate, times| Level::new(rate.quota(times), most_keys, now.clone());
        let by_source = |rate: Rate| BySource { source: level(rate, 1), network: level(rate, NETWORK) };
        let levels = Levels {
            send: rates.send.map(by_source),
            send_to_box: rates.send_to_box.map(|rate| level(rate, 1)),
            check: rates.check.map(by_source),
            receive: rates.receive.map(by_source),
        };
        let most_boxes = rates.most_boxes();
        Self { levels: Mutex::new(levels), hasher: RandomState::new(), clock, now, metrics, most_boxes }
    }

    /// Counts a request, if it is within the rates. One that is refused costs nothing.
    ///
    /// # Errors
    /// [`Refusal::TooOften`], with the seconds after which the same request is worth another try.
    pub fn admit(&self, source: Source, request: &Request) -> Result<(), Refusal> {
        match request {
            Request::Send { key, .. } => self.send(source, key),
            Request::Check { .. } => self.check(source, 1),
            // Counted before its keys were looked at: [`Limiter::check`].
            Request::CheckMany { .. } => Ok(()),
            Request::Receive { .. } | Request::Delete { .. } => self.receive(source),
        }
    }

    /// Counts a `send` to this box.
    ///
    /// # Errors
    /// As [`Limiter::admit`].
    pub fn send(&self, source: Source, key: &PublicKey) -> Result<(), Refusal> {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let to_box = levels.send_to_box.as_ref().map(|level| Asked {
            level,
            key: self.hash((source, key)),
            whose: "your address to this box",
            name: ("send_to_box", "source"),
        });
        let by_source = levels.send.as_ref().map(|by| self.by_source("send", by, source));
        self.take(1, "sends", to_box.iter().chain(by_source.as_slice().as_flattened()))
    }

    /// Counts a `check` of so many boxes.
    ///
    /// # Errors
    /// As [`Limiter::admit`]; [`Refusal::BadRequest`] for more than [`Rates::most_boxes`].
    pub fn check(&self, source: Source, boxes: u32) -> Result<(), Refusal> {
        if boxes > self.most_boxes {
            return Err(Refusal::bad(format!("a check may name {} boxes at most", self.most_boxes)));
        }
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let by_source = levels.check.as_ref().map(|by| self.by_source("check", by, source));
        self.take(boxes, "checks", by_source.as_slice().as_flattened().iter())
    }

    /// Counts a `receive` or a `delete`.
    ///
    /// # Errors
    /// As [`Limiter::admit`].
    pub fn receive(&self, source: Source) -> Result<(), Refusal> {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let by_source = levels.receive.as_ref().map(|by| self.by_source("receive", by, source));
        self.take(1, "receives and deletes", by_source.as_slice().as_flattened().iter())
    }

    /// Forgets who has asked for nothing lately, which changes no outcome: their buckets are full.
    pub fn forget_idle(&self) {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        self.now.set(&*self.clock);
        for (_, level) in levels.all() {
            level.forget_idle();
        }
    }

    /// Tells the metrics how many each level remembers.
    pub fn count_keys(&self) {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        for ((limit, by), level) in levels.all() {
            self.metrics.limiter_keys(limit, by, level.limiter.len());
        }
    }

    fn by_source<'a>(&self, limit: &'static str, by: &'a BySource, source: Source) -> [Asked<'a>; 2] {
        let (address, network) = (self.hash(source), self.hash(source.network()));
        [
            Asked { level: &by.source, key: address, whose: "your address", name: (limit, "source") },
            Asked { level: &by.network, key: network, whose: "your network", name: (limit, "network") },
        ]
    }

    /// Takes from all of these buckets or from none: nobody pays at one for what another refuses, and a neighbour who
    /// asks too often does not use up the network by asking.
    fn take<'a>(
        &self,
        cost: u32,
        what: &str,
        asked: impl Iterator<Item = &'a Asked<'a>> + Clone,
    ) -> Result<(), Refusal> {
        let cost = NonZeroU32::new(cost).unwrap_or(NonZeroU32::MIN);
        let now = self.now.set(&*self.clock);
        let mut longest: Option<(Duration, &Asked<'_>)> = None;
        for one in asked.clone() {
            if let Err(wait) = one.level.ask(Step::Look(one.key), cost, now)
                && longest.as_ref().is_none_or(|(longest, _)| wait > *longest)
            {
                longest = Some((wait, one));
            }
        }
        if let Some((wait, Asked { whose, name: (limit, by), .. })) = longest {
            self.metrics.limited(limit, by);
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(Refusal::TooOften {
                detail: format!("too many {what} from {whose}; wait as long as retryAfter says").into(),
                retry_after: u32::try_from(seconds.max(1)).unwrap_or(u32::MAX),
            });
        }
        for Asked { level, key, .. } in asked {
            // It was there a moment ago, and the lock is held.
            let _ = level.ask(Step::Take(*key), cost, now);
        }
        Ok(())
    }

    /// What stands for a key in memory. Its own random key keeps strangers from aiming at a bucket.
    fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }
}

/// Buckets that fill at one rate.
struct Level {
    limiter: RateLimiter<Step, Buckets, Now, NoOpMiddleware<Nanos>>,
    most_keys: usize,
    forgot: Cell<Nanos>,
}

impl Level {
    fn new(quota: Quota, most_keys: usize, now: Now) -> Self {
        let forgot = Cell::new(now.get());
        let limiter = RateLimiter::new(quota, Buckets::new(most_keys), now);
        Self { limiter, most_keys, forgot }
    }

    /// The error is how long to wait.
    fn ask(&self, step: Step, cost: NonZeroU32, now: Nanos) -> Result<(), Duration> {
        let forgot = Duration::from(now.saturating_sub(self.forgot.get()));
        if self.limiter.len() >= self.most_keys && forgot >= FORGET_AGAIN {
            self.forgot.set(now);
            self.limiter.retain_recent();
        }
        match self.limiter.check_key_n(&step, cost) {
            Ok(outcome) => outcome.map_err(|not_until| not_until.wait_time_from(now)),
            // More than the bucket holds. Nobody asks for that, see `check`.
            Err(_) => Err(Duration::MAX),
        }
    }

    fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// Whether to see if a bucket has enough, or to take it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Look(u64),
    Take(u64),
}

/// When each bucket is full again, as `governor` counts it (a key's theoretical arrival time). Absent: full.
struct Buckets {
    own: RefCell<HashMap<u64, Nanos, BuildHasherDefault<AsItIs>>>,
    shared: Vec<Cell<Nanos>>,
    most_keys: usize,
}

impl Buckets {
    fn new(most_keys: usize) -> Self {
        Self { own: RefCell::default(), shared: vec![Cell::default(); SHARED], most_keys }
    }
}

impl StateStore for Buckets {
    type Key = Step;

    fn measure_and_replace<T, F, E>(&self, step: &Step, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (Step::Look(key) | Step::Take(key)) = *step;
        let mut own = self.own.borrow_mut();
        let has_room = own.len() < self.most_keys;
        let place = own.get_mut(&key);
        // The key is evenly spread already.
        let shared = &self.shared[key as usize % self.shared.len()];
        let known = match &place {
            Some(place) => Some(**place),
            None => (!has_room).then(|| shared.get()),
        };
        let (outcome, next) = measure(known)?;
        match (step, place) {
            (Step::Look(_), _) => {}
            (Step::Take(_), Some(place)) => *place = next,
            (Step::Take(_), None) if has_room => drop(own.insert(key, next)),
            (Step::Take(_), None) => shared.set(next),
        }
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<Step> for Buckets {
    fn retain_recent(&self, drop_below: Nanos) {
        self.own.borrow_mut().retain(|_, full_again| *full_again > drop_below);
    }

    fn shrink_to_fit(&self) {
        self.own.borrow_mut().shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.own.borrow().len()
    }

    fn is_empty(&self) -> bool {
        self.own.borrow().is_empty()
    }
}

/// Our clock, for `governor`: read once for each request, which asks up to three levels twice.
#[derive(Debug, Clone, Default)]
struct Now(Arc<AtomicU64>);

impl Now {
    /// As the clock shows it from now on.
    fn set(&self, clock: &dyn Clock) -> Nanos {
        let now = Nanos::from(clock.elapsed());
        self.0.store(now.as_u64(), Relaxed);
        now
    }

    fn get(&self) -> Nanos {
        Nanos::new(self.0.load(Relaxed))
    }
}

impl governor::clock::Clock for Now {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.get()
    }
}

/// For keys that are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::HandClock, seal::derive_box_key};

    const SECOND: Duration = Duration::from_secs(1);

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    /// The nth of many sources, each in a network of its own.
    fn stranger(n: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from(n << 8).into())
    }

    fn a_box(n: u8) -> PublicKey {
        derive_box_key(&[n; 48]).unwrap().public()
    }

    fn limiter(most_keys: usize, rates: Rates) -> (Limiter, Arc<HandClock>) {
        let clock = Arc::new(HandClock::at(0));
        (Limiter::remembering(most_keys, rates, clock.clone(), Arc::new(Metrics::new().unwrap())), clock)
    }

    /// How many of `tries` passed, and the last refusal.
    fn passed(tries: u32, attempt: impl Fn() -> Result<(), Refusal>) -> (u32, Option<(String, u32)>) {
        let mut last = None;
        let count = (0..tries).filter(|_| match attempt() {
            Ok(()) => true,
            Err(Refusal::TooOften { detail, retry_after }) => {
                last = Some((detail.into_owned(), retry_after));
                false
            }
            Err(other) => panic!("{other:?}"),
        });
        (count.count() as u32, last)
    }

    fn refusal(detail: &str, retry_after: u32) -> Option<(String, u32)> {
        Some((format!("{detail}; wait as long as retryAfter says"), retry_after))
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (limiter, clock) = limiter(100, Rates { receive: Rate::new(30, 10), ..Rates::OFF });
        let receive = || limiter.receive(source("192.0.2.1"));
        let too_many = "too many receives and deletes from your address";
        assert_eq!(passed(20, receive), (10, refusal(too_many, 2)));
        clock.advance(SECOND / 2);
        assert_eq!(passed(20, receive), (0, refusal(too_many, 2)), "1.5 s are rounded up");
        clock.advance(SECOND);
        assert_eq!(passed(20, receive), (0, refusal(too_many, 1)), "half a second is rounded up");
        clock.advance(SECOND / 2);
        assert_eq!(passed(20, receive), (1, refusal(too_many, 2)));
        clock.advance(SECOND * 7);
        assert_eq!(passed(20, receive), (3, refusal(too_many, 1)));
        clock.advance(SECOND * 3600);
        assert_eq!(passed(20, receive), (10, refusal(too_many, 2)), "no more is saved up than the burst");
        clock.set(-1_000_000_000_000);
        assert_eq!(passed(20, receive), (0, refusal(too_many, 2)), "the time of day does not matter");
    }

    #[test]
    fn a_network_may_8_times_what_a_source_may() {
        let (limiter, clock) = limiter(10_000, Rates { receive: Rate::new(30, 10), ..Rates::OFF });
        for network in ["192.0.2.", "2001:db8:0:"] {
            let neighbour = |n: u32| match network {
                "192.0.2." => source(&format!("192.0.2.{n}")),
                _ => source(&format!("2001:db8:0:{n:x}::1")),
            };
            for n in 1..=8 {
                assert_eq!(passed(20, || limiter.receive(neighbour(n))).0, 10, "{network}{n}");
            }
            // 240 a minute are one in 250 ms, of which the ninth source may use as many as it may alone.
            let ninth = || limiter.receive(neighbour(9));
            let too_many = "too many receives and deletes from your network";
            assert_eq!(passed(20, ninth), (0, refusal(too_many, 1)));
            clock.advance(SECOND);
            assert_eq!(passed(20, ninth), (4, refusal(too_many, 1)));
            clock.advance(SECOND);
            assert_eq!(passed(20, ninth), (4, refusal(too_many, 1)));
            clock.advance(SECOND);
            // What the network refused cost the source nothing: 10 + 1 for the 3 s, less 8.
            assert_eq!(passed(20, ninth).0, 3);
        }
        assert_eq!(passed(20, || limiter.receive(source("198.51.100.1"))).0, 10, "another network");
        assert_eq!(passed(20, || limiter.receive(source("2001:db8:1::1"))).0, 10, "another network");
    }

    #[test]
    fn a_source_that_is_refused_does_not_use_up_its_network() {
        let (limiter, _) = limiter(100, Rates { receive: Rate::new(30, 10), ..Rates::OFF });
        assert_eq!(passed(1_000, || limiter.receive(source("192.0.2.1"))).0, 10);
        assert_eq!(passed(20, || limiter.receive(source("192.0.2.2"))).0, 10);
    }

    #[test]
    fn one_box_from_one_source() {
        let (limiter, clock) = limiter(100, Rates::DEFAULT);
        let (from, other) = (source("192.0.2.1"), source("198.51.100.1"));
        let to_box = "too many sends from your address to this box";
        assert_eq!(passed(20, || limiter.send(from, &a_box(1))), (5, refusal(to_box, 6)));
        assert_eq!(passed(20, || limiter.send(other, &a_box(1))), (5, refusal(to_box, 6)), "another source");
        // What was refused for one box is not lost for others.
        assert_eq!(passed(20, || limiter.send(from, &a_box(2))), (5, refusal(to_box, 6)));
        let any = "too many sends from your address";
        assert_eq!(passed(20, || limiter.send(from, &a_box(3))), (0, refusal(any, 2)));
        // Both refuse: the longer wait counts.
        assert_eq!(passed(20, || limiter.send(from, &a_box(2))), (0, refusal(to_box, 6)));
        clock.advance(SECOND * 6);
        assert_eq!(passed(20, || limiter.send(from, &a_box(1))), (1, refusal(to_box, 6)));
        assert_eq!(passed(20, || limiter.send(from, &a_box(3))), (2, refusal(any, 2)));
    }

    #[test]
    fn each_action_has_its_rate() {
        let (limiter, _) = limiter(1_000, Rates::DEFAULT);
        let from = source("192.0.2.1");
        let key = a_box(1);
        let send = Request::Send { key, ext: None, data: vec![1] };
        let check =
            Request::Check { key, ext: None, at: Default::default(), ask: false, relay: None, wait: 0 };
        let answer = crate::protocol::Answer([0; 56]);
        let receive = Request::Receive { key, ext: None, answer, at: Default::default(), limit: 1 };
        let delete = Request::Delete { key, ext: None, answer, upto: crate::protocol::Upto::All };
        assert_eq!(passed(200, || limiter.admit(from, &send)).0, 5);
        assert_eq!(
            passed(200, || limiter.admit(from, &check)),
            (100, refusal("too many checks from your address", 1))
        );
        assert_eq!(passed(30, || limiter.admit(from, &receive)).0, 30);
        assert_eq!(passed(200, || limiter.admit(from, &delete)).0, 20, "one rate for both");

        let (limiter, _) = self::limiter(1_000, Rates::OFF);
        for request in [&send, &check, &receive, &delete] {
            assert_eq!(passed(5_000, || limiter.admit(from, request)).0, 5_000);
        }
    }

    #[test]
    fn a_check_costs_one_for_each_box() {
        let (limiter, clock) = limiter(100, Rates::DEFAULT);
        let from = source("192.0.2.1");
        assert_eq!(Rates::DEFAULT.most_boxes(), 100);
        assert_eq!(
            passed(5, || limiter.check(from, 60)),
            (1, refusal("too many checks from your address", 2))
        );
        assert_eq!(passed(5, || limiter.check(from, 40)).0, 1);
        assert_eq!(passed(5, || limiter.check(from, 1)).0, 0);
        clock.advance(SECOND);
        assert_eq!(passed(5, || limiter.check(from, 10)).0, 1);

        let few = Rates { check: Rate::new(60, 7), ..Rates::OFF };
        let (limiter, _) = self::limiter(100, few);
        assert_eq!(few.most_boxes(), 7);
        assert_eq!(limiter.check(from, 8), Err(Refusal::bad("a check may name 7 boxes at most")));
        assert_eq!(limiter.check(from, 7), Ok(()));
        assert_eq!(Rates::OFF.most_boxes(), 100);
    }

    fn remembered(limiter: &Limiter) -> usize {
        let levels = limiter.levels.lock().unwrap();
        levels.receive.as_ref().unwrap().source.limiter.len()
    }

    #[test]
    fn those_who_pause_are_forgotten() {
        let (limiter, clock) = limiter(1_000, Rates { receive: Rate::new(60, 5), ..Rates::OFF });
        for n in 0..100 {
            limiter.receive(stranger(n)).unwrap();
        }
        assert_eq!(passed(20, || limiter.receive(stranger(100))).0, 5);
        assert_eq!(remembered(&limiter), 101);
        clock.advance(SECOND * 3);
        limiter.forget_idle();
        assert_eq!(remembered(&limiter), 1, "the one whose bucket is not full");
        assert_eq!(passed(20, || limiter.receive(stranger(100))).0, 3);
        clock.advance(SECOND * 60);
        limiter.forget_idle();
        assert_eq!(remembered(&limiter), 0);
    }

    #[test]
    fn when_it_is_full_newcomers_share() {
        let (limiter, clock) = limiter(50, Rates { receive: Rate::new(60, 5), ..Rates::OFF });
        for n in 0..50 {
            assert_eq!(passed(20, || limiter.receive(stranger(n))).0, 5);
        }
        assert_eq!(remembered(&limiter), 50);
        // 10,000 newcomers want 20 each, and get what 1,024 sources would.
        let newcomers: u32 = (1_000..11_000).map(|n| passed(20, || limiter.receive(stranger(n))).0).sum();
        assert!((5_000..=5_120).contains(&newcomers), "{newcomers}");
        assert_eq!(remembered(&limiter), 50);
        // Those who were there first keep what is theirs, and do not feel it.
        clock.advance(SECOND);
        assert_eq!(passed(20, || limiter.receive(stranger(7))).0, 1);
        assert_eq!(remembered(&limiter), 50);

        // As soon as they pause there is room, without anybody sweeping.
        clock.advance(SECOND * 10);
        assert_eq!(passed(20, || limiter.receive(stranger(20_000))).0, 5);
        assert_eq!(remembered(&limiter), 1);
    }

    #[test]
    fn rates_as_text() {
        assert_eq!("30:10".parse(), Ok(Rate::new(30, 10).unwrap()));
        assert_eq!("60".parse(), Ok(Rate::new(60, 10).unwrap()));
        assert_eq!("1".parse(), Ok(Rate::new(1, 1).unwrap()));
        assert_eq!("1000000:1000000".parse(), Ok(Rate::new(1_000_000, 1_000_000).unwrap()));
        assert_eq!("30:10".parse::<Rate>().unwrap().to_string(), "30:10");
        for wrong in ["", "0", "0:1", "1:0", ":1", "1:", "-1", "1:2:3", "1.5", "1000001", "1:1000001", "on"] {
            assert_eq!(
                wrong.parse::<Rate>(),
                Err("expected PER_MINUTE or PER_MINUTE:BURST, each 1 to 1000000, as 30:10; or off".into()),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_largest_rates_do_not_overflow() {
        for rate in [Rate::new(1_000_000, 1_000_000), Rate::new(1, 1_000_000), Rate::new(1_000_000, 1)] {
            let (limiter, clock) = limiter(100, Rates { receive: rate, ..Rates::OFF });
            for _ in 0..3 {
                assert_eq!(limiter.receive(source("192.0.2.1")), Ok(()));
                clock.advance(SECOND * 86_400 * 365 * 100);
                limiter.forget_idle();
            }
        }
    }
}
