#!/usr/bin/env python3
"""How many bytes and seconds does SQLite spend on a stored message?

Compares table layouts and page sizes for what the relay keeps: sealed messages of 4096 random
bytes, each to a box of its own (a 49-byte public key), written the way the relay writes them: WAL
mode, synchronous=FULL. Sizes are exact and repeatable; seconds depend on the machine and on what
else runs on it, so compare them with one another and not with another day's.

Needs Python 3 and nothing else. It writes about 150 MB at a time to a directory of its own under
--dir (default: the system's directory for temporary files), which should be on a disk like the
relay's, not in memory. It starts no further layout after --limit seconds, and says so.

    python3 benches/storage_layout.py
    python3 benches/storage_layout.py --layouts A,D --pages 4096,65536 --messages 5000
"""

import argparse
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time

BODY = 4096  # bytes of a sealed message
PUB = 49  # bytes of a compressed P-384 public key
PER_INSERT_TRANSACTION = 64
PER_DELETE_TRANSACTION = 500
LONE_COMMITS = 100
PAGES = "4096,8192,16384,32768,65536"

FIRST_STORED = 1_790_000_000_000_000  # microseconds since 1970
STORED_EVERY = 1_000  # microseconds between messages
SEED = 384  # the same bytes in every run

BOXES = """
create table boxes (
    id integer primary key, pub blob not null unique, last_at integer, seen_at integer
) strict;
"""


class Layout:
    """Layout A: a box has a small number, a message names it, three indexes."""

    about = "messages(id) with box id; indexes (box, at), (box, tag), (stored_at)"
    schema = BOXES + """
    create table messages (
        id integer primary key, box integer, at integer, stored_at integer, tag integer, data blob
    ) strict;
    create index messages_at on messages (box, at);
    create index messages_tag on messages (box, tag);
    create index messages_stored_at on messages (stored_at);
    """
    oldest = "delete from messages where id in (select id from messages order by stored_at limit ?)"
    insert = "insert into messages (box, at, stored_at, tag, data) values (?, ?, ?, ?, ?)"

    def append(self, db, pub, at, stored_at, tag, data):
        """Stores one message, and its box with it."""
        new_box = "insert into boxes (pub, last_at, seen_at) values (?, ?, ?)"
        box = db.execute(new_box, (pub, at, stored_at)).lastrowid
        self.append_to(db, box, at, stored_at, tag, data)

    def append_to(self, db, box, at, stored_at, tag, data):
        """Stores the message alone."""
        db.execute(self.insert, (box, at, stored_at, tag, data))

    def delete_oldest(self, db, count):
        """Deletes the `count` messages stored first; returns how many there were."""
        return db.execute(self.oldest, (count,)).rowcount


class OneIndex(Layout):
    """Layout B: one index finds both a box's next messages and, in it, a tag."""

    about = "as A with one index (box, at, tag) for the first two"
    schema = BOXES + """
    create table messages (
        id integer primary key, box integer, at integer, stored_at integer, tag integer, data blob
    ) strict;
    create index messages_at on messages (box, at, tag);
    create index messages_stored_at on messages (stored_at);
    """


class IdIsTime(Layout):
    """Layout C: the row's number is the time it was stored, so expiry needs no index."""

    about = "as A, id = stored time in µs made unique, no (stored_at)"
    schema = BOXES + """
    create table messages (
        id integer primary key, box integer, at integer, tag integer, data blob
    ) strict;
    create index messages_at on messages (box, at);
    create index messages_tag on messages (box, tag);
    """
    oldest = "delete from messages where id in (select id from messages order by id limit ?)"
    insert = """
        insert into messages (id, box, at, tag, data)
        select max(?, coalesce((select max(id) from messages), 0) + 1), ?, ?, ?, ?
    """

    def append_to(self, db, box, at, stored_at, tag, data):
        db.execute(self.insert, (stored_at, box, at, tag, data))


