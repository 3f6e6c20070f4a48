//! Retrying, aborting and resolving sagas for operators.

use crate::admin::{Admin, saga_of};
use crate::request::timestamp;
use crate::service::unavailable;
use api::saga::v1::{Saga, SagaResolution, SagaState};
use api::{Reason, Refusal, RequestId};
use participant::{RequestHash, RowState, SagaId, StepNo, content_hash};
use prost::Message;
use saga::journal::{Action, EndedAs, Operated, Operation, Record, Running, RunningState};
use saga::outcome::{Failure, RESOLVED};
use saga::recorded::Found;
use saga::resolve::{Unresolvable, may_resolve};
use saga::runtime::{Rows, SagaInstance};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// How often a saga that is being aborted is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Version of [`Asked`]'s digest.
const VERSION: u8 = 1;

/// An operator's request, checked.
pub(crate) struct Asked {
    pub(crate) request_id: String,
    pub(crate) saga_id: String,
    pub(crate) actor: String,
    pub(crate) reason: String,
}

/// What of a request counts when it is repeated.
#[derive(Clone, PartialEq, Eq, Message)]
struct Content {
    #[prost(string, tag = "1")]
    actor: String,
    #[prost(string, tag = "2")]
    reason: String,
}

/// The digest of an operator's request.
pub(crate) fn hash(actor: &str, reason: &str) -> RequestHash {
    let content = Content { actor: actor.to_owned(), reason: reason.to_owned() };
    content_hash(VERSION, &content)
}

/// What an operator is shown, and whether an earlier call did it.
type Told = (Saga, bool);

impl Asked {
    fn saga(&self) -> Result<SagaId, Refusal> {
        Ok(SagaId(*RequestId::parse(&self.saga_id)?.as_bytes()))
    }

    fn operation(&self, action: Action, record: Vec<u8>) -> Result<Operation, Refusal> {
        Ok(Operation {
            request_id: *RequestId::parse(&self.request_id)?.as_bytes(),
            hash: hash(&self.actor, &self.reason),
            saga: self.saga()?,
            action,
            actor: self.actor.clone(),
            reason: self.reason.clone(),
            record,
        })
    }

    fn refused(&self, operated: &Operated) -> Status {
        let refusal = match operated {
            Operated::Reused => {
                Refusal::new(Reason::RequestIdReused).with("request_id", &self.request_id)
            }
            Operated::Ended(outcome) => {
                let state = match outcome {
                    EndedAs::Succeeded => SagaState::Succeeded,
                    EndedAs::Failed => SagaState::Failed,
                    EndedAs::Resolved => SagaState::Resolved,
                };
                let state = state.as_str_name().trim_start_matches("SAGA_STATE_");
                Refusal::new(Reason::SagaAlreadyEnded).with("state", state)
            }
            // A replica that knows its plan and its participants can.
            Operated::CannotRun => Refusal::new(Reason::Unavailable),
            _ => Refusal::new(Reason::SagaNotFound),
        };
        refusal.with("saga_id", &self.saga_id).into()
    }
}

/// Lets a saga that stands still go on, here. Tells it as it was when it was let go.
pub(crate) async fn retry(admin: &Admin, asked: Asked) -> Result<Told, Status> {
    let engine = &admin.orchestrator.engine;
    let mut goes_on = found(admin, &asked).await?;
    if let Record::Running(running) = &mut goes_on
        && running.state != RunningState::Running
    {
        running.state = RunningState::Running;
        running.attention = None;
        running.owner = engine.journal().owner();
    }
    let goes_on = saga_of(&goes_on)?;
    let operation = asked.operation(Action::Retry, goes_on.encode_to_vec())?;
    match engine.operate(operation).await.map_err(|error| unavailable(&error))? {
        Operated::Now(_) => Ok((goes_on, false)),
        Operated::Earlier { record, .. } => {
            let told = Saga::decode(record.as_slice());
            Ok((told.map_err(|_| Refusal::new(Reason::Internal))?, true))
        }
        refused => Err(asked.refused(&refused)),
    }
}

