-- One receive of one message: NEWER of src/store/sql.rs, in its words. A time set by hand, which only tests do, is left out.

\set box random(1, :boxes)

select at, data from messages
where box = (select id from boxes where pub = cast(lpad(:box, 49, '0') as bytea)) and at > cast(:at as bigint)
  and stored_at + 0 > (select now from clock) - cast(:message_ttl as bigint)
order by at limit +cast(:limit as bigint);
