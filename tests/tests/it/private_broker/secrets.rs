use homing_tests::{HOMING, Node, TEST_WORKER, World};
use tokio::task::block_in_place;

/// What no output may hold, in the forms in which it could slip out.
const PASSWORD: &str = "c4nary/of the mine";
const ENCODED: &str = "c4nary%2Fof%20the%20mine";

/// Every program says all it can, with a user of the broker who may log in and
/// with one who may not, while the broker is there and while it is not.
#[tokio::test(flavor = "multi_thread")]
async fn no_output_holds_a_password() {
    let node = Node::start();
    node.add_user("canary", PASSWORD, [".*"; 3]);
    let url = node
        .url()
        .replace("guest:guest", &format!("canary:{ENCODED}"));
    let world = World::start_at(&url).await;
    let all = ["-vv", "--log", "trace"];
    let mut services = vec![
        world.start_program("worker", TEST_WORKER, &all),
        world.start_program("collector", HOMING, &[&["collector"][..], &all].concat()),
    ];
    services[0].says(" from tasks").await;
    services[1].says("collecting from").await;

    let mut said = Vec::new();
    let wrong = url.replace("canary:", "nobody:");
    for broker in [url.as_str(), &wrong] {
        for verb in ["queues", "topology check", "submit test.echo {\"n\":1}"] {
            let words: Vec<_> = verb
                .split(' ')
                .chain(all)
                .chain(["--broker", broker])
                .collect();
            said.push(world.homing(&words).await);
        }
    }
    block_in_place(|| node.stop());
    said.push(world.homing(&["queues", "--broker", &url, "-vv"]).await);
    block_in_place(|| node.start_again());
    said.push(world.homing(&["queues", "--broker", &url, "-vv"]).await);

    let codes: Vec<_> = said.iter().map(|said| said.code).collect();
    assert_eq!(codes, [0, 0, 0, 77, 77, 77, 69, 0]);
    let mut texts: Vec<_> = said
        .into_iter()
        .flat_map(|s| [s.stdout, s.stderr])
        .collect();
    for service in services.drain(..) {
        texts.extend([service.stdout(), service.stderr()]);
        assert_eq!(service.stop().await, 0);
    }
    for text in texts {
        let shown = [PASSWORD, ENCODED, "c4nary"]
            .iter()
            .find(|form| text.contains(**form));
        assert_eq!(shown, None, "in:\n{text}");
    }
}
