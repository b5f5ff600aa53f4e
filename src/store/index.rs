//! What is in which box, in memory: where one process owns the database, an idle check does not ask it.
//!
//! It holds what the database was seen to hold after a commit, never what is about to be: whoever is told of a message
//! here finds it there. It may forget at any time, and does: two generations of a fixed size, as [`KnownKeys`] has them.
//!
//! [`KnownKeys`]: crate::protocol::KnownKeys

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::protocol::{At, PublicKey};

/// Boxes of a generation. A table for so many has 262,144 places of 73 bytes and one of its own: 19 MB, and 39 MB for two.
const GENERATION: usize = 229_376;

/// What one box holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The cursor of the newest message, and when it was stored; none if there is not one, expired or not.
    pub(super) newest: Option<(At, i64)>,
    /// Until when no check needs to be noted.
    pub(super) noted_until: i64,
}

impl Known {
    /// Whether there is a message behind `at` that was stored after `alive`; none if the database has to say: a check is
    /// to be noted, or the newest message has expired, which older ones have not if the clock was set back between.
    pub(super) fn holds_newer(&self, at: At, now: i64, alive: i64) -> Option<bool> {
        if now > self.noted_until {
            return None;
        }
        match self.newest {
            Some((newest, stored_at)) if newest > at => (stored_at > alive).then_some(true),
            _ => Some(false),
        }
    }
}

/// What was seen of the boxes.
pub(super) struct Index {
    seen: Mutex<Seen>,
    generation: usize,
}

#[derive(Default)]
struct Seen {
    young: HashMap<PublicKey, Known>,
    old: HashMap<PublicKey, Known>,
    /// The boxes that are being looked at in the database: by how many, and whether one changed meanwhile.
    looked_at: HashMap<PublicKey, (usize, bool)>,
    closed: bool,
}

/// A look into the database. What changes from here on is newer than what it will see.
pub(super) struct Look<'a> {
    index: &'a Index,
    keys: Vec<PublicKey>,
}

impl Default for Index {
    fn default() -> Self {
        Self::remembering(GENERATION)
    }
}

impl Index {
    fn remembering(generation: usize) -> Self {
        Self { seen: Mutex::default(), generation }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For each of these boxes whether it holds anything newer, if all of them are known.
    pub(super) fn have_newer(&self, boxes: &[(PublicKey, At)], now: i64, alive: i64) -> Option<Vec<bool>> {
        let mut seen = self.seen();
        boxes.iter().map(|(key, at)| seen.get(key, self.generation)?.holds_newer(*at, now, alive)).collect()
    }

    /// Before the database is asked what these boxes hold.
    pub(super) fn look(&self, keys: impl Iterator<Item = PublicKey>) -> Look<'_> {
        let keys: Vec<PublicKey> = keys.collect();
        let mut seen = self.seen();
        for key in &keys {
            seen.looked_at.entry(*key).or_default().0 += 1;
        }
        drop(seen);
        Look { index: self, keys }
    }

    /// A message was stored.
    pub(super) fn stored(&self, key: PublicKey, known: Known) {
        let mut seen = self.seen();
        seen.changed(&key);
        seen.insert(key, known, self.generation);
    }

    /// The box changed in another way, or may have.
    pub(super) fn forget(&self, key: &PublicKey) {
        let mut seen = self.seen();
        seen.changed(key);
        seen.young.remove(key);
        seen.old.remove(key);
    }

    /// Others change the boxes from now on: nothing is known any more.
    pub(super) fn close(&self) {
        self.seen().closed = true;
        self.forget_all();
    }

    /// All boxes may have changed.
    pub(super) fn forget_all(&self) {
        let mut seen = self.seen();
        seen.looked_at.values_mut().for_each(|(_, changed)| *changed = true);
        (seen.young, seen.old) = Default::default();
    }
}

impl Seen {
    fn get(&mut self, key: &PublicKey, generation: usize) -> Option<Known> {
        if let Some(known) = self.young.get(key) {
            return Some(*known);
        }
        let known = self.old.remove(key)?;
        self.insert(*key, known, generation);
        Some(known)
    }

    fn insert(&mut self, key: PublicKey, known: Known, generation: usize) {
        if self.closed {
            return;
        }
        if self.young.len() >= generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, known);
    }

    /// Whoever looks at it now may not see this.
    fn changed(&mut self, key: &PublicKey) {
        if let Some((_, changed)) = self.looked_at.get_mut(key) {
            *changed = true;
        }
    }
}

