//! The tests of the test: a simulation that finds nothing proves nothing, so
//! each rule is broken once, and that is found.

use homing_simulation::{Sabotage, run};

/// Seeds within which a broken rule shows. All show within a fraction of it.
const SEEDS: u64 = 2_000;

#[track_caller]
fn is_found(sabotage: Sabotage) {
    let found = (0..SEEDS).find_map(|seed| Some((seed, run(seed, Some(sabotage), None).err()?)));

    let Some((seed, broken)) = found else {
        panic!("{sabotage:?} is not found within {SEEDS} seeds");
    };
    eprintln!("{sabotage:?}: seed {seed}: {broken}");
}

#[test]
fn an_ack_before_the_confirm_is_found() {
    is_found(Sabotage::AckBeforeConfirm);
}

#[test]
fn an_ack_before_the_commit_is_found() {
    is_found(Sabotage::AckBeforeCommit);
}

#[test]
fn an_answer_over_another_connection_is_found() {
    is_found(Sabotage::NoFencing);
}

#[test]
fn a_lost_confirm_that_is_ignored_is_found() {
    is_found(Sabotage::LostConfirmIgnored);
}

#[test]
fn a_multiple_over_unfinished_deliveries_is_found() {
    is_found(Sabotage::MultipleOverUnfinished);
}

#[test]
fn a_delivery_that_is_not_returned_is_found() {
    is_found(Sabotage::ForgetRequeue);
}

#[test]
fn a_next_attempt_before_the_record_of_the_last_is_found() {
    is_found(Sabotage::RetryBeforeRecord);
}

#[test]
fn a_returned_message_that_counts_as_confirmed_is_found() {
    is_found(Sabotage::ReturnIgnored);
}

#[test]
fn a_final_record_that_changes_is_found() {
    is_found(Sabotage::LastWins);
}

#[test]
fn a_task_that_is_run_a_second_early_is_found() {
    is_found(Sabotage::RunEarly);
}