/// Aborts a saga by its pivot, and waits for its end as long as the caller does.
pub(crate) async fn abort(admin: &Admin, asked: Asked) -> Result<Told, Status> {
    let answer_by = platform::context::current().answer_by();
    let operation = asked.operation(Action::Abort, Vec::new())?;
    let operated = admin.orchestrator.engine.operate(operation).await;
    let replayed = match operated.map_err(|error| unavailable(&error))? {
        Operated::Now(_) => false,
        Operated::Earlier { .. } => true,
        refused => return Err(asked.refused(&refused)),
    };
    loop {
        let record = found(admin, &asked).await?;
        let open = matches!(&record, Record::Running(it) if it.state == RunningState::Running);
        if !open || Instant::now() + LOOK_EVERY >= answer_by {
            return Ok((admin.saga_of(&record).await?, replayed));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Closes a saga of which nothing can happen any more.
pub(crate) async fn resolve(admin: &Admin, asked: Asked) -> Result<Told, Status> {
    let engine = &admin.orchestrator.engine;
    // A repeat finds the saga closed: what the journal recorded is the answer.
    let (result, decision) = match found(admin, &asked).await? {
        Record::Running(running) => decide(admin, &asked, &running).await?,
        Record::Ended(_) => (Vec::new(), Vec::new()),
    };
    let operation = asked.operation(Action::Resolve { result }, decision)?;
    let replayed = match engine.operate(operation).await.map_err(|error| unavailable(&error))? {
        Operated::Now(_) => false,
        Operated::Earlier { .. } => true,
        Operated::NotStandingStill => return Err(not_resolvable(&asked, "its next step").into()),
        refused => return Err(asked.refused(&refused)),
    };
    let record = found(admin, &asked).await?;
    Ok((admin.saga_of(&record).await?, replayed))
}

/// What END and the record of the decision say.
async fn decide(
    admin: &Admin,
    asked: &Asked,
    running: &Running,
) -> Result<(Vec<u8>, Vec<u8>), Status> {
    let instance = admin.instance(&running.start)?;
    let answer_by = platform::context::current().answer_by();
    let rows = admin.orchestrator.engine.rows(&running.start, &*instance, answer_by).await;
    if rows.some_are_missing() {
        return Err(Refusal::new(Reason::Unavailable).into());
    }
    let states = rows.states(instance.steps());
    let shape = instance.shape();
    may_resolve(shape, &states).map_err(|why| {
        let step = match why {
            Unresolvable::Open => shape.pivot,
            Unresolvable::PastPivot => {
                let done = |step: &StepNo| states.get(step) == Some(&RowState::Done);
                shape.steps().find(|step| !done(step)).unwrap_or(shape.pivot)
            }
            Unresolvable::MayStillRun(step) => step,
        };
        not_resolvable(asked, instance.name(step))
    })?;
    let named = |wanted: RowState| {
        let of_state = states.iter().filter(move |(_, state)| **state == wanted);
        of_state.map(|(step, _)| instance.name(*step).to_owned()).collect()
    };
    let decision = SagaResolution {
        actor: asked.actor.clone(),
        reason: asked.reason.clone(),
        at: Some(timestamp(db::now_micros())),
        standing_steps: named(RowState::Done),
        undone_steps: named(RowState::Compensated),
    };
    Ok((result(&*instance, &rows)?, decision.encode_to_vec()))
}

/// What the client of a resolved saga is told: the rejection, if there was one.
fn result(instance: &dyn SagaInstance, rows: &Rows) -> Result<Vec<u8>, Refusal> {
    let rejected = instance.steps().iter().find_map(|info| match rows.found(info) {
        Found::Row(RowState::Rejected, reply) => Some((info, reply)),
        _ => None,
    });
    let failure = match rejected {
        Some((info, reply)) => Failure::Rejected { step: info.step, reply },
        None => Failure::Aborted { reason: RESOLVED.to_vec() },
    };
    instance.failed(&failure).map_err(|unreadable| {
        tracing::error!(%unreadable, "a rejection is not readable");
        Refusal::new(Reason::Internal)
    })
}

fn not_resolvable(asked: &Asked, step: &str) -> Refusal {
    Refusal::new(Reason::SagaNotResolvable).with("saga_id", &asked.saga_id).with("step", step)
}

async fn found(admin: &Admin, asked: &Asked) -> Result<Record, Status> {
    let found = admin.orchestrator.engine.find(asked.saga()?).await;
    let found = found.map_err(|error| unavailable(&error))?;
    found.ok_or_else(|| asked.refused(&Operated::NotFound))
}
