//! Where the reading of a shard is.

use super::group::Mark;
use super::record::{Partial, Place};
use crate::bus::Message;
use std::collections::VecDeque;

/// Takes records, and yields the messages above a position.
pub(super) struct Cursor {
    /// Messages up to here were yielded, or were not wanted.
    yielded: i64,
    /// Messages up to here are ready, or were yielded.
    at: i64,
    ready: VecDeque<Message>,
    under_way: Option<Partial>,
    /// The offset of the next record.
    next: i64,
    base: Mark,
    /// Marks above the base, of messages that the consumer has not acknowledged.
    marks: VecDeque<Mark>,
    /// The position that was committed last, or is about to be.
    committed: i64,
}

impl Cursor {
    /// Yields what is above `after`, and reads from `base`, which is not above it.
    pub(super) fn new(after: i64, base: Mark) -> Self {
        Self {
            yielded: after,
            at: after,
            ready: VecDeque::new(),
            under_way: None,
            next: base.offset,
            base,
            marks: VecDeque::new(),
            committed: 0,
        }
    }

    /// The offset of the record that is to be taken next.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// How many messages are ready.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Passes over the record at an offset.
    pub(super) fn pass(&mut self, offset: i64) {
        self.next = offset + 1;
    }

    /// Takes the record that was passed last.
    pub(super) fn take(&mut self, place: &Place, value: Vec<u8>) {
        let Some(message) = Partial::add(&mut self.under_way, place, value) else { return };
        let last = self.marks.back().unwrap_or(&self.base);
        if message.position > last.position {
            self.marks.push_back(Mark { position: message.position, offset: self.next });
        }
        if message.position > self.at {
            self.at = message.position;
            self.ready.push_back(message);
        }
    }

    /// Drops what is not above the position. False where something above it was yielded before: its records must be read
    /// again, after [`Self::go_back`].
    pub(super) fn go_to(&mut self, after: i64) -> bool {
        let is_behind = after < self.yielded;
        self.yielded = after;
        self.at = self.at.max(after);
        self.ready.retain(|message| message.position > after);
        !is_behind
    }

    /// Begins anew above a position: at its base or, where that is above, at the first record that there is. Tells the
    /// offset.
    pub(super) fn go_back(&mut self, after: i64, first: i64) -> i64 {
        let is_below = self.base.position <= after;
        let base = if is_below { self.base } else { Mark { position: 0, offset: first } };
        *self = Self { committed: self.committed, ..Self::new(after, base) };
        base.offset
    }

    /// At most `max` of what is ready, up to the first hole: whoever reads on finds the hole at the front.
    pub(super) fn yield_ready(&mut self, max: usize) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        while let Some(next) = self.ready.front() {
            let follows = messages.last().is_none_or(|last| last.position + 1 == next.position);
            if messages.len() == max || !follows {
                break;
            }
            self.yielded = next.position;
            messages.extend(self.ready.pop_front());
        }
        messages
    }

    /// Takes note of what the consumer has done with. Tells what is to be committed now, if anything.
    pub(super) fn acknowledge(&mut self, position: i64) -> Option<Mark> {
        while let Some(mark) = self.marks.front().filter(|mark| mark.position <= position) {
            self.base = *mark;
            self.marks.pop_front();
        }
        let is_due = self.base.position > self.committed;
        self.committed = self.committed.max(self.base.position);
        is_due.then_some(self.base)
    }

    /// The last commit did not succeed.
    pub(super) fn commit_again(&mut self) {
        self.committed = 0;
    }
}
