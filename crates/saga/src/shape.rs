//! The order of a saga's steps around its pivot, and nothing else about them.

use std::collections::BTreeSet;

use participant::barrier::StepNo;

/// Steps without an order among them: they may run at once, and none reads another's reply. Never empty.
pub type Stage = Vec<StepNo>;

/// The steps of one saga, by stages: a stage begins when every step of the one before it is done. A function of START
/// alone, so that every executor of the saga walks the same way; a step that does not apply (no coupon) is simply absent.
/// Step numbers are distinct.
///
/// The **pivot** is the step whose barrier row decides between commit and abort, and a stage of its own. A checkout has
/// it last: what went before can be compensated. A cancellation has it first: what comes after is done or retried, never
/// refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The stages before the pivot, in order. Each step can be compensated, and each may be rejected.
    pub compensatable: Vec<Stage>,
    /// The step that decides. It is voided, never compensated.
    pub pivot: StepNo,
    /// The stages after the pivot, in order. Their steps can be neither rejected nor undone.
    pub retriable: Vec<Stage>,
}

/// Why a [`Shape`] cannot be that of a saga.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MalformedShape {
    /// A step number is below 1.
    #[error("step {0} is below 1: number steps from 1")]
    StepBelowOne(StepNo),
    /// The pivot is also a step before or after itself.
    #[error("step {0} is the pivot and stands in another stage too: keep it as the pivot alone")]
    PivotElsewhere(StepNo),
    /// A step number stands twice, in one stage or in two.
    #[error("step {0} stands twice: give each step its own number")]
    DuplicateStep(StepNo),
    /// A stage before the pivot has no step; its index in [`Shape::compensatable`], from 0.
    #[error("stage compensatable[{0}] is empty: remove it")]
    EmptyStageBefore(usize),
    /// A stage after the pivot has no step; its index in [`Shape::retriable`], from 0.
    #[error("stage retriable[{0}] is empty: remove it")]
    EmptyStageAfter(usize),
}

impl Shape {
    /// Checks that step numbers are distinct and at least 1, and that no stage is empty.
    ///
    /// # Errors
    ///
    /// The first fault found: empty stages come first, then steps in the order in which they are taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use participant::barrier::StepNo;
    /// use saga::shape::{MalformedShape, Shape};
    ///
    /// let [flight, hotel, book] = [StepNo(1), StepNo(2), StepNo(3)];
    /// let shape = Shape { compensatable: vec![vec![flight, hotel]], pivot: book, retriable: vec![] };
    /// assert_eq!(shape.check(), Ok(()));
    ///
    /// let shape = Shape { retriable: vec![vec![hotel]], ..shape };
    /// assert_eq!(shape.check(), Err(MalformedShape::DuplicateStep(hotel)));
    /// ```
    pub fn check(&self) -> Result<(), MalformedShape> {
        if let Some(index) = self.compensatable.iter().position(Vec::is_empty) {
            return Err(MalformedShape::EmptyStageBefore(index));
        }
        if let Some(index) = self.retriable.iter().position(Vec::is_empty) {
            return Err(MalformedShape::EmptyStageAfter(index));
        }
        let mut seen = BTreeSet::new();
        for step in self.steps() {
            if step < StepNo(1) {
                return Err(MalformedShape::StepBelowOne(step));
            }
            if !seen.insert(step) {
                return Err(if step == self.pivot {
                    MalformedShape::PivotElsewhere(step)
                } else {
                    MalformedShape::DuplicateStep(step)
                });
            }
        }
        Ok(())
    }

    /// Stages of one step each.
    pub fn chain(steps: impl IntoIterator<Item = StepNo>) -> Vec<Stage> {
        steps.into_iter().map(|step| vec![step]).collect()
    }

    /// All stages in the order in which they are taken.
    pub fn stages(&self) -> impl Iterator<Item = &[StepNo]> {
        let pivot = std::slice::from_ref(&self.pivot);
        let before = self.compensatable.iter().map(Vec::as_slice);
        before.chain([pivot]).chain(self.retriable.iter().map(Vec::as_slice))
    }

    /// All steps, those of an earlier stage first.
    pub fn steps(&self) -> impl Iterator<Item = StepNo> + '_ {
        self.stages().flatten().copied()
    }

    /// The place of a step's stage among those before the pivot; for any other step, how many those are.
    pub fn stage(&self, step: StepNo) -> usize {
        let stage = self.compensatable.iter().position(|stage| stage.contains(&step));
        stage.unwrap_or(self.compensatable.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(numbers: &[i16]) -> Stage {
        numbers.iter().copied().map(StepNo).collect()
    }

    #[test]
    fn steps_come_stage_by_stage() {
        let shape = Shape {
            compensatable: vec![steps(&[10, 30]), steps(&[20])],
            pivot: StepNo(40),
            retriable: Shape::chain(steps(&[50])),
        };
        assert_eq!(shape.steps().map(|step| step.0).collect::<Vec<_>>(), [10, 30, 20, 40, 50]);
        assert_eq!(shape.stages().map(<[_]>::len).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert_eq!([10, 30, 20, 40].map(|step| shape.stage(StepNo(step))), [0, 0, 1, 2]);
    }

    #[test]
    fn malformed_shapes_are_refused_by_name() {
        use MalformedShape::{
            DuplicateStep, EmptyStageAfter, EmptyStageBefore, PivotElsewhere, StepBelowOne,
        };
        let shape = |before: &[&[i16]], pivot, after: &[&[i16]]| {
            let stages = |stages: &[&[i16]]| stages.iter().map(|stage| steps(stage)).collect();
            Shape { compensatable: stages(before), pivot: StepNo(pivot), retriable: stages(after) }
        };
        let check = |before: &[&[i16]], after: &[&[i16]]| shape(before, 3, after).check();
        assert_eq!(check(&[], &[]), Ok(()));
        assert_eq!(check(&[&[1, 2]], &[&[4], &[i16::MAX]]), Ok(()));
        assert_eq!(check(&[&[1, 1]], &[]), Err(DuplicateStep(StepNo(1))));
        assert_eq!(check(&[&[1], &[2, 1]], &[]), Err(DuplicateStep(StepNo(1))));
        assert_eq!(check(&[&[1]], &[&[1]]), Err(DuplicateStep(StepNo(1))));
        assert_eq!(check(&[], &[&[4, 4]]), Err(DuplicateStep(StepNo(4))));
        assert_eq!(check(&[&[3]], &[]), Err(PivotElsewhere(StepNo(3))));
        assert_eq!(check(&[], &[&[4], &[3]]), Err(PivotElsewhere(StepNo(3))));
        assert_eq!(check(&[&[1], &[]], &[]), Err(EmptyStageBefore(1)));
        assert_eq!(check(&[], &[&[]]), Err(EmptyStageAfter(0)));
        assert_eq!(check(&[&[1, 0]], &[]), Err(StepBelowOne(StepNo(0))));
        assert_eq!(check(&[], &[&[-1]]), Err(StepBelowOne(StepNo(-1))));
        assert_eq!(shape(&[&[1]], 0, &[]).check(), Err(StepBelowOne(StepNo(0))));
    }
}
