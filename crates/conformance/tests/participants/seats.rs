//! A participant in memory, correct or with one fault.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use participant::barrier::{
    OnAction, OnCompensation, OnVoid, Row, on_action, on_compensation, on_void,
};
use participant::{
    ActReply, ActionInfo, CallKind, Found, RequestHash, RowState, SagaId, StepAnswer, StepCall,
    StepNo, StepRow, Steps,
};
use prost::Message;
use saga_api::v1::{StepRejection, StepRole};
use saga_api::{Action, Participant};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use tonic::Status;

const RESERVE: &str = "travel.v1.SeatParticipantService/ReserveSeat";
const ISSUE: &str = "travel.v1.SeatParticipantService/IssueTicket";
const RECEIPT: &str = "travel.v1.SeatParticipantService/SendReceipt";

/// What the option of each method declares.
pub(crate) const CONTRACT: Participant = Participant {
    name: "seat",
    service: "travel.v1.SeatParticipantService",
    actions: &[
        Action {
            method: RESERVE,
            role: StepRole::Compensatable,
            rejections: &["NO_SUCH_FLIGHT", "SEAT_TAKEN"],
        },
        Action { method: ISSUE, role: StepRole::Pivot, rejections: &["NO_RESERVATION"] },
        Action { method: RECEIPT, role: StepRole::Retriable, rejections: &[] },
    ],
};

/// What the participant does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// A compensation that finds nothing writes no row.
    NoTombstone,
    /// The business rule is asked before the row is read.
    RuleBeforeRow,
    /// A compensation makes a rejection a tombstone.
    CompensationOverwritesRejection,
    /// A void makes a done pivot a tombstone.
    VoidUndoesDone,
    /// A compensation below the watermark writes a row.
    RowBelowWatermark,
    /// An action below the watermark is refused as tombstoned.
    PurgedAsTombstone,
    /// A rejection is not recorded: the rule is asked again.
    ForgottenRejection,
    /// A repeat is run again.
    RunTwice,
    /// The reason of the last void counts.
    LastVoidCounts,
    /// A lower watermark is taken over.
    FallingWatermark,
    /// Other content is answered as a repeat.
    ContentIgnored,
    /// The row is read, and written later, in another transaction.
    NotAtomic,
    /// A compensated step may run again.
    RunsAfterUndo,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<(SagaId, StepNo), (Row, DateTime<Utc>)>,
    watermark: Option<SagaId>,
    /// By flight and seat, with the number of the reservation.
    reservations: BTreeMap<(String, String), i64>,
    last_number: i64,
}

/// The participant.
pub(crate) struct Seats {
    fault: Fault,
    state: Mutex<State>,
}

#[derive(Clone, PartialEq, Message)]
struct SeatPayload {
    #[prost(string, tag = "1")]
    flight: String,
    #[prost(string, tag = "2")]
    seat: String,
}

/// The reply of every action: a number.
#[derive(Clone, PartialEq, Message)]
struct Reply {
    #[prost(int64, tag = "1")]
    number: i64,
}

impl State {
    fn number(&mut self) -> Row {
        self.last_number += 1;
        let reply = Reply { number: self.last_number }.encode_to_vec();
        Row { state: RowState::Done, hash: RequestHash::default(), reply }
    }

    /// What the business rule says, and the effect.
    fn decide(&mut self, method: &str, payload: &[u8]) -> Result<Row, Status> {
        let SeatPayload { flight, seat } =
            Message::decode(payload).map_err(|_| Status::invalid_argument("payload"))?;
        let place = (flight, seat);
        let is_reserved = self.reservations.contains_key(&place);
        match method {
            RESERVE if place.0 != "KE1" => Ok(rejected("NO_SUCH_FLIGHT")),
            RESERVE if is_reserved => Ok(rejected("SEAT_TAKEN")),
            RESERVE => {
                let done = self.number();
                self.reservations.insert(place, self.last_number);
                Ok(done)
            }
            ISSUE if !is_reserved => Ok(rejected("NO_RESERVATION")),
            _ => Ok(self.number()),
        }
    }

