-- One check of one box: LOOK of src/store/sql.rs, in its words. A time set by hand, which only tests do, is left out.

\set box random(1, :boxes)

select pub, seen_at, (select now from clock) as now,
       (select at from messages where box = boxes.id order by at desc limit 1) as newest,
       (select stored_at from messages where box = boxes.id order by at desc limit 1) as stored_at
from boxes where pub in (cast(lpad(:box, 49, '0') as bytea));
