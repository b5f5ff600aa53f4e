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
    /// Bytes on their way into the database.
    coming: u64,
}

impl Room {
    /// Room for this many bytes; for as many as there is disk, without a cap.
    pub(super) fn new(cap: Option<u64>) -> Self {
        Self { cap, taken: Mutex::default(), unsure: AtomicBool::new(true) }
    }

    /// Takes room for a message that is about to be stored, if there is any left.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = self.cap.is_none_or(|cap| taken.held.bytes + taken.coming + bytes <= cap);
        if fits {
            taken.coming += bytes;
        }
        fits
    }

    /// What became of that message.
    pub(super) fn settle(&self, bytes: u64, stored: bool) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.coming = taken.coming.saturating_sub(bytes);
        if stored {
            taken.held.messages += 1;
            taken.held.bytes += bytes;
        }
    }

    /// Messages of these sizes were deleted.
    pub(super) fn deleted(&self, sizes: &[(i64,)]) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: u64 = sizes.iter().map(|(size,)| size.unsigned_abs()).sum();
        taken.held.messages = taken.held.messages.saturating_sub(sizes.len() as u64);
        taken.held.bytes = taken.held.bytes.saturating_sub(bytes);
    }

    /// The count is to be made anew.
    pub(super) fn doubt(&self) {
        self.unsure.store(true, Ordering::SeqCst);
    }

    /// Whether to count now; once.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure.swap(false, Ordering::SeqCst)
    }

    /// As the database has counted.
    pub(super) fn counted(&self, messages: u64, bytes: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        (taken.held.messages, taken.held.bytes) = (messages, bytes);
    }

    /// Boxes are only counted by the database.
    pub(super) fn counted_boxes(&self, boxes: u64) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).held.boxes = boxes;
    }

    pub(super) fn held(&self) -> Held {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_coming_takes_room_too() {
        let room = Room::new(Some(10));
        assert!(room.take(6));
        assert!(!room.take(5));
        room.settle(6, false);
        assert!(room.take(5) && room.take(5) && !room.take(1));
        room.settle(5, true);
        room.settle(5, true);
        assert_eq!(room.held(), Held { messages: 2, bytes: 10, boxes: 0 });
        assert!(!room.take(1));
        room.deleted(&[(5,)]);
        assert_eq!(room.held(), Held { messages: 1, bytes: 5, boxes: 0 });
        assert!(room.take(5));
    }
}
