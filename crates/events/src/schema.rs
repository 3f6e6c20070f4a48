//! The tables of this room, which every service's schema has.

diesel::table! {
    outbox (id) {
        id -> BigInt,
        shard -> TinyInt,
        position -> Nullable<BigInt>,
        event_id -> Binary,
        event_type -> VarChar,
        aggregate_kind -> VarChar,
        aggregate_id -> BigInt,
        version -> BigInt,
        occurred_at -> Datetime,
        trace_id -> VarChar,
        traceparent -> VarChar,
        payload -> Blob,
    }
}

diesel::table! {
    outbox_shard (shard) {
        shard -> TinyInt,
        last_position -> BigInt,
        published_position -> BigInt,
    }
}
