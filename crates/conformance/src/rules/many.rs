//! Many calls at once: in one message, and over several connections.

use super::compensation::is_closed;
use crate::step::{Action, Step, named, without_digest};
use crate::subject::{Checked, Failure, Subject, answered, broken, expect};
use futures_util::future::{join, join_all};
use saga_api::v1::step_answer::Answer;
use saga_api::v1::step_call::Call;
use saga_api::v1::step_outcome::Outcome;
use saga_api::v1::{
    ActionCall, CompensationCall, RunStepsRequest, StepCall, StepOutcome, StepRefusalReason,
    StepRole, StepState, VoidCall,
};
use tonic::Code;
use uuid::Uuid;

const ALL: [StepRole; 3] = [StepRole::Compensatable, StepRole::Pivot, StepRole::Retriable];
/// Copies of an action over each connection.
const COPIES: usize = 8;
/// Actions that race their undoing.
const RACES: usize = 8;

/// An action in a message of many.
pub(super) fn action(step: &Step) -> StepCall {
    let method = step.action.method.clone();
    let kind = Call::Action(ActionCall { method, payload: Some(step.payload.clone()) });
    call(step, kind)
}

/// A compensation in a message of many.
pub(super) fn compensation(step: &Step) -> StepCall {
    without_content(call(step, Call::Compensation(CompensationCall {})))
}

fn void(step: &Step) -> StepCall {
    without_content(call(step, Call::Void(VoidCall { reason: "DEADLINE".to_owned() })))
}

fn call(step: &Step, call: Call) -> StepCall {
    StepCall {
        key: Some(step.key.clone()),
        call: Some(call),
        remaining_millis: 10_000,
        ..StepCall::default()
    }
}

fn without_content(call: StepCall) -> StepCall {
    StepCall { key: call.key.as_ref().map(without_digest), ..call }
}

/// What the answer of a call must be.
enum Expected {
    /// Done, and equal to that of the action's own call.
    Done(Step),
    /// Rejected, and equal to that of the action's own call.
    Rejected(Step),
    /// A compensation or void that found this.
    Found(StepState),
    /// A status.
    Code(Code),
}

pub(super) async fn run_steps(subject: &Subject<'_>) -> Checked {
    let mut calls: Vec<(StepCall, Expected)> = Vec::new();
    let mut spares = Vec::new();
    for it in subject.of_roles(&ALL)? {
        let step = subject.fresh(it).await?;
        for _ in 0..2 {
            calls.push((action(&step), Expected::Done(step.clone())));
        }
        let spare = subject.step_alone(Uuid::now_v7(), it)?;
        calls.extend(malformed(&spare));
        spares.push(spare);
        let known = subject.fresh(it).await?;
        subject.done(&known).await?;
        calls.push((action(&known), Expected::Done(known.clone())));
        if let Some(step) = subject.fresh_rejected(it)? {
            calls.push((action(&step), Expected::Rejected(step)));
        }
        let (open, done) = (subject.fresh(it).await?, subject.fresh(it).await?);
        match it.role {
            StepRole::Compensatable => {
                calls.push((compensation(&open), Expected::Found(StepState::Nothing)));
                subject.done(&done).await?;
                calls.push((compensation(&done), Expected::Found(StepState::Done)));
            }
            StepRole::Pivot => {
                calls.push((void(&open), Expected::Found(StepState::Nothing)));
                subject.done(&done).await?;
                calls.push((void(&done), Expected::Found(StepState::Done)));
            }
            _ => {}
        }
    }
    let (calls, expected): (Vec<StepCall>, Vec<Expected>) = calls.into_iter().unzip();
    let request = RunStepsRequest { participant: subject.participant.clone(), calls };
    let told = subject.client.run_steps(&request).await;
    if matches!(&told, Err(status) if status.code() == Code::Unimplemented) {
        let why = "RunSteps is UNIMPLEMENTED, which the contract allows";
        return Err(Failure::NotChecked(why.to_owned()));
    }
    for (answer, expected) in answered("RunSteps", told)?.iter().zip(&expected) {
        compare(subject, answer, expected).await?;
    }
    for spare in spares {
        let row = subject.record(&spare).await?;
        expect(row.is_none(), || "a malformed call left a row".to_owned())?;
    }
    Ok(())
}

