//! Checking the shape of a plan.

use std::collections::BTreeSet;
use std::fmt;

use participant::barrier::StepNo;

use super::Violation;
use super::explore::{Verdict, explore};
use super::saga::Saga;
use crate::shape::{MalformedShape, Shape};

/// Explores every order of events that one saga of this shape can meet, within limits.
///
/// The exploration is exhaustive and deterministic: the same shape and limits give the same answer and the same counts. Each
/// further step multiplies the number of states by 3 to 10, and so does a second executor. Five steps and two executors have
/// 150,000 states. An optimised build visits about 10,000 states per second and needs about 1.5 kB of memory per state.
///
/// # Errors
///
/// - [`CheckError::Malformed`], [`CheckError::NoExecutor`] and [`CheckError::CannotReject`] refuse the arguments, before
///   anything is explored.
/// - [`CheckError::Violated`] names the invariant that does not hold, with a shortest trace to it.
/// - [`CheckError::NotExhausted`] says that there are more states than [`Limits::states`], so that nothing is shown.
///
/// # Examples
///
/// ```
/// use participant::barrier::StepNo;
/// use saga::model::{CheckError, Fault, Limits, check};
/// use saga::shape::Shape;
///
/// let shape = Shape {
///     compensatable: Shape::chain([StepNo(1), StepNo(2)]),
///     pivot: StepNo(3),
///     retriable: Vec::new(),
/// };
/// let limits = Limits { executors: 1, ..Limits::default() }.without(Fault::OperatorAborts);
/// println!("{}", check(&shape, &limits).unwrap());
///
/// let too_small = Limits { states: 10, ..limits };
/// assert_eq!(check(&shape, &too_small), Err(CheckError::NotExhausted { states: 10 }));
/// ```
pub fn check(shape: &Shape, limits: &Limits) -> Result<Explored, CheckError> {
    shape.check()?;
    if limits.executors == 0 {
        return Err(CheckError::NoExecutor);
    }
    let can_reject: BTreeSet<StepNo> =
        shape.compensatable.iter().flatten().copied().chain([shape.pivot]).collect();
    let rejectable = match &limits.rejectable {
        Rejectable::All => can_reject,
        Rejectable::Only(steps) => match steps.difference(&can_reject).next() {
            Some(step) => return Err(CheckError::CannotReject(*step)),
            None => steps.clone(),
        },
    };
    let saga = Saga {
        shape: shape.clone(),
        executors: limits.executors,
        rejectable,
        purge: limits.purge,
        faults: limits.faults.clone(),
        broken: None,
    };
    answer(&saga, limits.states)
}

/// Explores a saga, be its rules sound or broken.
pub(super) fn answer(saga: &Saga, limit: usize) -> Result<Explored, CheckError> {
    match explore(saga, limit) {
        Verdict::Holds { states, moves } => Ok(Explored { states, moves }),
        Verdict::Broken { violation, trace } => Err(CheckError::Violated { violation, trace }),
        Verdict::NotExhausted => Err(CheckError::NotExhausted { states: limit }),
    }
}

/// The bounds of an exploration.
///
/// The default explores two executors, every fault, rejections by every step that can reject, rows purged together, and at
/// most 1,000,000 states.
///
/// # Examples
///
/// ```
/// use participant::barrier::StepNo;
/// use saga::model::{Fault, Limits, Purge, Rejectable};
///
/// let limits = Limits {
///     executors: 1,
///     rejectable: Rejectable::Only([StepNo(1)].into()),
///     purge: Purge::Each,
///     ..Limits::default()
/// };
/// assert!(!limits.without(Fault::Crash).faults.contains(&Fault::Crash));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How many executors may run the saga at once, at least 1. One that crashed may be followed by another, so a single
    /// one covers recovery; two cover an executor that was thought dead. Default 2.
    pub executors: usize,
    /// The steps that may be rejected. Default: all that can be.
    pub rejectable: Rejectable,
    /// What may go wrong or interfere, at any time and any number of times. Lost replies are always explored. Default: all
    /// of [`Fault::ALL`].
    pub faults: BTreeSet<Fault>,
    /// How participants purge the rows of an ended saga. Default [`Purge::Together`].
    pub purge: Purge,
    /// The number of distinct states beyond which the exploration stops and answers [`CheckError::NotExhausted`]. Default
    /// 1,000,000, which takes up to two minutes and 1.5 GB of memory in an optimised build.
    pub states: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            executors: 2,
            rejectable: Rejectable::All,
            faults: Fault::ALL.into(),
            purge: Purge::Together,
            states: 1_000_000,
        }
    }
}

