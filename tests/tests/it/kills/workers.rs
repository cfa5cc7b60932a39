use std::time::Duration;

use homing_tests::{Follower, World, within};

use super::pool::Pool;
use super::{KILL_TIME_MAX, TASKS, assert_balanced, pause, say, submit};

#[tokio::test]
async fn of_workers_lose_nothing_and_leave_one_outcome_for_each_task() {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    let submitted = submit(&world.producer().await, Duration::ZERO).await;
    let mut pool = Pool::start(&world);

    let killing = async {
        while follower.catch_up().await < TASKS {
            pause().await;
            pool.kill_one().await;
        }
    };
    within(KILL_TIME_MAX, "all outcomes", killing).await;

    let kills = pool.kills();
    assert!(kills >= 10, "only {kills}");
    pool.stop().await;
    assert_eq!(collector.stop().await, 0);
    assert_balanced(&world, follower, &submitted).await;
    say(&format!("{kills} kills of workers"), &world, TASKS);
}
