-- One receive of one message: NEWER of src/store/sql.rs, in its words. A time set by hand, which only tests do, is left out.

\set box random(1, :boxes)

select messages.at, messages.data from boxes join messages on messages.box = boxes.id
where boxes.pub = cast(lpad(:box, 49, '0') as bytea) and messages.at > cast(:at as bigint)
  and messages.stored_at + 0 > (select now from clock) - cast(:message_ttl as bigint)
order by messages.at limit +cast(:limit as bigint);
