//! The two services and the saga over them, started.

use super::booking::{Booking, BookingPlan, ID};
use super::payment::{self, Payments};
use super::seat::{self, Seats};
use chrono::Utc;
use db::{Db, Migration};
use participant::{
    Actions, Lanes, Name, Options, RequestKey, SagaId, ServiceSteps, Steps, Trace, content_hash,
};
use prost::Message;
use saga::journal::{Journal, NewSaga, Start};
use saga::runtime::{Answer, Engine, NoStanding, Plan};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// A service's schema: a participant's tables and its own.
async fn schema(url: &str, own: Migration) -> db::Result<Db> {
    let migrations = [db::MIGRATIONS, participant::MIGRATIONS, &[own]].concat();
    db::migrate(url, &migrations).await?;
    Db::open(db::Options::new(url.to_owned())).await
}

fn steps<D: Actions>(
    contract: saga_api::Participant,
    db: &Db,
    desk: D,
    tasks: &TaskTracker,
) -> Arc<dyn Steps> {
    let lanes = Lanes::start(contract.name, db, desk, Options::default(), tasks);
    Arc::new(ServiceSteps::new(contract, db.clone(), Arc::new(lanes)))
}

/// The seats on their own database.
pub(crate) async fn seats(url: &str, tasks: &TaskTracker) -> db::Result<(Db, Arc<dyn Steps>)> {
    let db = schema(url, seat::MIGRATION).await?;
    Ok((db.clone(), steps(seat::CONTRACT, &db, Seats, tasks)))
}

/// The payments on their own database.
pub(crate) async fn payments(url: &str, tasks: &TaskTracker) -> db::Result<(Db, Arc<dyn Steps>)> {
    let db = schema(url, payment::MIGRATION).await?;
    Ok((db.clone(), steps(payment::CONTRACT, &db, Payments, tasks)))
}

/// An engine that books, on its journal's database.
pub(crate) async fn engine(
    url: &str,
    participants: Vec<Arc<dyn Steps>>,
    options: saga::runtime::Options,
    tasks: &TaskTracker,
) -> db::Result<Engine> {
    db::migrate(url, &[db::MIGRATIONS, saga::journal::MIGRATIONS].concat()).await?;
    let db = Db::open(db::Options::new(url.to_owned())).await?;
    let journal = Journal::open(db, lane::Options::default(), tasks);
    let plans: Vec<Arc<dyn Plan>> = vec![Arc::new(BookingPlan)];
    Ok(Engine::start(journal, plans, participants, options, tasks))
}

/// Books, once for a request id.
pub(crate) async fn book(
    engine: &Engine,
    request_id: [u8; 16],
    booking: &Booking,
    patience: Duration,
) -> Result<Answer, NoStanding> {
    let placed_at = Utc::now();
    let start = Start {
        saga: SagaId::from(db::new_id()),
        plan: ID,
        subject: Name::default(),
        object: Name::default(),
        weight: 0,
        request: booking.encode_to_vec(),
        placed_at,
        deadline_at: placed_at + engine.deadline(ID),
        trace: Trace::default(),
        request_id: Some(request_id),
    };
    let request = RequestKey { request_id, subject: Name::default(), method: 1 };
    let new = NewSaga { start, owns_object: false, request, hash: content_hash(1, booking) };
    engine.run(new, Instant::now() + patience).await
}
