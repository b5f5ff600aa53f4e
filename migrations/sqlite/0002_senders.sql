-- Who sent a message, as a pseudonym: 8 bytes of a keyed hash of the box and the sender's address, so that nobody fills
-- a box alone. Says nothing without the relay's secret, and cannot be compared between boxes.
alter table messages add column sender integer;