async fn compare(subject: &Subject<'_>, answer: &Answer, expected: &Expected) -> Checked {
    match (answer, expected) {
        (
            Answer::Outcome(StepOutcome { outcome: Some(outcome) }),
            Expected::Done(step) | Expected::Rejected(step),
        ) => {
            let is_done = matches!(outcome, Outcome::Done(_));
            expect(is_done == matches!(expected, Expected::Done(_)), || {
                format!("{} in it was {}", step.action.method, named(outcome))
            })?;
            subject.repeats(step, outcome, "in a call of its own").await
        }
        (Answer::Compensation(answer), Expected::Found(state)) => {
            let found = answer.found();
            expect(found == *state, || format!("a compensation in it found {found:?}"))
        }
        (Answer::Void(answer), Expected::Found(state)) => {
            let found = answer.found();
            expect(found == *state, || format!("a void in it found {found:?}"))
        }
        (Answer::Error(error), Expected::Code(code)) => {
            let told = Code::from_i32(error.code);
            expect(told == *code, || {
                format!("a call that is to fail as {code:?} failed as {told:?}")
            })
        }
        (Answer::Error(error), _) => {
            broken(format!("a good call was answered {:?}", Code::from_i32(error.code)))
        }
        (other, Expected::Code(code)) => {
            broken(format!("a call that is to fail as {code:?} was answered {other:?}"))
        }
        (other, _) => broken(format!("a call was answered with another kind: {other:?}")),
    }
}

/// Calls that fail, each alone.
fn malformed(step: &Step) -> Vec<(StepCall, Expected)> {
    let good = action(step);
    let mut bad_key = step.key.clone();
    bad_key.step = 0;
    let unknown = ActionCall { method: unknown_method(&step.action), payload: Some(Vec::new()) };
    vec![
        (StepCall { key: Some(bad_key), ..good.clone() }, Expected::Code(Code::InvalidArgument)),
        (StepCall { key: None, ..good.clone() }, Expected::Code(Code::InvalidArgument)),
        (StepCall { call: None, ..good.clone() }, Expected::Code(Code::InvalidArgument)),
        (StepCall { remaining_millis: 0, ..good.clone() }, Expected::Code(Code::InvalidArgument)),
        (
            StepCall { call: Some(Call::Action(unknown)), ..good },
            Expected::Code(Code::Unimplemented),
        ),
    ]
}

/// A method that the action's service does not have.
pub(super) fn unknown_method(action: &Action) -> String {
    let service = action.method.split('/').next().unwrap_or_default();
    format!("{service}/NoSuchAction")
}

pub(super) async fn copies(subject: &Subject<'_>) -> Checked {
    for action in subject.of_roles(&ALL)? {
        let step = subject.fresh(action).await?;
        let channels = subject.client.channels();
        let copies = channels.flat_map(|channel| std::iter::repeat_n(channel, COPIES));
        let outcomes = join_all(copies.map(|channel| subject.act_on(channel, &step))).await;
        let first = Outcome::Done(subject.done(&step).await?);
        for outcome in outcomes {
            let outcome = outcome?;
            expect(action.equal(&first, &outcome), || {
                let (first, other) = (named(&first), named(&outcome));
                format!("a copy of {} was {first} and another {other}", action.method)
            })?;
        }
        let row = subject.record(&step).await?;
        let is_done = row.is_some_and(|row| row.state() == StepState::Done);
        expect(is_done, || format!("GetSteps has no done row of {}", action.method))?;
    }
    Ok(())
}

pub(super) async fn races(subject: &Subject<'_>) -> Checked {
    let is_tombstoned = |outcome: &Outcome| matches!(outcome, Outcome::Refused(it) if it.reason() == StepRefusalReason::Tombstoned);
    for action in subject.of_roles(&[StepRole::Compensatable, StepRole::Pivot])? {
        for _ in 0..RACES {
            let step = subject.fresh(action).await?;
            let undoing = async {
                if action.role == StepRole::Pivot {
                    return Ok(subject.void(&step, "DEADLINE").await?.found());
                }
                Ok(subject.compensate(&step).await?.found())
            };
            let (outcome, found) = join(subject.act(&step), undoing).await;
            let (outcome, found) = (outcome?, found?);
            match (&outcome, found) {
                (Outcome::Done(_), StepState::Done) if action.role == StepRole::Pivot => {
                    subject.repeats(&step, &outcome, "after a void that found it done").await?;
                }
                (Outcome::Done(_), StepState::Done) => {
                    is_closed(subject, &step, "after it was undone").await?;
                }
                (outcome, StepState::Nothing) if is_tombstoned(outcome) => {
                    is_closed(subject, &step, "after it was closed").await?;
                }
                (outcome, found) => {
                    return broken(format!(
                        "{} was {} and its undoing found {found:?}",
                        action.method,
                        named(outcome)
                    ));
                }
            }
        }
    }
    Ok(())
}
