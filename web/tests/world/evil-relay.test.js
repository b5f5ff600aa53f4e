// Seeded runs: two people, a relay that attacks in a mix of ways, in half of the runs an honest one beside it. Whatever it does, no
// app hears of anything that nobody did, no answer is anything else than an answer, and the two reach each other.
//
// CONNECTOID_EVIL_RUNS=100000 makes as many runs as that. (Keys are WebCrypto's: of a seed all is the same but the keys.)

import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import test from 'node:test';
import { ATTACKS, Dishonesty } from './attacks.js';
import { Dice } from './dice.js';
import { MINUTE, NAMES, OTHER, RELAY, SECOND, World } from './world.js';

/** The runs in the test command: a minute on one core. */
const RUNS = 300;

test('whatever the relay does, nobody is deceived and the two reach each other', async () => {
  const runs = Number(process.env.CONNECTOID_EVIL_RUNS ?? RUNS);
  assert.ok(Number.isInteger(runs) && runs > 0, 'CONNECTOID_EVIL_RUNS is a number of runs');
  const report = { runs: 0, sessions: 0, notes: 0, unshared: 0, attacks: new Map(), named: new Map() };
  let next = 0;
  const someOf = async () => {
    while (next < runs) {
      next += 1;
      await (await Run.of(next)).through(report);
      if (report.runs % 1000 === 0) console.log(`${report.runs} of ${runs} runs`);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, someOf));
  // What chance left out gets runs of its own.
  const isMissing = attack =>
    !report.attacks.has(attack) || (attack === 'endless-more' && !report.named.has('no-end'));
  for (const attack of ATTACKS) {
    for (let more = 1; more <= 20 && isMissing(attack); more += 1) {
      await (await Run.of(runs + more, attack)).through(report);
    }
  }
  print(report);
  assert.deepEqual(
    ATTACKS.filter(isMissing),
    [],
    'never took effect, or a list without an end was never called so',
  );
});

function print({ runs, sessions, notes, unshared, attacks, named }) {
  const list = counts =>
    [...counts]
      .sort()
      .map(([name, count]) => `${name} ${count}`)
      .join(', ');
  console.log(`${runs} runs: ${sessions} sessions, ${notes} notes, ${unshared} contacts unshared`);
  console.log(`attacks: ${list(attacks)}`);
  console.log(`named: ${list(named)}`);
}

/** One run. */
class Run {
  static async of(seed, attack = ATTACKS[seed % ATTACKS.length]) {
    const run = new Run();
    run.seed = seed;
    run.dice = new Dice(seed + 3697);
    /** Whether an honest relay is beside the evil one. */
    run.honest = run.dice.coin();
    run.world = new World(seed, 2, run.honest ? [RELAY, OTHER] : [RELAY]);
    run.world.lateCandidates = run.dice.coin();
    run.notesSent = [];
    run.notesTaken = [];
    run.unshared = [false, false];
    // Each attack in its turn, and others beside it.
    const others = Array.from({ length: run.dice.below(5) }, () => run.dice.pick(ATTACKS));
    const mix = [attack, ...others];
    const percent = run.dice.pick([15, 40, 70, 100]);
    run.world.dishonesty = await Dishonesty.of(0, mix, percent, 0, run.dice);
    run.what = `run ${seed}, ${percent} in 100: ${mix.join(', ')}${run.honest ? ', beside an honest one' : ''}`;
    return run;
  }

  async through(report) {
    const link = await this.world.share(0, 'Bob');
    this.attackForAWhile();
    for (const end of [0, 1]) if (this.dice.coin()) await this.world.foreground(end);
    await this.world.connect(1, link, 'Alice');
    await this.reachEachOther([0, 0]);
    // Not every run does everything: what they cost is arithmetic on the curve.
    if (this.dice.coin()) await this.hearNotes();
    if (this.dice.coin()) await this.comeBack();
    if (this.dice.below(3) === 0) await this.unshare();
    await this.judge();
    this.addTo(report);
  }

  /** The evil relay attacks from now on for seconds or minutes. */
  attackForAWhile() {
    this.attackedUntil = this.world.now + this.dice.pick([5, 30, 90, 300]) * SECOND;
    this.world.dishonesty.until = this.world.micros(this.attackedUntil);
  }

