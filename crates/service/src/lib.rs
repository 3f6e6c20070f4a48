//! What the services with sagas' steps have in common: their lanes, their clients' requests, their errors.

use api::{Check, Reason, Refusal, RequestId};
use participant::{
    Actions, Call, Health, Lanes, Name, Options, RequestHash, RequestKey, ServiceSteps, Told,
    Trace, Verdict,
};
use platform::{context, replayed, replayed_refusal};
use prost::Message;
use saga_api::Participant;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tonic::{Response, Status};

/// The lanes of a service, and what runs in them. Cheap to clone.
pub struct Writes<D: Actions> {
    lanes: Arc<Lanes<D>>,
    steps: Arc<ServiceSteps<D>>,
}

impl<D: Actions> Clone for Writes<D> {
    fn clone(&self) -> Self {
        Self { lanes: Arc::clone(&self.lanes), steps: Arc::clone(&self.steps) }
    }
}

impl<D: Actions> Writes<D> {
    /// Starts the lanes of a participant on its schema; they run as `tasks`.
    pub fn start(
        contract: Participant,
        db: &db::Db,
        desk: D,
        options: Options,
        tasks: &TaskTracker,
    ) -> Self {
        let lanes = Arc::new(Lanes::start(contract.name, db, desk, options, tasks));
        let steps = Arc::new(ServiceSteps::new(contract, db.clone(), Arc::clone(&lanes)));
        Self { lanes, steps }
    }

    /// The steps of sagas.
    pub fn steps(&self) -> Arc<ServiceSteps<D>> {
        Arc::clone(&self.steps)
    }

    /// Runs a client's request in the lane of an entity, within the deadline of the call that this is part of.
    ///
    /// # Errors
    /// Why it did not run, or nobody knows.
    pub async fn request(
        &self,
        entity: i64,
        key: RequestKey,
        hash: RequestHash,
        op: D::Op,
    ) -> Result<Told, Status> {
        let call = Call::request(key, hash, op, trace());
        let deadline = context::current().deadline;
        let outcome = self.lanes.call(entity.cast_unsigned(), call, deadline).await;
        outcome.map_err(|error| refuse_lane(&error))?.into_request()
    }

    /// What each lane last achieved.
    pub fn health(&self) -> Vec<Health> {
        self.lanes.health()
    }

    /// Takes no more writes; what is queued still runs.
    pub fn close(&self) {
        self.lanes.close();
    }
}

/// The trace of the call that this runs in.
pub fn trace() -> Trace {
    let context = context::current();
    Trace { traceparent: context.traceparent(), trace_id: context.trace_id }
}

/// The key of a client's request; `subject` is the user that it names, or the empty name.
///
/// # Errors
/// `INVALID_FIELD` where the request id is not one.
pub fn request_key(
    request_id: &str,
    subject: impl Into<Name>,
    method: i8,
) -> Result<RequestKey, Refusal> {
    let request_id = *RequestId::parse(request_id)?.as_bytes();
    Ok(RequestKey { request_id, subject: subject.into(), method })
}

/// The gRPC answer of a client's request.
///
/// # Errors
/// The recorded refusal; `REQUEST_ID_REUSED`; INTERNAL where the record does not decode.
pub fn answer<R: Message + Default>(told: Told) -> Result<Response<R>, Status> {
    match told {
        Told::Done { reply, replayed: is_replayed } => {
            let reply = R::decode(reply.as_slice()).map_err(unreadable)?;
            let response = Response::new(reply);
            Ok(if is_replayed { replayed(response) } else { response })
        }
        Told::Rejected { rejection, replayed: is_replayed } => {
            let refusal = Refusal::decode(&rejection).map_err(unreadable)?;
            Err(if is_replayed { replayed_refusal(refusal) } else { refusal.into() })
        }
        Told::RequestIdReused(id) => {
            let id = uuid::Uuid::from_bytes(id);
            Err(Refusal::new(Reason::RequestIdReused).with("request_id", id).into())
        }
    }
}

/// A rejection by a business rule.
pub fn rejected(refusal: impl Into<Refusal>) -> Verdict {
    let refusal: Refusal = refusal.into();
    Verdict::Rejected(refusal.into())
}

/// The payload of a step, within its ranges.
///
/// # Errors
/// `MALFORMED_REQUEST` where it does not decode; those of [`Check::check`].
pub fn read<P: Message + Default + Check>(payload: &[u8]) -> Result<P, Refusal> {
    let payload = P::decode(payload).map_err(|_| Refusal::new(Reason::MalformedRequest))?;
    payload.check()?;
    Ok(payload)
}

/// The contract has an action that the service does not know.
pub fn unknown_action(action: &str) -> Status {
    tracing::error!(action, "an action of the contract is not implemented");
    Refusal::new(Reason::Unimplemented).into()
}

/// Why a lane did not answer, as a gRPC error.
pub fn refuse_lane(error: &lane::Error) -> Status {
    let refusal = match error {
        lane::Error::Overloaded { retry_after, .. } => Refusal::overloaded(*retry_after),
        lane::Error::DeadlineExceeded(_) => Refusal::new(Reason::DeadlineExceeded),
        lane::Error::Closed(_) | lane::Error::Unknown(_) => Refusal::new(Reason::Unavailable),
        _ => Refusal::new(Reason::Internal),
    };
    refusal.into()
}

/// A fault of the database, told without its words.
pub fn refuse_db(error: &db::Error) -> Status {
    let reason = if error.is_passing() { Reason::Unavailable } else { Reason::Internal };
    tracing::error!(%error, %reason, "the database failed a call");
    Refusal::new(reason).into()
}

fn unreadable(error: impl std::error::Error) -> Status {
    tracing::error!(%error, "a recorded reply does not decode");
    Refusal::new(Reason::Internal).into()
}
