//! What `GetSteps` tells of each row.

use crate::step::without_digest;
use crate::subject::{Checked, FIRST_PREREQUISITE, Subject, broken, expect};
use saga_api::v1::{StepRecord, StepRejection, StepRole, StepState};
use uuid::Uuid;

/// A row as it must be told.
struct Expected {
    state: StepState,
    reply: Vec<u8>,
    rejection: Option<StepRejection>,
    void_reason: &'static str,
}

impl Expected {
    fn new(state: StepState) -> Self {
        Self { state, reply: Vec::new(), rejection: None, void_reason: "" }
    }
}

pub(super) async fn told(subject: &Subject<'_>) -> Checked {
    let roles = [StepRole::Compensatable, StepRole::Pivot, StepRole::Retriable];
    let (saga, empty) = (Uuid::now_v7(), Uuid::now_v7());
    let mut expected = Vec::new();
    let mut number = 0;
    for action in subject.of_roles(&roles)? {
        number += 1;
        let step = subject.step_in(saga, number, action).await?;
        let reply = subject.done(&step).await?;
        expected.push((step, Expected { reply, ..Expected::new(StepState::Done) }));
        number += 1;
        if let Some(step) = subject.rejected_in(saga, number, action)? {
            let rejection = Some(subject.rejected(&step).await?);
            expected.push((step, Expected { rejection, ..Expected::new(StepState::Rejected) }));
        }
        number += 1;
        let step = subject.step_in(saga, number, action).await?;
        match action.role {
            StepRole::Compensatable => {
                subject.compensate(&step).await?;
                expected.push((step, Expected::new(StepState::Tombstone)));
                number += 1;
                let step = subject.step_in(saga, number, action).await?;
                let reply = subject.done(&step).await?;
                subject.compensate(&step).await?;
                expected.push((step, Expected { reply, ..Expected::new(StepState::Compensated) }));
            }
            StepRole::Pivot => {
                subject.void(&step, "OPERATOR").await?;
                let closed = Expected::new(StepState::Tombstone);
                expected.push((step, Expected { void_reason: "OPERATOR", ..closed }));
            }
            _ => {}
        }
    }
    let mut records = subject.records(&[saga.as_bytes(), empty.as_bytes()]).await?;
    records.retain(|it| it.key.as_ref().is_none_or(|key| key.step < FIRST_PREREQUISITE));
    let (rows, told) = (expected.len(), records.len());
    expect(rows == told, || format!("GetSteps has {told} records of {rows} rows"))?;
    for ((step, expected), record) in expected.iter().zip(&records) {
        let wrong = |what: &str| {
            let (method, state) = (&step.action.method, expected.state);
            broken(format!(
                "the record of {method} that is {state:?} has another {what}: {record:?}"
            ))
        };
        let StepRecord { key, at, rejection, void_reason, reply, .. } = record;
        if key.as_ref() != Some(&without_digest(&step.key)) {
            return wrong("key");
        }
        if record.state() != expected.state {
            return wrong("state");
        }
        if at.is_none() {
            return wrong("time");
        }
        if *rejection != expected.rejection {
            return wrong("rejection");
        }
        if void_reason != expected.void_reason {
            return wrong("void reason");
        }
        if !step.action.equal_reply(reply, &expected.reply) {
            return wrong("reply");
        }
    }
    Ok(())
}