    fn undo(&mut self, reply: &[u8]) {
        let number = Reply::decode(reply).unwrap().number;
        self.reservations.retain(|_, reservation| *reservation != number);
    }
}

fn rejected(reason: &str) -> Row {
    let rejection = StepRejection { reason: reason.to_owned(), ..StepRejection::default() };
    let reply = rejection.encode_to_vec();
    Row { state: RowState::Rejected, hash: RequestHash::default(), reply }
}

fn tombstone(reason: &[u8]) -> Row {
    Row { state: RowState::Tombstone, hash: RequestHash::default(), reply: reason.to_vec() }
}

fn told(row: &Row) -> StepAnswer {
    StepAnswer::Acted(match row.state {
        RowState::Done => ActReply::Done(row.reply.clone()),
        _ => ActReply::Rejected(row.reply.clone()),
    })
}

impl Seats {
    /// A participant without rows.
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The row of a step, and whether there is none because it was purged.
    fn find(&self, step: (SagaId, StepNo)) -> (Option<Row>, bool) {
        let state = self.state();
        let row = state.rows.get(&step).map(|(row, _)| row.clone());
        let purged = row.is_none() && state.watermark.is_some_and(|mark| step.0 <= mark);
        (row, purged)
    }

    fn write(&self, step: (SagaId, StepNo), row: Row) {
        self.state().rows.insert(step, (row, Utc::now()));
    }

    async fn act(
        &self,
        step: (SagaId, StepNo),
        (method, payload, hash): (&str, &[u8], RequestHash),
    ) -> Result<StepAnswer, Status> {
        if CONTRACT.actions.iter().all(|action| action.method != method) {
            return Err(Status::unimplemented("no such action"));
        }
        if self.fault == Fault::RuleBeforeRow {
            let mut state = self.state();
            let reserved = state.reservations.clone();
            let ruled = state.decide(method, payload)?;
            state.reservations = reserved;
            if ruled.state == RowState::Rejected && !state.rows.contains_key(&step) {
                state.rows.insert(step, (Row { hash, ..ruled.clone() }, Utc::now()));
            }
            if ruled.state == RowState::Rejected {
                return Ok(told(&ruled));
            }
        }
        let (mut row, purged) = self.find(step);
        if self.fault == Fault::NotAtomic {
            tokio::task::yield_now().await;
        }
        if self.fault == Fault::ContentIgnored
            && let Some(row) = &mut row
        {
            row.hash = hash;
        }
        let again = match (self.fault, row.as_ref().map(|row| row.state)) {
            (Fault::RunTwice, Some(RowState::Done)) => method == RECEIPT,
            (Fault::RunsAfterUndo, Some(RowState::Compensated)) => true,
            _ => false,
        };
        match on_action(row.as_ref().filter(|_| !again), purged, hash) {
            OnAction::Run => {
                let row = Row { hash, ..self.state().decide(method, payload)? };
                if self.fault != Fault::ForgottenRejection || row.state == RowState::Done {
                    self.write(step, row.clone());
                }
                Ok(told(&row))
            }
            OnAction::ReplayDone(reply) => Ok(StepAnswer::Acted(ActReply::Done(reply.to_vec()))),
            OnAction::ReplayRejected(it) => Ok(StepAnswer::Acted(ActReply::Rejected(it.to_vec()))),
            OnAction::Tombstoned => Ok(StepAnswer::Acted(ActReply::Tombstoned)),
            OnAction::OtherContent => Ok(StepAnswer::Acted(ActReply::OtherContent)),
            OnAction::Purged if self.fault == Fault::PurgedAsTombstone => {
                Ok(StepAnswer::Acted(ActReply::Tombstoned))
            }
            OnAction::Purged => Ok(StepAnswer::Acted(ActReply::Purged)),
        }
    }

