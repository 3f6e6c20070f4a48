//! The days of the log: partitions made ahead, old ones dropped, each by one statement and none row by row.

use crate::domain::Plan;
use chrono::{DateTime, NaiveDate, Utc};
use db::{Conn, Db, Error, Result};
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use lock::Turn;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Whoever reads the log for long, such as an audit, keeps its partitions from being changed. A change that waits holds up
/// all who come after it, so it gives up soon and comes again with the next round.
const SETUP: &str = "SET SESSION lock_wait_timeout = 2";
/// Dropping a day deletes a large file.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(1);
/// How the name of a day's partition is made.
const NAME: &str = "d%Y%m%d";

/// Keeps the days of the log.
pub struct Keeper {
    db: Db,
    retention: Duration,
}

#[derive(QueryableByName)]
struct Partition {
    #[diesel(sql_type = Text)]
    name: String,
}

impl Keeper {
    /// Of the log in the schema of `db`, whose rows are kept for `retention`.
    pub fn new(db: Db, retention: Duration) -> Self {
        Self { db, retention }
    }

    /// Sees to it every `interval`, when it is this replica's `turn`, until cancelled.
    pub async fn run(self, interval: Duration, turn: Turn, cancel: CancellationToken) {
        let mut due = tokio::time::interval(interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = async {
            loop {
                due.tick().await;
                match turn.run(self.keep()).await {
                    None => {}
                    Some(Ok(plan)) if plan == Plan::default() => {}
                    Some(Ok(Plan { add, drop })) => {
                        tracing::info!(
                            made = add.len(),
                            dropped = drop.len(),
                            "days of the activity log"
                        );
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "the days of the activity log were not kept");
                    }
                }
            }
        };
        Box::pin(cancel.run_until_cancelled(rounds)).await;
    }

    /// A round at what both this process's clock and the database's allow; none while they are not trusted. Events of days
    /// without a partition wait in `late` meanwhile.
    async fn keep(&self) -> Result<Plan> {
        match self.db.clock().cutoff(Duration::ZERO).await? {
            Some(now) => self.round(now).await,
            None => Ok(Plan::default()),
        }
    }

    /// Makes and drops the partitions that are due at `now`. Tells which. Of two replicas at once one fails, and does no
    /// harm.
    ///
    /// # Errors
    /// Those of the database; what was done stays done.
    pub async fn round(&self, now: DateTime<Utc>) -> Result<Plan> {
        let mut session = self.db.session().await?;
        session.conn().set_statement_timeout(STATEMENT_TIMEOUT);
        session.conn().batch_execute(SETUP).await?;
        let plan = Plan::new(&days(session.conn()).await?, now, self.retention);
        session.rollback().await?;
        if !plan.add.is_empty() {
            session.conn().batch_execute(&making(&plan.add)?).await?;
        }
        if !plan.drop.is_empty() {
            let names: Vec<String> = plan.drop.iter().copied().map(name).collect();
            let sql = format!("ALTER TABLE activity_log DROP PARTITION {}", names.join(", "));
            session.conn().batch_execute(&sql).await?;
        }
        Ok(plan)
    }
}

async fn days(conn: &mut Conn) -> Result<Vec<NaiveDate>> {
    let sql = "SELECT partition_name AS name FROM information_schema.partitions \
        WHERE table_schema = DATABASE() AND table_name = 'activity_log' \
        AND partition_name <> 'late' ORDER BY partition_ordinal_position";
    let rows: Vec<Partition> = diesel::sql_query(sql).load(conn).await?;
    let day = |row: Partition| {
        NaiveDate::parse_from_str(&row.name, NAME)
            .map_err(|_| Error::Corrupt(format!("partition {} of activity_log", row.name)))
    };
    rows.into_iter().map(day).collect()
}

/// What comes after the last day is in `late`, mostly nothing: rows that are there find their days.
fn making(days: &[NaiveDate]) -> Result<String> {
    let mut parts = Vec::with_capacity(days.len() + 1);
    for day in days {
        let next = day.succ_opt().ok_or_else(|| Error::Corrupt(format!("no day after {day}")))?;
        parts.push(format!("PARTITION {} VALUES LESS THAN ('{next} 00:00:00')", name(*day)));
    }
    parts.push("PARTITION late VALUES LESS THAN (MAXVALUE)".to_owned());
    Ok(format!("ALTER TABLE activity_log REORGANIZE PARTITION late INTO ({})", parts.join(", ")))
}

fn name(day: NaiveDate) -> String {
    day.format(NAME).to_string()
}
