// The app behind the screen: two and three people with one list, over a real relay and peer connections that are not.

import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { IDBFactory } from 'fake-indexeddb';
import { serve } from '../relay.js';
import { network, settled } from './channels.js';
import { frail } from './disk.js';
import model from './load.js';

const { Client, ConnectoidError, List, keeper, load, memory, openApp, routeOf } = model;

const options = { timeout: 60_000 };
const PAGE = 'https://relay.example/demo/';

/** The people of one test: a relay and a network for all. */
async function people(test) {
  const devices = [];
  // Before the relay, which would wait for what they ask.
  test.after(() => Promise.all(devices.map(({ app }) => app?.close())));
  const relay = await serve(test);
  const webrtc = network();
  const person = name => {
    const device = new Device({ name, relay, webrtc });
    devices.push(device);
    return device;
  };
  /** Closes something with them. */
  person.after = app => devices.push({ app });
  return person;
}

/** A device of somebody, on which the app is opened and closed. */
class Device {
  storage = memory();
  indexedDB = new IDBFactory();
  reloads = 0;

  constructor(people) {
    Object.assign(this, people);
  }

  async open(more = {}) {
    const { relay, webrtc, storage, indexedDB } = this;
    this.app = await openApp({
      page: `${PAGE}#/`,
      relay,
      stun: '',
      indexedDB,
      client: { storage, webrtc, foreground: true, ...more },
      reload: () => {
        this.reloads += 1;
      },
    });
    if (!this.app.view().me && this.app.view().isActive) this.app.callMe(this.name);
    return this.app;
  }

  async close() {
    await this.app.close();
    this.app = undefined;
  }

  get view() {
    return this.app.view();
  }

  list(id) {
    return this.view.lists.find(list => list.id === id);
  }

  texts(id) {
    return this.list(id)?.items.map(({ text, done }) => (done ? `${text}*` : text));
  }

  person(id, name) {
    return this.list(id)?.people.find(person => person.name === name);
  }

  /** Once it is so. */
  until(holds) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(Error(`not in time: ${holds}\n${JSON.stringify(this.view)}`)),
        15_000,
      );
      const look = () => {
        if (holds(this)) {
          clearTimeout(late);
          leave();
          resolve();
        }
      };
      const leave = this.app.subscribe(look);
      look();
    });
  }
}

const invitationOf = link => routeOf(link).invitation;

/** Alice has a list with two entries, which Bob joined. */
async function together(test) {
  const person = await people(test);
  const [alice, bob] = [person('Alice'), person('Bob')];
  await alice.open();
  await bob.open();
  const id = alice.app.makeList('Home');
  alice.app.add(id, 'Milk');
  alice.app.add(id, 'Bread');
  const link = await alice.app.share(id, 'Bob');
  await bob.app.join(invitationOf(link));
  await bob.until(() => bob.texts(id)?.length === 2);
  return { alice, bob, id, link, person };
}

/** A lock that the tabs of one browser share. */
function tabLock() {
  let holder;
  const line = [];
  const next = () => {
    holder = line.shift();
    holder?.grant();
  };
  return {
    request: (take, asked, signal) =>
      new Promise((resolve, reject) => {
        const me = { asked, grant: () => resolve(next) };
        signal.onabort = () => {
          if (line.includes(me)) line.splice(line.indexOf(me), 1);
          reject(signal.reason);
        };
        line.push(me);
        if (!holder) next();
        else if (take) holder.asked();
      }),
  };
}