class NoBoxId(Layout):
    """Layout D: no numbers at all; public key and at are the key."""

    about = "no box id: messages(pub, at) WITHOUT ROWID, index (stored_at)"
    schema = """
    create table boxes (
        pub blob primary key, last_at integer, seen_at integer
    ) strict, without rowid;
    create table messages (
        pub blob, at integer, stored_at integer, tag integer, data blob, primary key (pub, at)
    ) strict, without rowid;
    create index messages_stored_at on messages (stored_at);
    """
    oldest = """
        delete from messages
        where (pub, at) in (select pub, at from messages order by stored_at limit ?)
    """

    def append(self, db, pub, at, stored_at, tag, data):
        db.execute("insert into boxes (pub, last_at, seen_at) values (?, ?, ?)", (pub, at, stored_at))
        insert = "insert into messages (pub, at, stored_at, tag, data) values (?, ?, ?, ?, ?)"
        db.execute(insert, (pub, at, stored_at, tag, data))


class BodiesApart(Layout):
    """Layout E: rows stay small because the bytes live in a table of their own."""

    about = "as A with the bytes in bodies(id, data)"
    schema = BOXES + """
    create table messages (
        id integer primary key, box integer, at integer, stored_at integer, tag integer
    ) strict;
    create index messages_at on messages (box, at);
    create index messages_tag on messages (box, tag);
    create index messages_stored_at on messages (stored_at);
    create table bodies (id integer primary key, data blob) strict;
    """
    insert = "insert into messages (box, at, stored_at, tag) values (?, ?, ?, ?)"

    def append_to(self, db, box, at, stored_at, tag, data):
        row = db.execute(self.insert, (box, at, stored_at, tag)).lastrowid
        db.execute("insert into bodies (id, data) values (?, ?)", (row, data))

    def delete_oldest(self, db, count):
        oldest = "(select id from messages order by stored_at limit ?)"
        db.execute("delete from bodies where id in " + oldest, (count,))
        return super().delete_oldest(db, count)


class NoIndex(Layout):
    """Layout F: no relay could work with it, for it finds no box. What SQLite takes at least."""

    about = "one table in the order of arrival and no index, so nothing is found: the least that a row takes"
    schema = """
    create table messages (
        id integer primary key, pub blob, at integer, stored_at integer, tag integer, data blob
    ) strict;
    """
    oldest = "delete from messages where id in (select id from messages order by id limit ?)"

    def append(self, db, pub, at, stored_at, tag, data):
        insert = "insert into messages (pub, at, stored_at, tag, data) values (?, ?, ?, ?, ?)"
        db.execute(insert, (pub, at, stored_at, tag, data))


class KeyIndex(NoIndex):
    """Layout G: and what it takes at least to find a key."""

    about = "as F with an index (pub)"
    schema = NoIndex.schema + "create index messages_pub on messages (pub);"


LAYOUTS = {"A": Layout(), "B": OneIndex(), "C": IdIsTime(), "D": NoBoxId(), "E": BodiesApart(), "F": NoIndex(), "G": KeyIndex()}


