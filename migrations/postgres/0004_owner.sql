-- The one instance that keeps an index of the boxes in memory, and so must be the only one that stores messages: its random
-- name; null for any number of instances. Whoever stores messages locks the row first and looks.
create table relay_owner (
    id       bigint primary key check (id = 1),
    instance bigint
);

insert into relay_owner (id) values (1);
