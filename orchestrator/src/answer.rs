//! What a client is told of a saga. Never two different things: what is told stands in the pivot's row or in END.

use crate::record;
use crate::request::Ids;
use api::checkout::v1::{Checkout, CheckoutFailure, CheckoutKind, CheckoutState, PlacedOrder};
use api::{Reason, Refusal};
use participant::SagaId;
use saga::journal::{EndedAs, Record, Start};
use saga::runtime::Standing;

/// How a checkout stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CheckoutStatus {
    /// Not decided, or not finished.
    Running,
    /// Done.
    Succeeded(PlacedOrder),
    /// Refused or aborted, and undone.
    Failed(CheckoutFailure),
}

impl CheckoutStatus {
    /// # Errors
    /// INTERNAL where the record does not decode, or lacks the order of a success or the failure of a failure: what it says
    /// is not known then, and nothing is told in its place.
    pub(crate) fn new(saga: SagaId, standing: &Standing) -> Result<Self, Refusal> {
        let Standing::Ended { outcome, result } = standing else { return Ok(Self::Running) };
        let status =
            record::read(result).and_then(|Checkout { order, failure, .. }| match outcome {
                EndedAs::Succeeded => order.map(Self::Succeeded),
                EndedAs::Failed | EndedAs::Resolved => {
                    failure.map(|recorded| Self::Failed(told(saga, recorded)))
                }
            });
        status.ok_or_else(|| unreadable(saga))
    }

    /// The order of a success, nothing while running.
    ///
    /// # Errors
    /// The refusal of a failure, naming the checkout and the step.
    pub(crate) fn into_order(self) -> Result<Option<PlacedOrder>, Refusal> {
        match self {
            Self::Running => Ok(None),
            Self::Succeeded(order) => Ok(Some(order)),
            Self::Failed(failure) => Err(refusal(failure)),
        }
    }

    /// The state in the contract's words.
    pub(crate) fn state(&self) -> CheckoutState {
        match self {
            Self::Running => CheckoutState::Running,
            Self::Succeeded(_) => CheckoutState::Succeeded,
            Self::Failed(_) => CheckoutState::Failed,
        }
    }
}

/// A record of a saga that does not decode, or names no user or order.
pub(crate) fn unreadable(saga: SagaId) -> Refusal {
    tracing::error!(%saga, "a record of the saga is not readable");
    Refusal::new(Reason::Internal).with("saga_id", saga)
}

/// A checkout as `GetCheckout` tells it.
///
/// # Errors
/// INTERNAL where the record does not name a user and an order.
pub(crate) fn checkout(record: &Record, status: CheckoutStatus) -> Result<Checkout, Refusal> {
    let start = record.start();
    let Ids { user_id, order_id } = ids(start)?;
    let ended_at = match record {
        Record::Running(_) => None,
        Record::Ended(ended) => Some(crate::request::timestamp(ended.ended_at)),
    };
    let state = status.state();
    let (order, failure) = match status {
        CheckoutStatus::Running => (None, None),
        CheckoutStatus::Succeeded(order) => (Some(order), None),
        CheckoutStatus::Failed(failure) => (None, Some(failure)),
    };
    Ok(Checkout {
        checkout_id: start.saga.to_string(),
        kind: kind(start).into(),
        state: state.into(),
        order,
        failure,
        user_id,
        order_id,
        created_at: Some(crate::request::timestamp(start.placed_at)),
        ended_at,
    })
}

/// The user and the order of a checkout.
///
/// # Errors
/// INTERNAL where they are not on record.
pub(crate) fn ids(start: &Start) -> Result<Ids, Refusal> {
    Ids::of(start).map_err(|error| {
        tracing::error!(%error, saga = %start.saga, "saga not readable");
        unreadable(start.saga)
    })
}

fn kind(start: &Start) -> CheckoutKind {
    match start.plan.kind {
        crate::kind::CHECKOUT => CheckoutKind::PlaceOrder,
        crate::kind::CANCEL => CheckoutKind::CancelOrder,
        _ => CheckoutKind::Unspecified,
    }
}

/// The error of a failure that was [`told`].
fn refusal(failure: CheckoutFailure) -> Refusal {
    let reason = Reason::parse(&failure.reason).unwrap_or(Reason::SagaAborted);
    Refusal { metadata: failure.metadata, ..Refusal::new(reason) }
}

/// A recorded failure with the code, the text and the metadata that its error has.
pub(crate) fn told(saga: SagaId, mut failure: CheckoutFailure) -> CheckoutFailure {
    failure.metadata.insert("checkout_id".to_owned(), saga.to_string());
    failure.metadata.insert("step".to_owned(), failure.step.clone());
    let error = refusal(failure.clone());
    CheckoutFailure { code: error.code().into(), message: error.message(), ..failure }
}
