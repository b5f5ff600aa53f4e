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
#[derive(Default)]
pub(super) struct Index(Mutex<Seen>);

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

impl Index {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For each of these boxes whether it holds anything newer, if all of them are known.
    pub(super) fn have_newer(&self, boxes: &[(PublicKey, At)], now: i64, alive: i64) -> Option<Vec<bool>> {
        let mut seen = self.seen();
        boxes.iter().map(|(key, at)| seen.get(key)?.holds_newer(*at, now, alive)).collect()
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
        seen.insert(key, known);
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
    fn get(&mut self, key: &PublicKey) -> Option<Known> {
        if let Some(known) = self.young.get(key) {
            return Some(*known);
        }
        let known = self.old.remove(key)?;
        self.insert(*key, known);
        Some(known)
    }

    fn insert(&mut self, key: PublicKey, known: Known) {
        if self.closed {
            return;
        }
        if self.young.len() >= GENERATION {
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
                seen.insert(key, known);
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
