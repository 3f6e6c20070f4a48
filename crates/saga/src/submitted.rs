//! Sagas as data: stages of calls that somebody submitted, run under the same rules as those of any plan.
//!
//! What is submitted is checked against what the participants describe before START is written, all faults at once
//! ([`check`]). From then on [`SubmittedPlan`] is a plan like another: a function of START and of recorded replies.

use crate::decide::Known;
use crate::journal::{PlanId, Start};
use crate::outcome::{Failure, cause};
use crate::runtime::{Plan, SagaInstance, StepInfo, ToSend, Unreadable, rejection};
use crate::shape::{Shape, Stage};
use participant::{ActionInfo, StepNo};
use prost::Message;
use saga_api::v1::{StepRejection, StepRole};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The most steps of one saga.
pub const MAX_STEPS: usize = 64;
/// The most bytes of one payload: 16 KiB.
pub const MAX_PAYLOAD_BYTES: usize = 16_384;
/// The most bytes of a whole saga as START keeps it: 64 KiB.
pub const MAX_BYTES: usize = 65_536;

/// A saga as it was submitted.
#[derive(Clone, PartialEq, Message)]
pub struct SubmittedSaga {
    /// The stages, in order.
    #[prost(message, repeated, tag = "1")]
    pub stages: Vec<SubmittedStage>,
    /// The place of the pivot's stage, from 0; `None` for the last stage.
    #[prost(uint32, optional, tag = "2")]
    pub pivot_stage: Option<u32>,
}

/// Steps without an order among them.
#[derive(Clone, PartialEq, Message)]
pub struct SubmittedStage {
    /// One or more.
    #[prost(message, repeated, tag = "1")]
    pub steps: Vec<SubmittedStep>,
}

/// One call.
#[derive(Clone, PartialEq, Message)]
pub struct SubmittedStep {
    /// The participant, such as `seat`.
    #[prost(string, tag = "1")]
    pub participant: String,
    /// The full method of the action.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The encoded payload.
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
}

/// What END records of a submitted saga.
#[derive(Clone, PartialEq, Message)]
pub struct SubmittedResult {
    /// The recorded replies by step number, of a success: those of the pivot and of the steps after it.
    #[prost(btree_map = "int32, bytes", tag = "1")]
    pub replies: BTreeMap<i32, Vec<u8>>,
    /// The step that was rejected or cannot be done; 0 for none.
    #[prost(int32, tag = "2")]
    pub failed_step: i32,
    /// The rejection, where a step was rejected.
    #[prost(message, optional, tag = "3")]
    pub rejection: Option<StepRejection>,
    /// Why it was aborted, such as `DEADLINE_EXCEEDED`, where no step was rejected.
    #[prost(string, tag = "4")]
    pub aborted: String,
}

/// What is wrong with a submitted saga, at one place of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, such as `stages[1].steps[0].method`.
    pub field: String,
    /// What must be, such as `must be an action of the participant seat`.
    pub must: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.must)
    }
}

/// What the participants describe, by name; none for one that is not known.
pub type Described = BTreeMap<String, Option<Vec<ActionInfo>>>;

