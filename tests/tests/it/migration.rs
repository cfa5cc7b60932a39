//! A store that an older version wrote, and a collector that is killed while it
//! migrates it.

use homing_faults::{CRASH_VARIABLE, Point, is_enabled};
use homing_store::{Filter, Position, Store};
use homing_tests::{HOMING, World};
use rusqlite::Connection;

/// Six tasks in seven runs, in schema 1.
const OLD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../store/tests/it/files/0001.sqlite"
);

/// Statements that all migrations have at most.
const STATEMENTS_MAX: u32 = 100;

fn schema(world: &World) -> u32 {
    let shell = Connection::open(world.dir.join("homing.db")).unwrap();
    shell
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn a_collector_that_is_killed_at_any_statement_of_a_migration_leaves_the_old_store() {
    assert!(is_enabled(), "run the tests by `make test`");
    let world = World::start().await;
    std::fs::copy(OLD, world.dir.join("homing.db")).unwrap();

    // The statements of each migration in turn: one that is done stays done.
    let (mut kills, mut old, mut statement) = (0, 1, 1);
    while kills < STATEMENTS_MAX {
        let at = format!("{}:{statement}", Point::StoreMigrating);
        let crash = [(CRASH_VARIABLE, at.as_str())];
        let name = format!("collector-{kills}");
        let mut collector = world.start_program_with(&name, HOMING, &["collector"], &crash);
        let lived = tokio::select! {
            _ = collector.ended() => false,
            () = says_that_it_collects(&world, &name) => true,
        };
        if lived {
            collector.kill().await;
            break;
        }
        kills += 1;
        statement += 1;
        let left = schema(&world);
        if left == old + 1 {
            (old, statement) = (left, 1);
        }
        assert_eq!(left, old, "after statement {statement}");
    }

    assert!(kills > 5, "{kills} statements");
    let store = Store::open(&world.store_url()).await.unwrap();
    let listed = store.list(&Filter::all(), 100).await.unwrap();
    let log = store.tail(&Position::START, &Filter::all(), 100).await;
    assert_eq!((listed.len(), log.unwrap().records.len()), (6, 7));
}

async fn says_that_it_collects(world: &World, name: &str) {
    let stderr = world.dir.join(format!("{name}.err"));
    homing_tests::eventually("the collector collects", async || {
        let said = std::fs::read_to_string(&stderr).unwrap_or_default();
        said.contains("collecting from").then_some(())
    })
    .await;
}
