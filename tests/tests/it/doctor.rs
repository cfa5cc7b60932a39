//! What `homing doctor` finds, and that it leaves everything as it is.

use std::collections::BTreeSet;

use homing_protocol::Destination;
use homing_tests::kind::Echo;
use homing_tests::{Pipeline, Said, World, eventually};
use serde_json::Value;

use crate::collector::{envelope, publish};
use crate::quarantine::{letter, quarantine};

/// What it found, check by check.
pub(crate) struct Findings(Vec<Value>);

impl Findings {
    pub(crate) fn of(said: &Said) -> Self {
        Self(said.json())
    }

    pub(crate) fn field(&self, check: &str, field: &str) -> &str {
        let finding = self.0.iter().find(|finding| finding["check"] == check);
        let finding = finding.unwrap_or_else(|| panic!("no {check} in {:?}", self.0));
        finding[field].as_str().unwrap_or("")
    }

    pub(crate) fn verdict(&self, check: &str) -> &str {
        self.field(check, "verdict")
    }

    fn with(&self, verdict: &str) -> Vec<&str> {
        let with = self.0.iter().filter(|line| line["verdict"] == verdict);
        with.filter_map(|line| line["check"].as_str()).collect()
    }
}

/// What is in the folder, but for the broker of the test itself, which comes to rest.
fn files(world: &World) -> BTreeSet<String> {
    let entries = std::fs::read_dir(&world.dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names
        .filter(|name| !name.starts_with("homing-queue.db"))
        .collect()
}

#[tokio::test]
async fn nothing_is_bad_where_a_pipeline_runs() {
    let pipeline = Pipeline::start(&[]).await;
    pipeline.record(Echo { n: 1 }).await;

    let said = pipeline.world.homing(&["doctor", "--json"]).await;

    assert_eq!(said.code, 0, "{said:?}");
    let found = Findings::of(&said);
    assert!(found.with("bad").is_empty(), "{said:?}");
    for check in [
        "broker-url",
        "store-url",
        "broker",
        "version",
        "topology",
        "workers",
        "dead-letters",
        "quarantine",
        "store",
        "store-folder",
        "collector",
        "clock",
    ] {
        assert_eq!(found.verdict(check), "ok", "{check}: {said:?}");
    }
}

#[tokio::test]
async fn nobody_at_work_is_a_warning_with_the_verb_that_begins_it() {
    let world = World::start().await;

    let said = world.homing(&["doctor", "--json"]).await;

    let found = Findings::of(&said);
    for (check, fix) in [
        ("workers", "start one: homing worker"),
        ("collector", "start one: homing collector"),
    ] {
        assert_eq!(found.verdict(check), "warning", "{said:?}");
        assert_eq!(found.field(check, "fix"), fix);
    }
    // The store that is named is not there.
    assert_eq!((said.code, found.with("bad")), (1, vec!["store"]));
}

#[tokio::test]
async fn a_topology_that_is_missing_is_bad_with_its_fix_and_is_not_created() {
    let world = World::start().await;
    let elsewhere = ["doctor", "--json", "--namespace", "fresh"];

    let twice = [
        world.homing(&elsewhere).await,
        world.homing(&elsewhere).await,
    ];

    for said in twice {
        let found = Findings::of(&said);
        assert_eq!(found.verdict("broker"), "ok", "{said:?}");
        assert_eq!(found.verdict("topology"), "bad", "{said:?}");
        let fix = found.field("topology", "fix");
        assert_eq!(fix, "create it: homing topology apply");
        for check in ["workers", "quarantine", "collector"] {
            assert_eq!(found.verdict(check), "unknown", "{check}: {said:?}");
        }
    }
}

#[tokio::test]
async fn a_broker_that_is_not_reached_leaves_the_store_to_be_looked_at() {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let nowhere = "amqp://guest:s3cret@127.0.0.1:1/%2f";

    let said = world
        .homing(&["doctor", "--json", "--broker", nowhere])
        .await;
    let text = world.homing(&["doctor", "--broker", nowhere]).await;

    let found = Findings::of(&said);
    assert_eq!((said.code, found.with("bad")), (1, vec!["broker"]));
    assert_eq!(found.verdict("topology"), "unknown");
    assert_eq!(found.verdict("store"), "ok");
    assert!(
        found
            .field("collector", "found")
            .contains("written by process")
    );
    let fix = "  fix   start it, or name another: --broker URL\n";
    assert!(text.stdout.contains(fix), "{text:?}");
    assert!(!format!("{said:?}{text:?}").contains("s3cret"));
    assert_eq!(collector.stop().await, 0);
}

#[tokio::test]
async fn what_is_not_there_or_not_ours_is_bad_and_nothing_is_left_beside_it() {
    let world = World::start().await;
    std::fs::write(world.dir.join("notes.txt"), "no database\n").unwrap();
    let before = files(&world);

    for broker in ["sqlite:none.db", "sqlite:notes.txt", "sqlite:none/none.db"] {
        let none = ["--broker", broker, "--store", "sqlite:none.db"];
        let said = world
            .homing(&[&["doctor", "--json"][..], &none].concat())
            .await;

        let found = Findings::of(&said);
        assert_eq!(said.code, 1, "{said:?}");
        assert_eq!(found.verdict("broker"), "bad", "{said:?}");
        assert_eq!(found.verdict("store"), "bad", "{said:?}");
    }

    assert_eq!(files(&world), before);
}

#[tokio::test]
async fn dead_letters_that_nobody_stores_are_a_warning() {
    let world = World::start().await;
    let letter = envelope(1).to_message(Destination::Dead, "1".to_owned());
    publish(&world, [letter]).await;
    let waits = async || (world.ready("dead").await == 1).then_some(());
    eventually("it waits", waits).await;

    let said = world.homing(&["doctor", "--json"]).await;

    let found = Findings::of(&said);
    assert_eq!(found.verdict("dead-letters"), "warning", "{said:?}");
    assert_eq!(world.ready("dead").await, 1);
}

#[tokio::test]
async fn what_collectors_died_over_is_a_warning_that_counts_it() {
    let world = World::start().await;
    quarantine(&world, 2, letter).await;

    let said = world.homing(&["doctor", "--json"]).await;

    let found = Findings::of(&said);
    assert_eq!(found.verdict("quarantine"), "warning", "{said:?}");
    let text = found.field("quarantine", "found");
    assert!(text.starts_with("2 in "), "{text}");
    assert_eq!(found.verdict("dead-letters"), "ok", "{said:?}");
    assert_eq!(world.ready("quarantine").await, 2);
}
