//! The hot writes of orders, for the lanes: a batch's orders in memory, and what happened to them.

use crate::domain::{Order, Refused};
use crate::{store, wire};
use api::Reason;
use api::order::v1::{BeginCancelReply, ConfirmOrderReply, FinishCancelReply};
use chrono::{DateTime, Utc};
use db::{Conn, Error, LockWait, Result, Script};
use events::{Event, outbox};
use participant::{Moment, Task, Verdict};
use prost::Message;
use service::rejected;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A hot write.
#[derive(Debug)]
pub(crate) enum Op {
    /// The order of a checkout.
    Confirm(Order),
    /// The gate of a cancel.
    BeginCancel { order_id: i64, user_id: i64, saga: Uuid },
    /// The end of a cancel that was asked for at this instant.
    FinishCancel { order_id: i64, saga: Uuid, at: DateTime<Utc> },
}

/// The desk of orders.
pub(crate) struct Desk;

/// The orders of a batch, as changed so far.
#[derive(Default)]
pub(crate) struct Sheet {
    orders: BTreeMap<i64, Order>,
    new: BTreeSet<i64>,
    changed: BTreeSet<i64>,
    events: Vec<Event>,
    /// Something that no rule foresees: the batch is not stored, and whoever caused it fails alone.
    defect: Option<Error>,
}

impl participant::Desk for Desk {
    type Op = Op;
    type Sheet = Sheet;

    async fn load(&self, conn: &mut Conn, tasks: &[Task<'_, Op>], wait: LockWait) -> Result<Sheet> {
        let mut order_ids = BTreeSet::new();
        for task in tasks {
            match task {
                Task::Act(Op::Confirm(_)) => {}
                Task::Act(Op::BeginCancel { order_id, .. } | Op::FinishCancel { order_id, .. }) => {
                    order_ids.insert(*order_id);
                }
                Task::Undo(_) => return Err(no_compensation()),
            }
        }
        Ok(Sheet { orders: store::lock(conn, order_ids, wait).await?, ..Sheet::default() })
    }

    fn act(&self, sheet: &mut Sheet, op: &Op, moment: &Moment<'_>) -> Verdict {
        match op {
            Op::Confirm(order) => sheet.confirm(order, moment),
            Op::BeginCancel { order_id, user_id, saga } => {
                sheet.begin_cancel(*order_id, *user_id, *saga)
            }
            Op::FinishCancel { order_id, saga, at } => {
                sheet.finish_cancel(*order_id, *saga, *at, moment)
            }
        }
    }

    fn undo(&self, sheet: &mut Sheet, _recorded: &[u8], _moment: &Moment<'_>) {
        sheet.fail(no_compensation());
    }

    fn store(&self, sheet: Sheet, writes: &mut Script) -> Result<()> {
        if let Some(defect) = sheet.defect {
            return Err(defect);
        }
        let orders = |ids: &BTreeSet<i64>| -> Vec<&Order> {
            ids.iter().filter_map(|id| sheet.orders.get(id)).collect()
        };
        store::insert(writes, &orders(&sheet.new))?;
        store::update(writes, &orders(&(&sheet.changed - &sheet.new)))?;
        outbox::append(writes, &sheet.events)
    }
}

impl Sheet {
    fn confirm(&mut self, order: &Order, moment: &Moment<'_>) -> Verdict {
        if self.orders.contains_key(&order.id) {
            return self.fail(Error::Corrupt(format!("order {} exists", order.id)));
        }
        self.new.insert(order.id);
        self.orders.insert(order.id, order.clone());
        self.events.push(wire::confirmed(order, moment));
        done(&ConfirmOrderReply { order: Some(order.into()) })
    }

    fn begin_cancel(&mut self, order_id: i64, user_id: i64, saga: Uuid) -> Verdict {
        let Some(order) = self.orders.get_mut(&order_id) else {
            return rejected(Refused::NotFound { order_id });
        };
        if let Err(refused) = order.begin_cancel(user_id, saga) {
            return rejected(refused);
        }
        self.changed.insert(order_id);
        done(&BeginCancelReply { order: Some((&*order).into()) })
    }

    fn finish_cancel(
        &mut self,
        order_id: i64,
        saga: Uuid,
        at: DateTime<Utc>,
        moment: &Moment<'_>,
    ) -> Verdict {
        let finished = self
            .orders
            .get_mut(&order_id)
            .and_then(|order| order.finish_cancel(saga, at).then_some(order));
        let Some(order) = finished else {
            return self.fail(Error::Corrupt(format!("saga {saga} did not cancel {order_id}")));
        };
        self.changed.insert(order_id);
        self.events.push(wire::cancelled(order, at, moment));
        done(&FinishCancelReply { order: Some((&*order).into()) })
    }

    /// Keeps the batch from being stored. The verdict is never told: the transaction is rolled back.
    fn fail(&mut self, defect: Error) -> Verdict {
        self.defect.get_or_insert(defect);
        rejected(Reason::Internal)
    }
}

fn done(reply: &impl Message) -> Verdict {
    Verdict::Done(reply.encode_to_vec())
}

/// Registers are voided, and what follows them is not undone.
fn no_compensation() -> Error {
    Error::Corrupt("an order's step was to be compensated".to_owned())
}
