//! What people type.

use std::fmt::Write;

use homing_broker::AmqpUrl;
use homing_protocol::limit::{NAME_BYTES_MAX, NAMESPACE_BYTES_MAX, QUEUE_NAME_BYTES_MAX};
use homing_protocol::{Namespace, QueueName, Reason, Status, TaskId, TaskKind, Timestamp};
use homing_store::{KindPattern, Position, StoreUrl};

#[path = "../../cli/src/time.rs"]
#[expect(dead_code, reason = "not all of it reads what people type")]
mod time;

/// A broker's URL; and any user, password and virtual host in one.
pub fn amqp_url(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(url) = text.parse::<AmqpUrl>() {
        for part in [url.user(), url.password(), url.vhost()] {
            assert!(part.len() <= NAME_BYTES_MAX && !part.contains('\0'));
        }
        assert!(!url.user().is_empty());
        // The last there is of these is where the password stands.
        let password = format!(":{}@", url.password());
        if let Some((before, after)) = text.rsplit_once(&password)
            && !url.password().is_empty()
            && !text.contains('%')
        {
            let other = format!("{before}:another@{after}");
            let other: AmqpUrl = other.parse().expect("it is one as well");
            let [said, of_other] = [&url, &other].map(|url| format!("{url} {url:?}"));
            assert_eq!(said, of_other, "it shows something of its password");
        }
    }
    let third = bytes.len() / 3;
    let (user, rest) = bytes.split_at(third);
    let (password, vhost) = rest.split_at(third);
    let parts = [user, password, vhost].map(std::str::from_utf8);
    let [Ok(user), Ok(password), Ok(vhost)] = parts else {
        return;
    };
    let fits = |part: &str| part.len() <= NAME_BYTES_MAX && !part.contains('\0');
    if user.is_empty() || vhost.is_empty() || ![user, password, vhost].into_iter().all(fits) {
        return;
    }
    let (login, path) = (
        format!("{}:{}", encoded(user), encoded(password)),
        encoded(vhost),
    );
    let url: AmqpUrl = format!("amqp://{login}@host/{path}")
        .parse()
        .expect("it is one");
    assert_eq!(
        (url.user(), url.password(), url.vhost()),
        (user, password, vhost)
    );
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "%{byte:02x}");
        text
    })
}

/// A store's URL.
pub fn store_url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(url) = text.parse::<StoreUrl>() {
        assert_eq!(url.to_string(), text);
        assert!(!url.path().as_os_str().is_empty());
    }
}

/// Patterns of kinds, durations, statuses, reasons, positions; times that are
/// shown.
pub fn filters(bytes: &[u8]) {
    let at = bytes
        .iter()
        .take(8)
        .fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
    let at = Timestamp::from_ms(at);
    assert!(!time::full(at).is_empty());
    assert!(!time::span(at.since(Timestamp::from_ms(0))).is_empty());
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(duration) = time::parse_duration(text) {
        assert!(!time::span(duration).is_empty());
        let _later = at.after(duration);
    }
    match text.parse::<KindPattern>() {
        Ok(KindPattern::Is(kind)) => assert_eq!(kind, text),
        Ok(pattern) => assert!(text.ends_with('*') && pattern.matches(&text[..text.len() - 1])),
        Err(_) => assert!(text.contains('*')),
    }
    if let Ok(status) = text.parse::<Status>() {
        assert_eq!(status.as_str(), text);
    }
    if let Some(reason) = Reason::parse(text) {
        assert_eq!(reason.as_str(), text);
    }
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
}

/// Names that become parts of AMQP, and ids.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if let Ok(kind) = text.parse::<TaskKind>() {
        assert!(kind.as_str() == text && plain(text) && (1..=NAME_BYTES_MAX).contains(&text.len()));
    }
    if let Ok(queue) = text.parse::<QueueName>() {
        assert!(queue.as_str() == text && plain(text) && text.len() <= QUEUE_NAME_BYTES_MAX);
    }
    if let Ok(namespace) = text.parse::<Namespace>() {
        assert!(namespace.as_str() == text && plain(text) && text.len() <= NAMESPACE_BYTES_MAX);
        let full = namespace.name("tasks");
        assert!(namespace.strip(&full) == Some("tasks") && namespace.owns(&full));
    }
    if let Ok(id) = text.parse::<TaskId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TaskId::of_text(text), id);
    }
}
