//! What an action that was recorded is answered with.

use crate::step::Step;
use crate::subject::{Checked, Failure, Subject, expect};
use saga_api::v1::step_outcome::Outcome;
use saga_api::v1::{StepRefusalReason, StepRole, StepState};

const ALL: [StepRole; 3] = [StepRole::Compensatable, StepRole::Pivot, StepRole::Retriable];

pub(super) async fn repeated(subject: &Subject<'_>) -> Checked {
    for action in subject.of_roles(&ALL)? {
        let step = subject.fresh(action).await?;
        let first = Outcome::Done(subject.done(&step).await?);
        for _ in 0..3 {
            subject.repeats(&step, &first, "repeated").await?;
        }
    }
    Ok(())
}

pub(super) async fn rejected(subject: &Subject<'_>) -> Checked {
    for step in rejected_steps(subject, &ALL)? {
        let rejection = subject.rejected(&step).await?;
        let described = subject.described.iter().find(|it| it.method == step.action.method);
        expect(described.is_some_and(|it| it.rejections.contains(&rejection.reason)), || {
            let (method, reason) = (&step.action.method, &rejection.reason);
            format!("{method} was rejected as {reason}, which Describe does not list")
        })?;
        let first = Outcome::Rejected(rejection);
        subject.repeats(&step, &first, "repeated").await?;
        let row = subject.record(&step).await?;
        expect(row.is_some_and(|row| row.state() == StepState::Rejected), || {
            format!("GetSteps has no rejected row of {}", step.action.method)
        })?;
    }
    Ok(())
}

pub(super) async fn other_content(subject: &Subject<'_>) -> Checked {
    let refusal = StepRefusalReason::OtherContent;
    for action in subject.of_roles(&ALL)? {
        let step = subject.fresh(action).await?;
        let first = Outcome::Done(subject.done(&step).await?);
        let when = "with another digest after it was done";
        subject.refused(&step.with_other_digest(), refusal, when).await?;
        subject.repeats(&step, &first, "with its own digest again").await?;
        if let Some(step) = subject.fresh_rejected(action)? {
            let first = Outcome::Rejected(subject.rejected(&step).await?);
            let when = "with another digest after it was rejected";
            subject.refused(&step.with_other_digest(), refusal, when).await?;
            subject.repeats(&step, &first, "with its own digest again").await?;
        }
    }
    Ok(())
}

/// The same digest names the same content, whatever the payload is: versions may encode it differently.
pub(super) async fn opaque_digest(subject: &Subject<'_>) -> Checked {
    for action in subject.of_roles(&ALL)? {
        let step = subject.fresh(action).await?;
        let first = Outcome::Done(subject.done(&step).await?);
        let other = subject.fresh(action).await?;
        let same_digest = Step { payload: other.payload, ..step };
        let when = "with its digest and another payload";
        subject.repeats(&same_digest, &first, when).await?;
    }
    Ok(())
}

/// Steps that will be rejected.
///
/// # Errors
/// [`Failure::NotChecked`] where there are no such payloads.
pub(super) fn rejected_steps(subject: &Subject<'_>, roles: &[StepRole]) -> Checked<Vec<Step>> {
    let mut steps = Vec::new();
    for action in subject.of_roles(roles)? {
        steps.extend(subject.fresh_rejected(action)?);
    }
    if steps.is_empty() {
        return Err(Failure::NotChecked("no rejected payload is given".to_owned()));
    }
    Ok(steps)
}
