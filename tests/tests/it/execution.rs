//! What becomes of a task, however its attempts end.

use std::time::{Duration, Instant};

use homing_protocol::limit::{ERROR_BYTES_MAX, OUTPUT_BYTES_MAX};
use homing_protocol::{Reason, Status};
use homing_tests::Pipeline;
use homing_tests::kind::{
    Big, Block, Echo, Fail, Flaky, Gate, Hang, Odd, Panic, PanicWith, Refuse, Slow, TooLittle,
    Unknown,
};

/// A pipeline whose worker runs a few tasks at once.
async fn pipeline() -> Pipeline {
    Pipeline::start(&["--concurrency", "4"]).await
}

#[tokio::test]
async fn an_output_is_stored_by_its_type() {
    let pipeline = pipeline().await;

    let outcome = pipeline.outcome(Echo { n: 17 }).await.unwrap();

    assert_eq!((outcome.result.unwrap(), outcome.attempts), (17, 1));
}

#[tokio::test]
async fn a_failure_for_good_is_tried_once_and_keeps_its_error_and_payload() {
    let pipeline = pipeline().await;
    let (amount, least) = (3, 100);

    let record = pipeline.record(Refuse { amount }).await;

    let failure = record.outcome::<Refuse>().unwrap().result.unwrap_err();
    assert_eq!((failure.status, record.report.attempt), (Status::Failed, 1));
    assert_eq!(failure.error, Some(TooLittle { amount, least }));
    assert_eq!(failure.message, "3 is too little, it takes 100");
    assert_eq!(record.payload_json().as_deref(), Some(r#"{"amount":3}"#));
}

#[tokio::test]
async fn a_failure_is_tried_again_after_a_delay_in_the_broker() {
    let pipeline = pipeline().await;
    let since = Instant::now();

    let record = pipeline.record(Flaky { failures: 1 }).await;

    assert!(since.elapsed() >= Duration::from_secs(1));
    assert_eq!(record.outcome::<Flaky>().unwrap().result.unwrap(), 2);
    let attempts = pipeline.task(record.report.task).await.attempts;
    let errors: Vec<_> = attempts.iter().map(|a| a.report.error.as_deref()).collect();
    assert_eq!(errors, [Some("attempt 1 fails")]);
    assert_eq!(attempts[0].report.status, Status::Retrying);
}

#[tokio::test]
async fn a_task_whose_attempts_are_used_up_is_exhausted_with_every_error() {
    let pipeline = pipeline().await;

    let record = pipeline.record(Flaky { failures: 9 }).await;

    assert_eq!(record.report.status, Status::Exhausted);
    assert_eq!(record.payload_json().as_deref(), Some(r#"{"failures":9}"#));
    let attempts = pipeline.task(record.report.task).await.attempts;
    let errors: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt.report.error.clone().unwrap())
        .collect();
    assert_eq!(
        errors,
        ["attempt 1 fails", "attempt 2 fails", "attempt 3 fails"]
    );
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_a_failure() {
    let pipeline = pipeline().await;

    let record = pipeline.record(Slow {}).await;

    assert_eq!(record.report.status, Status::Exhausted);
    assert_eq!(record.report.error.as_deref(), Some("timed out after 1 s"));
    assert_eq!(pipeline.world.journal().began(record.report.task), 2);
}

#[tokio::test]
async fn a_panic_is_a_failure_whatever_it_panics_with() {
    let pipeline = pipeline().await;
    let cases = [
        (PanicWith::Text, "panicked: out of cheese"),
        (PanicWith::Value, "panicked with a value that is no text"),
        (PanicWith::Bomb, "panicked with a value that is no text"),
    ];

    for (with, text) in cases {
        let record = pipeline.record(Panic { with }).await;

        assert_eq!(record.report.status, Status::Exhausted);
        assert_eq!(record.report.error.as_deref(), Some(text));
    }
    let after = pipeline.outcome(Echo { n: 1 }).await.unwrap();
    assert_eq!(after.result.unwrap(), 1);
}

#[tokio::test]
async fn an_error_keeps_its_text_however_long_or_strange_it_is() {
    let pipeline = pipeline().await;
    let long = "ä".repeat(ERROR_BYTES_MAX);
    for text in ["", "a\nb\0\u{1b}[31m \u{202e}", long.as_str()] {
        let record = pipeline.record(Fail { text: text.into() }).await;

        let kept = text.len().min(ERROR_BYTES_MAX);
        assert_eq!(record.report.error.as_deref(), Some(&text[..kept]));
    }
}

#[tokio::test]
async fn an_output_that_is_too_large_is_a_failure_for_good_that_says_so() {
    let pipeline = pipeline().await;
    let fits = OUTPUT_BYTES_MAX - 5;

    for bytes in [fits - 1, fits] {
        let large = pipeline.record(Big { bytes }).await;

        assert_eq!(large.report.status, Status::Succeeded);
        let output = large.outcome::<Big>().unwrap().result.unwrap();
        assert_eq!(output.len(), bytes);
    }
    let larger = pipeline.record(Big { bytes: fits + 1 }).await;
    assert_eq!(larger.report.status, Status::Failed);
    let error = larger.report.error.unwrap();
    assert!(
        error.contains("4194305 bytes, but at most 4194304"),
        "{error}"
    );
}

#[tokio::test]
async fn an_output_that_cannot_be_encoded_is_a_failure_for_good_that_says_so() {
    let pipeline = pipeline().await;

    let record = pipeline.record(Odd {}).await;

    assert_eq!(record.report.status, Status::Failed);
    let error = record.report.error.unwrap();
    assert_eq!(error, "cannot encode the output: it is a secret");
    let after = pipeline.outcome(Echo { n: 1 }).await.unwrap();
    assert_eq!(after.result.unwrap(), 1);
}

#[tokio::test]
async fn a_kind_without_a_handler_is_dead_with_its_reason_and_payload() {
    let pipeline = pipeline().await;

    let record = pipeline.record(Unknown { n: 17 }).await;

    assert_eq!(record.report.status, Status::Dead);
    assert_eq!(record.report.reason, Some(Reason::UnknownKind));
    assert_eq!(
        record.report.error.as_deref(),
        Some("unknown-kind: no handler for kind `test.unknown`")
    );
    assert_eq!(record.payload_json().as_deref(), Some(r#"{"n":17}"#));
    assert_eq!(pipeline.store.dead(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_payload_that_is_no_such_task_is_dead() {
    let pipeline = pipeline().await;
    let kind = "test.echo".parse().unwrap();

    let id = pipeline.producer.submit_json(kind, r#"{"m":1}"#).await;
    let record = pipeline.closed(id.unwrap()).await;

    assert_eq!(record.report.status, Status::Dead);
    assert_eq!(record.report.reason, Some(Reason::Malformed));
    assert_eq!(record.payload_json().as_deref(), Some(r#"{"m":1}"#));
}

#[tokio::test]
async fn a_task_past_its_deadline_is_expired_and_never_run() {
    let pipeline = Pipeline::start(&["--concurrency", "1"]).await;
    let file = pipeline.world.gate("gate");
    let busy = pipeline.submit(Gate { file }).await;
    pipeline.began(busy, 1).await;
    let short = Duration::from_millis(1);

    let submitted = pipeline.producer.submit(Echo { n: 1 }).expires_after(short);
    let late = submitted.await.unwrap().id();
    pipeline.world.open_gate("gate");
    let record = pipeline.closed(late).await;

    assert_eq!(record.report.status, Status::Expired);
    assert_eq!(record.payload_json().as_deref(), Some(r#"{"n":1}"#));
    assert_eq!(pipeline.world.journal().began(late), 0);
}

#[tokio::test]
async fn a_delayed_task_starts_no_earlier() {
    let pipeline = pipeline().await;
    let delay = Duration::from_secs(2);
    let since = Instant::now();

    let submitted = pipeline.producer.submit(Echo { n: 1 }).delay(delay);
    pipeline.closed(submitted.await.unwrap().id()).await;

    assert!(since.elapsed() >= delay);
}

#[tokio::test]
async fn blocking_handlers_do_not_hold_up_the_others() {
    let pipeline = Pipeline::start(&["--concurrency", "8"]).await;
    let file = pipeline.world.gate("gate");
    let mut blocked = Vec::new();
    for _ in 0..7 {
        blocked.push(pipeline.submit(Block { file: file.clone() }).await);
    }
    for id in &blocked {
        pipeline.began(*id, 1).await;
    }

    let other = pipeline.outcome(Echo { n: 1 }).await.unwrap();

    assert_eq!(other.result.unwrap(), 1);
    pipeline.world.open_gate("gate");
    for id in blocked {
        assert_eq!(pipeline.closed(id).await.report.status, Status::Succeeded);
    }
}

/// A handler that cannot be ended holds its task and a thread for ever: the
/// process has to end, and the task runs elsewhere.
#[tokio::test]
async fn a_worker_with_a_handler_that_does_not_end_exits_75_and_its_task_runs_elsewhere() {
    let mut pipeline = Pipeline::start(&["--grace", "1s"]).await;
    let file = pipeline.world.gate("gate");
    let id = pipeline.submit(Hang { file }).await;

    let code = pipeline.worker.ended().await;
    pipeline.world.open_gate("gate");
    pipeline.worker = pipeline.world.worker("second", &[]).await;
    let record = pipeline.closed(id).await;

    assert_eq!(code, 75);
    assert_eq!(record.report.status, Status::Succeeded);
    assert_eq!(pipeline.world.journal().began(id), 2);
}
