//! The turns of suspects in a worker: what `worker/src/engine/suspects.rs` does,
//! around the real [`Turns`].

use std::time::Duration;

use crate::agenda::{MS, Micros};
use crate::broker::{ClientFrame, Who};
use crate::message::Place;
use crate::turns::{FIRST_LOOK, LOOK_EVERY, Turn, Turns};
use crate::world::{WorkerEvent, World};

#[derive(Debug, Default)]
pub(crate) struct Lane {
    turns: Turns,
    state: State,
    /// Tells the next look from those before.
    looks: u32,
    /// The last look found none. The real worker looks again and again; here it
    /// is told when there is something to see.
    dormant: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// The others have the worker to themselves.
    #[default]
    Resting,
    /// The others are held, and what runs is waited for.
    Quieting { begun: Micros, idle: bool },
    /// Suspects run, one after another.
    Running {
        turn: Began,
        found: u32,
        /// Whether one is asked for and not here yet.
        asked: bool,
    },
    /// The worker stops.
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Began {
    begun: Micros,
    idle: bool,
    /// When all was quiet.
    quiet: Micros,
}

fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

impl Lane {
    pub(crate) const fn is_over(&mut self) {
        self.state = State::Over;
    }
}

impl World {
    pub(crate) fn first_look(&mut self, index: usize) {
        let pause = self.chance.below(micros(FIRST_LOOK));
        self.look_after(index, pause);
    }

    /// Looks for suspects after a pause, and not before.
    pub(crate) fn look_after(&mut self, index: usize, pause: Micros) {
        let worker = &mut self.workers[index];
        worker.lane.looks += 1;
        worker.lane.dormant = false;
        let number = worker.lane.looks;
        self.put(index, self.now + pause, WorkerEvent::Look(number));
    }

    /// There may be something to see: whoever looks now and then will.
    pub(crate) fn look_all(&mut self) {
        for index in 0..self.workers.len() {
            let lane = &self.workers[index].lane;
            if lane.dormant && matches!(lane.state, State::Resting) {
                let pause = self.chance.below(micros(LOOK_EVERY) * 3 / 2);
                self.look_after(index, pause);
            }
        }
    }

    /// A suspect of this worker's is on its way: it need not wait for the next
    /// look.
    pub(crate) fn suspected(&mut self, index: usize) {
        if matches!(self.workers[index].lane.state, State::Resting) {
            let pause = self.chance.between(0, 5 * MS);
            self.look_after(index, pause);
        }
    }

    pub(crate) fn look(&mut self, index: usize, number: u32) {
        let worker = &self.workers[index];
        if worker.lane.looks != number || !matches!(worker.lane.state, State::Resting) {
            return;
        }
        let pulls = worker.links[1].session.is_some();
        if !pulls || self.broker.suspects() == 0 {
            self.workers[index].lane.dormant = true;
            return;
        }
        trace!(self, "worker {index}: suspects have their turn");
        let idle = worker.is_idle();
        let patience = worker.lane.turns.patience();
        let begun = self.now;
        self.workers[index].lane.state = State::Quieting { begun, idle };
        self.hold(index);
        self.put(
            index,
            self.now + micros(patience),
            WorkerEvent::Impatient(begun),
        );
    }

    /// What runs did not end in time.
    pub(crate) fn impatient(&mut self, index: usize, of: Micros) {
        if let State::Quieting { begun, idle } = self.workers[index].lane.state
            && begun == of
        {
            let took = Duration::from_micros(self.now - begun);
            let turn = Turn {
                idle,
                quiet: false,
                found: 0,
                took,
            };
            self.end_turn(index, turn);
        }
    }

    /// Goes on with the turn, if what it waits for is there.
    pub(crate) fn attend_lane(&mut self, index: usize) {
        match self.workers[index].lane.state {
            State::Quieting { begun, idle } if self.workers[index].is_quiet() => {
                self.workers[index].take_all_room();
                let quiet = self.now;
                self.pull(index, Began { begun, idle, quiet }, 0);
            }
            State::Running {
                turn,
                found,
                asked: false,
            } if self.workers[index].has_attended() => {
                let quieting = Duration::from_micros(turn.quiet - turn.begun);
                let running = Duration::from_micros(self.now - turn.quiet);
                if Turns::goes_on(quieting, running) && self.broker.suspects() > 0 {
                    self.pull(index, turn, found);
                } else {
                    self.end_running(index, turn, found);
                }
            }
            _ => {}
        }
    }

    fn pull(&mut self, index: usize, turn: Began, found: u32) {
        let link = &self.workers[index].links[1];
        let Some(connection) = link.session.as_ref().map(|session| session.connection) else {
            return self.end_running(index, turn, found);
        };
        self.workers[index].lane.state = State::Running {
            turn,
            found,
            asked: true,
        };
        self.write_to_broker(connection, ClientFrame::Get(Place::Suspect));
    }

    /// A suspect is here. False if it comes to a worker that stops.
    pub(crate) fn pulled(&mut self, index: usize) -> bool {
        if let State::Running { turn, found, .. } = self.workers[index].lane.state {
            let found = found + 1;
            self.workers[index].lane.state = State::Running {
                turn,
                found,
                asked: false,
            };
            return true;
        }
        false
    }

    /// There is none, or the connection broke over the question.
    pub(crate) fn none_pulled(&mut self, index: usize) {
        if let State::Running {
            turn,
            found,
            asked: true,
        } = self.workers[index].lane.state
        {
            self.end_running(index, turn, found);
        }
    }

    fn end_running(&mut self, index: usize, turn: Began, found: u32) {
        self.workers[index].free_all_room();
        let took = Duration::from_micros(self.now - turn.begun);
        let turn = Turn {
            idle: turn.idle,
            quiet: true,
            found,
            took,
        };
        self.end_turn(index, turn);
    }

    fn end_turn(&mut self, index: usize, turn: Turn) {
        let lane = &mut self.workers[index].lane;
        lane.state = State::Resting;
        let rest = micros(lane.turns.rest(turn));
        trace!(self, "worker {index}: {turn:?}");
        self.look_after(index, rest);
        self.resume(Who::Worker(index), Place::Tasks);
    }

    fn hold(&mut self, index: usize) {
        self.workers[index].links[0].held = true;
        self.cancel(Who::Worker(index), Place::Tasks);
    }
}
