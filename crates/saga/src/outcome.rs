//! How a saga ends, and why.
//!
//! A failed saga has one reason, the same for everybody who asks: its REJECTED row if there is one, and else the reason that
//! stands in the voided pivot. Only steps of one stage can all be refused; then it is the row with the lowest step
//! number. What an executor itself wanted counts for nothing: one that voided for the deadline may find, while it
//! compensates, that a late copy of step 1 was refused, and an executor that saw this refusal first may already have told
//! it.

use participant::barrier::StepNo;

/// How a saga ended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// Every step is done.
    Succeeded,
    /// Every step is undone or never ran.
    Failed(Failure),
}

/// Why a saga failed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Failure {
    /// A participant refused a step.
    Rejected {
        /// The step.
        step: StepNo,
        /// The refusal, as the participant recorded it.
        reply: Vec<u8>,
    },
    /// The pivot was voided.
    Aborted {
        /// The reason in the pivot's row: an encoded [`AbortReason`].
        reason: Vec<u8>,
    },
}

/// The reason of a saga that a person closed and that nobody refused. It stands in no row.
pub const RESOLVED: &[u8] = b"RESOLVED";

/// Why an executor stops a saga that no participant refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AbortReason {
    /// The saga's own deadline passed before its pivot was done.
    Deadline,
    /// An operator asked for it.
    Operator,
    /// A step answers with an error that no retry can heal.
    CannotHeal {
        /// The step.
        step: StepNo,
        /// The gRPC status code.
        code: i32,
    },
}

impl Failure {
    /// The step to name to the client: the refused one, or the one that cannot heal.
    pub fn step(&self) -> Option<StepNo> {
        match self {
            Self::Rejected { step, .. } => Some(*step),
            Self::Aborted { reason } => match AbortReason::decode(reason)? {
                AbortReason::CannotHeal { step, .. } => Some(step),
                AbortReason::Deadline | AbortReason::Operator => None,
            },
        }
    }

    /// The failure once a REJECTED row was found at `step`: a rejection outranks the reason of a void, and the one at the
    /// lowest step number all others.
    pub(crate) fn or_rejected(self, step: StepNo, reply: Vec<u8>) -> Self {
        match self {
            Self::Rejected { step: earlier, .. } if earlier < step => self,
            Self::Rejected { .. } | Self::Aborted { .. } => Self::Rejected { step, reply },
        }
    }
}

impl AbortReason {
    /// The reason as the pivot's row stores it: words that a person can read there.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Deadline => b"DEADLINE".to_vec(),
            Self::Operator => b"OPERATOR".to_vec(),
            Self::CannotHeal { step, code } => format!("CANNOT_HEAL {step} {code}").into_bytes(),
        }
    }

    /// The reason in a pivot's row; `None` for an empty one, and for words of a version that is not known here.
    pub fn decode(reason: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(reason).ok()?.split(' ');
        let decoded = match words.next()? {
            "DEADLINE" => Self::Deadline,
            "OPERATOR" => Self::Operator,
            "CANNOT_HEAL" => {
                let step = StepNo(words.next()?.parse().ok()?);
                Self::CannotHeal { step, code: words.next()?.parse().ok()? }
            }
            _ => return None,
        };
        words.next().is_none().then_some(decoded)
    }
}

/// Why a saga was aborted, in the word that its client is told.
pub fn cause(reason: &[u8]) -> &'static str {
    match AbortReason::decode(reason) {
        Some(AbortReason::Deadline) => "DEADLINE_EXCEEDED",
        Some(AbortReason::Operator) => "OPERATOR",
        Some(AbortReason::CannotHeal { .. }) => "PARTICIPANT_REFUSES",
        None if reason == RESOLVED => "RESOLVED",
        // Another executor was found undoing the saga, or a newer program wrote the reason.
        None => "UNDONE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANNOT_HEAL: AbortReason = AbortReason::CannotHeal { step: StepNo(3), code: 12 };

    #[test]
    fn abort_reasons_survive_the_register() {
        for reason in [AbortReason::Deadline, AbortReason::Operator, CANNOT_HEAL] {
            assert_eq!(AbortReason::decode(&reason.encode()), Some(reason));
        }
    }

    #[test]
    fn what_is_not_a_known_reason_is_none() {
        let bad: [&[u8]; 6] =
            [b"", b"LATER", b"DEADLINE 1", b"CANNOT_HEAL", b"CANNOT_HEAL 3 x", b"\xff"];
        for reason in bad {
            assert_eq!(AbortReason::decode(reason), None, "{reason:?}");
        }
    }

    #[test]
    fn a_failure_names_the_step_it_is_about() {
        let rejected = Failure::Rejected { step: StepNo(2), reply: Vec::new() };
        assert_eq!(rejected.step(), Some(StepNo(2)));
        let aborted = |reason: AbortReason| Failure::Aborted { reason: reason.encode() };
        assert_eq!(aborted(CANNOT_HEAL).step(), Some(StepNo(3)));
        assert_eq!(aborted(AbortReason::Deadline).step(), None);
    }
}
