//! What must hold: each invariant by its stable name, with what it says and the tables that it reads.

/// Something that is true of the shop at every moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invariant {
    /// Its name in reports, stable for programs that watch them.
    pub name: &'static str,
    /// What it says, in one sentence.
    pub what: &'static str,
    /// What it reads: `schema.table`, `bus.…` or `redis.…`.
    pub reads: &'static [&'static str],
}

macro_rules! invariants {
    ($($invariant:ident = $name:literal, [$($table:literal),+ $(,)?], $what:literal;)+) => {
        $(pub(crate) const $invariant: Invariant =
            Invariant { name: $name, what: $what, reads: &[$($table),+] };)+

        /// All invariants, in the order of the report.
        pub const INVARIANTS: &[Invariant] = &[$($invariant),+];
    };
}

invariants! {
    WALLET_BALANCE = "wallet-balance", ["wallet.wallet", "wallet.ledger"],
        "a wallet's balance is the sum of its ledger and its version the number of entries";
    WALLET_LEDGER = "wallet-ledger", ["wallet.ledger"],
        "a ledger has the numbers 1, 2, 3 … and each entry follows from the one before, never below 0";
    WALLET_STEPS = "wallet-steps", ["wallet.saga_op", "wallet.ledger", "wallet.saga_watermark"],
        "a step's row and the ledger entries of its saga say the same";
    WALLET_REQUESTS = "wallet-requests", ["wallet.idempotency", "wallet.wallet", "wallet.ledger"],
        "a wallet and a charge each have the one request that made them, and it was told so";
    WALLET_EVENTS = "wallet-events", ["wallet.outbox", "wallet.wallet", "wallet.ledger"],
        "a change of a wallet has its one event, and an event its change";
    WALLET_RELAY = "wallet-relay", ["wallet.outbox", "wallet.outbox_shard"],
        "events are numbered in their shard without gaps, up to the shard's last number";
    WALLET_STREAM = "wallet-stream", ["wallet.outbox", "wallet.outbox_shard", "bus.wallet-events"],
        "the stream of a shard holds its published events, each under its number";

    PRODUCT_STOCK = "product-stock", ["product.product", "product.stock_movement"],
        "a product's stock is the sum of its movements and they are counted right";
    PRODUCT_MOVEMENTS = "product-movements", ["product.stock_movement"],
        "movements have the numbers 1, 2, 3 … and each follows from the one before, never below 0";
    PRODUCT_STEPS = "product-steps",
        ["product.saga_op", "product.stock_movement", "product.saga_watermark"],
        "a step's row and the movements of its saga say the same";
    PRODUCT_REQUESTS = "product-requests",
        ["product.idempotency", "product.product", "product.stock_movement"],
        "a product, a change and an adjustment each have the one request that made them";
    PRODUCT_EVENTS = "product-events",
        ["product.outbox", "product.product", "product.stock_movement"],
        "a change of a product or its stock has its one event, and an event its change";
    PRODUCT_IDS = "product-ids", ["product.id_block", "product.product"],
        "ids in use are below those still to be given out";
    PRODUCT_RELAY = "product-relay", ["product.outbox", "product.outbox_shard"],
        "events are numbered in their shard without gaps, up to the shard's last number";
    PRODUCT_STREAM = "product-stream",
        ["product.outbox", "product.outbox_shard", "bus.product-events"],
        "the stream of a shard holds its published events, each under its number";

    COUPON_QUOTA = "coupon-quota", ["coupon.coupon", "coupon.issued_coupon"],
        "a coupon is issued at most quota times, as often as it says, with the numbers 1, 2, 3 …";
    COUPON_STATES = "coupon-states", ["coupon.issued_coupon", "coupon.coupon"],
        "an issued coupon's state, order and days of validity fit each other and its campaign";
    COUPON_STEPS = "coupon-steps", ["coupon.saga_op", "coupon.issued_coupon", "coupon.saga_watermark"],
        "an issued coupon stands as the steps on record left it";
    COUPON_REQUESTS = "coupon-requests",
        ["coupon.idempotency", "coupon.coupon", "coupon.issued_coupon"],
        "a coupon and an issue each have the one request that made them, and it was told so";
    COUPON_EVENTS = "coupon-events", ["coupon.outbox", "coupon.coupon", "coupon.issued_coupon"],
        "a change of a coupon has its one event, and an event its change";
    COUPON_IDS = "coupon-ids", ["coupon.id_block", "coupon.coupon", "coupon.issued_coupon"],
        "ids in use are below those still to be given out";
    COUPON_ORDERS = "coupon-orders", ["coupon.issued_coupon", "order.orders"],
        "a coupon is used by exactly the order that names it, and by no cancelled one";
    COUPON_RELAY = "coupon-relay", ["coupon.outbox", "coupon.outbox_shard"],
        "events are numbered in their shard without gaps, up to the shard's last number";
    COUPON_STREAM = "coupon-stream",
        ["coupon.outbox", "coupon.outbox_shard", "bus.coupon-events"],
        "the stream of a shard holds its published events, each under its number";

    ORDER_TOTALS = "order-totals", ["order.orders", "order.order_line"],
        "an order has lines, its total is their sum, and total − discount = paid ≥ 0";
    ORDER_STEPS = "order-steps",
        ["order.saga_op", "order.orders", "order.order_line", "order.saga_watermark"],
        "an order stands as the pivots on record decided, and as they were answered";
    ORDER_REQUESTS = "order-requests", ["order.idempotency"],
        "no client writes orders by itself";
    ORDER_EVENTS = "order-events", ["order.outbox", "order.orders", "order.order_line"],
        "a placed and a cancelled order have their one event, and an event its order";
    ORDER_RELAY = "order-relay", ["order.outbox", "order.outbox_shard"],
        "events are numbered in their shard without gaps, up to the shard's last number";
    ORDER_STREAM = "order-stream", ["order.outbox", "order.outbox_shard", "bus.order-events"],
        "the stream of a shard holds its published events, each under its number";

    JOURNAL_ONCE = "journal-once", ["orchestrator.saga", "orchestrator.saga_history"],
        "a saga is under way or ended, never both, and says of what kind it is and how it ended";
    JOURNAL_REQUESTS = "journal-requests",
        ["orchestrator.request", "orchestrator.saga", "orchestrator.saga_history"],
        "a saga has the one request that began it, and a request its saga";
    JOURNAL_IDS = "journal-ids",
        ["orchestrator.id_block", "orchestrator.saga", "orchestrator.saga_history"],
        "ids that checkouts drew are below those still to be given out";
    JOURNAL_WATERMARKS = "journal-watermarks",
        ["orchestrator.saga_watermark", "orchestrator.saga", "wallet.saga_watermark", "product.saga_watermark",
         "coupon.saga_watermark", "order.saga_watermark"],
        "the journal's watermark is below every unfinished saga, and no participant's watermark above it";

    SAGA_KNOWN = "saga-known",
        ["orchestrator.saga", "orchestrator.saga_history", "wallet.saga_op", "wallet.ledger",
         "product.saga_op", "product.stock_movement", "coupon.saga_op", "order.saga_op",
         "order.orders"],
        "nothing happened for a saga that the journal does not know";
    CHECKOUT_STANDS = "checkout-stands",
        ["orchestrator.saga_history", "wallet.saga_op", "product.saga_op", "coupon.saga_op",
         "order.saga_op", "order.orders", "order.order_line"],
        "a checkout that succeeded has its order, its stock, its discount and its money, all of them alike";
    CANCEL_STANDS = "cancel-stands",
        ["orchestrator.saga_history", "wallet.saga_op", "wallet.ledger", "product.saga_op",
         "product.stock_movement", "coupon.saga_op", "order.saga_op", "order.orders",
         "order.order_line"],
        "a cancel that succeeded gave everything back: the money, the stock, the coupon by its policy";
    FAILED_LEAVES_NOTHING = "failed-leaves-nothing",
        ["orchestrator.saga_history", "wallet.saga_op", "product.saga_op", "coupon.saga_op",
         "order.saga_op", "order.orders"],
        "a saga that failed left nothing standing, and failed for the reason on record; one that a person \
        settled left no order";

    ACTIVITY_POSITIONS = "activity-positions",
        ["activity.consumer_position", "wallet.outbox_shard", "order.outbox_shard"],
        "the activity log has come to a place in each shard, none of them ahead of the outbox";
    ACTIVITY_LEDGER = "activity-ledger",
        ["activity.activity_log", "activity.consumer_position", "wallet.wallet", "wallet.ledger",
         "wallet.outbox"],
        "a wallet and an entry of its ledger that the log has come to have their one row, and a row its entry";
    ACTIVITY_ORDERS = "activity-orders",
        ["activity.activity_log", "activity.consumer_position", "order.orders", "order.outbox"],
        "a placed and a cancelled order that the log has come to have their one row, and a row its order";

    RANKING_COUNT = "ranking-count",
        ["redis.ranking", "order.orders", "order.order_line"],
        "the ranking at rest is the count of the window's orders";
}
