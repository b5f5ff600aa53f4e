-- Mailboxes and their messages. All times are Unix time in microseconds.
-- The layout was chosen by measurement: docs/design.md.

create table boxes (
    id      bigint generated always as identity primary key,
    -- The public key, 49 bytes.
    pub     bytea  not null unique,
    -- The highest cursor given to a message of this box. Taking it is the row lock that makes the order of
    -- cursors the order of commits.
    last_at bigint not null,
    -- When the owner last checked, to the day; when the box was made, if never.
    seen_at bigint not null
);

create index boxes_by_seen_at on boxes (seen_at);

create table messages (
    id        bigint generated always as identity primary key,
    -- boxes.id; a box and its messages are deleted together.
    box       bigint not null,
    -- The cursor: strictly increasing per box. Says nothing about age.
    at        bigint not null,
    -- When it was stored: what its age is counted from.
    stored_at bigint not null,
    -- The first 8 bytes of the SHA-256 of data, to find a duplicate without reading the others.
    tag       bigint not null,
    -- The message as it was sent, decoded.
    data      bytea  not null
);

-- Sealed bytes do not compress.
alter table messages alter column data set storage external;

create index messages_by_box on messages (box, at, tag);
create index messages_by_stored_at on messages (stored_at);

-- The secret that answers are verified with, unless the operator gives one.
create table relay_secret (
    id     bigint primary key check (id = 1),
    secret bytea  not null
);

-- The database's own clock, under the same name in every database.
create view clock as select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now;
