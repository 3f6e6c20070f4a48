//! Two services of another domain, and a saga over them: a trip is a seat and its payment.
//!
//! `cargo run -p saga --example travel -- mysql://USER:PASSWORD@HOST:PORT/` makes the databases `travel_seat`,
//! `travel_payment` and `travel_journal` on an empty server, and books two trips, of which one fails for want of money.
#![allow(missing_docs, clippy::print_stdout, reason = "an example for the command line")]

mod agency;
mod booking;
mod payment;
mod seat;

use booking::Booking;
use db::Conn;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use payment::Payment;
use saga::runtime::Standing;
use seat::Seat;
use std::time::Duration;
use tokio_util::task::TaskTracker;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1).ok_or("usage: travel mysql://USER:PASSWORD@HOST:PORT/")?;
    let mut admin = Conn::establish(&server).await?;
    for name in ["travel_seat", "travel_payment", "travel_journal"] {
        admin.batch_execute(&format!("CREATE DATABASE IF NOT EXISTS {name}")).await?;
    }
    let url = |name: &str| format!("{}/{name}", server.trim_end_matches('/'));
    let tasks = TaskTracker::new();
    let (_, seats) = agency::seats(&url("travel_seat"), &tasks).await?;
    let (_, payments) = agency::payments(&url("travel_payment"), &tasks).await?;
    admin
        .batch_execute(
            "INSERT IGNORE INTO travel_seat.seat (name, state) VALUES ('KE1/12A', 0), ('KE1/12B', 0);
            INSERT IGNORE INTO travel_payment.account (name, balance) VALUES ('kim', 50000)",
        )
        .await?;
    let options = saga::runtime::Options::default();
    let engine =
        agency::engine(&url("travel_journal"), vec![seats, payments], options, &tasks).await?;
    for (seat, amount) in [("KE1/12A", 40_000), ("KE1/12B", 40_000)] {
        let booking = Booking {
            seat: Some(Seat { seat: seat.to_owned() }),
            payment: Some(Payment { account: "kim".to_owned(), amount }),
        };
        let request_id = uuid::Uuid::new_v4().into_bytes();
        let answer = agency::book(&engine, request_id, &booking, Duration::from_secs(10)).await?;
        match answer.standing {
            Standing::Running => println!("{seat}: under way"),
            Standing::Ended { outcome, result } => {
                println!("{seat}: {outcome:?}, {}", String::from_utf8_lossy(&result));
            }
        }
    }
    engine.stop(Duration::from_secs(5)).await;
    Ok(())
}
