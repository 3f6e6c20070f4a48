//! What a compensation does with each row.

use super::actions::rejected_steps;
use crate::step::Step;
use crate::subject::{Checked, Subject, expect};
use saga_api::v1::step_outcome::Outcome;
use saga_api::v1::{CompensateResponse, StepRefusalReason, StepRole, StepState};

const COMPENSATABLE: [StepRole; 1] = [StepRole::Compensatable];

pub(super) async fn finds_nothing(subject: &Subject<'_>) -> Checked {
    for action in subject.of_roles(&COMPENSATABLE)? {
        let step = subject.fresh(action).await?;
        finds(subject, &step, StepState::Nothing).await?;
        finds(subject, &step, StepState::Tombstone).await?;
        is_closed(subject, &step, "after a compensation that found nothing").await?;
        finds(subject, &step, StepState::Tombstone).await?;
    }
    Ok(())
}

pub(super) async fn undoes_once(subject: &Subject<'_>) -> Checked {
    for action in subject.of_roles(&COMPENSATABLE)? {
        let step = subject.fresh(action).await?;
        subject.done(&step).await?;
        finds(subject, &step, StepState::Done).await?;
        finds(subject, &step, StepState::Compensated).await?;
        is_closed(subject, &step, "after it was undone").await?;
        finds(subject, &step, StepState::Compensated).await?;
    }
    Ok(())
}

pub(super) async fn leaves_rejection(subject: &Subject<'_>) -> Checked {
    for step in rejected_steps(subject, &COMPENSATABLE)? {
        let rejection = subject.rejected(&step).await?;
        for _ in 0..2 {
            let answer = finds(subject, &step, StepState::Rejected).await?;
            expect(answer.rejection.as_ref() == Some(&rejection), || {
                let named = answer.rejection.as_ref().map(|it| it.reason.as_str());
                format!(
                    "the compensation of a step rejected as {} names {named:?}",
                    rejection.reason
                )
            })?;
        }
        let first = Outcome::Rejected(rejection);
        subject.repeats(&step, &first, "repeated after a compensation").await?;
    }
    Ok(())
}

/// Compensates a step, and expects this state.
pub(super) async fn finds(
    subject: &Subject<'_>,
    step: &Step,
    expected: StepState,
) -> Checked<CompensateResponse> {
    let answer = subject.compensate(step).await?;
    expect(answer.found() == expected, || {
        let (method, found) = (&step.action.method, answer.found());
        format!("a compensation of {method} found {found:?}, not {expected:?}")
    })?;
    Ok(answer)
}

/// Expects that the action is refused, whatever its content.
pub(super) async fn is_closed(subject: &Subject<'_>, step: &Step, when: &str) -> Checked {
    let refusal = StepRefusalReason::Tombstoned;
    subject.refused(step, refusal, when).await?;
    subject.refused(&step.with_other_digest(), refusal, when).await
}
