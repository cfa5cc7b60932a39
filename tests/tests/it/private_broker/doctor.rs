//! What `homing doctor` finds of a broker that is short of something, and of a user
//! who may not do everything.

use homing_tests::{Node, Said, World, eventually};
use tokio::task::block_in_place;

use crate::doctor::Findings;

async fn doctor(world: &World, node: &Node, more: &[&str]) -> Said {
    let management = node.management_url();
    let flags = ["doctor", "--json", "--management-url", &management];
    world.homing(&[&flags[..], more].concat()).await
}

/// Waits until the alarms are `verdict`, and answers what was found then.
async fn alarms(world: &World, node: &Node, verdict: &str) -> (i32, String) {
    let look = async || {
        let said = doctor(world, node, &[]).await;
        let found = Findings::of(&said);
        let text = found.field("alarms", "found").to_owned();
        (found.verdict("alarms") == verdict).then_some((said.code, text))
    };
    eventually(&format!("the alarms are {verdict}"), look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_bad_for_as_long_as_it_lasts_and_says_what_the_node_is_short_of() {
    let node = Node::start_with_management();
    let world = World::start_at(node.url()).await;
    let _collector = world.collector("collector").await;
    let disk_limit = |bytes: u64| {
        let set = format!("rabbit_disk_monitor:set_disk_free_limit({bytes}).");
        block_in_place(|| node.eval(&set));
    };

    let before = alarms(&world, &node, "ok").await;
    block_in_place(|| node.alarm());
    let memory = alarms(&world, &node, "bad").await;
    block_in_place(|| node.calm());
    let between = alarms(&world, &node, "ok").await;
    disk_limit(1_000_000_000_000_000);
    let disk = alarms(&world, &node, "bad").await;
    disk_limit(10_000_000);
    let after = alarms(&world, &node, "ok").await;

    assert_eq!([before.0, between.0, after.0], [0; 3]);
    for ((code, text), short) in [(memory, "memory"), (disk, "disk")] {
        assert_eq!(code, 1, "{text}");
        let expected = format!("is short of {short}, and takes no message");
        assert!(text.ends_with(&expected), "{text}");
    }
}

/// A user with the rights of a producer, whom the management API tells nothing
/// until he has the tag that the fix names.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_of_limited_rights_may_do_is_told_or_how_to_have_it_told() {
    let node = Node::start_with_management();
    let world = World::start_at(node.url()).await;
    node.add_user("limited", "s3cret", ["", "tasks$", "replies$"]);
    let url = node.url().replacen("guest:guest", "limited:s3cret", 1);
    let limited = ["--broker", &url];

    let untold = doctor(&world, &node, &limited).await;
    block_in_place(|| {
        node.eval("rabbit_auth_backend_internal:set_tags(<<\"limited\">>, [administrator], <<\"test\">>).");
    });
    let told = async || {
        let said = doctor(&world, &node, &limited).await;
        let found = Findings::of(&said);
        let is_told = found.field("permissions", "found").contains("configure");
        is_told.then_some((found, said))
    };
    let (found, told) = eventually("his permissions are told", told).await;

    let before = Findings::of(&untold);
    for (check, tag) in [("alarms", "monitoring"), ("permissions", "administrator")] {
        assert_eq!(before.verdict(check), "unknown", "{untold:?}");
        let fix = format!("let the user in: rabbitmqctl set_user_tags USER {tag}");
        assert_eq!(before.field(check, "fix"), fix);
    }
    assert_eq!(found.verdict("alarms"), "ok", "{told:?}");
    assert_eq!(found.verdict("permissions"), "unknown", "{told:?}");
    let text = found.field("permissions", "found");
    let patterns = "`limited`: configure ``, write `tasks$`, read `replies$`";
    assert!(text.starts_with(patterns), "{text}");
    assert!(!format!("{untold:?}{told:?}").contains("s3cret"));
}
