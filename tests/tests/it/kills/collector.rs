use std::time::Duration;

use homing_tests::{Follower, HOMING, Process, World, within};

use super::pool::Pool;
use super::{KILL_TIME_MAX, TASKS, assert_balanced, pause, say, submit};

fn standby(world: &World, number: usize) -> Process {
    let name = format!("collector-{number}");
    world.start_program(&name, HOMING, &["collector"])
}

#[tokio::test]
async fn of_the_collector_lose_nothing_and_a_standby_goes_on() {
    let world = World::start().await;
    let mut active = world.collector("collector-0").await;
    let mut next = standby(&world, 1);
    let mut follower = Follower::new(world.store().await);
    let submitted = submit(&world.producer().await, Duration::ZERO).await;
    let pool = Pool::start(&world);

    let mut kills = 0;
    let killing = async {
        while follower.catch_up().await < TASKS {
            pause().await;
            next.says("standing by").await;
            active.kill().await;
            kills += 1;
            next.says("collecting from").await;
            active = std::mem::replace(&mut next, standby(&world, kills + 1));
        }
    };
    within(KILL_TIME_MAX, "all outcomes", killing).await;

    assert!(kills >= 5, "only {kills}");
    pool.stop().await;
    // Before it says so it may not listen to signals yet.
    next.says("standing by").await;
    assert_eq!(next.stop().await, 0);
    assert_eq!(active.stop().await, 0);
    assert_balanced(&world, follower, &submitted).await;
    say(&format!("{kills} kills of collectors"), &world, TASKS);
}
