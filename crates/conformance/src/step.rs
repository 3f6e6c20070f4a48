//! The actions of a participant, and steps that run them.

use crate::subject::{Checked, Failure};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor};
use saga_api::v1::step_outcome::Outcome;
use saga_api::v1::{self, StepKey, StepRequest, StepRole};
use serde_json::Value;
use uuid::Uuid;

/// An action of the participant.
#[derive(Debug, Clone)]
pub(crate) struct Action {
    pub(crate) method: String,
    pub(crate) role: StepRole,
    /// The step number that it has in new sagas.
    pub(crate) number: i32,
    payload: MessageDescriptor,
    reply: MessageDescriptor,
}

/// A step of a saga, ready to be sent any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) action: Action,
    pub(crate) key: StepKey,
    pub(crate) payload: Vec<u8>,
}

impl Action {
    /// Says whether two outcomes are equal messages, whatever the order of their encoded fields.
    pub(crate) fn equal(&self, one: &Outcome, other: &Outcome) -> bool {
        match (one, other) {
            (Outcome::Done(one), Outcome::Done(other)) => self.equal_reply(one, other),
            (one, other) => one == other,
        }
    }

    /// Says whether two encoded replies are equal messages.
    pub(crate) fn equal_reply(&self, one: &[u8], other: &[u8]) -> bool {
        let decode = |bytes: &[u8]| DynamicMessage::decode(self.reply.clone(), bytes);
        one == other || matches!((decode(one), decode(other)), (Ok(one), Ok(other)) if one == other)
    }
}

impl Step {
    pub(crate) fn request(&self) -> StepRequest {
        StepRequest { key: Some(self.key.clone()), payload: Some(self.payload.clone()) }
    }

    /// The same step with other content.
    pub(crate) fn with_other_digest(&self) -> Self {
        let mut other = self.clone();
        other.key.content_digest = fresh_digest();
        other
    }
}

/// The name of an outcome in reports.
pub(crate) fn named(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(reply) => format!("done ({} bytes)", reply.len()),
        Outcome::Rejected(rejection) => format!("rejected ({})", rejection.reason),
        Outcome::Refused(refusal) => format!("refused ({:?})", refusal.reason()),
    }
}

pub(crate) fn without_digest(key: &StepKey) -> StepKey {
    StepKey { content_digest: Vec::new(), ..key.clone() }
}

/// Eight random bytes: participants compare digests and compute none.
fn fresh_digest() -> Vec<u8> {
    Uuid::new_v4().into_bytes().into_iter().rev().take(8).collect()
}

/// A rule cannot be checked with this action.
pub(crate) fn no_payload(action: &Action) -> Failure {
    Failure::NotChecked(format!("no payload is given for {}", action.method))
}

/// A step with new content.
pub(crate) fn step(action: &Action, saga: Uuid, number: i32, payload: &Value) -> Checked<Step> {
    let message = DynamicMessage::deserialize(action.payload.clone(), payload);
    let message = message.map_err(|error| {
        Failure::Broken(format!("the payload of {} does not fit: {error}", action.method))
    })?;
    let key =
        StepKey { saga_id: saga.as_bytes().to_vec(), step: number, content_digest: fresh_digest() };
    Ok(Step { action: action.clone(), key, payload: message.encode_to_vec() })
}

/// Finds the messages of an action that Describe lists. Its steps get this number.
pub(crate) fn resolve(
    pool: &DescriptorPool,
    action: &v1::Action,
    number: i32,
) -> Result<Action, String> {
    let method = method(pool, &action.method)?;
    let field = |message: &MessageDescriptor, number: u32| match message
        .get_field(number)
        .map(|field| field.kind())
    {
        Some(Kind::Message(found)) => Ok(found),
        _ => Err(format!("field {number} of {} is not a message", message.full_name())),
    };
    Ok(Action {
        method: action.method.clone(),
        role: action.role(),
        number,
        payload: field(&method.input(), 2)?,
        reply: field(&method.output(), 1)?,
    })
}

/// The descriptor of a full method.
pub(crate) fn method(
    pool: &DescriptorPool,
    full: &str,
) -> Result<prost_reflect::MethodDescriptor, String> {
    let (service, name) =
        full.split_once('/').ok_or_else(|| format!("{full} is not SERVICE/METHOD"))?;
    let service = pool.get_service_by_name(service);
    let mut methods = service.iter().flat_map(prost_reflect::ServiceDescriptor::methods);
    methods.find(|it| it.name() == name).ok_or_else(|| format!("reflection has no method {full}"))
}
