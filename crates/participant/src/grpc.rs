//! What every participant says alike over gRPC: keys of steps, what was found on record, faults of the database.

use crate::{Outcome, RowState, SagaId, Step, StepNo, StepRow, found_of, steps_of};
use api::saga::v1::{StepFound, StepKey, StepRecord, StepRejection};
use api::{Reason, Refusal};
use db::Db;
use prost::Message;
use prost_types::Timestamp;
use tonic::Status;

/// What a compensation or a void found on record.
pub struct OnRecord<R> {
    /// The row's state before the call.
    pub found: StepFound,
    /// The refusal, where the action was rejected.
    pub rejection: Option<StepRejection>,
    /// The reply, where the action is or was done.
    pub reply: Option<R>,
    /// The reason of the void that closed the row; empty for any other row.
    pub reason: String,
}

impl<R: Message + Default> OnRecord<R> {
    /// Reads a compensation's or void's outcome.
    ///
    /// # Errors
    /// INTERNAL where the record does not decode.
    pub fn read(outcome: Outcome) -> Result<Self, Status> {
        let (found, recorded) = outcome.into_found()?;
        let mut on_record = Self { found, rejection: None, reply: None, reason: String::new() };
        match found {
            StepFound::Done | StepFound::Compensated => {
                on_record.reply = Some(R::decode(recorded.as_slice()).map_err(unreadable)?);
            }
            StepFound::Rejected => on_record.rejection = Some(rejection(&recorded)?),
            _ => on_record.reason = String::from_utf8(recorded).map_err(unreadable)?,
        }
        Ok(on_record)
    }
}

/// The saga and step of a request to the call of this name.
///
/// # Errors
/// `INVALID_FIELD` naming `key`.
pub fn step_key(name: &'static str, key: Option<&StepKey>) -> Result<Step, Refusal> {
    let key = key.ok_or_else(|| Refusal::invalid_field("key", "is required"))?;
    let no = i16::try_from(key.step)
        .map_err(|_| Refusal::invalid_field("key.step", "must be 1 to 32767"))?;
    Ok(Step { name, saga: saga_id("key.saga_id", &key.saga_id)?, no: StepNo(no) })
}

/// Everything on record for these sagas.
///
/// # Errors
/// `INVALID_FIELD`; those of the database.
pub async fn steps(db: &Db, saga_ids: &[Vec<u8>]) -> Result<Vec<StepRecord>, Status> {
    let sagas: Result<Vec<SagaId>, Refusal> =
        saga_ids.iter().map(|bytes| saga_id("saga_ids", bytes)).collect();
    let sagas = sagas?;
    let rows = db
        .read(async move |conn: &mut db::Conn| steps_of(conn, sagas).await)
        .await
        .map_err(|error| refuse_db(&error))?;
    rows.into_iter().map(record).collect()
}

/// Raises the schema's floor, and tells where it is then.
///
/// # Errors
/// `INVALID_FIELD`; those of the database.
pub async fn raise_floor(db: &Db, floor: &[u8]) -> Result<Vec<u8>, Status> {
    let floor = saga_id("floor", floor)?;
    let raised = crate::purge::raise_floor(db, floor).await.map_err(|error| refuse_db(&error))?;
    Ok(raised.0.to_vec())
}

/// A fault of the database, told without its words.
pub fn refuse_db(error: &db::Error) -> Status {
    let reason = match error {
        db::Error::Busy
        | db::Error::Lost(_)
        | db::Error::CommitUnknown(_)
        | db::Error::WrongRow(_)
        | db::Error::Unfit(_)
        | db::Error::Conflict(_) => Reason::Unavailable,
        _ => Reason::Internal,
    };
    tracing::error!(%error, %reason, "the database failed a call");
    Refusal::new(reason).into()
}

fn saga_id(field: &str, bytes: &[u8]) -> Result<SagaId, Refusal> {
    let bytes = bytes.try_into().map_err(|_| Refusal::invalid_field(field, "must be 16 bytes"))?;
    Ok(SagaId(bytes))
}

fn record(row: StepRow) -> Result<StepRecord, Status> {
    let mut record = StepRecord {
        key: Some(StepKey { saga_id: row.saga.0.to_vec(), step: row.step.0.into() }),
        state: found_of(row.state.into()).into(),
        at: Some(Timestamp {
            seconds: row.at.timestamp(),
            nanos: i32::try_from(row.at.timestamp_subsec_nanos()).unwrap_or_default(),
        }),
        ..StepRecord::default()
    };
    match row.state {
        RowState::Done | RowState::Compensated => record.reply = row.reply,
        RowState::Rejected => record.rejection = Some(rejection(&row.reply)?),
        RowState::Tombstone => {
            record.void_reason = String::from_utf8(row.reply).map_err(unreadable)?;
        }
    }
    Ok(record)
}

fn rejection(recorded: &[u8]) -> Result<StepRejection, Status> {
    let Refusal { reason, metadata, .. } = Refusal::decode(recorded).map_err(unreadable)?;
    Ok(StepRejection {
        reason: reason.as_str().to_owned(),
        metadata: metadata.into_iter().collect(),
    })
}

fn unreadable(error: impl std::error::Error) -> Status {
    tracing::error!(%error, "a barrier row does not decode");
    Refusal::new(Reason::Internal).into()
}