// Side by side: they wait for the relay, most of the time.
suite('the app behind the screen', { concurrency: 6 }, () => {
  test('one person alone', options, async t => {
    const alice = (await people(t))('Alice');
    const app = await alice.open();
    await alice.until(({ view }) => view.me === 'Alice');
    let seen = 0;
    const leave = app.subscribe(() => {
      seen += 1;
    });
    const home = app.makeList(' Home ');
    const other = app.makeList(' ');
    const milk = app.add(home, 'Milk');
    const bread = app.add(home, 'Bread');
    // Seen at once.
    assert.deepEqual(alice.texts(home), ['Milk', 'Bread']);
    app.tick(home, milk, true);
    app.edit(home, bread, 'Rye bread');
    app.move(home, bread, milk);
    app.renameList(home, 'Party');
    assert.deepEqual(alice.view, {
      isActive: true,
      me: 'Alice',
      relay: alice.relay,
      lists: [
        {
          id: home,
          name: 'Party',
          items: [
            { id: bread, text: 'Rye bread', done: false },
            { id: milk, text: 'Milk', done: true },
          ],
          hidden: 0,
          people: [],
          isAwaited: false,
        },
        { id: other, name: 'List', items: [], hidden: 0, people: [], isAwaited: false },
      ],
      alarms: [],
      news: [],
      relayDown: undefined,
      stun: '',
      notStored: false,
      deleted: false,
    });
    assert.equal(seen, 0);
    await null;
    assert.equal(seen, 1);

    const [before] = [alice.view];
    assert.equal(alice.view, before);
    app.add(other, 'Tea');
    assert.notEqual(alice.view, before);
    assert.equal(alice.view.lists[0], before.lists[0]);
    assert.notEqual(alice.view.lists[1], before.lists[1]);
    leave();
    app.remove(home, [milk]);
    assert.deepEqual(alice.texts(home), ['Rye bread']);
    app.restore(home, [milk]);
    await null;
    assert.equal(seen, 1);
    assert.throws(() => app.add('nothing', 'x'), { message: 'no such list' });

    const last = alice.view;
    await alice.close();
    await alice.open();
    assert.deepEqual(alice.view, last);
    await alice.app.deleteList(home);
    await alice.close();
    await alice.open();
    assert.deepEqual(
      alice.view.lists.map(({ name }) => name),
      ['List'],
    );
  });

  test('two share a list by one link', options, async t => {
    const person = await people(t);
    const [alice, bob] = [person('Alice'), person('Bob')];
    await alice.open();
    await bob.open();
    const id = alice.app.makeList('Käse/Brot');
    alice.app.add(id, 'Milk');
    await assert.rejects(alice.app.share(id, ' '), { code: 'no-name' });
    const link = await alice.app.share(id, ' Bob ');
    assert.ok(link.startsWith(`${PAGE}#/join/${id}/K%C3%A4se%2FBrot/Alice?connectoid=`), link);
    await assert.rejects(alice.app.share(id, 'Bob'), { code: 'name-taken' });
    await assert.rejects(alice.app.share(id, 'bob'), { code: 'name-taken' });
    const waiting = alice.person(id, 'Bob');
    assert.deepEqual([waiting.state, waiting.link, waiting.contact], ['waiting', link, `${id}/Bob`]);
    assert.ok(waiting.expires > Date.now());
    assert.equal(link, `${PAGE}#/join/${id}/K%C3%A4se%2FBrot/Alice?connectoid=${waiting.connectoid}`);
    // Another name of the list is another link to it, with the same in it.
    alice.app.renameList(id, 'Home');
    assert.notEqual(alice.person(id, 'Bob').link, link);
    assert.equal(alice.person(id, 'Bob').connectoid, waiting.connectoid);
    alice.app.renameList(id, 'Käse/Brot');
    await assert.rejects(alice.app.join(invitationOf(link)), { code: 'own-link' });
    assert.equal(alice.view.lists.length, 1);

    assert.equal(await bob.app.join(invitationOf(link)), id);
    // Before anything of it came it is called as the link says.
    assert.deepEqual([bob.list(id).name, bob.list(id).isAwaited], ['Käse/Brot', true]);
    await bob.until(() => bob.texts(id)[0] === 'Milk');
    assert.equal(bob.list(id).isAwaited, false);
    await alice.until(() => alice.person(id, 'Bob')?.ownName === 'Bob');
    const { state, mustVerify, verification, trouble } = alice.person(id, 'Bob');
    assert.deepEqual(
      [state, mustVerify, verification, trouble],
      ['connected', false, 'unverified', undefined],
    );
    assert.equal(alice.person(id, 'Bob').link, undefined);
    assert.equal(alice.person(id, 'Bob').connectoid, undefined);
    assert.deepEqual(alice.person(id, 'Bob').sas, bob.person(id, 'Alice').sas);
    const same = alice.view;
    assert.equal(alice.view, same);

    // Again, as in a page that is loaded again, and by another name: it is the same.
    assert.equal(await bob.app.join(invitationOf(link)), id);
    assert.equal(await bob.app.join({ ...invitationOf(link), from: 'Anna' }), id);
    assert.equal(bob.list(id).people.length, 1);

    bob.app.add(id, 'Bread');
    await alice.until(() => alice.texts(id)[1] === 'Bread');
    alice.app.tick(id, alice.list(id).items[1].id, true);
    bob.app.renameList(id, 'Home');
    await bob.until(() => bob.texts(id)[1] === 'Bread*');
    await alice.until(() => alice.list(id).name === 'Home');

    const name = 'A. B.';
    await alice.app.rename(`${id}/Bob`, name);
    assert.equal(alice.person(id, 'Bob'), undefined);
    assert.equal(alice.person(id, name).ownName, 'Bob');
    bob.app.add(id, 'Eggs');
    await alice.until(() => alice.texts(id)[2] === 'Eggs');
    await assert.rejects(alice.app.rename(`${id}/${name}`, ''), { code: 'no-name' });
    await alice.app.share(id, 'Carol');
    await assert.rejects(alice.app.rename(`${id}/Carol`, 'a. b.'), { code: 'name-taken' });
    await alice.app.rename(`${id}/Carol`, 'carol');
  });

  test('a used link opens its own list and no other one', options, async t => {
    const { bob, id, link } = await together(t);
    const other = bob.app.makeList('Party');
    await bob.app.share(other, 'Carol');
    await assert.rejects(bob.app.join({ ...invitationOf(link), list: other }), { code: 'link-taken' });
    assert.deepEqual(
      bob.list(other).people.map(({ name }) => name),
      ['Carol'],
    );
    await bob.app.rename(`${id}/Alice`, 'Al');
    assert.equal(await bob.app.join(invitationOf(link)), id);
  });

  test('what relays store for the people of one list', options, async t => {
    const alice = (await people(t))('Alice');
    await alice.open();
    const [home, party] = [alice.app.makeList('Home'), alice.app.makeList('Party')];
    await alice.app.share(home, 'Bob');
    await alice.app.share(home, 'Carol');
    await alice.app.share(party, 'Bob');
    const { signal } = new AbortController();
    const contactsOf = async list => [
      ...new Set((await alice.app.inspect(list, signal)).map(({ contact }) => contact)),
    ];
    assert.deepEqual(await contactsOf(home), [`${home}/Bob`, `${home}/Carol`]);
    assert.equal((await contactsOf(undefined)).length, 3);
    await assert.rejects(alice.app.inspect(home, AbortSignal.abort(Error('enough'))), { message: 'enough' });
    assert.deepEqual(await contactsOf('nothing'), []);
  });

  test('a conversation that ended begins again', options, async t => {
    const { alice, bob, id } = await together(t);
    const flow = () =>
      Promise.all([
        alice.until(() => alice.person(id, 'Bob').flows),
        bob.until(() => bob.person(id, 'Alice').flows),
      ]);
    const open = () =>
      alice.webrtc.channels.filter(({ label, readyState }) => label === 'list' && readyState === 'open');
    const stop = async () => {
      open()[0].close();
      await settled();
      assert.deepEqual([alice.person(id, 'Bob').flows, bob.person(id, 'Alice').flows], [false, false]);
      assert.equal(alice.person(id, 'Bob').state, 'connected');
    };
    await flow();
    // By itself, later each time.
    const before = Date.now();
    await stop();
    alice.app.add(id, 'Eggs');
    await bob.until(() => bob.texts(id).length === 3);
    assert.ok(Date.now() - before >= 990);
    // At once, as either side asks; and once.
    for (const [one, name] of [
      [alice, 'Bob'],
      [bob, 'Alice'],
    ]) {
      await flow();
      await stop();
      const asked = Date.now();
      await one.app.reconnect(`${id}/${name}`);
      await flow();
      assert.ok(Date.now() - asked < 900);
      await one.app.reconnect(`${id}/${name}`);
      await settled();
      assert.equal(open().length, 1);
    }
    bob.app.add(id, 'Tea');
    await alice.until(() => alice.texts(id).length === 4);
  });

  test('who sends what is no list is not talked to again, unless somebody asks', options, async t => {
    const person = await people(t);
    const alice = person('Alice');
    await alice.open();
    const channels = [];
    const { relay, webrtc } = alice;
    const mallory = await Client.open({
      relays: [relay],
      webrtc,
      storage: memory(),
      foreground: true,
      on: { channel: ({ channel }) => channels.push(channel) },
    });
    person.after(mallory);
    const list = 'AAECAwQFBgcICQoLDA0ODw';
    const link = await mallory.share('Alice', { url: `${PAGE}#/join/${list}/Home/Mallory` });
    await alice.app.join(invitationOf(link));
    const trouble = () => alice.person(list, 'Mallory').trouble;
    const came = async count => {
      const late = Date.now() + 15_000;
      while (channels.length < count && Date.now() < late) await new Promise(done => setTimeout(done, 10));
      await settled();
      assert.equal(channels.length, count);
    };
    await came(1);
    channels[0].send('rubbish');
    await alice.until(() => trouble() === 'no-list');
    assert.equal(alice.person(list, 'Mallory').flows, false);
    await new Promise(done => setTimeout(done, 1500));
    assert.equal(channels.length, 1);
    await alice.app.reconnect(`${list}/Mallory`);
    assert.equal(trouble(), undefined);
    await came(2);
    // Who only closes it is talked to again, and later each time.
    const before = Date.now();
    channels[1].close();
    await came(3);
    channels[2].close();
    await came(4);
    assert.ok(Date.now() - before >= 2990);
    // Four conversations at a time, of which she began one.
    const more = await Promise.all([1, 2, 3, 4, 5].map(() => mallory.open('Alice', 'list')));
    await settled();
    assert.deepEqual(
      more.map(({ readyState }) => readyState),
      ['open', 'open', 'open', 'closed', 'closed'],
    );
    // What was wrong is forgotten when they are connected anew.
    channels[3].send('rubbish');
    await alice.until(() => trouble() === 'no-list');
    await mallory.disconnect('Alice');
    await alice.until(() => alice.person(list, 'Mallory').state !== 'connected');
    assert.equal(trouble(), 'no-list');
    await mallory.reconnect('Alice');
    await alice.until(() => alice.person(list, 'Mallory').state === 'connected');
    assert.equal(trouble(), undefined);
  });

  test('what both did while apart is merged', options, async t => {
    const { alice, bob, id } = await together(t);
    await bob.close();
    await alice.until(() => alice.person(id, 'Bob').state !== 'connected');
    const [milk, bread] = alice.list(id).items;
    alice.app.edit(id, milk.id, 'Oat milk');
    alice.app.remove(id, [bread.id]);
    await alice.close();
    await bob.open();
    assert.deepEqual(bob.texts(id), ['Milk', 'Bread']);
    bob.app.edit(id, milk.id, 'Milk, 2 l');
    bob.app.add(id, 'Eggs');
    await alice.open();
    assert.deepEqual(alice.texts(id), ['Oat milk']);
    await alice.until(() => alice.texts(id).length === 2);
    await bob.until(() => bob.texts(id).length === 2);
    for (const one of [alice, bob]) assert.deepEqual(one.texts(id), ['Oat milk, 2 l', 'Eggs']);
    // And goes on.
    bob.app.tick(id, milk.id, true);
    await alice.until(() => alice.texts(id)[0] === 'Oat milk, 2 l*');
  });

  test('three in one list', options, async t => {
    const { alice, bob, id, person } = await together(t);
    const carol = person('Carol');
    await carol.open();
    // She is invited by Bob: Alice’s changes come through him.
    await carol.app.join(invitationOf(await bob.app.share(id, 'Carol')));
    await carol.until(() => carol.texts(id)?.length === 2);
    carol.app.add(id, 'Eggs');
    await alice.until(() => alice.texts(id)[2] === 'Eggs');
    alice.app.tick(id, alice.list(id).items[2].id, true);
    await carol.until(() => carol.texts(id)[2] === 'Eggs*');
    // And by Alice, who calls herself like Bob: it is the same list, and two people.
    alice.app.callMe('Bob');
    assert.equal(await carol.app.join(invitationOf(await alice.app.share(id, 'Carol'))), id);
    await carol.until(() => carol.list(id).people.every(({ state }) => state === 'connected'));
    assert.deepEqual(
      carol.list(id).people.map(({ name }) => name),
      ['Bob', 'Bob 2'],
    );
    await bob.close();
    alice.app.add(id, 'Tea');
    await carol.until(() => carol.texts(id)[3] === 'Tea');
  });

  test('who ends it keeps the list, and the other hears of it', options, async t => {
    const { alice, bob, id } = await together(t);
    await alice.app.unshare(`${id}/Bob`);
    assert.deepEqual(alice.list(id).people, []);
    assert.deepEqual(alice.view.news, []);
    await bob.until(({ view }) => view.news.length === 1);
    const [news] = bob.view.news;
    assert.deepEqual(news, { id: news.id, news: 'unshared', list: id, name: 'Alice' });
    bob.app.hear(news.id);
    assert.deepEqual(bob.view.news, []);
    await bob.until(() => bob.list(id).people.length === 0);
    bob.app.add(id, 'Eggs');
    assert.deepEqual(alice.texts(id), ['Milk', 'Bread']);
    assert.deepEqual(bob.texts(id), ['Milk', 'Bread', 'Eggs']);
  });

  test('who deletes a list ends it with everybody', options, async t => {
    const { alice, bob, id } = await together(t);
    const deleted = alice.app.deleteList(id);
    assert.deepEqual(alice.view.lists, []);
    await deleted;
    await bob.until(({ view }) => view.news.length === 1);
    assert.deepEqual(bob.texts(id), ['Milk', 'Bread']);
    assert.deepEqual((await load(alice.indexedDB)).lists, []);
  });

  test('a list that was being deleted when the app ended is deleted at the next start', options, async t => {
    const { alice, bob, id } = await together(t);
    await alice.close();
    const remains = { id, made: 0, name: '', state: new Uint8Array(), leaving: true };
    const keep = keeper(
      alice.indexedDB,
      [id],
      () => remains,
      () => '',
      () => {},
    );
    keep.changed(id);
    await keep.close();
    await alice.open();
    assert.deepEqual(alice.view.lists, []);
    await bob.until(({ view }) => view.news.length === 1);
    while ((await load(alice.indexedDB)).lists.length) await new Promise(setImmediate);
  });

  test('a list that is deleted while the connection is being made', options, async t => {
    const person = await people(t);
    const [alice, bob] = [person('Alice'), person('Bob')];
    await alice.open();
    await bob.open();
    const id = alice.app.makeList('Home');
    await bob.app.join(invitationOf(await alice.app.share(id, 'Bob')));
    await Promise.all([bob.app.deleteList(id), alice.app.deleteList(id)]);
    assert.deepEqual([alice.view.lists, bob.view.lists], [[], []]);
  });

  test('a contact without its list gets it back from the other side', options, async t => {
    const { bob, id } = await together(t);
    await bob.close();
    bob.indexedDB = new IDBFactory();
    await bob.open();
    assert.equal(bob.list(id).isAwaited, true);
    await bob.until(() => bob.texts(id).length === 2);
    assert.equal(bob.list(id).name, 'Home');
  });

  test('nothing is awaited from nobody, and a list has a name', options, async t => {
    const { alice, bob, id } = await together(t);
    await bob.close();
    await alice.close();
    bob.indexedDB = new IDBFactory();
    await bob.open();
    assert.deepEqual([bob.list(id).isAwaited, bob.list(id).name], [true, 'A list']);
    await bob.app.unshare(`${id}/Alice`);
    assert.deepEqual([bob.list(id).isAwaited, bob.list(id).name], [false, 'A list']);
    // What was undone after the list was deleted.
    await bob.app.deleteList(id);
    bob.app.restore(id, ['x']);
  });

  test('a list that cannot be read any more comes back, too', options, async t => {
    const { bob, id } = await together(t);
    await bob.close();
    const keep = keeper(
      bob.indexedDB,
      [id],
      () => ({ id, made: 1, name: 'Home', state: Uint8Array.of(255, 255, 255) }),
      () => 'Bob',
      () => {},
    );
    keep.changed(id);
    await keep.close();
    await bob.open();
    await bob.until(() => bob.texts(id).length === 2);
  });

  test('a link whose list was changed on its way brings nothing', options, async t => {
    const person = await people(t);
    const [alice, bob] = [person('Alice'), person('Bob')];
    await alice.open();
    await bob.open();
    const id = alice.app.makeList('Home');
    alice.app.add(id, 'Milk');
    const link = await alice.app.share(id, 'Bob');
    const other = new List('x').id.padEnd(22, 'x');
    await bob.app.join({ ...invitationOf(link), list: other });
    // Bob’s offer was taken: he begins, and Alice sees what he means.
    await alice.until(() => alice.person(id, 'Bob').trouble === 'wrong-list');
    assert.deepEqual(bob.texts(other), []);
  });

  test('a link that leads nowhere leaves no list', options, async t => {
    const bob = (await people(t))('Bob');
    await bob.open();
    const list = 'AAECAwQFBgcICQoLDA0ODw';
    const link = `${PAGE}#/join/${list}/Home/Alice?connectoid=A`;
    await assert.rejects(bob.app.join({ list, listName: 'Home', from: 'Alice', link }), { code: 'bad-link' });
    assert.deepEqual(bob.view.lists, []);
  });

  test('who must compare first gets the list after it, also under another name', options, async t => {
    const person = await people(t);
    const [alice, bob] = [person('Alice'), person('Bob')];
    await alice.open();
    await bob.open();
    const id = alice.app.makeList('Home');
    alice.app.add(id, 'Milk');
    const link = await alice.app.share(id, 'Bob');
    // A server saw it.
    const seen = link.replace(/#.*\?/, '?');
    await bob.app.join({ ...invitationOf(link), link: seen });
    await bob.until(() => bob.person(id, 'Alice').state === 'connected');
    assert.equal(bob.person(id, 'Alice').mustVerify, true);
    await bob.app.rename(`${id}/Alice`, 'Al');
    await bob.app.rename(`${id}/Al`, 'A.');
    assert.equal(bob.list(id).isAwaited, true);
    await bob.app.verify(`${id}/A.`, true);
    await bob.until(() => bob.texts(id).length === 1);
    assert.deepEqual([bob.person(id, 'A.').mustVerify, bob.person(id, 'A.').ownName], [false, 'Alice']);
  });

  test('a link that two used', options, async t => {
    const { alice, bob, id, link, person } = await together(t);
    const carol = person('Carol');
    await carol.open();
    await carol.app.join(invitationOf(link));
    await carol.until(() => carol.person(id, 'Alice').trouble === 'link-used');
    await alice.until(({ view }) => view.alarms.length === 1);
    assert.equal(alice.view.alarms[0].alarm, 'link-used-twice');
    const { usedTwice, mustVerify } = alice.person(id, 'Bob');
    assert.ok(usedTwice > Date.now() - 60_000);
    assert.equal(mustVerify, true);
    // Nothing flows any more until they compared. It is said again at each start.
    alice.app.read(alice.view.alarms[0].id);
    await alice.close();
    await alice.open();
    await alice.until(({ view }) => view.alarms.length === 1);
    alice.app.add(id, 'Eggs');
    await alice.app.reconnect(`${id}/Bob`);
    await alice.until(() => alice.person(id, 'Bob').state === 'connected');
    assert.deepEqual(bob.texts(id), ['Milk', 'Bread']);
    await alice.app.verify(`${id}/Bob`, true);
    await bob.until(() => bob.texts(id).length === 3);
    assert.deepEqual(carol.texts(id), []);
  });

  test('they compare, and it is not the same', options, async t => {
    const { alice, bob, id } = await together(t);
    await alice.app.verify(`${id}/Bob`, true);
    assert.equal(alice.person(id, 'Bob').verification, 'verified');
    await bob.app.verify(`${id}/Alice`, false);
    await bob.until(({ view }) => view.alarms.length === 1);
    const [alarm] = bob.view.alarms;
    assert.deepEqual(alarm, {
      id: alarm.id,
      alarm: 'strings-differ',
      list: id,
      contact: `${id}/Alice`,
      name: 'Alice',
    });
    bob.app.read(alarm.id);
    assert.deepEqual(bob.view.alarms, []);
    alice.app.add(id, 'Eggs');
    assert.deepEqual(bob.texts(id), ['Milk', 'Bread']);
  });

  test('a relay that cannot be reached is told', options, async t => {
    const person = await people(t);
    const alice = person('Alice');
    alice.relay = 'http://127.0.0.1:1/';
    await alice.open();
    const id = alice.app.makeList('Home');
    await alice.app.share(id, 'Bob');
    await alice.until(({ view }) => view.relayDown === 'unreachable');
    assert.equal(alice.person(id, 'Bob').trouble, 'relay-down');
  });

  test('what could not be stored is told, until it is', options, async t => {
    const alice = (await people(t))('Alice');
    const inner = memory();
    let fails = false;
    alice.storage = {
      ...inner,
      store: async (...args) => {
        if (fails) throw Error('the disk is full');
        await inner.store(...args);
      },
    };
    await alice.open();
    const id = alice.app.makeList('Home');
    fails = true;
    await assert.rejects(alice.app.share(id, 'Bob'), { code: 'storage' });
    assert.equal(alice.view.notStored, true);
    assert.equal(alice.person(id, 'Bob').link, undefined);
    fails = false;
    await alice.until(({ view }) => !view.notStored);
    assert.ok(alice.person(id, 'Bob').link);
  });

  test('a call that succeeds shows that it can be stored', options, async t => {
    const alice = (await people(t))('Alice');
    const inner = memory();
    let fails = false;
    const store = async (...args) => {
      if (fails) throw Error('the disk is full');
      await inner.store(...args);
    };
    alice.storage = { ...inner, store };
    await alice.open();
    const id = alice.app.makeList('Home');
    await alice.app.share(id, 'Bob');
    fails = true;
    await assert.rejects(alice.app.rename(`${id}/Bob`, 'Bobby'), { code: 'storage' });
    assert.equal(alice.view.notStored, true);
    fails = false;
    // The library tries again no sooner, and the app not yet.
    await new Promise(done => setTimeout(done, 1200));
    assert.equal(alice.view.notStored, true);
    await alice.app.rename(`${id}/Bobby`, 'B.');
    assert.equal(alice.view.notStored, false);
  });

  test('the data of the site are deleted under the page', options, async t => {
    const person = await people(t);
    const [alice, bob] = [person('Alice'), person('Bob')];
    alice.storage = memory();
    await alice.open();
    const id = alice.app.makeList('Home');
    assert.equal(alice.view.deleted, false);
    alice.storage.store = async () => {
      throw new ConnectoidError('deleted', 'reload the page');
    };
    await assert.rejects(alice.app.share(id, 'Bob'), { code: 'deleted' });
    assert.deepEqual([alice.view.deleted, alice.view.notStored], [true, false]);

    await bob.open();
    await bob.until(({ view }) => view.me === 'Bob');
    await new Promise(done => {
      bob.indexedDB.deleteDatabase('shopping-list').onsuccess = done;
    });
    bob.app.makeList('Home');
    await bob.until(({ view }) => view.deleted);
    assert.equal(bob.view.notStored, false);
  });

  test('a tab that lost the app does not change what the other one is told', options, async t => {
    const person = await people(t);
    const [first, second] = [person('Alice'), person('Alice')];
    first.storage = second.storage = { ...memory(), lock: tabLock() };
    first.indexedDB = second.indexedDB = frail();
    await first.open();
    while ((await load(first.indexedDB)).me !== 'Alice') await new Promise(setImmediate);
    first.indexedDB.fails = true;
    first.app.callMe('Alicia');
    await first.until(({ view }) => view.notStored);
    await second.open();
    await first.until(({ view }) => !view.isActive);
    first.indexedDB.fails = false;
    second.app.callMe('Carol');
    await first.until(({ view }) => !view.notStored);
    assert.equal((await load(first.indexedDB)).me, 'Carol');
  });

  test('a second tab has the app, and the first one nothing', options, async t => {
    const person = await people(t);
    const [first, second] = [person('Alice'), person('Alice')];
    first.storage = second.storage = { ...memory(), lock: tabLock() };
    second.indexedDB = first.indexedDB;
    await first.open();
    const id = first.app.makeList('Home');
    while (!(await load(first.indexedDB)).lists.length) await new Promise(setImmediate);
    await second.open();
    await first.until(({ view }) => !view.isActive);
    assert.equal(second.view.isActive, true);
    assert.deepEqual(second.texts(id), []);
    assert.throws(
      () => first.app.add(id, 'Milk'),
      new ConnectoidError('inactive', 'another tab runs the app'),
    );
    await assert.rejects(first.app.share(id, 'Bob'), { code: 'inactive' });
    second.app.add(id, 'Bread');
    await first.app.useHere();
    assert.equal(first.reloads, 1);
    // When the second is closed the first begins anew.
    await second.close();
    while (first.reloads < 2) await new Promise(setImmediate);
    await first.close();
    await first.open();
    assert.deepEqual(first.texts(id), ['Bread']);
  });
});
