//! Seeded runs: two people, a relay that attacks in a mix of ways, in half of the runs an honest one beside it. Whatever it
//! does, no app hears of anything that nobody did, no answer is anything else than an answer, and the two reach each other.
//!
//! `scripts/evil-relay` runs as many as one likes.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    super::{Event, Side},
    attacks::{Attack, Dishonesty, micros},
    world::{MINUTE, NAMES, World},
};
use crate::client::exchange::Misbehaviour;

const EVIL: &str = "https://one.example";
const HONEST: &str = "https://two.example";
/// The runs in the test command.
const RUNS: u64 = 2000;

/// Runs beyond those that once broke a rule.
const ONCE_BROKEN: [u64; 2] = [18_565, 88_568];

#[test]
fn whatever_the_relay_does_nobody_is_deceived_and_the_two_reach_each_other() {
    let asked = std::env::var("CONNECTOID_EVIL_RUNS").ok();
    let runs = asked.map_or(RUNS, |runs| runs.parse().expect("CONNECTOID_EVIL_RUNS is a number"));
    for seed in ONCE_BROKEN {
        Run::new(seed).through(&mut Report::default());
    }
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let report = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| some_of(runs, &next))).collect();
        let reports = threads.into_iter().map(|thread| thread.join().unwrap());
        reports.fold(Report::default(), Report::and)
    });
    println!("{}", report.text());
    for attack in Attack::ALL {
        assert!(report.attacks.get(&attack).is_some_and(|count| *count > 0), "{attack:?} never took effect");
    }
    assert!(report.named.contains_key("NoEnd"), "{:?}", report.named);
}

/// Takes run after run until all are taken.
fn some_of(runs: u64, next: &AtomicU64) -> Report {
    let mut report = Report::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= runs {
            return report;
        }
        if seed > 0 && seed.is_multiple_of(1000) {
            eprintln!("{seed} of {runs} runs");
        }
        Run::new(seed).through(&mut report);
    }
}

/// What all runs together did.
#[derive(Default)]
struct Report {
    runs: u64,
    attacks: BTreeMap<Attack, u64>,
    named: BTreeMap<String, u64>,
    sessions: u64,
    notes: u64,
    unshared: u64,
}

impl Report {
    fn and(mut self, other: Self) -> Self {
        self.runs += other.runs;
        self.sessions += other.sessions;
        self.notes += other.notes;
        self.unshared += other.unshared;
        for (attack, count) in other.attacks {
            *self.attacks.entry(attack).or_default() += count;
        }
        for (name, count) in other.named {
            *self.named.entry(name).or_default() += count;
        }
        self
    }

    fn text(&self) -> String {
        let Self { runs, sessions, notes, unshared, .. } = self;
        let mut text =
            format!("{runs} runs: {sessions} sessions, {notes} notes, {unshared} contacts unshared\n");
        for (attack, count) in &self.attacks {
            text += &format!("attack {attack:?} {count}\n");
        }
        for (name, count) in &self.named {
            text += &format!("named {name} {count}\n");
        }
        text
    }
}

