//! The participant under test: its actions, and steps of new sagas.

use crate::client::{Client, act};
use crate::payloads::Payloads;
use crate::reflection;
use crate::step::{Action, Step, named, no_payload, resolve, step, without_digest};
use prost_reflect::DescriptorPool;
use saga_api::v1::step_outcome::Outcome;
use saga_api::v1::{
    self, CompensateRequest, CompensateResponse, DescribeRequest, GetStepsRequest, StepRecord,
    StepRefusalReason, StepRejection, StepRole, VoidRequest, VoidResponse,
};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

/// Why a rule has no good result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The participant does not keep the rule: what was seen.
    Broken(String),
    /// The rule could not be checked: why.
    NotChecked(String),
}

pub(crate) type Checked<T = ()> = Result<T, Failure>;

/// Fails a rule with what was seen.
pub(crate) fn broken<T>(what: impl Into<String>) -> Checked<T> {
    Err(Failure::Broken(what.into()))
}

/// Fails a rule unless the condition holds.
pub(crate) fn expect(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { broken(what()) }
}

/// Fails a rule because a call was answered with a status.
pub(crate) fn answered<T>(call: &str, told: Result<T, Status>) -> Checked<T> {
    told.map_err(|status| {
        let (code, message) = (status.code(), status.message());
        Failure::Broken(format!("{call} was answered {code:?}: {message}"))
    })
}

/// Step numbers of prerequisites; those of a rule are below.
pub(crate) const FIRST_PREREQUISITE: i32 = 1_000;

/// The step numbers of the actions under test are those of Describe, from this one on.
const FIRST_ACTION: i32 = 100;

/// The participant under test.
pub(crate) struct Subject<'a> {
    pub(crate) client: Client,
    pub(crate) participant: String,
    pub(crate) described: Vec<v1::Action>,
    pub(crate) pool: DescriptorPool,
    /// Those for which there are payloads.
    pub(crate) actions: Vec<Action>,
    payloads: &'a Payloads,
    /// Sagas older than all others of the run, for the rules of the watermark.
    pub(crate) old: OldSagas,
}

/// Sagas made at the begin of a run, in ascending order.
pub(crate) struct OldSagas {
    /// Never touched before the watermark is raised.
    pub(crate) missing: [Uuid; 4],
    /// Has a done step.
    pub(crate) kept: Uuid,
    /// The done step and its reply, once it ran.
    pub(crate) kept_step: OnceLock<(Step, Vec<u8>)>,
    /// What the watermark is raised to.
    pub(crate) watermark: Uuid,
}

impl<'a> Subject<'a> {
    /// Connects, asks for the actions, and fetches their descriptors.
    pub(crate) async fn begin(
        address: &str,
        participant: &str,
        payloads: &'a Payloads,
    ) -> Checked<Self> {
        let old = OldSagas {
            missing: [(); 4].map(|()| Uuid::now_v7()),
            kept: Uuid::now_v7(),
            kept_step: OnceLock::new(),
            watermark: Uuid::now_v7(),
        };
        let client = Client::connect(address).await.map_err(Failure::Broken)?;
        let request = DescribeRequest { participant: participant.to_owned() };
        let described = answered("Describe", client.describe(&request).await)?.actions;
        let services: BTreeSet<String> = described
            .iter()
            .filter_map(|action| action.method.split_once('/'))
            .map(|(service, _)| service.to_owned())
            .collect();
        let services: Vec<String> = services.into_iter().collect();
        let pool = reflection::descriptors(client.channel(), &services).await;
        let pool = pool.map_err(Failure::Broken)?;
        let mut actions = Vec::new();
        for (number, action) in (FIRST_ACTION..).zip(&described) {
            if payloads.has(&action.method) {
                actions.push(resolve(&pool, action, number).map_err(Failure::Broken)?);
            }
        }
        let participant = participant.to_owned();
        Ok(Self { client, participant, described, pool, actions, payloads, old })
    }

    /// The actions that no rule calls, and payloads that belong to no action.
    pub(crate) fn left_out(&self) -> Vec<(String, String)> {
        let without = self.described.iter().map(|it| &it.method);
        let without = without.filter(|method| !self.payloads.has(method));
        let without = without.map(|method| (method.clone(), "no payload is given".to_owned()));
        let unknown = self.payloads.methods();
        let unknown = unknown.filter(|method| self.described.iter().all(|it| it.method != *method));
        let unknown =
            unknown.map(|method| (method.to_owned(), "Describe does not list it".to_owned()));
        without.chain(unknown).collect()
    }

    /// The actions of these roles.
    ///
    /// # Errors
    /// [`Failure::NotChecked`] where there are none.
    pub(crate) fn of_roles(&self, roles: &[StepRole]) -> Checked<Vec<&Action>> {
        let found: Vec<&Action> =
            self.actions.iter().filter(|action| roles.contains(&action.role)).collect();
        if found.is_empty() {
            return Err(Failure::NotChecked("no payload is given for such an action".to_owned()));
        }
        Ok(found)
    }

    /// Says whether Describe lists an action of this role.
    pub(crate) fn has(&self, role: StepRole) -> bool {
        self.described.iter().any(|action| action.role() == role)
    }

    /// A step of a new saga, which will be done.
    pub(crate) async fn fresh(&self, action: &Action) -> Checked<Step> {
        self.step_in(Uuid::now_v7(), action.number, action).await
    }

