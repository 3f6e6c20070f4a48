//! What the participants' tables say of one user's things.

use crate::shop::{Shop, World};
use db::{Conn, Db};
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use std::time::Duration;
use tokio::time::Instant;

/// How long a test waits for what must come.
const BOUND: Duration = Duration::from_mins(1);

/// What a test compares, in lines that a person can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// What the user has: a failed saga leaves it as it was.
    pub(crate) standing: Vec<String>,
    /// How it came about: every booking, movement, version, and what the saga's events told.
    pub(crate) trail: Vec<String>,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

impl Shop {
    /// Everything that a saga of this world may touch. Ids and times, which differ from world to world, are left out.
    pub(crate) async fn snapshot(&self, world: &World) -> Snapshot {
        let user = world.user;
        let products = world.products.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let standing = [
            (&self.wallet, format!(
                "SELECT CONCAT('balance ', balance) AS line FROM wallet WHERE user_id = {user}"
            )),
            (&self.product, format!(
                "SELECT CONCAT('stock ', stock) AS line FROM product
                 WHERE id IN ({products}) ORDER BY id"
            )),
            (&self.coupon, format!(
                "SELECT CONCAT('coupon in state ', state,
                               IF(order_id IS NULL, ', of no order', ', of an order')) AS line
                 FROM issued_coupon WHERE user_id = {user} ORDER BY id"
            )),
            (&self.order, format!(
                "SELECT CONCAT_WS(' ', 'order in state', state, 'total', total, 'discount', discount,
                                  'paid', paid, IF(coupon_id IS NULL, 'without', 'with'), 'coupon,',
                                  IF(cancelled_at IS NULL, 'never', 'once'), 'cancelled') AS line
                 FROM orders WHERE user_id = {user} ORDER BY id"
            )),
            (&self.order, format!(
                "SELECT CONCAT_WS(' ', 'line', line, quantity, 'for', unit_price) AS line
                 FROM order_line JOIN orders ON order_id = id
                 WHERE user_id = {user} ORDER BY order_id, order_line.line"
            )),
        ];
        let trail = vec![
            (
                &self.wallet,
                format!(
                "SELECT CONCAT_WS(' ', 'ledger', seq, 'kind', kind, amount, balance_after) AS line
                 FROM ledger WHERE user_id = {user} ORDER BY seq"
            ),
            ),
            (
                &self.product,
                format!(
                "SELECT CONCAT_WS(' ', 'movement', seq, 'kind', kind, delta, stock_after) AS line
                 FROM stock_movement WHERE product_id IN ({products}) ORDER BY product_id, seq"
            ),
            ),
            (
                &self.coupon,
                format!(
                    "SELECT CONCAT_WS(' ', 'coupon version', version) AS line
                 FROM issued_coupon WHERE user_id = {user} ORDER BY id"
                ),
            ),
            (
                &self.order,
                format!(
                    "SELECT CONCAT_WS(' ', 'order version', version) AS line
                 FROM orders WHERE user_id = {user} ORDER BY id"
                ),
            ),
        ];
        let mut trail = lines(trail).await;
        for db in [&self.wallet, &self.product, &self.coupon, &self.order] {
            let told = testkit::told(db).await.into_iter();
            let told = told.filter(|event| event.trace_id == world.trace);
            let mut told: Vec<String> = told
                .map(|event| format!("event {}", event.payload.unwrap_or_default().type_url))
                .collect();
            told.sort_unstable();
            trail.extend(told);
        }
        Snapshot { standing: lines(standing).await, trail }
    }

    /// What the user of a world has.
    pub(crate) async fn standing(&self, world: &World) -> Vec<String> {
        self.snapshot(world).await.standing
    }
}

async fn lines<'a>(queries: impl IntoIterator<Item = (&'a Db, String)>) -> Vec<String> {
    let mut all = Vec::new();
    for (db, query) in queries {
        let read = db.read(async move |conn: &mut Conn| -> db::Result<Vec<Line>> {
            Ok(diesel::sql_query(query).load(conn).await?)
        });
        all.extend(read.await.unwrap().into_iter().map(|row| row.line));
    }
    all
}

/// Looks until there is something to see.
pub(crate) async fn until<T, F>(what: &str, look: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + BOUND;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
