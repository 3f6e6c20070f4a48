//! The order of a saga's steps around its register, and nothing else about them.

use participant::barrier::StepNo;

/// Steps without an order among them: they may run at once, and none reads another's reply. Never empty.
pub type Stage = Vec<StepNo>;

/// The steps of one saga, by stages: a stage begins when every step of the one before it is done. A function of START
/// alone, so that every executor of the saga walks the same way; a step that does not apply (no coupon) is simply absent.
/// Step numbers are distinct.
///
/// The **register** is the step whose barrier row decides between commit and abort, and a stage of its own. A checkout has
/// it last: what went before can be compensated. A cancellation has it first: what comes after is done or retried, never
/// refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The stages before the register, in order. Each step can be compensated, and each may be rejected.
    pub before: Vec<Stage>,
    /// The step that decides. It is voided, never compensated.
    pub register: StepNo,
    /// The stages after the register, in order. Their steps can be neither rejected nor undone.
    pub after: Vec<Stage>,
}

impl Shape {
    /// Stages of one step each.
    pub fn chain(steps: impl IntoIterator<Item = StepNo>) -> Vec<Stage> {
        steps.into_iter().map(|step| vec![step]).collect()
    }

    /// All stages in the order in which they are taken.
    pub fn stages(&self) -> impl Iterator<Item = &[StepNo]> {
        let register = std::slice::from_ref(&self.register);
        let before = self.before.iter().map(Vec::as_slice);
        before.chain([register]).chain(self.after.iter().map(Vec::as_slice))
    }

    /// All steps, those of an earlier stage first.
    pub fn steps(&self) -> impl Iterator<Item = StepNo> + '_ {
        self.stages().flatten().copied()
    }

    /// The place of a step's stage among those before the register; for any other step, how many those are.
    pub fn stage(&self, step: StepNo) -> usize {
        let stage = self.before.iter().position(|stage| stage.contains(&step));
        stage.unwrap_or(self.before.len())
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
            before: vec![steps(&[10, 30]), steps(&[20])],
            register: StepNo(40),
            after: Shape::chain(steps(&[50])),
        };
        assert_eq!(shape.steps().map(|step| step.0).collect::<Vec<_>>(), [10, 30, 20, 40, 50]);
        assert_eq!(shape.stages().map(<[_]>::len).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert_eq!([10, 30, 20, 40].map(|step| shape.stage(StepNo(step))), [0, 0, 1, 2]);
    }
}