  /** Both are told of a session more than before, soon: with an honest relay whatever the other does. */
  async reachEachOther(before) {
    // Offers are made after 0, 5 and 15 minutes, and a relay that wants peace gets ten.
    const soon = this.honest ? 7 * MINUTE : Math.max(this.attackedUntil - this.world.now, 0) + 16 * MINUTE;
    const reached = await this.world.run(soon, () =>
      [0, 1].every(end => this.world.connected(end) > before[end]),
    );
    assert.ok(reached, `they do not reach each other: ${this.what} ${this.world.story()}`);
  }

  /** Some notes either way, while the attack goes on. */
  async hearNotes() {
    for (let number = this.dice.between(1, 4); number > 0; number -= 1) {
      const end = this.dice.below(2);
      const note = `a note to ${NAMES[end]}, number ${number}`;
      await this.world.note(end, note);
      this.notesSent.push(note);
    }
    await this.world.pass(this.dice.between(1, 120) * SECOND);
  }

  /** Disconnected by either, connected again by either. */
  async comeBack() {
    await this.world.disconnect(this.dice.below(2));
    await this.world.pass(SECOND);
    this.attackForAWhile();
    const before = [0, 1].map(end => this.world.connected(end));
    await this.world.reconnect(this.dice.below(2));
    await this.reachEachOther(before);
  }

  /** One ends it; the other hears of it at last with the second goodbye, an hour later. */
  async unshare() {
    this.attackForAWhile();
    const end = this.dice.below(2);
    await this.world.unshare(end);
    this.unshared[end] = true;
    const told = await this.world.run(
      75 * MINUTE,
      () => this.world.told(1 - end, 'unshared', { by: 'peer' }) === 1,
    );
    assert.ok(told, `it is not told: ${this.what} ${this.world.story()}`);
    await this.world.pass(2 * MINUTE);
    for (const { disk } of this.world.ends) assert.equal(disk.contacts.size, 0, this.what);
  }

  /** Nothing was told that nobody did, and nothing twice. */
  async judge() {
    const { world, what } = this;
    for (const end of [0, 1]) this.notesTaken.push(...(await world.takeNotes(end)));
    assert.equal(new Set(this.notesTaken).size, this.notesTaken.length, `a note twice: ${what}`);
    for (const note of this.notesTaken) assert.ok(this.notesSent.includes(note), `${note}: ${what}`);
    for (const { end, event } of world.events) {
      if (event.type === 'unshared') assert.ok(this.unshared[event.by === 'own' ? end : 1 - end], what);
      const never = ['alarm', 'link-used', 'declined', 'gave-up', 'link-expired'];
      assert.ok(!never.includes(event.type), `${event.type}: ${what} ${world.story()}`);
    }
    for (const end of [0, 1]) {
      assert.equal(world.told(end, 'claimed'), 1 - end, what);
      assert.ok(world.told(end, 'unshared') <= 1, what);
    }
    this.judgeSessions();
    assert.deepEqual(world.leaks, [], `answered what is no question of this relay: ${what}`);
    assert.deepEqual(world.unnamed, [], `misbehaviour without a name: ${what}`);
  }

  /** Each session is one with the other person, told once, with the same string on both sides. */
  judgeSessions() {
    const { joined, events } = this.world;
    assert.equal(new Set(joined.map(({ own }) => own.id)).size, joined.length, this.what);
    for (const { own, other } of joined) assert.equal(other?.end, 1 - own.end, this.what);
    const connected = events.map(({ event }) => event).filter(({ type }) => type === 'connected');
    for (const { sas, mayExchange } of connected) {
      assert.deepEqual(sas.bytes, connected[0].sas.bytes, this.what);
      assert.ok(mayExchange, this.what);
    }
  }

  addTo(report) {
    const count = (counts, name, by) => counts.set(name, (counts.get(name) ?? 0) + by);
    report.runs += 1;
    report.sessions += this.world.connected(0);
    report.notes += this.notesTaken.length;
    report.unshared += this.unshared.filter(Boolean).length;
    for (const [attack, times] of this.world.dishonesty.counts) count(report.attacks, attack, times);
    for (const { event } of this.world.events) {
      if (event.type === 'misbehaves') count(report.named, event.what, 1);
    }
  }
}
