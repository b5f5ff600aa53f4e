//! The newest messages, in memory: most are received moments after they were stored, and then without the database.
//!
//! Part of the [index](super::index), and under its rules: nothing is here before it is committed, and all of it may be
//! forgotten at any time. Two generations; the older one goes when the younger has its share of the bytes.

use std::collections::HashMap;

use super::Message;
use crate::protocol::{At, PublicKey};

/// Bytes of a generation: 2 MiB, so 4 MiB in all.
const GENERATION: usize = 2 * 1024 * 1024;

/// What a message takes here beside its bytes, about: its place, and its box's.
const BESIDE: usize = 256;

/// The newest messages of some boxes.
pub(super) struct Recent {
    young: Generation,
    old: Generation,
    room: usize,
}

#[derive(Default)]
struct Generation {
    boxes: HashMap<PublicKey, Newest>,
    bytes: usize,
}

/// All messages of a box behind a cursor.
struct Newest {
    since: At,
    /// Each with when it was stored, in the order of their cursors.
    messages: Vec<(i64, Message)>,
}

impl Newest {
    fn bytes(&self) -> usize {
        self.messages.iter().map(|(_, message)| message.data.len() + BESIDE).sum()
    }
}

impl Generation {
    fn insert(&mut self, key: PublicKey, newest: Newest) {
        self.bytes += newest.bytes();
        self.boxes.insert(key, newest);
    }

    fn remove(&mut self, key: &PublicKey) -> Option<Newest> {
        let newest = self.boxes.remove(key)?;
        self.bytes -= newest.bytes();
        Some(newest)
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self::with_room(GENERATION)
    }
}

impl Recent {
    fn with_room(room: usize) -> Self {
        Self { young: Generation::default(), old: Generation::default(), room }
    }

    /// A message was stored. `before` is the cursor of the box's message before it, the start if there is none. Where that is not the
    /// last one here, something happened of which nobody knew: a commit that was given up and came to pass.
    pub(super) fn stored(&mut self, key: PublicKey, before: At, stored_at: i64, message: Message) {
        let known = self.young.remove(&key).or_else(|| self.old.remove(&key));
        let known = known.filter(|newest| newest.messages.last().is_some_and(|(_, last)| last.at == before));
        let mut newest = known.unwrap_or(Newest { since: before, messages: vec![] });
        newest.messages.push((stored_at, message));
        let bytes = newest.bytes();
        if bytes > self.room {
            return;
        }
        if self.young.bytes + bytes > self.room {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, newest);
    }

    /// The messages behind `at`, oldest first, at most `limit`; none if they may not all be here, or if one of them was not stored
    /// after `alive`: whether it has expired the database says, by its own clock.
    pub(super) fn newer(&self, key: &PublicKey, at: At, alive: i64, limit: u32) -> Option<Vec<Message>> {
        let newest = self.young.boxes.get(key).or_else(|| self.old.boxes.get(key))?;
        let behind = || newest.messages.iter().filter(|(_, message)| message.at > at);
        let is_certain = newest.since <= at && behind().all(|(stored_at, _)| *stored_at > alive);
        is_certain.then(|| behind().take(limit as usize).map(|(_, message)| message.clone()).collect())
    }

    /// The box changed in another way, or may have.
    pub(super) fn forget(&mut self, key: &PublicKey) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Lets go of what expired, and of what came before it.
    pub(super) fn expire(&mut self, alive: i64) {
        for generation in [&mut self.young, &mut self.old] {
            generation.boxes.retain(|_, newest| {
                if let Some(last) = newest.messages.iter().rposition(|(stored_at, _)| *stored_at <= alive) {
                    newest.since =
                        newest.messages.drain(..=last).next_back().map_or(newest.since, |(_, last)| last.at);
                }
                !newest.messages.is_empty()
            });
            generation.bytes = generation.boxes.values().map(Newest::bytes).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::derive_box_key;

    fn a_box(n: u8) -> PublicKey {
        derive_box_key(&[n; 48]).unwrap().public()
    }

    fn message(at: i64, length: usize) -> Message {
        Message { at: At::from(at), data: vec![at as u8; length] }
    }

    /// The cursors of what is newer, with everything alive that was stored after 0.
    fn newer(recent: &Recent, key: PublicKey, at: i64) -> Option<Vec<i64>> {
        let messages = recent.newer(&key, At::from(at), 0, 100)?;
        Some(messages.iter().map(|message| message.at.as_i64()).collect())
    }

    #[test]
    fn it_says_only_what_it_knows_in_full() {
        let (mut recent, key) = (Recent::default(), a_box(1));
        recent.stored(key, At::from(4), 5, message(5, 1));
        assert_eq!(newer(&recent, key, 3), None, "another one is before it");
        assert_eq!(newer(&recent, key, 4), Some(vec![5]));
        recent.stored(key, At::from(5), 6, message(6, 1));
        assert_eq!(newer(&recent, key, 4), Some(vec![5, 6]));
        assert_eq!(newer(&recent, key, 5), Some(vec![6]));
        assert_eq!(newer(&recent, key, 9), Some(vec![]));
        assert_eq!(recent.newer(&key, At::from(4), 0, 1), Some(vec![message(5, 1)]));
        // Nobody knew of 7.
        recent.stored(key, At::from(7), 8, message(8, 1));
        assert_eq!(newer(&recent, key, 6), None);
        assert_eq!(newer(&recent, key, 7), Some(vec![8]));
        recent.forget(&key);
        assert_eq!(newer(&recent, key, 7), None);
    }

    #[test]
    fn what_expired_is_neither_shown_nor_kept() {
        let (mut recent, key) = (Recent::default(), a_box(1));
        recent.stored(key, At::START, 5, message(5, 1));
        recent.stored(key, At::from(5), 6, message(6, 1));
        assert_eq!(recent.newer(&key, At::START, 5, 100), None, "by this clock; the database knows");
        assert_eq!(recent.newer(&key, At::from(5), 5, 100), Some(vec![message(6, 1)]));
        recent.expire(4);
        assert_eq!(newer(&recent, key, 0), Some(vec![5, 6]));
        recent.expire(5);
        assert_eq!(newer(&recent, key, 0), None);
        assert_eq!(newer(&recent, key, 5), Some(vec![6]));
        recent.expire(6);
        assert_eq!(newer(&recent, key, 6), None);
        assert_eq!((recent.young.bytes, recent.old.bytes), (0, 0));
    }

    #[test]
    fn it_never_takes_more_than_its_room() {
        let mut recent = Recent::with_room(10_000);
        for n in 0..100u8 {
            let key = a_box(n % 7);
            recent.stored(key, At::from(i64::from(n.saturating_sub(7))), 1, message(i64::from(n), 1_000));
            assert!(recent.young.bytes <= 10_000 && recent.old.bytes <= 10_000);
            let counted =
                |generation: &Generation| generation.boxes.values().map(Newest::bytes).sum::<usize>();
            assert_eq!(recent.young.bytes, counted(&recent.young));
            assert_eq!(recent.old.bytes, counted(&recent.old));
        }
        recent.stored(a_box(8), At::START, 1, message(1, 20_000));
        assert_eq!(newer(&recent, a_box(8), 0), None, "larger than all of the room");
    }
}
