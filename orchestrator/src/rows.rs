//! What the participants have on record of one saga.

use crate::calls::{Caller, Participants};
use api::saga::v1::{SagaStepState, StepFound, StepRecord, StepRejection};
use api::{coupon, order, product, wallet};
use participant::{RowState, StepNo};
use prost::Message;
use prost_types::Timestamp;
use saga::journal::Start;
use saga::recorded::Found;
use saga::runtime::StepInfo;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::Request;

/// How long a participant may take to tell its rows.
const BUDGET: Duration = Duration::from_secs(1);

/// The barrier rows of one saga by participant; none for one that could not be asked.
pub(crate) struct Rows(BTreeMap<&'static str, Option<Vec<StepRecord>>>);

impl Rows {
    pub(crate) async fn read(participants: &Participants, start: &Start) -> Self {
        let caller = Caller::new(start);
        let ids = vec![start.saga.0.to_vec()];
        let product = product::v1::GetStepsRequest { saga_ids: ids.clone() };
        let coupon = coupon::v1::GetStepsRequest { saga_ids: ids.clone() };
        let wallet = wallet::v1::GetStepsRequest { saga_ids: ids.clone() };
        let order = order::v1::GetStepsRequest { saga_ids: ids };
        let (product, coupon, wallet, order) = tokio::join!(
            caller.call(BUDGET, participants.product.get_steps(Request::new(product))),
            caller.call(BUDGET, participants.coupon.get_steps(Request::new(coupon))),
            caller.call(BUDGET, participants.wallet.get_steps(Request::new(wallet))),
            caller.call(BUDGET, participants.order.get_steps(Request::new(order))),
        );
        Self(BTreeMap::from([
            ("product", product.ok().map(|answer| answer.into_inner().records)),
            ("coupon", coupon.ok().map(|answer| answer.into_inner().records)),
            ("wallet", wallet.ok().map(|answer| answer.into_inner().records)),
            ("order", order.ok().map(|answer| answer.into_inner().records)),
        ]))
    }

    /// What operators are shown of a step.
    pub(crate) fn shown(&self, info: &StepInfo) -> (SagaStepState, Option<Timestamp>) {
        let Some(Some(records)) = self.0.get(info.participant) else {
            return (SagaStepState::Unreachable, None);
        };
        match records.iter().find(|record| is_of(record, info.step)) {
            Some(record) => (state_of(record.state()), record.at),
            None => (SagaStepState::Nothing, None),
        }
    }

    /// Whether a participant could not be asked.
    pub(crate) fn some_are_missing(&self) -> bool {
        self.0.values().any(Option::is_none)
    }

    /// The rows of a plan's steps.
    pub(crate) fn states(&self, steps: &[StepInfo]) -> BTreeMap<StepNo, RowState> {
        let state = |info: &StepInfo| Some((info.step, row_state(self.shown(info).0)?));
        steps.iter().filter_map(state).collect()
    }

    /// What stands in each step's row.
    pub(crate) fn found(&self, steps: &[StepInfo]) -> BTreeMap<StepNo, Found> {
        steps.iter().map(|info| (info.step, self.found_of(info))).collect()
    }

    fn found_of(&self, info: &StepInfo) -> Found {
        let Some(Some(records)) = self.0.get(info.participant) else { return Found::Unreachable };
        let Some(record) = records.iter().find(|record| is_of(record, info.step)) else {
            return Found::Nothing;
        };
        let Some(state) = row_state(state_of(record.state())) else { return Found::Nothing };
        let recorded = match state {
            RowState::Done | RowState::Compensated => record.reply.clone(),
            RowState::Rejected => {
                record.rejection.as_ref().map(Message::encode_to_vec).unwrap_or_default()
            }
            RowState::Tombstone => record.void_reason.clone().into_bytes(),
        };
        Found::Row(state, recorded)
    }

    /// The step that was refused, and the refusal: there is never a second.
    pub(crate) fn rejection(&self, steps: &[StepInfo]) -> Option<(StepNo, &StepRejection)> {
        steps.iter().find_map(|info| {
            let records = self.0.get(info.participant)?.as_ref()?;
            let record = records.iter().find(|record| is_of(record, info.step))?;
            Some((info.step, record.rejection.as_ref()?))
        })
    }
}

fn is_of(record: &StepRecord, step: StepNo) -> bool {
    record.key.as_ref().is_some_and(|key| key.step == i32::from(step.0))
}

fn state_of(found: StepFound) -> SagaStepState {
    match found {
        StepFound::Unspecified | StepFound::Nothing => SagaStepState::Nothing,
        StepFound::Done => SagaStepState::Done,
        StepFound::Rejected => SagaStepState::Rejected,
        StepFound::Compensated => SagaStepState::Compensated,
        StepFound::Tombstone => SagaStepState::Tombstone,
        StepFound::Purged => SagaStepState::Purged,
    }
}

fn row_state(shown: SagaStepState) -> Option<RowState> {
    match shown {
        SagaStepState::Done => Some(RowState::Done),
        SagaStepState::Rejected => Some(RowState::Rejected),
        SagaStepState::Compensated => Some(RowState::Compensated),
        SagaStepState::Tombstone => Some(RowState::Tombstone),
        SagaStepState::Unspecified
        | SagaStepState::Nothing
        | SagaStepState::Purged
        | SagaStepState::Unreachable => None,
    }
}
