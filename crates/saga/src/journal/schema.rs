//! The journal's tables, in Diesel's words.

diesel::table! {
    saga (saga_id) {
        saga_id -> Binary,
        kind -> TinyInt,
        plan_version -> SmallInt,
        subject -> VarChar,
        object -> VarChar,
        unique_object -> Nullable<VarChar>,
        weight -> BigInt,
        request -> Blob,
        placed_at -> Datetime,
        deadline_at -> Datetime,
        trace_id -> VarChar,
        traceparent -> VarChar,
        owner -> Binary,
        state -> TinyInt,
        attention -> Nullable<VarChar>,
        request_id -> Nullable<Binary>,
    }
}

diesel::table! {
    saga_history (saga_id) {
        saga_id -> Binary,
        kind -> TinyInt,
        plan_version -> SmallInt,
        subject -> VarChar,
        object -> VarChar,
        weight -> BigInt,
        request -> Blob,
        placed_at -> Datetime,
        trace_id -> VarChar,
        outcome -> TinyInt,
        result -> Blob,
        ended_at -> Datetime,
        request_id -> Nullable<Binary>,
    }
}

diesel::table! {
    request (request_id, subject, method) {
        request_id -> Binary,
        subject -> VarChar,
        method -> TinyInt,
        request_hash -> Binary,
        saga_id -> Binary,
        created_at -> Datetime,
    }
}

diesel::table! {
    saga_watermark (id) {
        id -> TinyInt,
        watermark -> Binary,
    }
}

diesel::table! {
    heartbeat (owner) {
        owner -> Binary,
        beat -> BigInt,
        started_at -> Datetime,
    }
}

diesel::table! {
    saga_operation (request_id) {
        request_id -> Binary,
        saga_id -> Binary,
        action -> TinyInt,
        request_hash -> Binary,
        actor -> VarChar,
        reason -> VarChar,
        record -> Blob,
        created_at -> Datetime,
    }
}

diesel::table! {
    recovery (id) {
        id -> TinyInt,
        paused -> Bool,
        actor -> VarChar,
        reason -> VarChar,
        changed_at -> Nullable<Datetime>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(saga, heartbeat);
