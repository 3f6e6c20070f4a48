//! The hot writes of products, for the lanes: a batch's products in memory, and what happened to them.

use crate::domain::{
    Cause, Change, Line, Movement, OrderId, Product, ProductId, Refused, Reservation, Shelf,
    give_back, reserve, units,
};
use crate::{store, wire};
use ::participant::{Moment, Task, Verdict};
use api::Reason;
use api::product::v1::{AdjustStockResponse, RestockProductsReply, UpdateProductResponse};
use db::{Conn, Error, LockWait, Result, Script};
use events::{Event, outbox};
use prost::Message;
use service::rejected;
use std::collections::BTreeSet;

/// A write of products that exist.
#[derive(Debug)]
pub(crate) enum Op {
    /// An order takes units.
    Reserve(Reservation),
    /// A cancelled order's units come back.
    Restock { order: OrderId, lines: Vec<Line> },
    /// Somebody corrects a stock.
    Adjust { id: ProductId, delta: i32, reason: String },
    /// Somebody changes name or price.
    Update { id: ProductId, change: Change },
}

/// The desk of products.
pub(crate) struct Desk;

/// The products of a batch, as changed so far.
#[derive(Default)]
pub(crate) struct Sheet {
    shelf: Shelf,
    changed: BTreeSet<ProductId>,
    moved: Vec<store::Moved>,
    events: Vec<Event>,
    /// Something that no rule foresees: the batch is not stored, and whoever caused it fails alone.
    defect: Option<Error>,
}

impl participant::Desk for Desk {
    type Op = Op;
    type Sheet = Sheet;

    async fn load(&self, conn: &mut Conn, tasks: &[Task<'_, Op>], wait: LockWait) -> Result<Sheet> {
        let mut ids = BTreeSet::new();
        for task in tasks {
            match task {
                Task::Act(Op::Reserve(reservation)) => ids.extend(products(reservation.lines())),
                Task::Act(Op::Restock { lines, .. }) => ids.extend(products(lines)),
                Task::Act(Op::Adjust { id, .. } | Op::Update { id, .. }) => {
                    ids.insert(*id);
                }
                Task::Undo(recorded) => ids.extend(products(&reservation(recorded)?.1)),
            }
        }
        Ok(Sheet { shelf: store::lock(conn, ids, wait).await?, ..Sheet::default() })
    }

    fn act(&self, sheet: &mut Sheet, op: &Op, moment: &Moment<'_>) -> Verdict {
        match op {
            Op::Reserve(reservation) => verdict(sheet.reserve(reservation, moment)),
            Op::Restock { order, lines } => sheet.restock(*order, lines, moment),
            Op::Adjust { id, delta, reason } => verdict(sheet.adjust(*id, *delta, reason, moment)),
            Op::Update { id, change } => verdict(sheet.update(*id, change, moment)),
        }
    }

    fn undo(&self, sheet: &mut Sheet, recorded: &[u8], moment: &Moment<'_>) {
        match reservation(recorded) {
            Ok((order, lines)) => sheet.give_back(&lines, &Cause::Release(order), moment),
            Err(defect) => sheet.fail(defect),
        }
    }

    fn store(&self, sheet: Sheet, writes: &mut Script) -> Result<()> {
        if let Some(defect) = sheet.defect {
            return Err(defect);
        }
        let changed: Vec<&Product> =
            sheet.changed.iter().filter_map(|id| sheet.shelf.get(id)).collect();
        store::update(writes, &changed)?;
        store::append(writes, sheet.moved)?;
        outbox::append(writes, &sheet.events)
    }
}

impl Sheet {
    fn reserve(
        &mut self,
        reservation: &Reservation,
        moment: &Moment<'_>,
    ) -> Result<impl Message + use<>, Refused> {
        let (quote, movements) = reserve(&mut self.shelf, reservation, moment.at)?;
        self.events.extend(wire::moved(&Cause::Reserve(reservation.order()), &movements, moment));
        self.note(movements, moment);
        Ok(wire::reserved(reservation.order(), &quote))
    }

    fn restock(&mut self, order: OrderId, lines: &[Line], moment: &Moment<'_>) -> Verdict {
        self.give_back(lines, &Cause::Restock(order), moment);
        let Some(units) = units(lines) else {
            self.fail(Error::Corrupt(format!("order {} has too many units", order.0)));
            return rejected(Reason::Internal);
        };
        Verdict::Done(RestockProductsReply { units }.encode_to_vec())
    }

    /// Puts back what was taken, so that its products are there. Nothing may refuse it: without room it fails, and is
    /// asked for again.
    fn give_back(&mut self, lines: &[Line], cause: &Cause, moment: &Moment<'_>) {
        match give_back(&mut self.shelf, lines, cause, moment.at) {
            Ok(movements) => {
                self.events.extend(wire::moved(cause, &movements, moment));
                self.note(movements, moment);
            }
            Err(no_room) => {
                self.fail(Error::Corrupt(format!(
                    "units of {cause:?} cannot come back: {no_room}"
                )));
            }
        }
    }

    fn adjust(
        &mut self,
        id: ProductId,
        delta: i32,
        reason: &str,
        moment: &Moment<'_>,
    ) -> Result<impl Message + use<>, Refused> {
        let product = self.shelf.get_mut(&id).ok_or_else(|| Refused::NotFound(vec![id]))?;
        let movement = product.adjust(delta, reason.to_owned(), moment.at)?;
        let reply = AdjustStockResponse {
            product: Some((&*product).into()),
            movement: Some((&movement).into()),
        };
        self.events.push(wire::adjusted(&movement, moment));
        self.note([movement], moment);
        Ok(reply)
    }

    fn update(
        &mut self,
        id: ProductId,
        change: &Change,
        moment: &Moment<'_>,
    ) -> Result<impl Message + use<>, Refused> {
        let product = self.shelf.get_mut(&id).ok_or_else(|| Refused::NotFound(vec![id]))?;
        product.update(change.clone(), moment.at)?;
        self.changed.insert(id);
        self.events.push(wire::updated(product, moment));
        Ok(UpdateProductResponse { product: Some((&*product).into()) })
    }

    fn note(&mut self, movements: impl IntoIterator<Item = Movement>, moment: &Moment<'_>) {
        for movement in movements {
            self.changed.insert(movement.product);
            self.moved.push(store::Moved { movement, saga: moment.saga });
        }
    }

    /// Keeps the batch from being stored: what its operations are told is then never told.
    fn fail(&mut self, defect: Error) {
        self.defect.get_or_insert(defect);
    }
}

fn products(lines: &[Line]) -> impl Iterator<Item = ProductId> {
    lines.iter().map(|line| line.product)
}

fn reservation(recorded: &[u8]) -> Result<(OrderId, Vec<Line>)> {
    let unreadable = || Error::Corrupt("a recorded reservation does not decode".to_owned());
    wire::reservation(recorded).ok_or_else(unreadable)
}

fn verdict(decided: Result<impl Message, Refused>) -> Verdict {
    match decided {
        Ok(reply) => Verdict::Done(reply.encode_to_vec()),
        Err(refused) => rejected(refused),
    }
}
