//! The raw client of the tests does what it says, against a real broker.

use homing_tests::{Answer, Raw, RawProperties, Table, World};

#[tokio::test]
async fn any_bytes_in_a_message_are_in_the_broker_as_they_were_sent() {
    let world = World::start().await;
    let mut raw = Raw::connect(&world.url).await;
    raw.confirm().await;
    let queue = format!("{}.raw", world.namespace);
    raw.declare_queue(&queue, &Table::new()).await;
    let exchange = format!("{}.tasks", world.namespace);
    raw.bind_queue(&queue, &exchange, "raw").await;
    let headers = Table::new()
        .text(b"\xff\xfe", b"\xfd")
        .field(b"odd", b'L', &7_u64.to_be_bytes())
        .table(b"deep", &Table::nested(100));
    let properties = RawProperties::task("test.echo")
        .message_id(b"\xc3\x28")
        .headers(&headers);
    let body = vec![b'x'; 10_000];

    let answer = raw.publish(&exchange, "raw", &properties, &body).await;
    let message = raw.get(&queue).await.unwrap();

    assert_eq!(answer, Answer::Confirmed);
    let has = |part: &[u8]| message.properties.windows(part.len()).any(|w| w == part);
    assert!(has(b"\xff\xfe") && has(b"\xc3\x28") && has(Table::nested(100).bytes()));
    assert_eq!(message.body, body);
    raw.delete_queue(&queue).await;
}

#[tokio::test]
async fn what_no_queue_takes_is_returned_and_what_lies_ends_the_connection() {
    let world = World::start().await;
    let mut raw = Raw::connect(&world.url).await;
    raw.confirm().await;
    let exchange = format!("{}.tasks", world.namespace);
    let properties = RawProperties::task("test.echo");

    let returned = raw.publish(&exchange, "nowhere", &properties, b"{}").await;
    raw.send_lying(&exchange, "tasks", &properties.bytes(), 9, b"12345")
        .await;
    let closed = raw.publish(&exchange, "tasks", &properties, b"{}").await;

    assert_eq!(returned, Answer::Returned);
    assert!(
        matches!(closed, Answer::Closed { code: 505, .. }),
        "{closed:?}"
    );
}
