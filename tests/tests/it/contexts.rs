//! Settings by a name in a file.

use std::path::Path;

use homing_tests::{HOMING, Process, World};

/// An environment that names no broker and no store: an empty variable is not there.
const NONE_SET: [(&str, &str); 2] = [("AMQP_URL", ""), ("HOMING_STORE", "")];

/// Two contexts: one of this world, and one whose broker nobody runs.
fn write(world: &World, path: &Path) {
    let text = format!(
        "default-context = \"here\"\n\
         [context.here]\n\
         broker = \"{}\"\n\
         store = \"{}\"\n\
         [context.nowhere]\n\
         broker = \"amqp://guest:s3cret@127.0.0.1:1/%2f\"\n",
        world.url,
        world.store_url()
    );
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A program that knows of this world by the file alone.
fn start(world: &World, name: &str, arguments: &[&str]) -> Process {
    world.start_program_with(name, HOMING, arguments, &NONE_SET)
}

#[tokio::test]
async fn worker_collector_and_submit_take_broker_and_store_from_the_default_context() {
    let world = World::start().await;
    write(&world, &world.dir.join("homing.toml"));

    let run = ["worker", "--run", "test.same=cat", "--processes", "2"];
    let worker = start(&world, "worker", &run);
    let collector = start(&world, "collector", &["collector"]);
    worker.says(" from tasks").await;
    collector.says("collecting from").await;
    let submit = ["submit", "test.same", r#"{"n":7}"#, "--wait"];
    let mut submit = start(&world, "submit", &submit);
    let code = submit.ended().await;

    assert_eq!((code, &*submit.stdout()), (0, "{\"n\":7}\n"));
    assert!(world.sqlite().exists());
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
}

#[tokio::test]
async fn a_context_of_the_user_gives_way_to_a_variable_and_is_named_by_errors() {
    let world = World::start().await;
    write(&world, &world.dir.join("config/homing/config.toml"));
    let nowhere = ["--context", "nowhere"];

    let queues = [&nowhere[..], &["queues"]].concat();
    let mut by_context = start(&world, "queues", &queues);
    let worker = ["worker", "--run", "test.same=cat"];
    let worker = start(&world, "worker", &[&nowhere[..], &worker].concat());
    worker.says("127.0.0.1:1").await;
    let by_variable = world.homing(&queues).await;
    let code = by_context.ended().await;

    let said = by_context.stderr();
    assert_eq!((code, by_variable.code), (69, 0), "{said} {by_variable:?}");
    let from = "homing/config.toml [context.nowhere] broker = amqp://guest:***@127.0.0.1:1/%2f";
    assert!(said.contains(from), "{said}");
    assert_eq!(worker.stop().await, 0);
}

#[tokio::test]
async fn the_doctor_warns_of_a_password_that_others_may_read() {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::start().await;
    let path = world.dir.join("homing.toml");
    write(&world, &path);
    let mut found = Vec::new();

    for mode in [0o644, 0o600] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let said = world.homing(&["doctor", "--json"]).await;
        found.push(said.json().remove(0)["verdict"].clone());
        assert!(!said.stdout.contains("s3cret"), "{said:?}");
    }

    assert_eq!(found, ["warning", "ok"]);
}
