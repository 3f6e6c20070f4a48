//! What the replicas of a schema tell each other of their clocks.

use super::{OFF, UNUSABLE, is_off};
use crate::{Bytes16, Conn, Result};
use chrono::TimeDelta;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary};
use diesel_async::RunQueryDsl;
use std::sync::OnceLock;
use uuid::Uuid;

#[derive(QueryableByName)]
struct Told {
    #[diesel(sql_type = BigInt)]
    offset_us: i64,
}

#[derive(QueryableByName)]
struct Gone {
    #[diesel(sql_type = Binary)]
    replica: Bytes16,
}

/// This process's id among the replicas.
fn own_id() -> Bytes16 {
    static ID: OnceLock<Uuid> = OnceLock::new();
    Bytes16::from(*ID.get_or_init(Uuid::new_v4))
}

/// Tells the others how far this clock is ahead, and hears how far theirs are. Only the database's clock counts here.
pub(super) async fn exchange(conn: &mut Conn, own: TimeDelta) -> Result<Vec<TimeDelta>> {
    diesel::sql_query(
        "INSERT INTO replica_clock (replica, offset_us, reported_at) \
        VALUES (?, ?, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE \
        offset_us = VALUES(offset_us), reported_at = VALUES(reported_at)",
    )
    .bind::<Binary, _>(own_id())
    .bind::<BigInt, _>(own.num_microseconds().unwrap_or(i64::MAX))
    .execute(conn)
    .await?;
    let told: Vec<Told> = diesel::sql_query(
        "SELECT offset_us FROM replica_clock WHERE replica <> ? \
        AND reported_at > UTC_TIMESTAMP(6) - INTERVAL 30 SECOND \
        AND reported_at < UTC_TIMESTAMP(6) + INTERVAL 1 SECOND",
    )
    .bind::<Binary, _>(own_id())
    .load(conn)
    .await?;
    Ok(told.into_iter().map(|told| TimeDelta::microseconds(told.offset_us)).collect())
}

/// Removes what processes told that are gone, by key: nobody's row but theirs is locked.
pub(super) async fn prune(conn: &mut Conn) -> Result<()> {
    let gone: Vec<Gone> = diesel::sql_query(
        "SELECT replica FROM replica_clock WHERE reported_at < UTC_TIMESTAMP(6) - INTERVAL 1 DAY",
    )
    .load(conn)
    .await?;
    for Gone { replica } in gone {
        diesel::sql_query("DELETE FROM replica_clock WHERE replica = ?")
            .bind::<Binary, _>(replica)
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Whether there are other replicas, and all differ from the database's clock as much as this one. One alone is no
/// evidence against the database.
pub(super) fn are_alike(own: TimeDelta, others: &[TimeDelta]) -> bool {
    let alike = |other: &TimeDelta| !is_off(*other - own, OFF);
    is_off(own, UNUSABLE) && !others.is_empty() && others.iter().all(alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replicas_that_all_differ_alike_tell_against_the_database() {
        let seconds = |all: &[i64]| -> Vec<TimeDelta> {
            all.iter().map(|one| TimeDelta::seconds(*one)).collect()
        };
        let own = TimeDelta::seconds(90);
        assert!(are_alike(own, &seconds(&[90, 88, 93])));
        assert!(!are_alike(own, &seconds(&[90, 0])));
        assert!(!are_alike(own, &seconds(&[-90])));
        assert!(!are_alike(own, &seconds(&[])), "one alone is no evidence");
    }
}
