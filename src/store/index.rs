//! What is in which box, in memory: where one process owns the database, an idle check does not ask it.
//!
//! It holds what the database was seen to hold after a commit, never what is about to be: whoever is told of a message
//! here finds it there. It may forget at any time, and does: two generations of a fixed size, as [`KnownKeys`] has them.
//!
//! [`KnownKeys`]: crate::protocol::KnownKeys

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Message, recent::Recent};
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
    recent: Recent,
    /// The boxes that are being looked at in the database: by how many, and whether one changed meanwhile.
    looked_at: HashMap<PublicKey, (usize, bool)>,
    closed: bool,
}

/// What was stored in a box.
pub(super) struct Fresh {
    pub(super) message: Message,
    /// When: the database's time.
    pub(super) stored_at: i64,
    /// The cursor of the box's message before it, expired or not; the start, if there is none.
    pub(super) before: At,
    /// As [`Known`] has it.
    pub(super) noted_until: i64,
}

/// A look into the database, or a transaction. What changes from here on is newer than what it will see.
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

    /// Whether any of these boxes holds anything newer, if all of them are known.
    pub(super) fn any_newer(&self, boxes: &[(PublicKey, At)], now: i64, alive: i64) -> Option<bool> {
        let mut seen = self.seen();
        boxes.iter().try_fold(false, |any, (key, at)| {
            Some(seen.get(key, self.generation)?.holds_newer(*at, now, alive)? || any)
        })
    }

    /// The messages of this box behind `at` that were stored after `alive`, oldest first, at most `limit`; if all of them are known.
    pub(super) fn newer(&self, key: &PublicKey, at: At, alive: i64, limit: u32) -> Option<Vec<Message>> {
        self.seen().recent.newer(key, at, alive, limit)
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

    /// What was stored then or before has expired.
    pub(super) fn expire(&self, alive: i64) {
        self.seen().recent.expire(alive);
    }

    /// The box changed in another way, or may have.
    pub(super) fn forget(&self, key: &PublicKey) {
        let mut seen = self.seen();
        seen.changed(key);
        seen.forget(key);
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
        (seen.young, seen.old, seen.recent) = Default::default();
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

    fn forget(&mut self, key: &PublicKey) {
        self.young.remove(key);
        self.old.remove(key);
        self.recent.forget(key);
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

    /// Whether the box changed since a look at it began that has not ended.
    fn is_changed(&self, key: &PublicKey) -> bool {
        self.looked_at.get(key).is_none_or(|(_, changed)| *changed)
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
            if !seen.is_changed(&key) {
                seen.insert(key, known, self.index.generation);
            }
        }
    }

    /// A transaction is committed that stored these, in this order; nothing, where nobody knows. Of a box that changed in another
    /// way meanwhile nothing is remembered.
    pub(super) fn stored(&self, batch: impl Iterator<Item = (PublicKey, Option<Fresh>)>) {
        let mut seen = self.index.seen();
        let overtaken: HashSet<PublicKey> =
            self.keys.iter().copied().filter(|key| seen.is_changed(key)).collect();
        for (key, fresh) in batch {
            seen.changed(&key);
            match fresh {
                Some(fresh) if !seen.closed && !overtaken.contains(&key) => {
                    let newest = Some((fresh.message.at, fresh.stored_at));
                    seen.insert(key, Known { newest, noted_until: fresh.noted_until }, self.index.generation);
                    seen.recent.stored(key, fresh.before, fresh.stored_at, fresh.message);
                }
                _ => seen.forget(&key),
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

    fn fresh(before: i64, at: i64) -> Fresh {
        let message = Message { at: At::from(at), data: vec![at as u8] };
        Fresh { message, stored_at: at, before: At::from(before), noted_until: 1_000 }
    }

    /// A message was stored in a box that was there.
    fn store(index: &Index, key: PublicKey, at: i64) {
        index.look([key].into_iter()).stored([(key, Some(fresh(at - 1, at)))].into_iter());
    }

    /// The cursors of what is newer than this one.
    fn newer(index: &Index, key: PublicKey, at: i64) -> Option<Vec<i64>> {
        let messages = index.newer(&key, At::from(at), 0, 100)?;
        Some(messages.iter().map(|message| message.at.as_i64()).collect())
    }

    fn knows(index: &Index, key: PublicKey) -> Option<bool> {
        index.any_newer(&[(key, At::START)], 500, 0)
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
            (|index, key| store(index, key, 7), Some(true)),
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
        store(&index, keys[0], 5);
        store(&index, keys[1], 5);
        // The first two are the old generation now.
        store(&index, keys[2], 5);
        store(&index, keys[0], 7);
        assert_eq!(index.have_newer(&[(keys[0], At::from(6))], 500, 0), Some(vec![true]));
        assert_eq!(index.any_newer(&[(keys[0], At::from(6)), (keys[2], At::from(6))], 500, 0), Some(true));
        assert_eq!(index.any_newer(&[(keys[0], At::from(6)), (keys[4], At::from(6))], 500, 0), None);
        store(&index, keys[3], 5);
        let newer = index.have_newer(&[(keys[0], At::from(6))], 500, 0);
        assert_eq!(newer, Some(vec![true]), "the old copy of it is gone");
        assert_eq!(knows(&index, keys[1]), None);
        index.forget(&keys[0]);
        assert_eq!(knows(&index, keys[0]), None);
        store(&index, keys[4], 5);
        let seen = index.seen();
        assert!(seen.young.len() + seen.old.len() <= 4);
    }

    #[test]
    fn messages_are_known_behind_the_one_before_the_first_that_was_stored() {
        let (index, new, seen) = (Index::default(), a_box(1), a_box(2));
        let batch = [(new, 0, 5), (new, 5, 6), (seen, 4, 5)];
        let look = index.look([new, seen].into_iter());
        look.stored(batch.into_iter().map(|(key, before, at)| (key, Some(fresh(before, at)))));
        drop(look);
        assert_eq!(newer(&index, new, 0), Some(vec![5, 6]));
        assert_eq!(newer(&index, seen, 3), None);
        assert_eq!(newer(&index, seen, 4), Some(vec![5]));
        index.forget(&new);
        assert_eq!(newer(&index, new, 0), None);
        store(&index, new, 7);
        assert_eq!(newer(&index, new, 5), None);
        assert_eq!(newer(&index, new, 6), Some(vec![7]));
        index.close();
        assert_eq!(newer(&index, seen, 4), None);
        store(&index, seen, 7);
        assert_eq!(newer(&index, seen, 4), None);
        assert_eq!(index.seen().looked_at.len(), 0);
    }

    /// A transaction that stored, and another that deleted after it, may be heard of the other way round.
    #[test]
    fn what_was_deleted_meanwhile_is_not_remembered_as_stored() {
        let (index, key) = (Index::default(), a_box(1));
        let look = index.look([key].into_iter());
        index.forget(&key);
        look.stored([(key, Some(fresh(0, 5)))].into_iter());
        drop(look);
        assert_eq!(knows(&index, key), None);
        assert_eq!(newer(&index, key, 0), None);
        let look = index.look([key].into_iter());
        look.stored([(key, None)].into_iter());
        drop(look);
        assert_eq!(knows(&index, key), None);
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
