use std::process::Stdio;
use std::time::Instant;

use bytes::Bytes;
use homing_protocol::{AttemptNumber, ContentType, Payload};
use rustix::process::{Pid, test_kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use uuid::Uuid;

use super::*;
use crate::attempt::{Cutoff, Frame};
use crate::eventually::{FAILURE_BOUND, eventually};

fn brief(payload: Payload) -> Brief {
    Brief {
        kind: "tool.test".parse().unwrap(),
        payload,
        frame: Frame {
            task: Uuid::nil().into(),
            number: AttemptNumber::FIRST,
            is_last: false,
            timeout_at: Instant::now() + FAILURE_BOUND,
            cutoff: Cutoff::default(),
        },
    }
}

fn json(text: &'static str) -> Payload {
    Payload {
        bytes: Bytes::from_static(text.as_bytes()),
        content_type: ContentType::Json,
    }
}

async fn run_with(command: &str, payload: Payload) -> Ended {
    let commands = Commands::default();
    let Launch::Async(run) = commands.handler(command)(brief(payload)) else {
        panic!("a command is async");
    };
    tokio::time::timeout(FAILURE_BOUND, run)
        .await
        .expect("it ends")
}

async fn run(command: &str) -> Ended {
    run_with(command, json("1")).await
}

fn failure(ended: Ended) -> (String, Retry) {
    match ended {
        Ended::Failure(failure) => (failure.text, failure.retry),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_payload_goes_in_as_json_and_the_output_comes_out() {
    let ended = run_with("cat", json(r#"{"a":1}"#)).await;

    assert_eq!(ended, Ended::Output(Bytes::from_static(br#"{"a":1}"#)));
}

#[tokio::test]
async fn a_message_pack_task_gets_a_message_pack_output() {
    let payload = Payload::encode("payload", &("a", 1), ContentType::MessagePack, 100).unwrap();

    let ended = run_with("cat", payload.clone()).await;

    assert_eq!(ended, Ended::Output(payload.bytes));
}

#[tokio::test]
async fn the_task_is_in_the_environment() {
    let command = r#"printf '["%s","%s","%s"]' "$HOMING_KIND" "$HOMING_ATTEMPT" "$HOMING_TASK_ID""#;

    let Ended::Output(output) = run(command).await else {
        panic!("it has an output");
    };

    assert_eq!(output, format!(r#"["tool.test","1","{}"]"#, Uuid::nil()));
}

#[tokio::test]
async fn status_65_is_a_failure_for_good_with_the_end_of_stderr() {
    let ended = run("echo no such page >&2; exit 65").await;

    assert_eq!(
        failure(ended),
        (
            "the command ended with status 65: no such page".to_owned(),
            Retry::Never
        )
    );
}

#[tokio::test]
async fn any_other_status_or_a_signal_is_tried_again() {
    let cases = [
        ("exit 3", "the command ended with status 3"),
        (
            "nosuchcommand 2>/dev/null",
            "the command ended with status 127",
        ),
        ("kill -9 $$", "the command was ended by signal 9"),
    ];
    for (command, text) in cases {
        assert_eq!(
            failure(run(command).await),
            (text.to_owned(), Retry::Backoff)
        );
    }
}

#[tokio::test]
async fn output_that_is_no_json_is_a_failure_for_good() {
    for command in ["true", "echo hello", r"printf '\377'", "echo 1 2"] {
        let (text, retry) = failure(run(command).await);

        assert!(
            text.starts_with("the command's output is no JSON"),
            "{text}"
        );
        assert_eq!(retry, Retry::Never);
    }
}

#[tokio::test]
async fn a_command_that_writes_too_much_is_killed() {
    let (text, retry) = failure(run("cat /dev/zero").await);

    assert_eq!(text, "the command wrote more than 4194304 bytes of output");
    assert_eq!(retry, Retry::Never);
}

#[tokio::test]
async fn a_command_need_not_read_its_payload() {
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let payload = Payload {
        bytes: long.into(),
        content_type: ContentType::Json,
    };

    assert_eq!(
        run_with("echo 1", payload).await,
        Ended::Output(Bytes::from_static(b"1"))
    );
}

#[tokio::test]
async fn what_a_command_leaves_behind_ends_with_it() {
    let ended = run("sleep 1000 & echo $!").await;

    let Ended::Output(pid) = ended else {
        panic!("{ended:?}");
    };
    gone(std::str::from_utf8(&pid).unwrap().trim()).await;
}

#[tokio::test]
async fn a_command_dies_with_its_attempt() {
    let pipe = std::env::temp_dir().join(format!("homing-{}", Uuid::now_v7()));
    let command = format!(
        "mkfifo {0}; sleep 1000 & echo $! > {0}; wait",
        pipe.display()
    );
    let commands = Commands::default();
    let Launch::Async(run) = commands.handler(&command)(brief(json("1"))) else {
        panic!("a command is async");
    };
    let attempt = tokio::spawn(run);
    let pid = written(&pipe).await;

    attempt.abort();

    gone(pid.trim()).await;
    std::fs::remove_file(&pipe).unwrap();
}

/// Goal: a worker that is killed with `kill -9` takes its commands with it.
///
/// Method: this test starts itself as another process, which runs a command that
/// writes its process id; kills that process; and waits for the command to end.
#[tokio::test]
async fn a_command_dies_with_a_killed_worker() {
    const ROLE: &str = "HOMING_TEST_VICTIM";
    if std::env::var_os(ROLE).is_some() {
        run("echo pid $$ >&3; exec sleep 1000").await;
        return;
    }
    let test = std::env::current_exe().unwrap();
    let script =
        r#"exec "$0" --exact command::tests::a_command_dies_with_a_killed_worker --nocapture 3>&1"#;
    let mut victim = tokio::process::Command::new("sh")
        .args(["-c", script])
        .arg(test)
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let pid = loop {
        let line = lines
            .next_line()
            .await
            .unwrap()
            .expect("the command says its id");
        if let Some(pid) = line.strip_prefix("pid ") {
            break pid.to_owned();
        }
    };

    victim.kill().await.unwrap();

    gone(&pid).await;
}

/// Waits for what a command writes into a pipe at `path`, which it makes.
async fn written(path: &std::path::Path) -> String {
    eventually("the command begins", || path.exists()).await;
    let path = path.to_owned();
    let read = move || std::fs::read_to_string(path).unwrap();
    tokio::task::spawn_blocking(read).await.unwrap()
}

async fn gone(pid: &str) {
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    eventually("the command ends", || test_kill_process(pid).is_err()).await;
}