/// Checks a saga against what its participants describe: exactly one pivot, alone in its stage; compensatable steps before
/// it, retriable ones after it; methods that exist and that `is_allowed`; payloads that fit.
///
/// # Errors
/// Every fault, in the order of the fields.
pub fn check(
    saga: &SubmittedSaga,
    described: &Described,
    is_allowed: impl Fn(&str) -> bool,
) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    let mut fault = |field: String, must: String| faults.push(Fault { field, must });
    let steps: usize = saga.stages.iter().map(|stage| stage.steps.len()).sum();
    if !(1..=MAX_STEPS).contains(&steps) {
        fault("stages".to_owned(), format!("must have 1 to {MAX_STEPS} steps"));
    }
    if saga.encoded_len() > MAX_BYTES {
        fault("stages".to_owned(), format!("must be at most {MAX_BYTES} bytes"));
    }
    let pivot = pivot_of(saga);
    match saga.stages.get(pivot) {
        Some(stage) if stage.steps.len() == 1 => {}
        Some(_) => {
            fault(format!("stages[{pivot}]"), "must be one step: it is the pivot's".to_owned());
        }
        None if saga.stages.is_empty() => {}
        None => fault("pivot_stage".to_owned(), "must be the place of a stage".to_owned()),
    }
    for (at, stage) in saga.stages.iter().enumerate() {
        if stage.steps.is_empty() {
            fault(format!("stages[{at}].steps"), "must not be empty".to_owned());
        }
        let role = match at.cmp(&pivot) {
            std::cmp::Ordering::Less => StepRole::Compensatable,
            std::cmp::Ordering::Equal => StepRole::Pivot,
            std::cmp::Ordering::Greater => StepRole::Retriable,
        };
        for (place, step) in stage.steps.iter().enumerate() {
            let field = |name: &str| format!("stages[{at}].steps[{place}].{name}");
            if step.payload.len() > MAX_PAYLOAD_BYTES {
                fault(field("payload"), format!("must be at most {MAX_PAYLOAD_BYTES} bytes"));
            }
            let SubmittedStep { participant, method, .. } = step;
            let Some(Some(actions)) = described.get(participant) else {
                fault(field("participant"), "must be a participant that is known here".to_owned());
                continue;
            };
            match actions.iter().find(|action| action.method == *method) {
                None => fault(field("method"), format!("must be an action of {participant}")),
                Some(_) if !is_allowed(method) => {
                    fault(
                        field("method"),
                        "must be on the list of what may be submitted".to_owned(),
                    );
                }
                Some(action) if action.role != role => {
                    let must = format!("must be {}: it is {}", word(role), word(action.role));
                    fault(field("method"), must);
                }
                Some(_) => {}
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn word(role: StepRole) -> &'static str {
    match role {
        StepRole::Compensatable => "compensatable",
        StepRole::Pivot => "a pivot",
        StepRole::Retriable => "retriable",
        StepRole::Unspecified => "no step",
    }
}

fn pivot_of(saga: &SubmittedSaga) -> usize {
    match saga.pivot_stage {
        Some(place) => usize::try_from(place).unwrap_or(usize::MAX),
        None => saga.stages.len().saturating_sub(1),
    }
}

/// The plan of all submitted sagas.
pub struct SubmittedPlan {
    id: PlanId,
}

impl SubmittedPlan {
    /// Under this kind, a number that no other plan has and that never changes.
    pub fn new(kind: i8) -> Self {
        Self { id: PlanId { kind, version: 1 } }
    }
}

impl Plan for SubmittedPlan {
    fn id(&self) -> PlanId {
        self.id
    }

    /// None that all its sagas have.
    fn steps(&self) -> &[StepInfo] {
        &[]
    }

    fn instance(&self, start: &Start) -> Result<Arc<dyn SagaInstance>, Unreadable> {
        let saga = SubmittedSaga::decode(start.request.as_slice()).map_err(|error| {
            Unreadable(format!("the request in START does not decode: {error}"))
        })?;
        Ok(Arc::new(SubmittedInstance::new(saga)?))
    }
}

struct SubmittedInstance {
    shape: Shape,
    infos: Vec<StepInfo>,
    payloads: Vec<Vec<u8>>,
}

impl SubmittedInstance {
    /// Steps are numbered from 1, in the order of the stages.
    fn new(saga: SubmittedSaga) -> Result<Self, Unreadable> {
        let pivot = pivot_of(&saga);
        let (mut infos, mut payloads, mut stages) = (Vec::new(), Vec::new(), Vec::new());
        for stage in saga.stages {
            let mut numbers = Stage::new();
            for SubmittedStep { participant, method, payload } in stage.steps {
                let number = i16::try_from(infos.len() + 1);
                let step = StepNo(number.map_err(|_| Unreadable("too many steps".to_owned()))?);
                let action = method.rsplit('/').next().unwrap_or(&method);
                let name = format!("{step}:{action}");
                infos.push(StepInfo {
                    step,
                    name: Cow::Owned(name),
                    participant: Cow::Owned(participant),
                    method: Cow::Owned(method),
                    attempt: None,
                    backoff: None,
                });
                payloads.push(payload);
                numbers.push(step);
            }
            stages.push(numbers);
        }
        let no_pivot = || Unreadable("there is no pivot".to_owned());
        if pivot >= stages.len() {
            return Err(no_pivot());
        }
        let after = stages.split_off(pivot + 1);
        let pivot = match stages.pop().as_deref() {
            Some([pivot]) => *pivot,
            _ => return Err(no_pivot()),
        };
        Ok(Self {
            shape: Shape { compensatable: stages, pivot, retriable: after },
            infos,
            payloads,
        })
    }

    fn place(step: StepNo) -> Option<usize> {
        usize::try_from(step.0).ok()?.checked_sub(1)
    }
}

impl SagaInstance for SubmittedInstance {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn steps(&self) -> &[StepInfo] {
        &self.infos
    }

    fn request(&self, step: StepNo, _: &Known) -> Result<ToSend, Unreadable> {
        let payload = Self::place(step).and_then(|place| self.payloads.get(place));
        let payload = payload.ok_or_else(|| Unreadable(format!("there is no step {step}")))?;
        Ok(ToSend::Payload(payload.clone()))
    }

    fn succeeded(&self, known: &Known) -> Result<Vec<u8>, Unreadable> {
        // Of the steps before the pivot an executor need not know them, and all must record the same.
        let certain = [self.shape.pivot].into_iter().chain(self.shape.retriable.concat());
        let reply = |step: StepNo| known.reply(step).map(|it| (i32::from(step.0), it.to_vec()));
        let replies = certain.filter_map(reply).collect();
        Ok(SubmittedResult { replies, ..SubmittedResult::default() }.encode_to_vec())
    }

    fn failed(&self, failure: &Failure) -> Result<Vec<u8>, Unreadable> {
        let mut result = SubmittedResult {
            failed_step: failure.step().map_or(0, |step| i32::from(step.0)),
            ..SubmittedResult::default()
        };
        match failure {
            Failure::Rejected { step, reply } => {
                result.rejection = Some(rejection(*step, reply)?);
            }
            Failure::Aborted { reason } => {
                cause(reason).clone_into(&mut result.aborted);
            }
        }
        Ok(result.encode_to_vec())
    }
}
