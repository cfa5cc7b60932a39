use homing_protocol::{
    DeadLetter, Death, HeaderValue, Properties, Reason, Received, Report, Status,
};
use homing_store::{Entry, Filter};

use crate::fixture::{Fixture, On, at, report, task};

crate::fixture::claims! {
    a_dead_letter_is_kept_whole_and_closes_its_tasks,
    two_messages_that_share_an_id_are_both_kept,
    a_message_without_an_id_is_rather_kept_twice_than_lost,
}

pub(crate) fn letter(
    message_id: Option<&str>,
    body: &'static [u8],
    reports: Vec<Report>,
) -> DeadLetter {
    let properties = Properties {
        message_id: message_id.map(str::to_owned),
        kind: Some("Not A Kind".to_owned()),
        headers: vec![
            ("n".to_owned(), HeaderValue::Int(1)),
            ("n".to_owned(), HeaderValue::Bytes(vec![0, 255])),
            ("f".to_owned(), HeaderValue::Float(f64::NAN)),
        ],
        ..Properties::default()
    };
    DeadLetter {
        reason: Reason::CrashLoop,
        detail: "again and again".to_owned(),
        queue: "tasks.suspect".to_owned(),
        reports,
        received: Received {
            properties,
            body: body.into(),
            exchange: "dead".to_owned(),
            routing_key: String::new(),
            redelivered: true,
            delivery_count: 2,
            deaths: vec![Death {
                reason: "delivery_limit".to_owned(),
                queue: "tasks.suspect".to_owned(),
                count: 1,
                time: Some(5),
            }],
        },
    }
}

async fn a_dead_letter_is_kept_whole_and_closes_its_tasks(on: On) {
    let fixture = Fixture::new(on);
    let mut dead = report(1, Status::Dead);
    dead.reason = Some(Reason::CrashLoop);
    let letter = letter(Some("m"), b"\xffbody", vec![dead]);
    let entry = Entry::Dead(letter);
    fixture
        .writer()
        .write(&[entry.clone(), entry], at(7))
        .unwrap();
    let store = fixture.store().await;

    let kept = store.dead(10).await.unwrap();

    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].task, kept[0].bytes), (Some(task(1)), 5));
    assert_eq!(
        (kept[0].reason, kept[0].stored_at),
        (Reason::CrashLoop, at(7))
    );
    let listed = store.list(&Filter::all().problems(), 10).await.unwrap();
    assert_eq!(listed[0].report.reason, Some(Reason::CrashLoop));
    let letter = store.dead_letter(kept[0].number).await.unwrap().unwrap();
    assert_eq!(&letter.body[..], b"\xffbody");
    assert_eq!(
        letter.headers,
        r#"[["n",1],["n",{"bytes":"00ff"}],["f",{"float":"NaN"}]]"#
    );
}

async fn two_messages_that_share_an_id_are_both_kept(on: On) {
    let fixture = Fixture::new(on);
    let entries = [&b"one"[..], b"other"].map(|body| Entry::Dead(letter(Some("1"), body, vec![])));
    fixture.writer().write(&entries, at(7)).unwrap();

    assert_eq!(fixture.store().await.dead(10).await.unwrap().len(), 2);
}

async fn a_message_without_an_id_is_rather_kept_twice_than_lost(on: On) {
    let fixture = Fixture::new(on);
    let entry = Entry::Dead(letter(None, b"", vec![]));
    fixture
        .writer()
        .write(&[entry.clone(), entry], at(7))
        .unwrap();

    assert_eq!(fixture.store().await.dead(10).await.unwrap().len(), 2);
}
