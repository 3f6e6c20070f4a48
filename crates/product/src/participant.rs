//! The product's steps in sagas.

use crate::cache::Cache;
use crate::desk::{Desk, Op};
use crate::domain::{Line, OrderId, ProductId, Reservation, merge};
use crate::forgetting::{self, Forgetting};
use crate::wire;
use ::participant::{
    ActReply, ActionInfo, Actions, Found, Prepared, Routed, SagaId, ServiceSteps, StepAnswer,
    StepCall, StepNo, StepRow, Steps,
};
use ::service::{read, unknown_action};
use api::Refusal;
use api::product::v1::{ReserveStockPayload, RestockProductsPayload, StockLine};
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::Status;

impl Actions for Desk {
    fn read(
        &self,
        action: &str,
        _: (SagaId, StepNo),
        payload: &[u8],
    ) -> Result<Routed<Op>, Status> {
        let (order_id, op) = match action {
            "ReserveStock" => {
                let payload: ReserveStockPayload = read(payload)?;
                let (order_id, wanted) = (payload.order_id, lines(&payload.lines)?);
                let expected_total = payload.expected_total_won;
                let reservation = Reservation::new(OrderId(order_id), wanted, expected_total);
                (order_id, Op::Reserve(reservation.ok_or_else(too_many_units)?))
            }
            "RestockProducts" => {
                let RestockProductsPayload { order_id, lines: returned } = read(payload)?;
                let lines = merge(lines(&returned)?).ok_or_else(too_many_units)?;
                (order_id, Op::Restock { order: OrderId(order_id), lines })
            }
            other => return Err(unknown_action(other)),
        };
        Ok(Routed { entity: order_id.cast_unsigned(), op })
    }
}

fn too_many_units() -> Refusal {
    Refusal::invalid_field("lines", "must have at most 2147483647 units of each product")
}

fn lines(lines: &[StockLine]) -> Result<Vec<Line>, Refusal> {
    lines.iter().map(wire::line).collect()
}

/// The steps of the service with a cache of products: whatever a step may have changed is forgotten there.
pub(crate) struct ProductSteps {
    steps: Arc<ServiceSteps<Desk>>,
    cache: Option<Cache>,
    tasks: TaskTracker,
}

impl ProductSteps {
    /// Steps that run as `tasks` where there is a cache.
    pub(crate) fn new(
        steps: Arc<ServiceSteps<Desk>>,
        cache: Option<Cache>,
        tasks: TaskTracker,
    ) -> Self {
        Self { steps, cache, tasks }
    }

    /// Runs a step to its end and forgets what it may have changed.
    async fn run_and_forget(
        &self,
        cache: Cache,
        prepared: Prepared<Op>,
    ) -> Result<StepAnswer, Status> {
        let steps = Arc::clone(&self.steps);
        let run = async move {
            let mut forgetting = Forgetting { cache, products: touched(prepared.op()) };
            let answer = steps.submit(prepared).await;
            if let Ok(answer) = &answer {
                forgetting.answered(answer);
            }
            answer
        };
        forgetting::to_its_end(&self.tasks, run).await
    }
}

#[tonic::async_trait]
impl Steps for ProductSteps {
    fn name(&self) -> &str {
        self.steps.name()
    }

    async fn describe(&self, deadline: Instant) -> Result<Vec<ActionInfo>, Status> {
        self.steps.describe(deadline).await
    }

    async fn run(&self, call: StepCall) -> Result<StepAnswer, Status> {
        let prepared = self.steps.prepare(call)?;
        match self.cache.clone() {
            Some(cache) => self.run_and_forget(cache, prepared).await,
            None => self.steps.submit(prepared).await,
        }
    }

    async fn recorded(&self, saga: SagaId, deadline: Instant) -> Result<Vec<StepRow>, Status> {
        self.steps.recorded(saga, deadline).await
    }

    async fn raise_watermark(&self, to: SagaId, deadline: Instant) -> Result<SagaId, Status> {
        self.steps.raise_watermark(to, deadline).await
    }
}

impl Forgetting {
    /// Corrects the products by the answer of the step. That of a repeat counts like that of the first: it may be answered
    /// in place of the call that wrote.
    fn answered(&mut self, answer: &StepAnswer) {
        match answer {
            // It left no effect. Restocking is never rejected.
            StepAnswer::Acted(ActReply::Rejected(_)) => self.products.clear(),
            StepAnswer::Found { found: Found::Done | Found::Compensated, recorded } => {
                let recorded = wire::reservation(recorded);
                self.products = recorded.iter().flat_map(|(_, lines)| products(lines)).collect();
            }
            StepAnswer::Acted(_) | StepAnswer::Found { .. } => {}
        }
    }
}

/// The products that an action may change. Those of a compensation are known when it is answered.
fn touched(op: Option<&Op>) -> Vec<ProductId> {
    match op {
        Some(Op::Reserve(reservation)) => products(reservation.lines()).collect(),
        Some(Op::Restock { lines, .. }) => products(lines).collect(),
        Some(Op::Adjust { id, .. } | Op::Update { id, .. }) => vec![*id],
        None => Vec::new(),
    }
}

fn products(lines: &[Line]) -> impl Iterator<Item = ProductId> {
    lines.iter().map(|line| line.product)
}
