use std::time::Duration;

use homing_protocol::Status;
use homing_store::{KindPattern, Quantiles};

use crate::fixture::{Fixture, On, report, write};

crate::fixture::claims! {
    kinds_are_counted_apart_with_how_long_they_took,
    a_pattern_chooses_kinds,
    an_outcome_without_an_attempt_took_no_time,
}

fn within(quantiles: Quantiles, expected: Duration) -> bool {
    let off = quantiles.p50.abs_diff(expected);
    off <= expected / 25
}

async fn kinds_are_counted_apart_with_how_long_they_took(on: On) {
    let fixture = Fixture::new(on);
    let mut other = report(3, Status::Failed);
    other.kind = "image.resize".to_owned();
    other.run_us = 2_000_000;
    write(
        &mut fixture.writer(),
        &[
            report(1, Status::Succeeded),
            report(2, Status::Retrying),
            other,
        ],
    );
    let store = fixture.store().await;

    let stats = store.stats(None).await.unwrap();

    let kinds: Vec<_> = stats.iter().map(|stats| stats.kind.as_str()).collect();
    assert_eq!(kinds, ["demo.echo", "image.resize"]);
    assert_eq!(stats[0].counts.get(Status::Retrying), 1);
    assert_eq!(stats[0].waited.unwrap().count, 2);
    assert!(within(stats[0].waited.unwrap(), Duration::from_millis(20)));
    assert!(within(stats[0].ran.unwrap(), Duration::from_millis(3)));
    assert!(within(stats[1].ran.unwrap(), Duration::from_secs(2)));
}

async fn a_pattern_chooses_kinds(on: On) {
    let fixture = Fixture::new(on);
    let reports = ["image.resize", "image.crop", "imagex"].map(|kind| {
        let mut report = report(kind.len() as u128, Status::Succeeded);
        report.kind = kind.to_owned();
        report
    });
    write(&mut fixture.writer(), &reports);

    let pattern: KindPattern = "image.*".parse().unwrap();
    let stats = fixture.store().await.stats(Some(&pattern)).await.unwrap();

    let kinds: Vec<_> = stats.iter().map(|stats| stats.kind.as_str()).collect();
    assert_eq!(kinds, ["image.crop", "image.resize"]);
    assert!("im*ge".parse::<KindPattern>().is_err());
}

async fn an_outcome_without_an_attempt_took_no_time(on: On) {
    let fixture = Fixture::new(on);
    let mut expired = report(1, Status::Expired);
    expired.attempt_id = None;
    write(&mut fixture.writer(), &[expired]);

    let stats = fixture.store().await.stats(None).await.unwrap();

    assert_eq!(stats[0].counts.get(Status::Expired), 1);
    assert_eq!((stats[0].waited, stats[0].ran), (None, None));
}
