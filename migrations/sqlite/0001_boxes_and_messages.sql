-- Mailboxes and their messages. All times are Unix time in microseconds.
-- The layout was chosen by measurement: docs/design.md, benches/storage_layout.py.

-- "cnid": this file is connectoid's; no other program's file is ever touched.
pragma application_id = 1668180324;

create table boxes (
    id      integer primary key,
    -- The public key, 49 bytes.
    pub     blob    not null unique,
    -- The highest cursor given to a message of this box. Taking it is the row lock that makes the order of
    -- cursors the order of commits.
    last_at integer not null,
    -- When the owner last checked, to the day; when the box was made, if never.
    seen_at integer not null
) strict;

create index boxes_by_seen_at on boxes (seen_at);

create table messages (
    id        integer primary key,
    -- boxes.id; a box and its messages are deleted together.
    box       integer not null,
    -- The cursor: strictly increasing per box. Says nothing about age.
    at        integer not null,
    -- When it was stored: what its age is counted from.
    stored_at integer not null,
    -- The first 8 bytes of the SHA-256 of data, to find a duplicate without reading the others.
    tag       integer not null,
    -- The message as it was sent, decoded. Last, so that nothing stands behind its overflow page.
    data      blob    not null
) strict;

create index messages_by_box on messages (box, at, tag);
create index messages_by_stored_at on messages (stored_at);

-- The secret that answers are verified with, unless the operator gives one.
create table relay_secret (
    id     integer primary key check (id = 1),
    secret blob    not null
) strict;

-- The database's own clock, under the same name in every database.
create view clock as select cast(unixepoch('subsec') * 1000000 as integer) as now;
