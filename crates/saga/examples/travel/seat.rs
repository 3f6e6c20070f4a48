//! Seats of flights: reserved for a trip, given back when the trip fails, ticketed when it succeeds.

use db::{Conn, Error, LockWait, Migration, Result, Script, any_of, for_update, values};
use diesel::dsl::DuplicatedKeys;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::{Actions, Desk, Moment, Routed, SagaId, StepNo, Task, Verdict};
use prost::Message;
use saga_api::v1::{StepRejection, StepRole};
use saga_api::{Action, Participant};
use std::collections::BTreeMap;
use tonic::Status;

/// What `ReserveSeat` and `IssueTicket` ask for, and what they record: the seat, such as `KE1/12A`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Seat {
    #[prost(string, tag = "1")]
    pub(crate) seat: String,
}

pub(crate) const RESERVE: &str = "travel.v1.SeatParticipantService/ReserveSeat";
pub(crate) const TICKET: &str = "travel.v1.SeatParticipantService/IssueTicket";

pub(crate) const CONTRACT: Participant = Participant {
    name: "seat",
    service: "travel.v1.SeatParticipantService",
    actions: &[
        Action { method: RESERVE, role: StepRole::Compensatable, rejections: &["SEAT_TAKEN"] },
        Action { method: TICKET, role: StepRole::Retriable, rejections: &[] },
    ],
};

pub(crate) const MIGRATION: Migration = Migration {
    name: "2026-12-01-000001_seat",
    sql: "CREATE TABLE IF NOT EXISTS seat (name VARCHAR(16) NOT NULL, state TINYINT NOT NULL, PRIMARY KEY (name))",
};

// A seat's state: 0 free, 1 reserved, 2 ticketed.
diesel::table! { seat (name) { name -> VarChar, state -> TinyInt, } }

pub(crate) struct Seats;

/// A seat is to go from one state to another.
#[derive(Clone)]
pub(crate) struct Change(String, i8, i8);

/// The seats of one batch by their state.
type States = BTreeMap<String, i8>;

impl Desk for Seats {
    type Op = Change;
    type Sheet = States;

    async fn load(
        &self,
        conn: &mut Conn,
        tasks: &[Task<'_, Change>],
        wait: LockWait,
    ) -> Result<States> {
        let name = |task: &Task<'_, Change>| match task {
            Task::Act(Change(seat, ..)) => Ok(seat.clone()),
            Task::Undo(recorded) => decoded(recorded).map(|seat| seat.seat),
        };
        let names = tasks.iter().map(name).collect::<Result<Vec<String>>>()?;
        let rows = seat::table.filter(any_of(seat::name, names)).order(seat::name);
        Ok(for_update(rows, wait).load::<(String, i8)>(conn).await?.into_iter().collect())
    }

    fn act(&self, states: &mut States, change: &Change, _: &Moment<'_>) -> Verdict {
        let Change(seat, from, to) = change.clone();
        match states.get_mut(&seat) {
            Some(state) if *state == from => {
                *state = to;
                Verdict::Done(Seat { seat }.encode_to_vec())
            }
            _ => Verdict::Rejected(StepRejection {
                reason: "SEAT_TAKEN".to_owned(),
                message: format!("seat {seat} is taken"),
                ..StepRejection::default()
            }),
        }
    }

    fn undo(&self, states: &mut States, recorded: &[u8], _: &Moment<'_>) {
        if let Ok(Seat { seat }) = decoded(recorded) {
            states.insert(seat, 0);
        }
    }

    fn store(&self, states: States, writes: &mut Script) -> Result<()> {
        if states.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = states
            .into_iter()
            .map(|(name, state)| (seat::name.eq(name), seat::state.eq(state)))
            .collect();
        let update = diesel::insert_into(seat::table).values(rows).on_conflict(DuplicatedKeys);
        writes.push(&update.do_update().set(seat::state.eq(values(seat::state))))
    }
}

impl Actions for Seats {
    fn read(
        &self,
        action: &str,
        _: (SagaId, StepNo),
        payload: &[u8],
    ) -> Result<Routed<Change>, Status> {
        let Seat { seat } =
            Seat::decode(payload).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (from, to) = if action == "ReserveSeat" { (0, 1) } else { (1, 2) };
        Ok(Routed { entity: 0, op: Change(seat, from, to) })
    }
}

fn decoded(recorded: &[u8]) -> Result<Seat> {
    Seat::decode(recorded).map_err(|error| Error::Corrupt(error.to_string()))
}
