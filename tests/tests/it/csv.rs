//! Rows of CSV, submitted by the command line.

use std::time::{Duration, Instant};

use homing_tests::{Pipeline, Said, World};
use serde_json::Value;

const SUBMIT: [&str; 7] = [
    "submit",
    "test.echo",
    "--rows",
    "rows.csv",
    "--column",
    "n=Number:number",
    "--json",
];

/// The object that was answered last, if the code is as expected.
fn answer(said: &Said, code: i32) -> Value {
    assert_eq!(said.code, code, "{said:?}");
    said.json().pop().expect("an answer")
}

fn write(world: &World, text: &str) {
    std::fs::write(world.dir.join("rows.csv"), text).unwrap();
}

/// Submits the file as it is, and waits.
async fn submit(world: &World, flags: &[&str]) -> Said {
    world.homing(&[&SUBMIT[..], flags].concat()).await
}

fn numbers(answer: &Value, fields: [&str; 2]) -> [Option<u64>; 2] {
    fields.map(|field| answer[field].as_u64())
}

/// With a byte order mark, `\r\n`, and a line end within quotes that is taken out
/// when the file is corrected, so that every later row is on another line.
#[tokio::test]
async fn a_corrected_csv_file_goes_on_where_it_stopped_although_its_lines_moved() {
    let pipeline = Pipeline::start(&["--concurrency", "4"]).await;
    let world = &pipeline.world;

    write(
        world,
        "\u{feff}Name,Number\r\n\"a\r\na\",1\r\nb,two\r\nc\r\nd,4\r\n",
    );
    let first = answer(&submit(world, &["--rejects", "rows.csv.rejects"]).await, 3);
    let rejects = std::fs::read_to_string(world.dir.join("rows.csv.rejects")).unwrap();
    write(world, "Name,Number\na,1\nb,2\nc,3\nd,4\n");
    let batch = first["batch"].as_str().unwrap();
    let second = answer(&submit(world, &["--resume", batch]).await, 0);
    let waited = world.homing(&["wait", "--batch", batch, "--json"]).await;
    let counts = answer(&waited, 0);

    assert_eq!(
        numbers(&first, ["submitted", "rejected"]),
        [Some(2), Some(2)]
    );
    assert_eq!(
        rejects,
        "{\"line\":4,\"reason\":\"row 2: column `Number` has `two`, which is no number\",\"row\":\"b,two\"}\n\
         {\"line\":5,\"reason\":\"row 3: 1 cell in this row, but 2 columns in the first line\",\"row\":\"c\"}\n"
    );
    assert_eq!(
        numbers(&second, ["submitted", "left_out"]),
        [Some(2), Some(2)]
    );
    assert_eq!(numbers(&counts, ["total", "succeeded"]), [Some(4), Some(4)]);
}

#[tokio::test]
async fn a_batch_of_csv_that_was_limited_is_whole_and_grows_when_it_is_resumed_without() {
    let pipeline = Pipeline::start(&["--concurrency", "4"]).await;
    let world = &pipeline.world;
    write(world, "Number\n1\n2\n3\n4\n5\n");

    let limited = answer(&submit(world, &["--limit", "2", "--wait"]).await, 0);
    let batch = limited["batch"].as_str().unwrap();
    let again = ["--limit", "2", "--resume", batch];
    let again = answer(&submit(world, &again).await, 0);
    let rest = answer(&submit(world, &["--resume", batch, "--wait"]).await, 0);

    assert_eq!(
        numbers(&limited, ["total", "succeeded"]),
        [Some(2), Some(2)]
    );
    assert_eq!(numbers(&again, ["submitted", "total"]), [Some(0), Some(2)]);
    assert_eq!(numbers(&rest, ["total", "succeeded"]), [Some(5), Some(5)]);
}

#[tokio::test]
async fn a_rate_holds_rows_of_csv_back_also_those_of_a_bundle() {
    let world = World::start().await;
    write(&world, "Number\n1\n2\n3\n4\n5\n6\n7\n");
    let began = Instant::now();

    let said = submit(&world, &["--rate", "4/s", "--bundle", "10"]).await;

    // Four, and a second later three.
    assert!(began.elapsed() >= Duration::from_millis(950));
    assert_eq!(answer(&said, 0)["submitted"], 7);
}