    fn compensate(&self, step: (SagaId, StepNo)) -> StepAnswer {
        let (row, purged) = self.find(step);
        let decided = on_compensation(row.as_ref(), purged);
        let mut recorded = row.as_ref().map(|row| row.reply.clone()).unwrap_or_default();
        match decided {
            OnCompensation::WriteTombstone if self.fault == Fault::NoTombstone => {}
            OnCompensation::WriteTombstone => self.write(step, tombstone(b"")),
            OnCompensation::Undo => {
                self.state().undo(&recorded);
                self.write(step, Row { state: RowState::Compensated, ..row.unwrap() });
                recorded.clear();
            }
            OnCompensation::Leave(Found::Rejected)
                if self.fault == Fault::CompensationOverwritesRejection =>
            {
                self.write(step, tombstone(b""));
            }
            OnCompensation::Purged if self.fault == Fault::RowBelowWatermark => {
                self.write(step, tombstone(b""));
            }
            OnCompensation::Leave(_) | OnCompensation::Purged => {}
        }
        StepAnswer::Found { found: decided.found(), recorded }
    }

    fn void(&self, step: (SagaId, StepNo), reason: Vec<u8>) -> StepAnswer {
        let (row, purged) = self.find(step);
        let decided = on_void(row.as_ref(), purged);
        let mut recorded = row.map(|row| row.reply).unwrap_or_default();
        match decided {
            OnVoid::WriteTombstone => {
                self.write(step, tombstone(&reason));
                recorded = reason;
            }
            OnVoid::LeaveDone if self.fault == Fault::VoidUndoesDone => {
                self.write(step, tombstone(&reason));
            }
            OnVoid::LeaveClosed(Found::Tombstone) if self.fault == Fault::LastVoidCounts => {
                self.write(step, tombstone(&reason));
                recorded = reason;
            }
            OnVoid::LeaveDone | OnVoid::LeaveClosed(_) | OnVoid::Purged => {}
        }
        StepAnswer::Found { found: decided.found(), recorded }
    }
}

#[async_trait]
impl Steps for Seats {
    fn name(&self) -> &str {
        CONTRACT.name
    }

    async fn describe(&self, _: Instant) -> Result<Vec<ActionInfo>, Status> {
        let actions = CONTRACT.actions.iter().map(|action| ActionInfo {
            method: action.method.to_owned(),
            role: action.role,
            rejections: action.rejections.iter().map(|&it| it.to_owned()).collect(),
        });
        Ok(actions.collect())
    }

    // Without a point of waiting within, so that each runs as a whole on the test's one thread.
    async fn run(&self, call: StepCall) -> Result<StepAnswer, Status> {
        let step = (call.saga, call.step);
        match call.kind {
            CallKind::Act { method, payload, digest } => {
                self.act(step, (&method, &payload, digest)).await
            }
            CallKind::Compensate => Ok(self.compensate(step)),
            CallKind::Void(reason) => Ok(self.void(step, reason)),
        }
    }

    async fn recorded(&self, saga: SagaId, _: Instant) -> Result<Vec<StepRow>, Status> {
        let state = self.state();
        let rows = state.rows.iter().filter(|((id, _), _)| *id == saga);
        let rows = rows.map(|((saga, step), (row, at))| StepRow {
            saga: *saga,
            step: *step,
            state: row.state,
            reply: row.reply.clone(),
            at: *at,
        });
        Ok(rows.collect())
    }

    async fn raise_watermark(&self, to: SagaId, _: Instant) -> Result<SagaId, Status> {
        let mut state = self.state();
        let higher = state.watermark.filter(|_| self.fault != Fault::FallingWatermark);
        let to = higher.map_or(to, |now| now.max(to));
        state.watermark = Some(to);
        Ok(to)
    }
}
