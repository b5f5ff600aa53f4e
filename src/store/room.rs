//! How much all boxes hold together, counted as it changes, so that no send has to ask the database.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::Held;

/// What is stored, what is about to be, and how much may be.
pub(super) struct Room {
    cap: Option<u64>,
    taken: Mutex<Taken>,
    /// Whether to count anew: something failed, and nobody knows whether it was stored.
    unsure: AtomicBool,
}

#[derive(Default)]
struct Taken {
    held: Held,
    /// Messages on their way into the database, and their bytes.
    coming: Held,
    /// Goes up with every change of what is held.
    changes: u64,
}

impl Room {
    /// Room for this many bytes; for as many as there is disk, without a cap.
    pub(super) fn new(cap: Option<u64>) -> Self {
        Self { cap, taken: Mutex::default(), unsure: AtomicBool::new(true) }
    }

    /// Takes room for a message that is about to be stored, if there is any left.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let with_it = Held {
            messages: taken.held.messages + taken.coming.messages + 1,
            bytes: taken.held.bytes + taken.coming.bytes + bytes,
            boxes: taken.held.boxes,
        };
        let fits = self.cap.is_none_or(|cap| with_it.on_disk() <= cap);
        if fits {
            taken.coming.messages += 1;
            taken.coming.bytes += bytes;
        }
        fits
    }

    /// What became of that message.
    pub(super) fn settle(&self, bytes: u64, stored: bool) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.coming.messages = taken.coming.messages.saturating_sub(1);
        taken.coming.bytes = taken.coming.bytes.saturating_sub(bytes);
        if stored {
            taken.changes += 1;
            taken.held.messages += 1;
            taken.held.bytes += bytes;
        }
    }

    /// So many messages of so many bytes were deleted.
    pub(super) fn deleted(&self, messages: u64, bytes: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.changes += 1;
        taken.held.messages = taken.held.messages.saturating_sub(messages);
        taken.held.bytes = taken.held.bytes.saturating_sub(bytes);
    }

    /// The count is to be made anew.
    pub(super) fn doubt(&self) {
        self.unsure.store(true, Ordering::SeqCst);
    }

    /// Whether to count now.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure.load(Ordering::SeqCst)
    }

    /// To be told to [`Room::counted`]: what changes while the database counts is in no count.
    pub(super) fn changes(&self) -> u64 {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).changes
    }

    /// As the database has counted since then.
    pub(super) fn counted(&self, messages: u64, bytes: u64, changes: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        (taken.held.messages, taken.held.bytes) = (messages, bytes);
        let is_exact = taken.changes == changes && taken.coming.messages == 0;
        self.unsure.store(!is_exact, Ordering::SeqCst);
    }

    /// Boxes are only counted by the database.
    pub(super) fn counted_boxes(&self, boxes: u64) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).held.boxes = boxes;
    }

    /// Whether nothing is held, and nothing may be.
    pub(super) fn is_empty(&self) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.held.messages == 0 && taken.coming.messages == 0 && !self.is_unsure()
    }

    pub(super) fn held(&self) -> Held {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of this many bytes alone.
    fn message(bytes: u64) -> u64 {
        Held { messages: 1, bytes, boxes: 0 }.on_disk()
    }

    #[test]
    fn what_is_coming_takes_room_too() {
        let room = Room::new(Some(2 * message(5)));
        assert!(room.take(6));
        assert!(!room.take(5));
        room.settle(6, false);
        assert!(room.take(5) && room.take(5) && !room.take(0));
        room.settle(5, true);
        room.settle(5, true);
        assert_eq!(room.held(), Held { messages: 2, bytes: 10, boxes: 0 });
        assert!(!room.take(0));
        room.deleted(1, 5);
        assert_eq!(room.held(), Held { messages: 1, bytes: 5, boxes: 0 });
        assert!(room.take(5));
    }

    #[test]
    fn boxes_and_small_messages_take_room() {
        assert_eq!(Held { messages: 1, bytes: 1, boxes: 1 }.on_disk(), 417);
        let room = Room::new(Some(1000));
        room.counted_boxes(5);
        assert!(!room.take(1));
        room.counted_boxes(4);
        assert!(room.take(1) && !room.take(1));
    }

    #[test]
    fn a_count_beside_changes_is_made_again() {
        let room = Room::new(None);
        assert!(room.is_unsure(), "at the start");
        let changes = room.changes();
        room.counted(1, 1, changes);
        assert!(!room.is_unsure());
        room.doubt();
        let changes = room.changes();
        assert!(room.take(1));
        room.counted(1, 1, changes);
        assert!(room.is_unsure(), "something is coming");
        room.settle(1, true);
        room.counted(1, 1, changes);
        assert!(room.is_unsure(), "something came");
        room.counted(2, 2, room.changes());
        assert!(!room.is_unsure());
    }
}
