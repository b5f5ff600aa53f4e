-- Who owns a file is said by the lock beside it. Only PostgreSQL has a table for it.
select 1;
