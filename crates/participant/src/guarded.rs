//! A desk behind its barrier: the transaction of one batch.

use crate::barrier::{self, Found, OnAction, OnCompensation, OnVoid, Row, RowState};
use crate::desk::{Call, Desk, Kind, Moment, Task, Verdict};
use crate::outcome::{Outcome, Told};
use crate::steps::{ActReply, StepAnswer};
use crate::store::{self, OpKey, Remembered};
use crate::{RequestHash, RequestKey, SagaId, StepNo};
use chrono::{DateTime, Utc};
use db::{Conn, LockWait, Result, Script};
use lane::Decided;
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Runs a [`Desk`]'s operations, each at most once.
pub struct Guarded<D> {
    desk: Arc<D>,
}

impl<D> Guarded<D> {
    /// Guards a desk.
    pub fn new(desk: Arc<D>) -> Self {
        Self { desk }
    }
}

impl<D: Desk> lane::Work for Guarded<D> {
    type Op = Call<D::Op>;
    type Reply = Outcome;
    type Key = CallKey;

    async fn run(
        &self,
        conn: &mut Conn,
        calls: &[&Call<D::Op>],
        wait: LockWait,
    ) -> Result<Decided<Outcome>> {
        let mut ledger = Ledger::read(conn, calls).await?;
        let tasks = ledger.tasks(calls);
        let mut sheet = self.desk.load(conn, &tasks, wait).await?;
        let replies =
            calls.iter().map(|call| ledger.settle(&*self.desk, &mut sheet, call)).collect();
        store::mark_compensated(conn, &ledger.compensated).await?;
        let mut writes = Script::default();
        self.desk.store(sheet, &mut writes)?;
        ledger.write(&mut writes)?;
        Ok(Decided { replies, writes })
    }

    fn key(&self, call: &Call<D::Op>) -> Option<CallKey> {
        Some(CallKey::of(&call.kind))
    }

    /// As if it had come after the commit.
    fn repeated(first: &Outcome) -> Outcome {
        match first.clone() {
            Outcome::Request(Told::Done { reply, .. }) => {
                Outcome::Request(Told::Done { reply, replayed: true })
            }
            Outcome::Request(Told::Rejected { rejection, .. }) => {
                Outcome::Request(Told::Rejected { rejection, replayed: true })
            }
            other => other,
        }
    }
}

/// What repeats of a call are known by: its key and its content. A repeat that comes while the first is not answered takes
/// no place of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CallKey {
    /// A step's action.
    Act(SagaId, StepNo, RequestHash),
    /// A compensation.
    Undo(SagaId, StepNo),
    /// A void: whatever its reason, the first one's counts.
    Void(SagaId, StepNo),
    /// A client's request.
    Request(RequestKey, RequestHash),
}

impl CallKey {
    fn of<Op>(kind: &Kind<Op>) -> Self {
        match kind {
            Kind::Act { saga, step, hash, .. } => Self::Act(*saga, *step, *hash),
            Kind::Undo { saga, step } => Self::Undo(*saga, *step),
            Kind::Void { saga, step, .. } => Self::Void(*saga, *step),
            Kind::Request { key, hash, .. } => Self::Request(key.clone(), *hash),
        }
    }
}

/// Barrier and idempotency rows of a batch: what the tables say, overlaid with what the batch has decided so far.
struct Ledger {
    at: DateTime<Utc>,
    watermark: Option<SagaId>,
    ops: HashMap<OpKey, Row>,
    new_ops: BTreeMap<OpKey, Row>,
    compensated: Vec<OpKey>,
    requests: HashMap<RequestKey, Remembered>,
    new_requests: BTreeMap<RequestKey, Remembered>,
}

impl Ledger {
    async fn read<Op>(conn: &mut Conn, calls: &[&Call<Op>]) -> Result<Self> {
        let mut op_keys = Vec::new();
        let mut request_keys = Vec::new();
        for call in calls {
            match &call.kind {
                Kind::Act { saga, step, .. }
                | Kind::Undo { saga, step }
                | Kind::Void { saga, step, .. } => op_keys.push((*saga, *step)),
                Kind::Request { key, .. } => request_keys.push(key.clone()),
            }
        }
        let mut sagas: Vec<SagaId> = op_keys.iter().map(|(saga, _)| *saga).collect();
        sagas.sort_unstable();
        sagas.dedup();
        let ops = store::ops(conn, sagas).await?;
        // Read after the rows: a purge raises it before it deletes any. Whether one came after this, the insert finds out.
        let some_missing = op_keys.iter().any(|key| !ops.contains_key(key));
        let watermark = if some_missing { Some(store::watermark(conn).await?) } else { None };
        Ok(Self {
            at: db::now_micros(),
            watermark,
            ops,
            new_ops: BTreeMap::new(),
            compensated: Vec::new(),
            requests: store::requests(conn, &request_keys).await?,
            new_requests: BTreeMap::new(),
        })
    }

