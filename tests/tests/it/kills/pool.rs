//! Workers, killed and replaced.

use homing_tests::{Process, TEST_WORKER, World, eventually};
use rand::RngExt as _;

/// Workers at once.
const WORKERS: usize = 3;

pub(crate) struct Pool<'a> {
    world: &'a World,
    workers: Vec<Process>,
    started: usize,
}

impl<'a> Pool<'a> {
    pub(crate) fn start(world: &'a World) -> Self {
        let workers = Vec::new();
        let mut pool = Self {
            world,
            workers,
            started: 0,
        };
        (0..WORKERS).for_each(|_| pool.add());
        pool
    }

    fn add(&mut self) {
        self.started += 1;
        let name = format!("worker-{}", self.started);
        let flags = ["--concurrency", "8"];
        let worker = self.world.start_program(&name, TEST_WORKER, &flags);
        self.workers.push(worker);
    }

    /// Kills any of them, and starts another in its place.
    pub(crate) async fn kill_one(&mut self) {
        let victim = rand::rng().random_range(0..self.workers.len());
        self.workers.swap_remove(victim).kill().await;
        self.add();
    }

    /// How many were killed.
    pub(crate) const fn kills(&self) -> usize {
        self.started - WORKERS
    }

    /// Stops all in order, and leaves nothing to be done: what one that was killed
    /// had not acked may have come back although its outcome is stored.
    pub(crate) async fn stop(mut self) {
        self.stop_all().await;
        let world = self.world;
        while !world.waiting().await.is_empty() {
            self.add();
            let empty = async || world.waiting().await.is_empty().then_some(());
            eventually("a worker takes what came back", empty).await;
            self.stop_all().await;
        }
    }

    async fn stop_all(&mut self) {
        for worker in self.workers.drain(..) {
            // Before it says so it may not listen to signals yet.
            worker.says("takes ").await;
            assert_eq!(worker.stop().await, 0);
        }
    }
}
