//! Steps that wait for a message to take them.

use participant::{CallKind, StepAnswer, StepCall};
use std::collections::VecDeque;
use tokio::sync::oneshot;
use tonic::Status;

/// What a step takes in a message beside its payload: key, trace, method.
const OVERHEAD_BYTES: usize = 256;

/// A step that waits for its answer.
pub(super) struct Pending {
    pub(super) call: StepCall,
    pub(super) reply: oneshot::Sender<Result<StepAnswer, Status>>,
}

impl Pending {
    /// Whoever asked may be gone.
    pub(super) fn answer(self, answer: Result<StepAnswer, Status>) {
        drop(self.reply.send(answer));
    }

    fn bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match &self.call.kind {
                CallKind::Act { payload, .. } => payload.len(),
                CallKind::Compensate | CallKind::Void(_) => 0,
            }
    }
}

/// Steps to one participant. What ends something begun goes first.
#[derive(Default)]
pub(super) struct Queue {
    closing: VecDeque<Pending>,
    others: VecDeque<Pending>,
    /// Messages without any answer.
    unanswered: usize,
}

impl Queue {
    pub(super) fn push(&mut self, pending: Pending) {
        let queue = if pending.call.closing { &mut self.closing } else { &mut self.others };
        queue.push_back(pending);
    }

    /// The next message, if fewer than `most` are unanswered: up to so many calls and bytes, one call at least. Steps for
    /// which nobody waits any more are dropped.
    pub(super) fn next(&mut self, most: usize, calls: usize, bytes: usize) -> Option<Vec<Pending>> {
        if self.unanswered >= most {
            return None;
        }
        let (mut batch, mut size) = (Vec::new(), 0);
        for queue in [&mut self.closing, &mut self.others] {
            while let Some(pending) = queue.front() {
                if pending.reply.is_closed() {
                    queue.pop_front();
                    continue;
                }
                size += pending.bytes();
                if batch.len() >= calls || (size > bytes && !batch.is_empty()) {
                    break;
                }
                batch.extend(queue.pop_front());
            }
        }
        if batch.is_empty() {
            return None;
        }
        self.unanswered += 1;
        Some(batch)
    }

    /// A message got its first answer, or never will.
    pub(super) fn one_answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use participant::{RequestHash, SagaId, StepNo, Trace};
    use tokio::time::Instant;

    type Answer = oneshot::Receiver<Result<StepAnswer, Status>>;

    fn step(no: i16, closing: bool, bytes: usize) -> (Pending, Answer) {
        let kind = CallKind::Act {
            method: "travel.v1.SeatParticipantService/ReserveSeat".to_owned(),
            payload: vec![0; bytes].into(),
            digest: RequestHash::default(),
        };
        let (reply, answer) = oneshot::channel();
        let call = StepCall {
            saga: SagaId([1; 16]),
            step: StepNo(no),
            kind,
            closing,
            deadline: Instant::now(),
            trace: Trace::default(),
        };
        (Pending { call, reply }, answer)
    }

    fn numbers(batch: Option<Vec<Pending>>) -> Vec<i16> {
        batch.into_iter().flatten().map(|pending| pending.call.step.0).collect()
    }

    #[test]
    fn what_ends_something_begun_goes_first() {
        let mut queue = Queue::default();
        let mut answers = Vec::new();
        for (no, closing) in [(1, false), (2, true), (3, false), (4, true)] {
            let (pending, answer) = step(no, closing, 10);
            queue.push(pending);
            answers.push(answer);
        }
        assert_eq!(numbers(queue.next(1, 3, 10_000)), [2, 4, 1]);
        assert!(queue.next(1, 3, 10_000).is_none(), "one message is unanswered");
        queue.one_answered();
        assert_eq!(numbers(queue.next(1, 3, 10_000)), [3]);
    }

    #[test]
    fn a_message_is_no_larger_than_allowed_but_for_a_single_step() {
        let mut queue = Queue::default();
        let mut answers = Vec::new();
        for no in 1..=3 {
            let (pending, answer) = step(no, false, 600);
            queue.push(pending);
            answers.push(answer);
        }
        assert_eq!(numbers(queue.next(9, 9, 2_000)), [1, 2]);
        assert_eq!(numbers(queue.next(9, 9, 100)), [3]);
    }

    #[test]
    fn a_step_for_which_nobody_waits_is_not_sent() {
        let mut queue = Queue::default();
        let (gone, answer) = step(1, false, 1);
        drop(answer);
        queue.push(gone);
        let (there, _answer) = step(2, false, 1);
        queue.push(there);
        assert_eq!(numbers(queue.next(9, 9, 2_000)), [2]);
    }
}
