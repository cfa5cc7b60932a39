use homing_protocol::{
    ContentType, DeadLetter, Envelope, Payload, Properties, Reason, Received, Report, Run, Status,
    Timestamp,
};
use homing_store::{
    BatchRef, Began, Entry, Filter, NewRun, Position, RepairNote, Repairs, Turn, next_run,
};
use uuid::Uuid;

use crate::fixture::{Fixture, On, at, report, task, write};

crate::fixture::claims! {
    a_replayed_task_is_pending_until_the_new_run_has_an_outcome,
    a_run_whose_outcome_is_faster_than_its_record_keeps_it,
    reports_of_one_run_change_nothing_in_another,
    a_task_that_changed_meanwhile_is_left_out_of_a_replay,
    a_task_that_is_named_twice_is_begun_once_in_a_replay,
    a_run_that_was_perhaps_published_is_begun_again_under_its_number,
    one_process_at_a_time_replays_beside_the_collector,
    who_replayed_and_why_stays_with_the_task,
    a_payload_with_a_turned_bit_is_not_given_to_a_replay,
    the_log_never_goes_back_in_time_whoever_writes,
    a_task_that_dies_again_is_known_to_have_died_before,
    a_discarded_dead_letter_leaves_its_fact_and_not_its_content,
    tasks_that_match_come_in_parts_and_without_what_came_later,
    a_replay_comes_in_between_the_groups_of_a_busy_collector,
    large_payloads_are_read_in_parts,
    a_task_that_one_replay_names_twice_is_begun_once_even_in_two_parts,
    a_letter_without_an_id_belongs_to_its_task_before_that_is_published,
}

fn note() -> RepairNote {
    RepairNote {
        who: "ann@host".to_owned(),
        asked: "replay --problems".to_owned(),
        why: "the disk was full".to_owned(),
    }
}

fn repairs(fixture: &Fixture) -> Repairs {
    match Repairs::replay(&fixture.url(), note()).unwrap() {
        Turn::Ours(repairs) => repairs,
        Turn::Taken(holder) => panic!("{holder} has it"),
    }
}

/// What stands for the payload of every report of the fixture, with the digest
/// that goes with it.
fn unlucky(number: u128, status: Status) -> Report {
    let mut report = report(number, status);
    report.digest = homing_protocol::Digest::of(b"[1]");
    report
}

fn run(number: u32) -> Run {
    Run::new(number).unwrap()
}

pub(crate) fn envelope(number: u128) -> Envelope {
    let payload = Payload {
        bytes: (&b"[1]"[..]).into(),
        content_type: ContentType::Json,
    };
    Envelope::new(
        task(number),
        "demo.echo".parse().unwrap(),
        payload,
        at(5_000),
    )
}

/// Run `number` of a task that is stored as `was`.
fn new_run(was: &Report, number: u32) -> NewRun {
    let mut envelope = envelope(was.task.as_uuid().as_u128());
    envelope.run = run(number);
    envelope.batch = was.batch_row();
    NewRun::new(&envelope, "tasks", Some((was.run, was.status)), None)
}

fn replay(repairs: &mut Repairs, runs: &[NewRun]) {
    assert_eq!(
        repairs.begin(runs, at(6_000)).unwrap(),
        vec![Began::Yes; runs.len()]
    );
    repairs.confirm(runs, at(7_000)).unwrap();
}

fn of_run(number: u32, mut report: Report) -> Report {
    report.run = run(number);
    report
}

fn batched(mut report: Report) -> Report {
    report.batch = Some(Uuid::from_u128(9).into());
    report.row = Some(1);
    report
}

async fn a_replayed_task_is_pending_until_the_new_run_has_an_outcome(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let failed = batched(unlucky(1, Status::Failed));
    write(&mut writer, std::slice::from_ref(&failed));
    let store = fixture.store().await;
    let batch = BatchRef::Id(Uuid::from_u128(9).into());
    let counts = async || {
        let counts = store.batch(&batch).await.unwrap().unwrap().counts;
        let of = |status| counts.get(status);
        let stats = store.stats(None).await.unwrap();
        assert_eq!(stats[0].counts, counts);
        [Status::Pending, Status::Failed, Status::Succeeded].map(of)
    };

    replay(&mut repairs(&fixture), &[new_run(&failed, 2)]);
    let during = (
        store.record(task(1)).await.unwrap().unwrap(),
        counts().await,
    );
    write(
        &mut writer,
        &[of_run(2, batched(unlucky(1, Status::Succeeded)))],
    );
    let after = (
        store.record(task(1)).await.unwrap().unwrap(),
        counts().await,
    );

    assert_eq!(during.0.report.status, Status::Pending);
    assert_eq!((during.0.report.run, during.1), (run(2), [1, 0, 0]));
    assert_eq!(after.0.report.status, Status::Succeeded);
    assert_eq!(after.1, [0, 0, 1]);
    let log = store
        .tail(&Position::START, &Filter::all(), 10)
        .await
        .unwrap();
    let log: Vec<_> = log
        .records
        .iter()
        .map(|record| (record.report.run.get(), record.report.status))
        .collect();
    assert_eq!(
        log,
        [
            (1, Status::Failed),
            (2, Status::Pending),
            (2, Status::Succeeded)
        ]
    );
}

