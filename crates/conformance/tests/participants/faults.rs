//! A correct participant keeps all rules, and each fault breaks the rule that names it.

use crate::seats::Fault;
use crate::support::{payloads, serve};

async fn broken_by(fault: Fault) -> (Vec<String>, String) {
    let (address, _guard) = serve(fault).await;
    let report = conformance::run(&address.to_string(), "seat", &payloads()).await;
    let broken = report.broken().into_iter().map(str::to_owned).collect();
    (broken, report.to_string())
}

#[tokio::test]
async fn a_correct_participant_keeps_all_rules() {
    let (address, _guard) = serve(Fault::None).await;
    let report = conformance::run(&address.to_string(), "seat", &payloads()).await;
    assert!(report.passed() && report.skipped.is_empty(), "{report}");
    assert_eq!(report.rules.len(), 20, "{report}");
}

#[tokio::test]
async fn it_can_be_checked_again() {
    let (address, _guard) = serve(Fault::None).await;
    let payloads = payloads();
    for _ in 0..2 {
        let report = conformance::run(&address.to_string(), "seat", &payloads).await;
        assert!(report.passed(), "{report}");
    }
}

#[tokio::test]
async fn what_was_not_checked_is_told() {
    let (address, _guard) = serve(Fault::None).await;
    let text = r#"{
        "travel.v1.SeatParticipantService/SendReceipt": {"done": {"email": "a@b.c", "text": "$n"}},
        "travel.v1.SeatParticipantService/NoSuchAction": {"done": {}}
    }"#;
    let payloads = conformance::Payloads::from_json(text).unwrap();
    let report = conformance::run(&address.to_string(), "seat", &payloads).await;
    assert!(report.passed(), "{report}");
    let skipped: Vec<&str> = report.skipped.iter().map(|(name, _)| name.as_str()).collect();
    for expected in [
        "travel.v1.SeatParticipantService/IssueTicket",
        "travel.v1.SeatParticipantService/NoSuchAction",
        "a compensation undoes a done step once",
        "a void leaves a done pivot and answers its reply",
        "a rejection is recorded and repeated",
    ] {
        assert!(skipped.contains(&expected), "{expected} in {report}");
    }
}

#[tokio::test]
async fn a_participant_that_is_not_there_is_told() {
    let (address, _guard) = serve(Fault::None).await;
    for (address, participant) in
        [(address.to_string(), "hotel"), ("127.0.0.1:1".to_owned(), "seat")]
    {
        let report = conformance::run(&address, participant, &payloads()).await;
        let expected = ["the participant can be reached, reflected and described"];
        assert_eq!(report.broken(), expected, "{report}");
    }
}

/// Tests that a fault breaks a rule, among others.
macro_rules! caught {
    ($($test:ident: $fault:ident => $rule:literal;)+) => {
        $(#[tokio::test]
        async fn $test() {
            let (broken, report) = broken_by(Fault::$fault).await;
                    assert!(broken.iter().any(|rule| rule == $rule), "{report}");
        })+
    };
}

caught! {
    no_tombstone: NoTombstone => "a compensation that finds nothing closes the step";
    rule_before_row: RuleBeforeRow => "a repeated action is answered with an equal message";
    overwritten_rejection: CompensationOverwritesRejection
        => "a compensation leaves a rejection and names it";
    undoing_void: VoidUndoesDone => "a void leaves a done pivot and answers its reply";
    row_below_watermark: RowBelowWatermark
        => "below the watermark nothing runs and nothing is written";
    purged_as_tombstone: PurgedAsTombstone
        => "below the watermark nothing runs and nothing is written";
    forgotten_rejection: ForgottenRejection => "a rejection is recorded and repeated";
    run_twice: RunTwice => "a repeated action is answered with an equal message";
    last_void: LastVoidCounts => "a void that finds nothing closes the pivot with its reason";
    falling_watermark: FallingWatermark => "the watermark never falls";
    ignored_content: ContentIgnored => "other content under a known key is refused";
    not_atomic: NotAtomic => "concurrent copies of an action have one outcome";
    not_atomic_in_one_message: NotAtomic => "RunSteps answers each call like a call of its own";
    undone_and_run_again: RunsAfterUndo => "a compensation undoes a done step once";
}
