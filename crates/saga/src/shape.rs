//! The order of a saga's steps around its register, and nothing else about them.

use participant::barrier::StepNo;

/// The steps of one saga. A function of START alone, so that every executor of the saga walks the same way; a step
/// that does not apply (no coupon) is simply absent. Step numbers are distinct.
///
/// The **register** is the step whose barrier row decides between commit and abort. A checkout has it last: what went
/// before can be compensated. A cancellation has it first: what comes after is done or retried, never refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The steps before the register, in order. Each can be compensated, and each may be rejected.
    pub before: Vec<StepNo>,
    /// The step that decides. It is voided, never compensated.
    pub register: StepNo,
    /// The steps after the register, in order. They can be neither rejected nor undone.
    pub after: Vec<StepNo>,
}

impl Shape {
    /// All steps in the order in which they are taken.
    pub fn steps(&self) -> impl Iterator<Item = StepNo> + '_ {
        self.before.iter().copied().chain([self.register]).chain(self.after.iter().copied())
    }

    /// The first step.
    pub fn first(&self) -> StepNo {
        self.before.first().copied().unwrap_or(self.register)
    }

    /// The step to compensate after `step` was: the one before it. `None` when nothing stands before it.
    pub fn previous(&self, step: StepNo) -> Option<StepNo> {
        self.before.iter().copied().take_while(|&before| before != step).last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(before: &[i16], register: i16, after: &[i16]) -> Shape {
        let steps = |numbers: &[i16]| numbers.iter().copied().map(StepNo).collect();
        Shape { before: steps(before), register: StepNo(register), after: steps(after) }
    }

    #[test]
    fn steps_are_walked_forwards_and_undone_backwards() {
        let shape = shape(&[10, 30], 40, &[50]);
        assert_eq!(shape.first(), StepNo(10));
        assert_eq!(shape.steps().map(|step| step.0).collect::<Vec<_>>(), [10, 30, 40, 50]);
        assert_eq!(shape.previous(StepNo(40)), Some(StepNo(30)));
        assert_eq!(shape.previous(StepNo(30)), Some(StepNo(10)));
        assert_eq!(shape.previous(StepNo(10)), None);
    }

    #[test]
    fn a_register_that_comes_first_has_nothing_to_undo() {
        let shape = shape(&[], 1, &[2, 3]);
        assert_eq!(shape.first(), StepNo(1));
        assert_eq!(shape.previous(StepNo(1)), None);
    }
}