    /// What may touch the desk's rows. A compensation of a step of this very batch needs no entry of its own.
    fn tasks<'a, Op>(&'a self, calls: &[&'a Call<Op>]) -> Vec<Task<'a, Op>> {
        let task = |call: &&'a Call<Op>| match &call.kind {
            Kind::Act { saga, step, op, .. } => {
                (!self.ops.contains_key(&(*saga, *step))).then_some(Task::Act(op))
            }
            Kind::Request { key, op, .. } => {
                (!self.requests.contains_key(key)).then_some(Task::Act(op))
            }
            Kind::Undo { saga, step } => self
                .ops
                .get(&(*saga, *step))
                .filter(|row| row.state == RowState::Done)
                .map(|row| Task::Undo(&row.reply)),
            Kind::Void { .. } => None,
        };
        calls.iter().filter_map(task).collect()
    }

    fn settle<D: Desk>(&mut self, desk: &D, sheet: &mut D::Sheet, call: &Call<D::Op>) -> Outcome {
        match &call.kind {
            Kind::Act { saga, step, hash, op, .. } => {
                let key = (*saga, *step);
                let reply = match barrier::on_action(self.ops.get(&key), self.purged(key), *hash) {
                    OnAction::Run => {
                        let moment = Moment { at: self.at, saga: Some(*saga), trace: &call.trace };
                        self.record(key, *hash, desk.act(sheet, op, &moment))
                    }
                    OnAction::ReplayDone(reply) => ActReply::Done(reply.to_vec()),
                    OnAction::ReplayRejected(reply) => ActReply::Rejected(reply.to_vec()),
                    OnAction::Tombstoned => ActReply::Tombstoned,
                    OnAction::OtherContent => ActReply::OtherContent,
                    OnAction::Purged => ActReply::Purged,
                };
                Outcome::Step(StepAnswer::Acted(reply))
            }
            Kind::Undo { saga, step } => {
                let key = (*saga, *step);
                let row = self.ops.get(&key);
                let decision = barrier::on_compensation(row, self.purged(key));
                let reply = reply_of(row);
                match decision {
                    OnCompensation::WriteTombstone => self.tombstone(key, Vec::new()),
                    OnCompensation::Undo => {
                        let moment = Moment { at: self.at, saga: Some(*saga), trace: &call.trace };
                        desk.undo(sheet, &reply, &moment);
                        self.compensate(key);
                    }
                    OnCompensation::Leave(_) | OnCompensation::Purged => {}
                }
                found(decision.found(), reply)
            }
            Kind::Void { saga, step, reason } => {
                let key = (*saga, *step);
                let row = self.ops.get(&key);
                let decision = barrier::on_void(row, self.purged(key));
                let reply = match decision {
                    OnVoid::WriteTombstone => reason.clone(),
                    _ => reply_of(row),
                };
                if decision == OnVoid::WriteTombstone {
                    self.tombstone(key, reply.clone());
                }
                found(decision.found(), reply)
            }
            Kind::Request { key, hash, op } => match self.requests.get(key) {
                Some(told) if told.hash != *hash => {
                    Outcome::Request(Told::RequestIdReused(key.request_id))
                }
                Some(told) => Outcome::Request(told.clone().into_told(true)),
                None => {
                    let moment = Moment { at: self.at, saga: None, trace: &call.trace };
                    self.remember(key, *hash, desk.act(sheet, op, &moment))
                }
            },
        }
    }

    fn purged(&self, (saga, _): OpKey) -> bool {
        self.watermark.is_some_and(|watermark| saga <= watermark)
    }

    fn record(&mut self, key: OpKey, hash: RequestHash, verdict: Verdict) -> ActReply {
        match verdict {
            Verdict::Done(reply) => {
                self.insert(key, Row { state: RowState::Done, hash, reply: reply.clone() });
                ActReply::Done(reply)
            }
            Verdict::Rejected(rejection) => {
                let reply = rejection.encode_to_vec();
                self.insert(key, Row { state: RowState::Rejected, hash, reply: reply.clone() });
                ActReply::Rejected(reply)
            }
        }
    }

    fn remember(&mut self, key: &RequestKey, hash: RequestHash, verdict: Verdict) -> Outcome {
        let remembered = Remembered::new(hash, verdict);
        self.requests.insert(key.clone(), remembered.clone());
        self.new_requests.insert(key.clone(), remembered.clone());
        Outcome::Request(remembered.into_told(false))
    }

    fn tombstone(&mut self, key: OpKey, reply: Vec<u8>) {
        self.insert(key, Row { state: RowState::Tombstone, hash: RequestHash([0; 8]), reply });
    }

    fn insert(&mut self, key: OpKey, row: Row) {
        self.ops.insert(key, row.clone());
        self.new_ops.insert(key, row);
    }

    fn compensate(&mut self, key: OpKey) {
        if let Some(row) = self.ops.get_mut(&key) {
            row.state = RowState::Compensated;
        }
        match self.new_ops.get_mut(&key) {
            Some(row) => row.state = RowState::Compensated,
            None => self.compensated.push(key),
        }
    }

    fn write(&self, writes: &mut Script) -> Result<()> {
        store::insert_ops(writes, &self.new_ops, self.at)?;
        store::insert_requests(writes, &self.new_requests, self.at)
    }
}

fn found(found: Found, recorded: Vec<u8>) -> Outcome {
    Outcome::Step(StepAnswer::Found { found, recorded })
}

fn reply_of(row: Option<&Row>) -> Vec<u8> {
    row.map(|row| row.reply.clone()).unwrap_or_default()
}
