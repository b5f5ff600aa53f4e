-- The one instance that keeps an index of the boxes in memory, and so must be the only one that stores messages: its random
-- name; null for any number of instances. Whoever stores messages looks here first, under a lock that whoever takes over waits for.
create table relay_owner (
    id       bigint primary key check (id = 1),
    instance bigint
);

insert into relay_owner (id) values (1);
