//! The tables that every participant's schema has, in Diesel's words.

diesel::table! {
    /// The barrier: one row a step of a saga, written in the step's own transaction.
    saga_op (saga_id, step) {
        saga_id -> Binary,
        step -> SmallInt,
        state -> TinyInt,
        request_hash -> Binary,
        reply -> Varbinary,
        created_at -> Datetime,
    }
}

diesel::table! {
    /// One row: sagas at or below it are over, and their barrier rows may be gone.
    saga_watermark (id) {
        id -> TinyInt,
        watermark -> Binary,
    }
}

diesel::table! {
    /// What clients asked under which request id, and what they were told.
    idempotency (request_id, subject, method) {
        request_id -> Binary,
        subject -> VarChar,
        method -> TinyInt,
        request_hash -> Binary,
        refused -> Bool,
        reply -> Varbinary,
        created_at -> Datetime,
    }
}