/// One run.
struct Run {
    seed: u64,
    world: World,
    dice: StdRng,
    /// Whether an honest relay is beside the evil one.
    honest: bool,
    notes_sent: Vec<String>,
    notes_taken: Vec<String>,
    unshared: [bool; 2],
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed ^ 0xE71);
        let honest = dice.random();
        let relays: &[&str] = if honest { &[EVIL, HONEST] } else { &[EVIL] };
        let (world, notes_sent, notes_taken) = (World::new(seed, 2, relays), Vec::new(), Vec::new());
        let mut this = Self { seed, world, dice, honest, notes_sent, notes_taken, unshared: [false; 2] };
        let mix = (0..this.dice.random_range(1..6)).map(|_| *Attack::ALL.choose(&mut this.dice).unwrap());
        let (mix, percent) = (mix.collect(), *[15, 40, 70, 100].choose(&mut this.dice).unwrap());
        this.world.dishonesty = Some(Dishonesty::new(0, mix, percent, 0, &mut this.dice));
        this
    }

    fn through(mut self, report: &mut Report) {
        let link = self.world.share(0, "Bob");
        self.attack_for_a_while();
        for end in [0, 1] {
            if self.dice.random() {
                self.world.foreground(end);
            }
        }
        self.world.connect(1, &link, "Alice");
        self.reach_each_other([0, 0]);
        // Not every run does everything: what they cost is arithmetic on the curve.
        if self.dice.random_range(0..2) == 0 {
            self.hear_notes();
        }
        if self.dice.random_range(0..2) == 0 {
            self.come_back();
        }
        if self.dice.random_range(0..3) == 0 {
            self.unshare();
        }
        self.judge();
        self.report(report);
    }

    /// The evil relay attacks from now on for seconds or minutes.
    fn attack_for_a_while(&mut self) {
        let seconds = *[5, 30, 90, 300].choose(&mut self.dice).unwrap();
        let until = self.world.now + Duration::from_secs(seconds);
        self.world.dishonesty.as_mut().unwrap().until = micros(until);
    }

    fn attacked_until(&self) -> Duration {
        let until = self.world.dishonesty.as_ref().unwrap().until;
        Duration::from_micros(u64::try_from(until - micros(Duration::ZERO)).unwrap())
    }

    /// Both are told of a session more than before, soon: with an honest relay whatever the other does.
    fn reach_each_other(&mut self, before: [usize; 2]) {
        // Offers are made after 0, 5 and 15 minutes, and a relay that wants peace gets ten.
        let soon = if self.honest {
            7 * MINUTE
        } else {
            self.attacked_until().saturating_sub(self.world.now) + 16 * MINUTE
        };
        let reached =
            self.world.run(soon, |world| [0, 1].iter().all(|end| world.connected(*end) > before[*end]));
        assert!(reached, "run {}: {:#?}", self.seed, self.world.events);
    }

    /// Some notes either way, while the attack goes on.
    fn hear_notes(&mut self) {
        for number in 0..self.dice.random_range(1..4) {
            let end = self.dice.random_range(0..2);
            let note = format!("a note of {}, number {number}", 1 - end);
            self.world.note(end, NAMES[end], &note);
            self.notes_sent.push(note);
        }
        self.world.pass(Duration::from_secs(self.dice.random_range(1..120)));
    }

    /// Disconnected by either, connected again by either.
    fn come_back(&mut self) {
        let end = self.dice.random_range(0..2);
        self.world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
        self.world.pass(Duration::from_secs(1));
        self.attack_for_a_while();
        let before = [self.world.connected(0), self.world.connected(1)];
        let end = self.dice.random_range(0..2);
        self.world.call(end, |sessions, turn| sessions.reconnect(turn, NAMES[end])).unwrap();
        self.reach_each_other(before);
    }

    /// One ends it; the other hears of it at last with the second goodbye, an hour later.
    fn unshare(&mut self) {
        self.attack_for_a_while();
        let end = self.dice.random_range(0..2);
        self.world.call(end, |sessions, turn| sessions.unshare(turn, NAMES[end])).unwrap();
        self.unshared[end] = true;
        let told = |world: &World| {
            world.told(1 - end, |event| matches!(event, Event::Unshared { by: Side::Peer, .. })) == 1
        };
        assert!(self.world.run(75 * MINUTE, told), "run {}: {:#?}", self.seed, self.world.events);
        self.world.pass(2 * MINUTE);
        assert!(
            self.world.ends[0].disk.is_empty() && self.world.ends[1].disk.is_empty(),
            "run {}",
            self.seed
        );
    }

    /// Nothing was told that nobody did, and nothing twice.
    fn judge(&mut self) {
        let seed = self.seed;
        for end in [0, 1] {
            let notes = self.world.take_notes(end, NAMES[end]);
            self.notes_taken.extend(notes.into_iter().map(|note| String::from_utf8(note.note).unwrap()));
        }
        for note in &self.notes_taken {
            assert!(self.notes_sent.contains(note), "run {seed}: {note}");
            let times = self.notes_taken.iter().filter(|taken| *taken == note).count();
            assert_eq!(times, 1, "run {seed}: {note}");
        }
        for (_, end, event) in &self.world.events {
            match event {
                Event::Unshared { by: Side::Peer, .. } => assert!(self.unshared[1 - end], "run {seed}"),
                Event::Unshared { by: Side::Own, .. } => assert!(self.unshared[*end], "run {seed}"),
                Event::Alarm { .. }
                | Event::LinkUsed { .. }
                | Event::Declined { .. }
                | Event::GaveUp { .. }
                | Event::LinkExpired { .. } => panic!("run {seed}: {event:?}"),
                _ => {}
            }
        }
        for end in [0, 1] {
            let claimed = self.world.told(end, |event| matches!(event, Event::Claimed { .. }));
            assert_eq!(claimed, 1 - end, "run {seed}: {end} {:#?}", self.world.events);
            let unshared = self.world.told(end, |event| matches!(event, Event::Unshared { .. }));
            assert!(unshared <= 1, "run {seed}");
        }
        self.judge_sessions();
        assert_eq!(self.world.leaks.len(), 0, "run {seed}: answered what is no question of this relay");
        assert_eq!(self.world.unnamed, [], "run {seed}: misbehaviour without a name");
    }

    /// Each session is one with the other person, told once, with the same string on both sides.
    fn judge_sessions(&self) {
        let seed = self.seed;
        for (index, (own, other)) in self.world.joined.iter().enumerate() {
            assert!(self.world.joined[..index].iter().all(|(before, _)| before != own), "run {seed}");
            assert_eq!(other.map(|(end, _)| end), Some(1 - own.0), "run {seed}");
        }
        let strings = self.world.events.iter().filter_map(|(.., event)| match event {
            Event::Connected { sas, may_exchange, .. } => Some((*sas, *may_exchange)),
            _ => None,
        });
        let strings: Vec<_> = strings.collect();
        assert!(strings.iter().all(|(sas, may)| *sas == strings[0].0 && *may), "run {seed}");
    }

    fn report(&self, report: &mut Report) {
        report.runs += 1;
        report.sessions += self.world.connected(0) as u64;
        report.notes += self.notes_taken.len() as u64;
        report.unshared += self.unshared.iter().filter(|unshared| **unshared).count() as u64;
        for (attack, count) in &self.world.dishonesty.as_ref().unwrap().counts {
            *report.attacks.entry(*attack).or_default() += count;
        }
        for (.., event) in &self.world.events {
            if let Event::Misbehaves { what, .. } = event {
                let name = match what {
                    Misbehaviour::Status(_) => "Status".into(),
                    Misbehaviour::Redirect(_) => "Redirect".into(),
                    other => format!("{other:?}"),
                };
                *report.named.entry(name).or_default() += 1;
            }
        }
    }
}
