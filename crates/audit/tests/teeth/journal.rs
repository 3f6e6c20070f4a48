//! Sagas and requests made, lost or changed.

use crate::bench::Corruption;
use crate::history::History;

/// No saga has it.
const NEW: &str = "X'F00000000000700080000000000000AA'";
const NEW_NAME: &str = "saga f0000000-0000-7000-8000-0000000000aa";

pub(crate) fn corruptions(history: &History) -> Vec<Corruption> {
    let History { plain, failed, cancel, .. } = history;
    let ended = |saga: &str| format!("WHERE saga_id = {saga}");
    vec![
        Corruption::new(
            "orchestrator.saga_history",
            "removed",
            format!("DELETE FROM saga_history {}", ended(&plain.hex)),
        )
        .breaks("saga-known", &plain.name)
        .breaks("journal-requests", &plain.name),
        Corruption::new(
            "orchestrator.saga_history",
            "said to have failed",
            format!("UPDATE saga_history SET outcome = 2 {}", ended(&plain.hex)),
        )
        .breaks("failed-leaves-nothing", &plain.name),
        Corruption::new(
            "orchestrator.saga_history",
            "said to have succeeded",
            format!("UPDATE saga_history SET outcome = 1 {}", ended(&failed.hex)),
        )
        .breaks("checkout-stands", &failed.name),
        Corruption::new(
            "orchestrator.saga_history",
            "another reason",
            format!(
                "UPDATE saga_history SET result = (SELECT result FROM (SELECT result FROM \
                saga_history WHERE outcome = 2 AND saga_id <> {0} LIMIT 1) AS another) {1}",
                failed.hex,
                ended(&failed.hex)
            ),
        )
        .breaks("failed-leaves-nothing", &failed.name),
        Corruption::new(
            "orchestrator.saga_history",
            "another answer",
            format!("UPDATE saga_history SET result = X'' {}", ended(&cancel.hex)),
        )
        .breaks("cancel-stands", &cancel.name),
        Corruption::new(
            "orchestrator.saga_history",
            "of no kind",
            format!("UPDATE saga_history SET kind = 9 {}", ended(&plain.hex)),
        )
        .breaks("journal-once", &plain.name)
        .breaks("journal-requests", &plain.name),
        Corruption::new(
            "orchestrator.saga_history",
            "of no user",
            format!("UPDATE saga_history SET subject = 'x' {}", ended(&plain.hex)),
        )
        .breaks("journal-once", &plain.name)
        .breaks("journal-requests", &plain.name)
        .breaks("checkout-stands", &plain.name),
        Corruption::new(
            "orchestrator.saga_history",
            "of another order",
            format!("UPDATE saga_history SET object = '0' {}", ended(&plain.hex)),
        )
        .breaks("checkout-stands", &plain.name),
        Corruption::new(
            "orchestrator.saga_history",
            "doubled",
            format!(
                "INSERT INTO saga_history SELECT {NEW}, kind, plan_version, subject, object, \
                weight, request, placed_at, trace_id, outcome, result, ended_at, request_id \
                FROM saga_history {}",
                ended(&plain.hex)
            ),
        )
        .breaks("journal-requests", NEW_NAME)
        .breaks("checkout-stands", NEW_NAME),
        Corruption::new(
            "orchestrator.saga",
            "a saga that has ended, begun again",
            format!(
                "INSERT INTO saga SELECT saga_id, kind, plan_version, subject, object, object, \
                weight, request, placed_at, placed_at, trace_id, '', saga_id, 1, NULL, NULL \
                FROM saga_history {}",
                ended(&plain.hex)
            ),
        )
        .breaks("journal-once", &plain.name),
        Corruption::new(
            "orchestrator.saga",
            "a saga that nobody asked for",
            format!(
                "INSERT INTO saga SELECT {NEW}, kind, plan_version, subject, object, object, \
                weight, request, placed_at, placed_at, trace_id, '', saga_id, 1, NULL, NULL \
                FROM saga_history {}",
                ended(&plain.hex)
            ),
        )
        .breaks("journal-requests", NEW_NAME),
        Corruption::new(
            "orchestrator.request",
            "removed",
            format!("DELETE FROM request {}", ended(&plain.hex)),
        )
        .breaks("journal-requests", &plain.name),
        Corruption::new(
            "orchestrator.request",
            "doubled",
            format!(
                "INSERT INTO request SELECT X'00000000000040008000000000000001', subject, \
                method, request_hash, saga_id, created_at FROM request {}",
                ended(&plain.hex)
            ),
        )
        .breaks("journal-requests", &plain.name),
        Corruption::new(
            "orchestrator.request",
            "altered",
            format!("UPDATE request SET saga_id = {NEW} {}", ended(&plain.hex)),
        )
        .breaks("journal-requests", NEW_NAME)
        .breaks("journal-requests", &plain.name),
        Corruption::new("orchestrator.id_block", "set back", "UPDATE id_block SET next_id = 1")
            .breaks("journal-ids", "id block order"),
        Corruption::new("orchestrator.saga_watermark", "removed", "DELETE FROM saga_watermark")
            .breaks("journal-watermarks", "watermark of orchestrator")
            .breaks("journal-watermarks", "watermark of wallet"),
    ]
}
