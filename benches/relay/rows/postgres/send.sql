-- One send in a transaction of its own, in as few statements as one message needs: the box and its cursor, then the message, unless
-- the box holds it already or is full. The conditions are the relay's (src/store/sql.rs). The relay stores in one transaction what
-- has come meanwhile, with statements for many, and asks what became of each; this stays the plain way, which it is measured against.

\set box random(1, 1000000000000)
\set tag random(1, 9000000000000000000)
\set sender random(1, 9000000000000000000)

begin isolation level read committed;

insert into boxes (pub, last_at, seen_at, api_key)
values (cast(lpad(:box, 49, '0') as bytea), (select now from clock), (select now from clock), null)
on conflict (pub) do update set last_at =
    case when boxes.last_at < excluded.last_at then excluded.last_at else boxes.last_at + 1 end
returning id, pub, last_at, seen_at, (select now from clock) as now
\gset

with new (box, at, stored_at, tag, sender, data) as (
    values (cast(:id as bigint), cast(:last_at as bigint), cast(:now as bigint),
            cast(:tag as bigint), cast(:sender as bigint), cast(:data as bytea)))
insert into messages (box, at, stored_at, tag, sender, data)
select box, at, stored_at, tag, sender, data from new
where not exists (select 1 from messages as same
                  where same.box = new.box and same.tag = new.tag and same.data = new.data
                    and same.stored_at + 0 > new.stored_at - cast(:message_ttl as bigint))
  and (cast(:box_messages as bigint) is null or (
    select messages < cast(:box_messages as bigint) and bytes <= cast(:box_bytes as bigint) and own < cast(:share as bigint)
           and (own = 0 or cast(:share as bigint) >= cast(:box_messages as bigint)
                or (messages < cast(:box_messages as bigint) * 3 / 4 and bytes <= cast(:box_bytes as bigint) * 3 / 4))
    from (select count(*) as messages, coalesce(sum(length(held.data)), 0) + length(new.data) as bytes,
                 count(case when held.sender = new.sender then 1 end) as own
          from messages as held
          where held.box = new.box and held.stored_at + 0 > new.stored_at - cast(:message_ttl as bigint)) as held))
returning box;

commit;
