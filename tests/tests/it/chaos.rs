//! `homing chaos`, end to end: what it promises of others holds for itself.

use std::path::Path;

use homing_tests::{HOMING, Process, World, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The processes that were started for a namespace, and their command lines.
fn members(namespace: &str) -> Vec<(Pid, String)> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let id = Pid::from_raw(process.file_name().to_str()?.parse().ok()?)?;
        line.contains(namespace).then_some((id, line))
    });
    lines.collect()
}

/// Waits until all processes of it run; answers its namespace.
async fn started(chaos: &Process) -> String {
    let said = async || namespace(&chaos.stderr());
    let namespace = eventually("it says its namespace", said).await;
    let all = async || (members(&namespace).len() >= 5).then_some(());
    eventually("workers and collectors", all).await;
    namespace
}

/// The folders that it made.
fn folders(world: &Path) -> Vec<String> {
    let files = std::fs::read_dir(world).unwrap().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("homing-chaos")).collect()
}

/// The namespace as it said it.
fn namespace(stderr: &str) -> Option<String> {
    let mut lines = stderr.split_inclusive('\n');
    lines.find_map(|line| {
        let name = line.strip_prefix("namespace  ")?;
        name.strip_suffix('\n').map(str::to_owned)
    })
}

#[tokio::test]
async fn a_short_chaos_loses_and_changes_nothing_and_leaves_nothing_behind() {
    let world = World::start().await;

    let said = world
        .homing(&["chaos", "--for", "5s", "--seed", "7", "--json"])
        .await;

    assert_eq!(said.code, 0, "{said:?}");
    let answer = said.json().remove(0);
    let namespace = answer["namespace"].as_str().unwrap();
    for nothing in ["lost", "changed", "ended"] {
        assert_eq!(answer[nothing], 0, "{said:?}");
    }
    assert_eq!(answer["submitted"], answer["stored"]);
    assert!(answer["submitted"].as_u64() > Some(100), "{said:?}");
    assert!(answer["workers_killed"].as_u64() > Some(0), "{said:?}");
    assert_eq!(members(namespace), []);
    assert_eq!(folders(&world.dir), [""; 0]);
    let check = ["topology", "check", "--json", "--namespace", namespace];
    let missing = world.homing(&check).await;
    let lines: Vec<Value> = missing.json();
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(!lines.is_empty());
}

/// One of them is paused, and so reads no end of a pipe.
#[tokio::test]
async fn no_process_of_a_chaos_that_is_killed_lives_on() {
    let world = World::start().await;
    let mut chaos = world.start_program("chaos", HOMING, &["chaos", "--for", "1h"]);
    let namespace = started(&chaos).await;
    // Whoever takes tasks has asked the system to end it with its parent.
    let queues = ["queues", "--json", "--namespace", &namespace];
    let tasks = format!("{namespace}.tasks");
    let all_take = async || {
        let lines = world.homing(&queues).await.json();
        let line = lines.iter().find(|line| line["queue"] == tasks.as_str())?;
        (line["consumers"].as_u64() == Some(3)).then_some(())
    };
    eventually("all workers take tasks", all_take).await;
    let is_worker = |(_, line): &(Pid, String)| line.contains("chaos-worker");
    let victim = members(&namespace).into_iter().find(is_worker);
    kill_process(victim.unwrap().0, Signal::STOP).unwrap();

    chaos.kill().await;

    eventually("no process of it", async || {
        members(&namespace).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_chaos_that_is_told_to_end_compares_what_it_has_submitted() {
    let world = World::start().await;
    let mut chaos = world.start_program("chaos", HOMING, &["chaos", "--for", "1h"]);
    started(&chaos).await;

    chaos.term();
    let code = chaos.ended().await;

    let stdout = chaos.stdout();
    assert_eq!(code, 0, "{stdout}{}", chaos.stderr());
    assert!(stdout.contains("lost 0   changed 0"), "{stdout}");
    assert_eq!(folders(&world.dir), [""; 0]);
}
