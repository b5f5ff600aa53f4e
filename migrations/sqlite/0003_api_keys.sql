-- API keys: who may use a closed relay, and how much. All times are Unix time in microseconds.

create table api_keys (
    id               integer primary key,
    -- What the operator calls it.
    name             text    not null unique,
    -- The SHA-256 of its 32 bytes, which stand nowhere.
    hash             blob    not null unique,
    created_at       integer not null,
    -- Null while it counts.
    revoked_at       integer,
    -- Quotas; null for as much as comes.
    requests_per_day integer,
    bytes_per_day    integer,
    -- Boxes that may be there at once.
    boxes            integer
) strict;

create table api_key_usage (
    -- api_keys.id
    key      integer not null,
    -- Days since 1970-01-01, UTC.
    day      integer not null,
    requests integer not null,
    -- Of messages, decoded.
    bytes    integer not null,
    primary key (key, day)
) strict, without rowid;

-- The API key under which the box was made: api_keys.id; null for one made while the relay was open.
alter table boxes add column api_key integer;

create index boxes_by_api_key on boxes (api_key) where api_key is not null;
