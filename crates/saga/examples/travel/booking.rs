//! The saga of a booking: `START → ReserveSeat → Pay (the pivot) → IssueTicket → END`.

use super::payment::{PAY, Payment};
use super::seat::{RESERVE, Seat, TICKET};
use participant::StepNo;
use prost::Message;
use saga::decide::Known;
use saga::journal::{PlanId, Start};
use saga::outcome::Failure;
use saga::runtime::{Plan, SagaInstance, StepInfo, ToSend, Unreadable};
use saga::shape::Shape;
use std::sync::Arc;

/// What a client asks for, as START keeps it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Booking {
    #[prost(message, optional, tag = "1")]
    pub(crate) seat: Option<Seat>,
    #[prost(message, optional, tag = "2")]
    pub(crate) payment: Option<Payment>,
}

pub(crate) const ID: PlanId = PlanId { kind: 1, version: 1 };

static STEPS: [StepInfo; 3] = [
    StepInfo::new(StepNo(1), "ReserveSeat", "seat", RESERVE),
    StepInfo::new(StepNo(2), "Pay", "payment", PAY),
    StepInfo::new(StepNo(3), "IssueTicket", "seat", TICKET),
];

pub(crate) struct BookingPlan;

impl Plan for BookingPlan {
    fn id(&self) -> PlanId {
        ID
    }

    fn steps(&self) -> &[StepInfo] {
        &STEPS
    }

    fn instance(&self, start: &Start) -> Result<Arc<dyn SagaInstance>, Unreadable> {
        let booking = Booking::decode(start.request.as_slice());
        let booking = booking.map_err(|error| Unreadable(error.to_string()))?;
        let shape = Shape {
            compensatable: Shape::chain([StepNo(1)]),
            pivot: StepNo(2),
            retriable: Shape::chain([StepNo(3)]),
        };
        Ok(Arc::new(BookingInstance { booking, shape }))
    }
}

struct BookingInstance {
    booking: Booking,
    shape: Shape,
}

impl SagaInstance for BookingInstance {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn steps(&self) -> &[StepInfo] {
        &STEPS
    }

    fn request(&self, step: StepNo, _: &Known) -> Result<ToSend, Unreadable> {
        let Booking { seat, payment } = &self.booking;
        let payload = match step {
            StepNo(2) => payment.as_ref().map(Message::encode_to_vec),
            _ => seat.as_ref().map(Message::encode_to_vec),
        };
        let payload = payload.ok_or_else(|| Unreadable("the booking lacks a part".to_owned()))?;
        Ok(ToSend::Payload(payload))
    }

    fn succeeded(&self, _: &Known) -> Result<Vec<u8>, Unreadable> {
        Ok(b"booked".to_vec())
    }

    fn failed(&self, failure: &Failure) -> Result<Vec<u8>, Unreadable> {
        let step = failure.step().map_or("no step", |step| self.name(step));
        Ok(format!("failed at {step}").into_bytes())
    }
}
