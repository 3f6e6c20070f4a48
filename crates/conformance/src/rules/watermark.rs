//! The watermark. Its rules use the sagas that were made when the run began, and raise the watermark to one of them.

use super::compensation::finds;
use crate::step::{Action, Step, named};
use crate::subject::{Checked, Failure, Subject, answered, broken, expect};
use saga_api::v1::step_answer::Answer;
use saga_api::v1::step_outcome::Outcome;
use saga_api::v1::{
    RaiseWatermarkRequest, RunStepsRequest, StepRefusalReason, StepRole, StepState,
};
use tonic::Code;
use uuid::Uuid;

/// Raises the watermark over the old sagas. One of them is given a row before, for the last rule.
pub(super) async fn never_falls(subject: &Subject<'_>) -> Checked {
    let action = action(subject)?;
    let kept = subject.step_in(subject.old.kept, action.number, action).await?;
    let reply = subject.done(&kept).await?;
    let _ = subject.old.kept_step.set((kept, reply));
    let to = subject.old.watermark;
    let raised = raise(subject, to).await?;
    expect(raised.as_slice() >= to.as_bytes().as_slice(), || {
        "RaiseWatermark answered a lower watermark than it was given".to_owned()
    })?;
    for lower in [subject.old.missing[0], to, Uuid::nil()] {
        let now = raise(subject, lower).await?;
        expect(now >= raised, || {
            "RaiseWatermark with a lower id lowered the watermark".to_owned()
        })?;
    }
    let fresh = subject.fresh(action).await?;
    subject.done(&fresh).await?;
    Ok(())
}

pub(super) async fn purges(subject: &Subject<'_>) -> Checked {
    raise(subject, subject.old.watermark).await?;
    let refusal = StepRefusalReason::Purged;
    let action = action(subject)?;
    let [first, second, third, fourth] = subject.old.missing;
    let when = "without a row, below the watermark,";
    // The watermark itself is over too.
    for saga in [first, subject.old.watermark] {
        let step = subject.step_alone(saga, action)?;
        subject.refused(&step, refusal, when).await?;
        subject.refused(&step, refusal, when).await?;
        has_no_row(subject, &step, "an action").await?;
    }
    let step = subject.step_alone(second, action)?;
    if subject.has(StepRole::Compensatable) {
        for _ in 0..2 {
            finds(subject, &step, StepState::Purged).await?;
            has_no_row(subject, &step, "a compensation").await?;
        }
    }
    subject.refused(&step, refusal, when).await?;
    let step = subject.step_alone(third, action)?;
    if subject.has(StepRole::Pivot) {
        for _ in 0..2 {
            let found = subject.void(&step, "DEADLINE").await?.found();
            expect(found == StepState::Purged, || format!("a void found {found:?}, not Purged"))?;
            has_no_row(subject, &step, "a void").await?;
        }
    }
    subject.refused(&step, refusal, when).await?;

    let step = subject.step_alone(fourth, action)?;
    let mut calls = vec![super::many::action(&step)];
    if subject.has(StepRole::Compensatable) {
        calls.push(super::many::compensation(&step));
    }
    let request = RunStepsRequest { participant: subject.participant.clone(), calls };
    let answers = match subject.client.run_steps(&request).await {
        Err(status) if status.code() == Code::Unimplemented => return Ok(()),
        told => answered("RunSteps", told)?,
    };
    let purged = |answer: &Answer| match answer {
        Answer::Outcome(it) => {
            matches!(&it.outcome, Some(Outcome::Refused(it)) if it.reason() == refusal)
        }
        Answer::Compensation(it) => it.found() == StepState::Purged,
        _ => false,
    };
    expect(answers.iter().all(purged), || format!("RunSteps answered {answers:?}, not Purged"))?;
    has_no_row(subject, &step, "RunSteps").await
}

/// A participant may delete such rows at any time; then the step is purged.
pub(super) async fn row_counts(subject: &Subject<'_>) -> Checked {
    let Some((step, reply)) = subject.old.kept_step.get() else {
        return Err(Failure::NotChecked("no step was done before the watermark rose".to_owned()));
    };
    let outcome = subject.act(step).await?;
    if matches!(&outcome, Outcome::Refused(it) if it.reason() == StepRefusalReason::Purged) {
        return has_no_row(subject, step, "an action refused as purged").await;
    }
    expect(step.action.equal(&Outcome::Done(reply.clone()), &outcome), || {
        format!("{} that is done, repeated below it, was {}", step.action.method, named(&outcome))
    })?;
    if step.action.role != StepRole::Compensatable {
        return Ok(());
    }
    let found = subject.compensate(step).await?.found();
    if found == StepState::Purged {
        return has_no_row(subject, step, "a compensation that found it purged").await;
    }
    expect(found == StepState::Done, || format!("a compensation of it found {found:?}"))?;
    let outcome = subject.act(step).await?;
    expect(matches!(outcome, Outcome::Refused(_)), || {
        format!("after it was undone the action was {}", named(&outcome))
    })
}

async fn has_no_row(subject: &Subject<'_>, step: &Step, after: &str) -> Checked {
    let row = subject.record(step).await?;
    expect(row.is_none(), || format!("{after} wrote or left a row below the watermark"))
}

/// A compensatable action, else any.
fn action<'a>(subject: &'a Subject<'_>) -> Checked<&'a Action> {
    let actions = subject
        .of_roles(&[StepRole::Compensatable])
        .or_else(|_| subject.of_roles(&[StepRole::Pivot, StepRole::Retriable]))?;
    match actions.first() {
        Some(action) => Ok(action),
        None => broken("no action"),
    }
}

async fn raise(subject: &Subject<'_>, to: Uuid) -> Checked<Vec<u8>> {
    let request = RaiseWatermarkRequest {
        participant: subject.participant.clone(),
        watermark: to.as_bytes().to_vec(),
    };
    let raised = subject.client.raise_watermark(&request).await;
    let now = answered("RaiseWatermark", raised)?.watermark;
    expect(now.len() == 16, || format!("the watermark has {} bytes, not 16", now.len()))?;
    Ok(now)
}