def opened(path, page, layout):
    """A new database file of this page size and layout."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"pragma page_size = {page}")
    assert db.execute("pragma journal_mode = wal").fetchone() == ("wal",)
    db.execute("pragma synchronous = full")
    db.executescript(layout.schema)
    assert db.execute("pragma page_size").fetchone() == (page,)
    return db


def message(chance, number):
    """pub, at, stored_at, tag, data of the message with this number."""
    stored_at = FIRST_STORED + number * STORED_EVERY
    at = stored_at + chance.randrange(1000)
    return chance.randbytes(PUB), at, stored_at, chance.getrandbits(63), chance.randbytes(BODY)


def in_transaction(db, step):
    """Runs step() the way the relay does: the write lock first."""
    db.execute("begin immediate")
    result = step()
    db.execute("commit")
    return result


def measured(path, page, layout, messages):
    """Bytes per message, seconds to insert them all and of a core for it, seconds to delete them all."""
    db = opened(path, page, layout)
    chance = random.Random(SEED)

    inserting = working = 0.0
    for first in range(0, messages, PER_INSERT_TRANSACTION):
        # the making of random bytes is no part of the price
        numbers = range(first, min(first + PER_INSERT_TRANSACTION, messages))
        batch = [message(chance, number) for number in numbers]
        began, core = time.perf_counter(), time.process_time()
        in_transaction(db, lambda: [layout.append(db, *m) for m in batch])
        inserting += time.perf_counter() - began
        working += time.process_time() - core

    busy, _, _ = db.execute("pragma wal_checkpoint(truncate)").fetchone()
    assert busy == 0
    size = os.path.getsize(path) / messages

    began = time.perf_counter()
    deleted = 0
    while step := in_transaction(db, lambda: layout.delete_oldest(db, PER_DELETE_TRANSACTION)):
        deleted += step
    deleting = time.perf_counter() - began
    assert deleted == messages, f"{deleted} of {messages} deleted"
    db.close()
    return size, inserting, working, deleting


def appended(path, messages):
    """Microseconds of a core for each message that is appended to a file and synced in batches."""
    batch = random.Random(SEED).randbytes(BODY * PER_INSERT_TRANSACTION)
    batches = max(messages // PER_INSERT_TRANSACTION, 1)
    with open(path, "wb", buffering=0) as log:
        core = time.process_time()
        for _ in range(batches):
            log.write(batch)
            os.fdatasync(log.fileno())
    return (time.process_time() - core) / (batches * PER_INSERT_TRANSACTION) * 1e6


def lone_commit(path, page, layout):
    """Median milliseconds of a transaction that stores one message."""
    db = opened(path, page, layout)
    chance = random.Random(SEED)
    took = []
    for number in range(LONE_COMMITS):
        one = message(chance, number)
        began = time.perf_counter()
        in_transaction(db, lambda: layout.append(db, *one))
        took.append(time.perf_counter() - began)
    db.close()
    return statistics.median(took) * 1000


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--layouts", default=",".join(LAYOUTS), help="default: %(default)s")
    arguments.add_argument("--pages", default=PAGES, help="page sizes; default: %(default)s")
    arguments.add_argument("--messages", type=int, default=20_000, help="default: %(default)s")
    arguments.add_argument("--limit", type=float, default=150, help="seconds; default: %(default)s")
    arguments.add_argument("--dir", default=None, help="where the database files are made")
    options = arguments.parse_args()
    if sqlite3.sqlite_version_info < (3, 37):
        sys.exit(f"strict tables need SQLite 3.37, this Python has {sqlite3.sqlite_version}")
    began = time.monotonic()
    layouts = options.layouts.split(",")
    left_out = []

    print(f"SQLite {sqlite3.sqlite_version}, {options.messages} messages of {BODY} bytes\n")
    print("| layout | page size | bytes per message | insert all, s | µs of a core to insert one | delete all, s | lone commit, ms |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    # Page sizes in the outer loop: the layouts, which are compared, are measured close together.
    for page in map(int, options.pages.split(",")):
        for name in layouts:
            if time.monotonic() - began > options.limit:
                left_out.append(f"{name} at {page}")
                continue
            layout = LAYOUTS[name]
            with tempfile.TemporaryDirectory(prefix="storage-layout-", dir=options.dir) as scratch:
                lone = ""
                if name == layouts[0]:
                    lone = f"{lone_commit(os.path.join(scratch, 'lone.db'), page, layout):.2f}"
                path = os.path.join(scratch, "all.db")
                size, inserting, working, deleting = measured(path, page, layout, options.messages)
            core = working / options.messages * 1e6
            print(
                f"| {name} | {page} | {size:.0f} | {inserting:.2f} | {core:.1f} | {deleting:.2f} | {lone} |",
                flush=True,
            )

    with tempfile.TemporaryDirectory(prefix="storage-layout-", dir=options.dir) as scratch:
        core = appended(os.path.join(scratch, "log"), options.messages)
    print(f"\nTo append one to a plain file, with a sync for {PER_INSERT_TRANSACTION}, takes {core:.1f} µs of a core.\n")
    for name in layouts:
        print(f"- {name}: {LAYOUTS[name].about}")
    if left_out:
        print(f"\nLeft out, the time was up after {options.limit:.0f} s: {', '.join(left_out)}.")


if __name__ == "__main__":
    main()
