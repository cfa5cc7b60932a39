//! How to test handlers of your own: the whole pipeline in memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homing::prelude::*;
use homing::testing::{Faults, Pipeline, each_seed};
use serde::{Deserialize, Serialize};

/// An order that is paid, after which a receipt is sent.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Pay {
    order: u64,
    cents: u64,
}

impl Task for Pay {
    const KIND: &'static str = "shop.pay";
    type Output = u64;
    type Error = AnyError;
    const POLICY: Policy =
        Policy::DEFAULT.backoff(Duration::from_hours(1), Duration::from_hours(1));
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct SendReceipt {
    order: u64,
}

impl Task for SendReceipt {
    const KIND: &'static str = "shop.send-receipt";
    type Output = ();
    type Error = AnyError;
}

/// What handlers work with.
#[derive(Clone)]
struct Shop {
    producer: Producer,
    /// Cents paid, by order.
    accounts: Arc<Mutex<BTreeMap<u64, u64>>>,
    receipts: Arc<Mutex<Vec<u64>>>,
}

impl Shop {
    fn new(producer: Producer) -> Self {
        Self {
            producer,
            accounts: Arc::default(),
            receipts: Arc::default(),
        }
    }
}

/// The bank does not answer the first time.
async fn pay(task: Pay, attempt: Attempt<Shop>) -> Result<u64, AttemptError> {
    if attempt.number().get() == 1 {
        return Err("the bank does not answer".into());
    }
    let shop = attempt.state();
    let order = task.order;
    shop.accounts.lock().unwrap().insert(order, task.cents);
    shop.producer.submit(SendReceipt { order }).await?;
    Ok(task.cents)
}

async fn send_receipt(task: SendReceipt, attempt: Attempt<Shop>) -> Result<(), AttemptError> {
    attempt.state().receipts.lock().unwrap().push(task.order);
    Ok(())
}

fn worker(shop: Shop) -> Worker<Shop> {
    Worker::with_state(shop).handler(pay).handler(send_receipt)
}

#[tokio::test]
async fn an_order_is_paid_on_the_second_attempt_an_hour_later_and_a_receipt_is_sent() {
    let mut pipeline = Pipeline::start_with(|producer| worker(Shop::new(producer))).await;
    let began = pipeline.now();

    let id = pipeline
        .submit(Pay {
            order: 7,
            cents: 1_250,
        })
        .await;
    pipeline.run().await;

    assert_eq!(pipeline.outcome::<Pay>(id).result.unwrap(), 1_250);
    assert_eq!(pipeline.attempts(id).len(), 2);
    let waited = pipeline.now().since(began);
    assert!(waited >= Duration::from_mins(30), "{waited:?}");
    let receipts = pipeline.submitted::<SendReceipt>();
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0].1, SendReceipt { order: 7 });
}

#[tokio::test]
async fn a_delay_of_two_days_passes_at_once() {
    let mut pipeline = Pipeline::start_with(|producer| worker(Shop::new(producer))).await;
    let (began, days) = (pipeline.now(), Duration::from_hours(48));

    let receipt = pipeline.producer().submit(SendReceipt { order: 1 });
    let id = receipt.delay(days).await.unwrap().id();
    pipeline.run().await;

    let outcome = pipeline.outcome::<SendReceipt>(id);
    assert_eq!(outcome.status(), Status::Succeeded);
    assert!(pipeline.now().since(began) > days - Duration::from_mins(1));
}

#[tokio::test]
async fn an_order_that_is_not_paid_in_time_is_expired() {
    let mut pipeline = Pipeline::start_with(|producer| worker(Shop::new(producer))).await;

    let order = pipeline.producer().submit(Pay { order: 1, cents: 1 });
    let id = order
        .expires_after(Duration::from_mins(20))
        .await
        .unwrap()
        .id();
    pipeline.run().await;

    assert_eq!(pipeline.outcome::<Pay>(id).status(), Status::Expired);
    assert_eq!(pipeline.attempts(id).len(), 1);
}

/// Orders that are paid, under these faults: what is in the accounts.
async fn paid(faults: Faults) -> BTreeMap<u64, u64> {
    let mut shop = None;
    let start = Pipeline::start_with(|producer| worker(shop.insert(Shop::new(producer)).clone()));
    let mut pipeline = start.await.with(faults);
    for order in 1..=3 {
        pipeline.submit(Pay { order, cents: 100 }).await;
    }
    pipeline.run().await;
    let accounts = shop.expect("the pipeline made one").accounts;
    let accounts = accounts.lock().unwrap();
    accounts.clone()
}

#[tokio::test]
async fn an_order_is_paid_once_whatever_dies_or_comes_twice() {
    each_seed(0..100, paid).await;
}

/// Adds instead of setting: an order that is run twice is paid twice.
#[tokio::test]
#[should_panic(expected = "a handler is not safe to run twice")]
async fn a_handler_that_is_not_safe_to_run_twice_is_found() {
    each_seed(0..100, async |faults| {
        let paid = Arc::new(Mutex::new(0));
        let sum = Arc::clone(&paid);
        let worker = Worker::new().handler(move |task: Pay, _: Attempt| {
            let sum = Arc::clone(&sum);
            async move {
                *sum.lock().unwrap() += task.cents;
                Ok(task.cents)
            }
        });
        let mut pipeline = Pipeline::start(worker).await.with(faults);
        pipeline
            .submit(Pay {
                order: 1,
                cents: 100,
            })
            .await;
        pipeline.run().await;
        *paid.lock().unwrap()
    })
    .await;
}