impl Look<'_> {
    /// What the database held. Of what changed meanwhile nothing is remembered.
    pub(super) fn saw(&self, found: impl Iterator<Item = (PublicKey, Known)>) {
        let mut seen = self.index.seen();
        for (key, known) in found {
            if let Some((_, false)) = seen.looked_at.get(&key) {
                seen.insert(key, known, self.index.generation);
            }
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let mut seen = self.index.seen();
        for key in &self.keys {
            if let Entry::Occupied(mut looked_at) = seen.looked_at.entry(*key) {
                looked_at.get_mut().0 -= 1;
                if looked_at.get().0 == 0 {
                    looked_at.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::derive_box_key;

    const NOTHING: Known = Known { newest: None, noted_until: 1_000 };

    fn a_box(n: u8) -> PublicKey {
        derive_box_key(&[n; 48]).unwrap().public()
    }

    fn message(at: i64) -> Known {
        Known { newest: Some((At::from(at), at)), noted_until: 1_000 }
    }

    fn knows(index: &Index, key: PublicKey) -> Option<bool> {
        index.have_newer(&[(key, At::START)], 500, 0).map(|newer| newer == [true])
    }

    #[test]
    fn what_the_database_held_is_remembered() {
        let (index, key) = (Index::default(), a_box(1));
        assert_eq!(knows(&index, key), None);
        index.look([key].into_iter()).saw([(key, NOTHING)].into_iter());
        assert_eq!(knows(&index, key), Some(false));
        assert_eq!(index.seen().looked_at.len(), 0);
    }

    #[test]
    fn a_look_that_a_change_overtook_is_not_remembered() {
        let (key, other) = (a_box(1), a_box(2));
        type Change = fn(&Index, PublicKey);
        let changes: [(Change, Option<bool>); 4] = [
            (|index, key| index.stored(key, message(7)), Some(true)),
            (|index, key| index.forget(&key), None),
            (|index, _| index.forget_all(), None),
            (|index, _| index.close(), None),
        ];
        for (n, (change, expected)) in changes.into_iter().enumerate() {
            let index = Index::default();
            let (look, another) = (index.look([key, other].into_iter()), index.look([key].into_iter()));
            change(&index, key);
            let late = index.look([key].into_iter());
            look.saw([(key, NOTHING)].into_iter());
            drop(look);
            another.saw([(key, NOTHING)].into_iter());
            assert_eq!(knows(&index, key), expected, "{n}");
            drop((another, late));
            assert_eq!(index.seen().looked_at.len(), 0);
            // The next one begins after the change; only a closed index remembers nothing any more.
            if n == 1 || n == 2 {
                index.look([key].into_iter()).saw([(key, NOTHING)].into_iter());
                assert_eq!(knows(&index, key), Some(false), "{n}");
            }
        }
    }

    #[test]
    fn the_last_word_counts_however_much_is_remembered() {
        let index = Index::remembering(2);
        let keys = [1, 2, 3, 4, 5].map(a_box);
        index.stored(keys[0], NOTHING);
        index.stored(keys[1], NOTHING);
        // The first two are the old generation now.
        index.stored(keys[2], NOTHING);
        index.stored(keys[0], message(7));
        assert_eq!(knows(&index, keys[0]), Some(true));
        index.stored(keys[3], NOTHING);
        assert_eq!(knows(&index, keys[0]), Some(true), "the old copy of it is gone");
        assert_eq!(knows(&index, keys[1]), None);
        index.forget(&keys[0]);
        assert_eq!(knows(&index, keys[0]), None);
        index.stored(keys[4], NOTHING);
        let seen = index.seen();
        assert!(seen.young.len() + seen.old.len() <= 4);
    }

    #[test]
    fn what_is_not_certain_is_for_the_database_to_say() {
        let known = message(100);
        let at = At::from;
        assert_eq!(known.holds_newer(at(99), 500, 99), Some(true));
        assert_eq!(known.holds_newer(at(100), 500, 99), Some(false));
        assert_eq!(known.holds_newer(at(99), 500, 100), None, "it has expired");
        assert_eq!(known.holds_newer(at(100), 500, 100), Some(false));
        assert_eq!(known.holds_newer(at(99), 1_001, 99), None, "the check is to be noted");
        assert_eq!(NOTHING.holds_newer(At::START, 1_000, 0), Some(false));
    }
}