async fn a_run_whose_outcome_is_faster_than_its_record_keeps_it(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let failed = unlucky(1, Status::Failed);
    write(&mut writer, std::slice::from_ref(&failed));
    let mut repairs = repairs(&fixture);
    let runs = [new_run(&failed, 2)];
    repairs.begin(&runs, at(6_000)).unwrap();

    write(&mut writer, &[of_run(2, unlucky(1, Status::Succeeded))]);
    repairs.confirm(&runs, at(7_000)).unwrap();
    repairs.confirm(&runs, at(7_000)).unwrap();

    let found = fixture.store().await.task(task(1)).await.unwrap().unwrap();
    assert_eq!(found.record.report.status, Status::Succeeded);
    assert_eq!(found.earlier.len(), 1);
    assert_eq!(found.replays[0].confirmed_at, Some(at(7_000)));
}

async fn reports_of_one_run_change_nothing_in_another(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let dead = unlucky(1, Status::Dead);
    write(&mut writer, std::slice::from_ref(&dead));
    replay(&mut repairs(&fixture), &[new_run(&dead, 2)]);
    let store = fixture.store().await;

    write(&mut writer, &[unlucky(1, Status::Succeeded)]);
    let late = store.record(task(1)).await.unwrap().unwrap();
    write(&mut writer, &[of_run(2, unlucky(1, Status::Failed))]);
    write(&mut writer, &[of_run(2, unlucky(1, Status::Succeeded))]);
    let found = store.task(task(1)).await.unwrap().unwrap();

    assert_eq!(late.report.status, Status::Pending);
    assert_eq!(found.record.report.status, Status::Failed);
    assert_eq!(found.earlier[0].report.status, Status::Succeeded);
    let counts = &store.stats(None).await.unwrap()[0].counts;
    assert_eq!((counts.total(), counts.get(Status::Failed)), (1, 1));
}

async fn a_task_that_changed_meanwhile_is_left_out_of_a_replay(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let (dead, failed) = (unlucky(1, Status::Dead), unlucky(2, Status::Failed));
    write(&mut writer, &[dead.clone(), failed.clone()]);
    let runs = [new_run(&dead, 2), new_run(&failed, 2)];
    write(&mut writer, &[unlucky(1, Status::Succeeded)]);

    let began = repairs(&fixture).begin(&runs, at(6_000)).unwrap();

    assert_eq!(began, [Began::Changed, Began::Yes]);
    let store = fixture.store().await;
    assert!(
        store
            .task(task(1))
            .await
            .unwrap()
            .unwrap()
            .replays
            .is_empty()
    );
}

async fn a_task_that_is_named_twice_is_begun_once_in_a_replay(on: On) {
    let fixture = Fixture::new(on);
    let failed = unlucky(1, Status::Failed);
    write(&mut fixture.writer(), std::slice::from_ref(&failed));
    let mut repairs = repairs(&fixture);
    let run = new_run(&failed, 2);

    let together = repairs.begin(&[run.clone(), run.clone()], at(6_000));
    let later = repairs.begin(&[run], at(7_000));

    assert_eq!(together.unwrap(), [Began::Yes, Began::Changed]);
    assert_eq!(later.unwrap(), [Began::Changed]);
}

async fn a_run_that_was_perhaps_published_is_begun_again_under_its_number(on: On) {
    let fixture = Fixture::new(on);
    let failed = unlucky(1, Status::Failed);
    write(&mut fixture.writer(), std::slice::from_ref(&failed));
    repairs(&fixture)
        .begin(&[new_run(&failed, 2)], at(6_000))
        .unwrap();
    let store = fixture.store().await;

    let found = store.replayable(vec![task(1), task(2)]).await.unwrap();

    assert_eq!(found[1], None);
    let found = found[0].as_ref().unwrap();
    assert_eq!(found.record.report.status, Status::Failed);
    assert_eq!(found.payload.as_ref().unwrap().bytes, &b"[1]"[..]);
    assert_eq!(next_run(found, "demo.echo", "tasks"), run(2));
    assert_eq!(next_run(found, "demo.other", "tasks"), run(3));
}

async fn one_process_at_a_time_replays_beside_the_collector(on: On) {
    let fixture = Fixture::new(on);
    let _writer = fixture.writer();
    let first = repairs(&fixture);

    let second = Repairs::replay(&fixture.url(), note()).unwrap();
    let Turn::Taken(holder) = second else {
        panic!("two replay at once");
    };
    drop(first);

    assert!(holder.to_string().starts_with("process "), "{holder}");
    drop(repairs(&fixture));
}

