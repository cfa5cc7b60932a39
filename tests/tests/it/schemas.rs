//! What a worker says of its kinds, from its start to whoever submits.

use homing_protocol::TaskKind;
use homing_tests::{HOMING, Process, Said, World, eventually};

const SCHEMA: &str = r#"{
    "type": "object",
    "required": ["n"],
    "properties": { "n": { "type": "integer" } }
}"#;

/// A worker whose kind is to match `schema`.
fn worker(world: &World, name: &str, schema: &str) -> Process {
    let file = format!("{name}.json");
    std::fs::write(world.dir.join(&file), schema).unwrap();
    let declared = format!("test.same={file}");
    let arguments = ["worker", "--run", "test.same=cat", "--schema", &declared];
    world.start_program(name, HOMING, &arguments)
}

/// Waits until the store has this schema of the kind.
async fn declared(world: &World, part: &str) {
    let store = world.store().await;
    let kind: TaskKind = "test.same".parse().unwrap();
    let look = async || {
        let record = store.kind(&kind).await.unwrap()?;
        record.schema.as_str().contains(part).then_some(())
    };
    eventually("the schema is stored", look).await;
}

async fn submit(world: &World, flags: &[&str], stdin: &str) -> Said {
    let arguments = [&["submit", "test.same"], flags].concat();
    world.homing_with(&arguments, stdin).await
}

#[tokio::test]
async fn what_does_not_match_what_its_worker_declared_is_refused_before_anything_is_sent() {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let worker = worker(&world, "worker", SCHEMA);
    declared(&world, "integer").await;
    let rows = "{\"n\":1}\n{\"n\":\"two\"}\n{}\n";
    std::fs::write(world.dir.join("rows.ndjson"), rows).unwrap();

    let one = submit(&world, &[r#"{"m":1}"#], "").await;
    let file = submit(&world, &["--rows", "rows.ndjson"], "").await;

    assert_eq!(one.code, 2, "{one:?}");
    let text =
        "error: the payload does not match `test.same`, and is not sent: missing properties 'n'\n";
    assert!(one.stderr.starts_with(text), "{one:?}");
    assert!(one.stderr.contains("--unchecked"), "{one:?}");
    assert_eq!((file.code, &*file.stdout), (2, ""), "{file:?}");
    let text = "error: 2 rows are no payloads of `test.same`, and nothing is sent of rows.ndjson\n\
                \x20 line 2        /n: want integer, but got string\n\
                \x20 line 3        missing properties 'n'\n";
    assert!(file.stderr.starts_with(text), "{file:?}");
    // Neither a task nor a record of a batch or of the schema is an outcome.
    let stats = world.store().await.stats(None).await.unwrap();
    assert_eq!(
        (
            stats.len(),
            world.store().await.known_batches().await.unwrap()
        ),
        (0, vec![])
    );

    let waited = submit(&world, &[r#"{"n":1}"#, "--wait"], "").await;
    let unchecked = submit(&world, &["7", "--wait", "--unchecked"], "").await;
    assert_eq!(
        (waited.code, &*waited.stdout),
        (0, "{\"n\":1}\n"),
        "{waited:?}"
    );
    assert_eq!(
        (unchecked.code, &*unchecked.stdout),
        (0, "7\n"),
        "{unchecked:?}"
    );
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
}

#[tokio::test]
async fn a_row_of_a_pipe_that_does_not_match_is_rejected_and_the_others_go_on() {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let worker = worker(&world, "worker", SCHEMA);
    declared(&world, "integer").await;

    let flags = ["--rows", "-", "--wait", "--json", "--rejects", "rejects"];
    let said = submit(&world, &flags, "{\"n\":1}\n{}\n{\"n\":3}\n").await;

    assert_eq!(said.code, 3, "{said:?}");
    let counts = said.json().pop().unwrap();
    assert_eq!(
        (counts["total"].as_u64(), counts["succeeded"].as_u64()),
        (Some(2), Some(2))
    );
    assert_eq!(
        std::fs::read_to_string(world.dir.join("rejects")).unwrap(),
        "{\"line\":2,\"reason\":\"it does not match the schema: missing properties 'n'\",\"row\":\"{}\"}\n"
    );
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
}

#[tokio::test]
async fn of_workers_that_declare_different_things_the_one_that_started_last_counts() {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let first = worker(&world, "first", SCHEMA);
    declared(&world, "integer").await;
    let second = worker(&world, "second", "true");
    declared(&world, "true").await;

    let said = submit(&world, &["{}", "--wait"], "").await;
    let listed = world.homing(&["schema", "--json"]).await.json();
    let printed = world.homing(&["schema", "test.same"]).await;
    let unknown = world.homing(&["schema", "test.other"]).await;

    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(
        (listed.len(), &listed[0]["schema"]),
        (1, &serde_json::json!(true))
    );
    assert_eq!((printed.code, &*printed.stdout), (0, "true\n"));
    assert_eq!(unknown.code, 5, "{unknown:?}");
    assert_eq!((first.stop().await, second.stop().await), (0, 0));
    assert_eq!(collector.stop().await, 0);
}

#[tokio::test]
async fn a_schema_is_checked_by_when_no_worker_has_declared_one_and_where_there_is_no_store() {
    let world = World::start().await;
    std::fs::write(world.dir.join("schema.json"), SCHEMA).unwrap();
    std::fs::write(
        world.dir.join("outside.json"),
        r#"{"$ref":"file:///etc/passwd"}"#,
    )
    .unwrap();

    let without = submit(&world, &["{}"], "").await;
    let refused = submit(&world, &["{}", "--schema", "schema.json"], "").await;
    let outside = submit(&world, &["{}", "--schema", "outside.json"], "").await;

    assert_eq!([without.code, refused.code, outside.code], [0, 2, 2]);
    assert!(
        refused.stderr.contains("from  --schema schema.json"),
        "{refused:?}"
    );
    assert!(outside.stderr.contains("is not fetched"), "{outside:?}");
}

#[tokio::test]
async fn a_worker_whose_schema_cannot_be_does_not_start_and_says_why() {
    let world = World::start().await;
    let mut none = worker(&world, "none", "[]");
    std::fs::write(world.dir.join("schema.json"), SCHEMA).unwrap();
    let other = [
        "worker",
        "--run",
        "test.same=cat",
        "--schema",
        "test.other=schema.json",
    ];
    let mut other = world.start_program("other", HOMING, &other);

    none.says("neither an object nor true or false").await;
    other
        .says("schema is for kind `test.other`, which has no handler here")
        .await;
    assert_eq!((none.ended().await, other.ended().await), (2, 78));
}
