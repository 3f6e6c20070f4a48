//! A service as a participant of sagas: its actions, run in its lanes.

use crate::barrier::{SagaId, StepNo};
use crate::desk::{Call, Desk, Kind};
use crate::outcome::{of_db, of_lane};
use crate::steps::{ActionInfo, CallKind, StepAnswer, StepCall, Steps};
use crate::{Lanes, StepRow, purge, steps_of};
use async_trait::async_trait;
use db::{Conn, Db};
use saga_api::v1::StepRole;
use saga_api::{Action, Participant};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;
use tonic::Status;

/// A desk that knows the actions of its service.
pub trait Actions: Desk {
    /// Reads what an action is to do from its payload.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` where the payload does not decode or is outside its ranges.
    fn read(
        &self,
        action: &str,
        step: (SagaId, StepNo),
        payload: &[u8],
    ) -> Result<Routed<Self::Op>, Status>;
}

/// An operation, and whose it is.
#[derive(Debug)]
pub struct Routed<Op> {
    /// A number that operations of one entity share: they run in one lane.
    pub entity: u64,
    /// The operation.
    pub op: Op,
}

/// How often each step was called, by the name of its action, `Compensate` or `Void`; repeats included.
pub type Calls = BTreeMap<&'static str, u64>;

/// The steps of one service.
pub struct ServiceSteps<D: Desk> {
    contract: Participant,
    db: Db,
    desk: Arc<D>,
    lanes: Arc<Lanes<D>>,
    calls: Mutex<Calls>,
}

/// A step that was read and is ready to run.
#[derive(Debug)]
pub struct Prepared<Op> {
    call: Call<Op>,
    entity: u64,
    deadline: Instant,
}

impl<Op> Prepared<Op> {
    /// The operation, if it is an action.
    pub fn op(&self) -> Option<&Op> {
        match &self.call.kind {
            Kind::Act { op, .. } => Some(op),
            _ => None,
        }
    }
}

impl<D: Actions> ServiceSteps<D> {
    /// The steps of a service on its schema, in its lanes.
    pub fn new(contract: Participant, db: Db, lanes: Arc<Lanes<D>>) -> Self {
        let desk = lanes.desk();
        Self { contract, db, desk, lanes, calls: Mutex::default() }
    }

    /// How often each step was called.
    pub fn calls(&self) -> Calls {
        self.counts().clone()
    }

    /// Reads a step.
    ///
    /// # Errors
    /// UNIMPLEMENTED where the service has no such action; those of [`Actions::read`].
    pub fn prepare(&self, call: StepCall) -> Result<Prepared<D::Op>, Status> {
        let StepCall { saga, step, kind, deadline, trace, .. } = call;
        let (name, kind, entity) = match kind {
            CallKind::Act { method, payload, digest } => {
                let action = self.action(&method)?;
                let Routed { entity, op } =
                    self.desk.read(action.name(), (saga, step), &payload)?;
                let closing = action.role == StepRole::Retriable;
                (action.name(), Kind::Act { saga, step, hash: digest, closing, op }, entity)
            }
            // The call does not name the entity, whose lane would be the best: any is right, for rows decide.
            CallKind::Compensate => {
                self.has(StepRole::Compensatable)?;
                ("Compensate", Kind::Undo { saga, step }, entity_of(saga))
            }
            CallKind::Void(reason) => {
                self.has(StepRole::Pivot)?;
                ("Void", Kind::Void { saga, step, reason }, entity_of(saga))
            }
        };
        self.count(name);
        Ok(Prepared { call: Call { kind, trace }, entity, deadline })
    }

    /// Runs a step that was read.
    ///
    /// # Errors
    /// Where nothing is known of the step.
    pub async fn submit(&self, prepared: Prepared<D::Op>) -> Result<StepAnswer, Status> {
        let Prepared { call, entity, deadline } = prepared;
        let outcome = self.lanes.call(entity, call, deadline).await;
        outcome.map_err(|error| of_lane(&error))?.into_step()
    }

    fn action(&self, method: &str) -> Result<&'static Action, Status> {
        let found = self.contract.actions.iter().find(|action| action.method == method);
        found.ok_or_else(|| {
            let name = self.contract.name;
            Status::unimplemented(format!("the participant {name} has no action {method}"))
        })
    }

    /// A step's key does not name its action, so that a participant without any of a role is all that can be told.
    fn has(&self, role: StepRole) -> Result<(), Status> {
        if self.contract.actions.iter().any(|action| action.role == role) {
            return Ok(());
        }
        let name = self.contract.name;
        Err(Status::invalid_argument(format!("the participant {name} has no {role:?} action")))
    }

    fn count(&self, name: &'static str) {
        *self.counts().entry(name).or_default() += 1;
    }

    fn counts(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<D: Actions> Steps for ServiceSteps<D> {
    fn name(&self) -> &str {
        self.contract.name
    }

    async fn describe(&self, _: Instant) -> Result<Vec<ActionInfo>, Status> {
        let actions = self.contract.actions.iter().map(|action| ActionInfo {
            method: action.method.to_owned(),
            role: action.role,
            rejections: action.rejections.iter().map(|&it| it.to_owned()).collect(),
        });
        let mut actions: Vec<ActionInfo> = actions.collect();
        actions.sort_by(|one, other| one.method.cmp(&other.method));
        Ok(actions)
    }

    async fn run(&self, call: StepCall) -> Result<StepAnswer, Status> {
        let prepared = self.prepare(call)?;
        self.submit(prepared).await
    }

    async fn recorded(&self, saga: SagaId, deadline: Instant) -> Result<Vec<StepRow>, Status> {
        let rows = self.db.read(async move |conn: &mut Conn| steps_of(conn, vec![saga]).await);
        within(deadline, rows).await
    }

    async fn raise_watermark(&self, to: SagaId, deadline: Instant) -> Result<SagaId, Status> {
        within(deadline, purge::raise_watermark(&self.db, to)).await
    }
}

async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = db::Result<T>>,
) -> Result<T, Status> {
    match tokio::time::timeout_at(deadline, work).await {
        Ok(done) => done.map_err(|error| of_db(&error)),
        Err(_) => Err(Status::deadline_exceeded("the database did not answer in time")),
    }
}

/// The random end of a saga's id.
fn entity_of(saga: SagaId) -> u64 {
    let [.., end] = saga.0.as_chunks::<8>().0 else { return 0 };
    u64::from_be_bytes(*end)
}