async fn who_replayed_and_why_stays_with_the_task(on: On) {
    let fixture = Fixture::new(on);
    let failed = unlucky(1, Status::Failed);
    write(&mut fixture.writer(), std::slice::from_ref(&failed));
    replay(&mut repairs(&fixture), &[new_run(&failed, 2)]);

    let found = fixture.store().await.task(task(1)).await.unwrap().unwrap();

    let [replay] = &found.replays[..] else {
        panic!("{found:?}");
    };
    assert_eq!((replay.run, replay.at), (run(2), at(6_000)));
    assert_eq!(
        (&replay.repair.note, replay.repair.at),
        (&note(), at(6_000))
    );
}

async fn a_payload_with_a_turned_bit_is_not_given_to_a_replay(on: On) {
    let fixture = Fixture::new(on);
    write(&mut fixture.writer(), &[unlucky(1, Status::Failed)]);
    // `[0]`, in the words of each.
    fixture.sql(match on {
        On::Sqlite => "UPDATE tasks SET payload = x'5b305d'",
        On::Postgres => "UPDATE contents SET payload = '\\x5b305d'",
    });

    let found = fixture.store().await.replayable(vec![task(1)]).await;

    let found = found.unwrap().remove(0).unwrap();
    assert_eq!((found.payload, found.damaged), (None, true));
}

async fn the_log_never_goes_back_in_time_whoever_writes(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let failed = unlucky(1, Status::Failed);
    write(&mut writer, std::slice::from_ref(&failed));
    replay(&mut repairs(&fixture), &[new_run(&failed, 2)]);

    let entry = Entry::Report(unlucky(2, Status::Succeeded));
    writer.write(&[entry], at(2)).unwrap();

    let store = fixture.store().await;
    let log = store.tail(&Position::START, &Filter::all(), 10).await;
    let times: Vec<_> = log
        .unwrap()
        .records
        .iter()
        .map(|record| record.stored_at)
        .collect();
    assert_eq!(times, [1_000, 7_000, 7_000].map(at));
}

fn letter(number: u128, id: &str, run: u32) -> Entry {
    let mut dead = of_run(run, unlucky(number, Status::Dead));
    dead.reason = Some(Reason::CrashLoop);
    Entry::Dead(DeadLetter {
        reason: Reason::CrashLoop,
        detail: "again and again".to_owned(),
        queue: "tasks.suspect".to_owned(),
        reports: vec![dead],
        received: Received {
            properties: Properties {
                message_id: Some(id.to_owned()),
                kind: Some("demo.echo".to_owned()),
                ..Properties::default()
            },
            body: (&b"[1]"[..]).into(),
            exchange: "dead".to_owned(),
            routing_key: String::new(),
            redelivered: false,
            delivery_count: 0,
            deaths: Vec::new(),
        },
    })
}

async fn a_task_that_dies_again_is_known_to_have_died_before(on: On) {
    let fixture = Fixture::new(on);
    let entries = [letter(1, "a", 1), letter(2, "b", 1), letter(1, "c", 2)];
    fixture.writer().write(&entries, at(7)).unwrap();

    let dead = fixture.store().await.dead(10).await.unwrap();

    let deaths: Vec<_> = dead.iter().map(|letter| letter.death).collect();
    assert_eq!(deaths, [2, 1, 1]);
}

async fn a_discarded_dead_letter_leaves_its_fact_and_not_its_content(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let entries = [letter(1, "a", 1), letter(2, "b", 1)];
    writer.write(&entries, at(7)).unwrap();
    let store = fixture.store().await;

    let discard = || Repairs::discard(&fixture.url(), &[1, 17], &note(), Timestamp::from_ms(8));
    let (first, second) = (discard().unwrap(), discard().unwrap());
    writer.write(&entries, at(9)).unwrap();

    assert_eq!((first, second), (vec![true, false], vec![false, false]));
    let listed = store.dead(10).await.unwrap();
    assert_eq!(listed.len(), 1);
    let letter = store.dead_letter(1).await.unwrap().unwrap();
    assert_eq!((letter.body.len(), letter.headers.as_str()), (0, "[]"));
    assert_eq!(letter.record.task, Some(task(1)));
    let repair = letter.discarded.unwrap();
    assert_eq!((repair.note, repair.at), (note(), at(8)));
    let found = store.replayable(vec![task(1), task(2)]).await.unwrap();
    let payloads = found
        .into_iter()
        .map(|found| found.unwrap().payload.is_some());
    assert_eq!(payloads.collect::<Vec<_>>(), [false, true]);
    let record = store.record(task(1)).await.unwrap().unwrap();
    assert_eq!(record.report.status, Status::Dead);
}

