//! What can happen to a link, by a proxy in front of the broker.

use homing_tests::kind::Echo;
use homing_tests::{Direction, How, Pipeline, Proxy, World};

#[tokio::test]
async fn links_that_are_reset_are_back_and_go_on() {
    let proxy = Proxy::start(&World::broker_url());
    let pipeline = Pipeline::start_in(World::start_at(proxy.url()).await, &[]).await;
    let before = pipeline.submit(Echo { n: 1 }).await;
    pipeline.closed(before).await;
    let count = proxy.count();

    proxy.cut(How::Reset);
    let after = pipeline.submit(Echo { n: 2 }).await;
    pipeline.closed(after).await;

    assert!(proxy.count() > count);
    assert!(proxy.passed().iter().any(|passed| passed.to_broker > 0));
    proxy.pause(Direction::BOTH);
    proxy.resume();
}