    /// A step of a saga, which will be done. What must be done before it is done.
    pub(crate) async fn step_in(&self, saga: Uuid, number: i32, action: &Action) -> Checked<Step> {
        let prepared = self.payloads.done(&action.method);
        let prepared = prepared.ok_or_else(|| no_payload(action))?;
        // Ten numbers for the prerequisites of each step.
        let numbers = FIRST_PREREQUISITE + number * 10..;
        for (number, (method, payload)) in numbers.zip(&prepared.before) {
            let found = self.described.iter().find(|it| it.method == *method);
            let Some(before) = found else {
                return broken(format!("Describe does not list {method}, which is to run before"));
            };
            let before = resolve(&self.pool, before, number).map_err(Failure::Broken)?;
            let step = step(&before, saga, number, payload)?;
            self.done(&step).await?;
        }
        step(action, saga, number, &prepared.payload)
    }

    /// A step of a saga, which would be done, but for what must be done before it: for sagas in which nothing runs.
    pub(crate) fn step_alone(&self, saga: Uuid, action: &Action) -> Checked<Step> {
        let prepared = self.payloads.done(&action.method);
        let prepared = prepared.ok_or_else(|| no_payload(action))?;
        step(action, saga, action.number, &prepared.payload)
    }

    /// A step of a new saga, which will be rejected; `None` where no such payload is given.
    pub(crate) fn fresh_rejected(&self, action: &Action) -> Checked<Option<Step>> {
        self.rejected_in(Uuid::now_v7(), action.number, action)
    }

    /// A step of a saga, which will be rejected; `None` where no such payload is given.
    pub(crate) fn rejected_in(
        &self,
        saga: Uuid,
        number: i32,
        action: &Action,
    ) -> Checked<Option<Step>> {
        let payload = self.payloads.rejected(&action.method);
        payload.map(|payload| step(action, saga, number, &payload)).transpose()
    }

    /// Sends an action.
    pub(crate) async fn act(&self, step: &Step) -> Checked<Outcome> {
        self.act_on(self.client.channel(), step).await
    }

    /// Sends an action over one of the connections.
    pub(crate) async fn act_on(&self, channel: &Channel, step: &Step) -> Checked<Outcome> {
        let outcome = act(channel, &step.action.method, &step.request()).await;
        let outcome = answered(&step.action.method, outcome)?.outcome;
        outcome.ok_or_else(|| {
            Failure::Broken(format!("{} was answered OK without an outcome", step.action.method))
        })
    }

    /// Sends an action that must be done, and answers its reply.
    pub(crate) async fn done(&self, step: &Step) -> Checked<Vec<u8>> {
        match self.act(step).await? {
            Outcome::Done(reply) => {
                expect(reply.len() <= 4_096, || {
                    format!("the reply of {} has more than 4096 bytes", step.action.method)
                })?;
                Ok(reply)
            }
            other => broken(format!(
                "{} with a payload that is to be done was {}",
                step.action.method,
                named(&other)
            )),
        }
    }

    /// Sends an action that must be rejected, and answers the rejection.
    pub(crate) async fn rejected(&self, step: &Step) -> Checked<StepRejection> {
        match self.act(step).await? {
            Outcome::Rejected(rejection) => Ok(rejection),
            other => broken(format!(
                "{} with a payload that is to be rejected was {}",
                step.action.method,
                named(&other)
            )),
        }
    }

    /// Sends an action that must be refused with this reason.
    pub(crate) async fn refused(
        &self,
        step: &Step,
        reason: StepRefusalReason,
        when: &str,
    ) -> Checked {
        let outcome = self.act(step).await?;
        let is_it = matches!(&outcome, Outcome::Refused(it) if it.reason() == reason);
        expect(is_it, || {
            let method = &step.action.method;
            format!("{method} {when} was {}, not refused as {reason:?}", named(&outcome))
        })
    }

    /// Sends an action whose outcome must equal an earlier one.
    pub(crate) async fn repeats(&self, step: &Step, first: &Outcome, when: &str) -> Checked {
        let again = self.act(step).await?;
        expect(step.action.equal(first, &again), || {
            let (method, first, again) = (&step.action.method, named(first), named(&again));
            format!("{method} {when} was {again} after it was {first}")
        })
    }

    /// Undoes or closes a step.
    pub(crate) async fn compensate(&self, step: &Step) -> Checked<CompensateResponse> {
        let request = CompensateRequest {
            participant: self.participant.clone(),
            key: Some(without_digest(&step.key)),
        };
        answered("Compensate", self.client.compensate(&request).await)
    }

    /// Closes a pivot with a reason.
    pub(crate) async fn void(&self, step: &Step, reason: &str) -> Checked<VoidResponse> {
        let request = VoidRequest {
            participant: self.participant.clone(),
            key: Some(without_digest(&step.key)),
            reason: reason.to_owned(),
        };
        answered("Void", self.client.void(&request).await)
    }

    /// The rows of sagas.
    pub(crate) async fn records(&self, sagas: &[&[u8]]) -> Checked<Vec<StepRecord>> {
        let request = GetStepsRequest {
            participant: self.participant.clone(),
            saga_ids: sagas.iter().map(|id| id.to_vec()).collect(),
        };
        Ok(answered("GetSteps", self.client.get_steps(&request).await)?.records)
    }

    /// The row of a step.
    pub(crate) async fn record(&self, step: &Step) -> Checked<Option<StepRecord>> {
        let records = self.records(&[&step.key.saga_id]).await?;
        let is_it = |it: &StepRecord| it.key.as_ref().map(|key| key.step) == Some(step.key.step);
        let mut found = records.into_iter().filter(is_it);
        let first = found.next();
        expect(found.next().is_none(), || "GetSteps has two rows of one step".to_owned())?;
        Ok(first)
    }
}
