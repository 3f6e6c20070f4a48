//! What a void does with each row.

use super::actions::rejected_steps;
use super::compensation::is_closed;
use crate::step::Step;
use crate::subject::{Checked, Subject, expect};
use saga_api::v1::step_outcome::Outcome;
use saga_api::v1::{StepRole, StepState, VoidResponse};

const PIVOT: [StepRole; 1] = [StepRole::Pivot];

pub(super) async fn finds_nothing(subject: &Subject<'_>) -> Checked {
    for action in subject.of_roles(&PIVOT)? {
        let step = subject.fresh(action).await?;
        for (reason, found) in [
            ("DEADLINE", StepState::Nothing),
            ("OPERATOR", StepState::Tombstone),
            ("DEADLINE", StepState::Tombstone),
        ] {
            let answer = finds(subject, &step, reason, found).await?;
            expect(answer.reason == "DEADLINE", || {
                let told = &answer.reason;
                format!("a void as {reason} of a pivot closed as DEADLINE answered {told:?}")
            })?;
            is_closed(subject, &step, "after a void").await?;
        }
    }
    Ok(())
}

pub(super) async fn leaves_done(subject: &Subject<'_>) -> Checked {
    for action in subject.of_roles(&PIVOT)? {
        let step = subject.fresh(action).await?;
        let reply = subject.done(&step).await?;
        for _ in 0..2 {
            let answer = finds(subject, &step, "DEADLINE", StepState::Done).await?;
            expect(action.equal_reply(&answer.reply, &reply), || {
                format!("a void of {} that is done answered another reply", action.method)
            })?;
        }
        subject.repeats(&step, &Outcome::Done(reply), "repeated after a void").await?;
    }
    Ok(())
}

pub(super) async fn leaves_rejection(subject: &Subject<'_>) -> Checked {
    for step in rejected_steps(subject, &PIVOT)? {
        let rejection = subject.rejected(&step).await?;
        let answer = finds(subject, &step, "DEADLINE", StepState::Rejected).await?;
        expect(answer.rejection.as_ref() == Some(&rejection), || {
            let named = answer.rejection.as_ref().map(|it| it.reason.as_str());
            format!("the void of a pivot rejected as {} names {named:?}", rejection.reason)
        })?;
        let first = Outcome::Rejected(rejection);
        subject.repeats(&step, &first, "repeated after a void").await?;
    }
    Ok(())
}

/// Voids a step, and expects this state.
async fn finds(
    subject: &Subject<'_>,
    step: &Step,
    reason: &str,
    expected: StepState,
) -> Checked<VoidResponse> {
    let answer = subject.void(step, reason).await?;
    expect(answer.found() == expected, || {
        let (method, found) = (&step.action.method, answer.found());
        format!("a void of {method} found {found:?}, not {expected:?}")
    })?;
    Ok(answer)
}