async fn tasks_that_match_come_in_parts_and_without_what_came_later(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let reports: Vec<_> = (1..=5)
        .map(|number| {
            let status = [Status::Succeeded, Status::Failed][number as usize % 2];
            unlucky(number, status)
        })
        .collect();
    write(&mut writer, &reports);
    let store = fixture.store().await;
    let until = store.end().await.unwrap();
    write(&mut writer, &[unlucky(7, Status::Failed)]);
    let problems = Filter::all().problems();

    let first = store.matching(&problems, &Position::START, &until, 2);
    let (first, position) = first.await.unwrap();
    let second = store.matching(&problems, &position, &until, 2);
    let (second, position) = second.await.unwrap();
    let third = store.matching(&problems, &position, &until, 2);
    let (third, _) = third.await.unwrap();

    assert_eq!(first, [task(1), task(3)]);
    assert_eq!(second, [task(5)]);
    assert!(third.is_empty());
}

/// The collector commits without a pause, as it does under load.
async fn a_replay_comes_in_between_the_groups_of_a_busy_collector(on: On) {
    const GROUPS: u128 = 30;
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let failed: Vec<_> = (1..=GROUPS)
        .map(|number| unlucky(number, Status::Failed))
        .collect();
    write(&mut writer, &failed);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let busy = std::thread::spawn(move || {
        let mut groups = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            groups += 1;
            let number = |n| 1_000 + groups * 500 + n;
            let entries = (0..500).map(|n| Entry::Report(report(number(n), Status::Succeeded)));
            writer.write(&entries.collect::<Vec<_>>(), at(1)).unwrap();
        }
        groups
    });

    let mut repairs = repairs(&fixture);
    for failed in &failed {
        replay(&mut repairs, &[new_run(failed, 2)]);
    }
    drop(stop);
    let groups = busy.join().unwrap();

    let stats = fixture.store().await.stats(None).await.unwrap();
    let counts = &stats[0].counts;
    assert_eq!(counts.get(Status::Pending), GROUPS as u64);
    assert_eq!(u128::from(counts.get(Status::Succeeded)), groups * 500);
    let log = fixture.store().await.end().await.unwrap().to_string();
    assert_eq!(log, (groups * 500 + 2 * GROUPS).to_string());
}

async fn large_payloads_are_read_in_parts(on: On) {
    let fixture = Fixture::new(on);
    let payload = vec![b'1'; 1 << 20];
    let large: Vec<_> = (1..=20)
        .map(|number| {
            let mut report = report(number, Status::Failed);
            report.digest = homing_protocol::Digest::of(&payload);
            report.payload = Some(payload.clone().into());
            report
        })
        .collect();
    write(&mut fixture.writer(), &large);
    let ids: Vec<_> = (1..=20).map(task).collect();

    let found = fixture.store().await.replayable(ids).await.unwrap();

    assert_eq!(found.len(), 17);
    assert!(found.iter().all(|found| found.is_some()));
}

async fn a_task_that_one_replay_names_twice_is_begun_once_even_in_two_parts(on: On) {
    let fixture = Fixture::new(on);
    let failed = unlucky(1, Status::Failed);
    write(&mut fixture.writer(), std::slice::from_ref(&failed));
    let mut repairs = repairs(&fixture);
    let mut pending = failed.clone();
    (pending.run, pending.status) = (run(2), Status::Pending);

    replay(&mut repairs, &[new_run(&failed, 2)]);
    let again = repairs.begin(&[new_run(&pending, 3)], at(8_000)).unwrap();
    drop(repairs);
    let by_another = self::repairs(&fixture)
        .begin(&[new_run(&pending, 3)], at(9_000))
        .unwrap();

    assert_eq!(
        (again, by_another),
        (vec![Began::Changed], vec![Began::Yes])
    );
}

async fn a_letter_without_an_id_belongs_to_its_task_before_that_is_published(on: On) {
    let fixture = Fixture::new(on);
    let letter = DeadLetter {
        reason: Reason::Malformed,
        detail: "no id".to_owned(),
        queue: "tasks".to_owned(),
        reports: Vec::new(),
        received: Received {
            properties: Properties::default(),
            body: (&b"[1]"[..]).into(),
            exchange: String::new(),
            routing_key: String::new(),
            redelivered: false,
            delivery_count: 0,
            deaths: Vec::new(),
        },
    };
    let mut writer = fixture.writer();
    writer.write(&[Entry::Dead(letter)], at(1_000)).unwrap();
    let made = NewRun::new(&envelope(1), "tasks", None, Some(1));

    repairs(&fixture).begin(&[made], at(6_000)).unwrap();

    let letter = fixture.store().await.dead_letter(1).await.unwrap().unwrap();
    assert_eq!(letter.tasks, [(task(1), run(1))]);
}