impl Limits {
    /// Leaves out a fault, which makes the exploration smaller and what it shows weaker.
    #[must_use]
    pub fn without(mut self, fault: Fault) -> Self {
        self.faults.remove(&fault);
        self
    }
}

/// The steps that a participant may reject for a business reason.
///
/// The steps after the pivot never reject. Leaving out a step that in truth rejects makes what the exploration shows weaker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejectable {
    /// Every step before the pivot, and the pivot.
    All,
    /// These alone, each of them before the pivot or the pivot itself.
    Only(BTreeSet<StepNo>),
}

/// Something that may go wrong or interfere with a saga.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// An executor crashes. Without it, that a lone new executor reaches the end is not explored either.
    Crash,
    /// The transaction of START is lost.
    StartLost,
    /// A message that was sent once arrives at any later time, any number of times.
    LateCopy,
    /// The saga's deadline passes.
    Deadline,
    /// An operator aborts the saga.
    OperatorAborts,
    /// An operator resolves the saga by hand as soon as that is allowed.
    OperatorResolves,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Crash,
        Self::StartLost,
        Self::LateCopy,
        Self::Deadline,
        Self::OperatorAborts,
        Self::OperatorResolves,
    ];
}

/// How participants raise their watermarks and delete their rows, once the saga has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purge {
    /// They do not.
    Never,
    /// All of them do both at one moment.
    Together,
    /// Each raises its watermark at its own time, and later deletes its row. This explores many more states.
    Each,
}

/// What an exploration that found nothing wrong has covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Explored {
    /// The number of distinct states. Each of them was visited.
    pub states: usize,
    /// The number of moves between them. Each of them was taken.
    pub moves: usize,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, moves } = self;
        write!(f, "no violation in {states} states and {moves} moves between them")
    }
}

/// Why a shape is not shown to be sound.
///
/// `Debug` prints the same readable text as `Display`, so that `unwrap` in a test shows the trace line by line.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// No saga can have this shape.
    #[error("malformed shape: {0}")]
    Malformed(#[from] MalformedShape),
    /// [`Limits::executors`] is 0.
    #[error("no executor: set Limits::executors to at least 1")]
    NoExecutor,
    /// [`Limits::rejectable`] names a step that is neither before the pivot nor the pivot.
    #[error("step {0} cannot be rejected: only the pivot and the steps before it can")]
    CannotReject(StepNo),
    /// There are more states than [`Limits::states`]. No violation of an invariant was found in those visited.
    #[error(
        "not exhausted: nothing found in {states} states, but there are more: \
         raise Limits::states, or explore one executor or fewer faults"
    )]
    NotExhausted {
        /// The limit.
        states: usize,
    },
    /// An invariant does not hold.
    #[error("{}", story(*.violation, .trace))]
    Violated {
        /// The invariant.
        violation: Violation,
        /// One of the shortest traces of moves to a state in which it does not hold, one line per move in the order in
        /// which they happen. Executors are numbered in the order in which they begin.
        trace: Vec<String>,
    },
}

impl fmt::Debug for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn story(violation: Violation, trace: &[String]) -> String {
    let lines = trace.iter().zip(1..).map(|(line, number)| format!("\n{number:>4}. {line}"));
    format!("{violation:?}: {violation}, after{}", lines.collect::<String>())
}
