-- API keys: who may use a closed relay, and how much. All times are Unix time in microseconds.

create table api_keys (
    id               bigint generated always as identity primary key,
    -- What the operator calls it.
    name             text   not null unique,
    -- The SHA-256 of its 32 bytes, which stand nowhere.
    hash             bytea  not null unique,
    created_at       bigint not null,
    -- Null while it counts.
    revoked_at       bigint,
    -- Quotas; null for as much as comes.
    requests_per_day bigint,
    bytes_per_day    bigint,
    -- Boxes that may be there at once.
    boxes            bigint
);

create table api_key_usage (
    -- api_keys.id
    key      bigint not null,
    -- Days since 1970-01-01, UTC.
    day      bigint not null,
    requests bigint not null,
    -- Of messages, decoded.
    bytes    bigint not null,
    primary key (key, day)
);

-- The API key under which the box was made: api_keys.id; null for one made while the relay was open.
alter table boxes add column api_key bigint;

create index boxes_by_api_key on boxes (api_key) where api_key is not null;
