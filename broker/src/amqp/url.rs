//! `amqp://` URLs, as in <https://www.rabbitmq.com/docs/uri-spec>, with several
//! hosts: `amqp://user:password@host-a:5672,host-b:5672/vhost?heartbeat=5`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// AMQP's port: <https://www.rabbitmq.com/docs/networking#ports>.
const PORT: u16 = 5672;

/// Seconds. A dead peer is noticed within twice as long; RabbitMQ's
/// documentation advises 5 to 20: <https://www.rabbitmq.com/docs/heartbeats>.
const HEARTBEAT_SECS: u16 = 5;

/// Most bytes of a user, password or virtual host: AMQP short strings.
const PART_BYTES_MAX: usize = 255;

/// Where a RabbitMQ is, and as whom to use it.
#[derive(Clone, Eq, PartialEq)]
pub struct AmqpUrl {
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) vhost: String,
    pub(super) heartbeat_secs: u16,
    pub(super) connect_timeout: Duration,
}

/// Why a URL is not one. Never says the password.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It begins with something else.
    #[error("a broker's URL begins with `amqp://` or `sqlite:`, not `{scheme}`")]
    Scheme {
        /// What it begins with.
        scheme: String,
    },
    /// It asks for TLS.
    #[error(
        "`amqps://` (TLS) is not supported yet; use `amqp://` within a trusted network or a tunnel"
    )]
    Tls,
    /// The file of the embedded broker cannot be that.
    #[error("the broker's URL cannot be used: {problem}")]
    File {
        /// Why, and what to do.
        problem: String,
    },
    /// A part of it cannot be.
    #[error("the broker's URL has {problem}")]
    Part {
        /// Which part, and why it cannot be.
        problem: String,
    },
}

fn part(problem: impl Into<String>) -> UrlError {
    UrlError::Part {
        problem: problem.into(),
    }
}

impl FromStr for AmqpUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let url = url.trim();
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(UrlError::Scheme {
                scheme: url
                    .chars()
                    .take_while(|c| c.is_ascii_alphabetic())
                    .collect(),
            });
        };
        match scheme.to_ascii_lowercase().as_str() {
            "amqp" => {}
            "amqps" => return Err(UrlError::Tls),
            _ => {
                let scheme = format!("{scheme}://");
                return Err(UrlError::Scheme { scheme });
            }
        }
        // The last `@` first: whatever is before it may be of a password, and is
        // shown by no error.
        let (known, rest) = match rest.rsplit_once('@') {
            Some((known, rest)) => (Some(known), rest),
            None => (None, rest),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (all_hosts, vhost) = split_path(place);
        let (user, password) = login(known)?;
        let mut parsed = Self {
            hosts: hosts(all_hosts)?,
            user,
            password,
            vhost: virtual_host(vhost)?,
            heartbeat_secs: HEARTBEAT_SECS,
            connect_timeout: Duration::from_secs(10),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            parsed.set(pair)?;
        }
        Ok(parsed)
    }
}

impl AmqpUrl {
    /// The user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password: never to be shown.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// Host and port of each, for people.
    pub(super) fn place(&self) -> String {
        let places = self.hosts.iter().map(|(host, port)| place(host, *port));
        places.collect::<Vec<_>>().join(", ")
    }

    fn set(&mut self, pair: &str) -> Result<(), UrlError> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let number = || {
            value
                .parse::<u16>()
                .map_err(|_| part(format!("`{name}={value}`, which is no number up to 65535")))
        };
        match name {
            "heartbeat" => {
                self.heartbeat_secs = number()?;
                if !(2..=60).contains(&self.heartbeat_secs) {
                    return Err(part("a heartbeat outside 2 to 60 seconds"));
                }
            }
            "connection_timeout" => {
                // Milliseconds, by RabbitMQ's URI query parameters.
                self.connect_timeout = Duration::from_millis(u64::from(number()?.max(1)));
            }
            _ => {
                return Err(part(format!(
                    "an unknown parameter `{name}`; known are heartbeat and connection_timeout"
                )));
            }
        }
        Ok(())
    }
}

fn place(host: &str, port: u16) -> String {
    if host.contains(':') {
        return format!("[{host}]:{port}");
    }
    format!("{host}:{port}")
}

fn split_path(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((hosts, path)) => (hosts, Some(path)),
        None => (text, None),
    }
}

fn login(login: Option<&str>) -> Result<(String, String), UrlError> {
    let Some(login) = login else {
        return Ok(("guest".to_owned(), "guest".to_owned()));
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let user = decode(user, "a user name")?;
    let password = decode(password, "a password")?;
    if user.is_empty() {
        return Err(part("an `@` but no user name before it"));
    }
    Ok((user, password))
}

/// No path is the default virtual host `/`, a path of `/` alone too, since
/// that is what people mean; `/%2f` is `/` by the specification.
fn virtual_host(path: Option<&str>) -> Result<String, UrlError> {
    match path {
        None | Some("") => Ok("/".to_owned()),
        Some(path) if path.contains('/') => {
            Err(part("a virtual host with a `/` in it; write it as `%2f`"))
        }
        Some(path) => decode(path, "a virtual host"),
    }
}

fn decode(text: &str, what: &str) -> Result<String, UrlError> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        let digits = after.as_bytes().get(..2);
        if !digits.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)) {
            return Err(part(format!(
                "{what} with a `%` that two hexadecimal digits do not follow; write `%` as `%25`"
            )));
        }
        rest = after;
    }
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| part(format!("{what} that is not UTF-8")))?;
    if decoded.len() > PART_BYTES_MAX || decoded.contains('\0') {
        return Err(part(format!("{what} that is too long or has a null in it")));
    }
    Ok(decoded.into_owned())
}

fn hosts(text: &str) -> Result<Vec<(String, u16)>, UrlError> {
    text.split(',').map(host).collect()
}

fn host(text: &str) -> Result<(String, u16), UrlError> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest
                .split_once(']')
                .ok_or_else(|| part("a `[` without its `]`"))?;
            (address, after.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    if name.is_empty() {
        return Err(part("no host"));
    }
    let port = match port {
        None | Some("") => PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| part("a port that is not 1 to 65535"))?,
    };
    Ok((decode(name, "a host")?, port))
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vhost = self.vhost.replace('%', "%25").replace('/', "%2f");
        write!(f, "amqp://{}:***@{}/{vhost}", self.user, self.place())
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(url: &str) -> AmqpUrl {
        url.parse().expect("a valid URL")
    }

    #[test]
    fn every_part_is_percent_decoded() {
        let url = parse("amqp://us%20er:p%40ss%2f@host:1/%2f?heartbeat=7");

        assert_eq!(
            (url.user.as_str(), url.password.as_str()),
            ("us er", "p@ss/")
        );
        assert_eq!(url.vhost, "/");
        assert_eq!(url.hosts, [("host".to_owned(), 1)]);
        assert_eq!(url.heartbeat_secs, 7);
    }

    #[test]
    fn what_is_left_out_has_rabbitmqs_defaults() {
        let url = parse("amqp://localhost");

        assert_eq!(
            (url.user.as_str(), url.password.as_str()),
            ("guest", "guest")
        );
        assert_eq!(url.hosts, [("localhost".to_owned(), 5672)]);
        assert_eq!(url.vhost, "/");
        assert_eq!(parse("amqp://h/").vhost, "/");
        assert_eq!(parse("amqp://h/app").vhost, "app");
    }

    #[test]
    fn several_hosts_and_ipv6_are_read() {
        let url = parse("amqp://u:p@a,b:1,[::1]:2/v");

        let hosts: Vec<_> = url.hosts.iter().map(|(h, p)| (h.as_str(), *p)).collect();
        assert_eq!(hosts, [("a", 5672), ("b", 1), ("::1", 2)]);
    }

    #[test]
    fn an_unusable_url_is_an_error_that_says_why() {
        for (url, says) in [
            ("localhost:5672", "begins with `amqp://`"),
            ("http://localhost", "not `http://`"),
            ("amqps://localhost", "TLS"),
            ("amqp://", "no host"),
            ("amqp://u:p@h:70000", "not 1 to 65535"),
            ("amqp://u:p%4@h", "%25"),
            ("amqp://h/a/b", "%2f"),
            ("amqp://h?heartbeat=x", "heartbeat=x"),
            ("amqp://h?heartbeat=0", "2 to 60"),
            ("amqp://h?verify", "unknown parameter `verify`"),
        ] {
            let error = url.parse::<AmqpUrl>().expect_err(url).to_string();
            assert!(error.contains(says), "{url}: {error}");
        }
    }

    #[test]
    fn no_form_of_it_shows_the_password() {
        let url = parse("amqp://app:canary@h/v");

        assert_eq!(url.to_string(), "amqp://app:***@h:5672/v");
        assert!(!format!("{url:?}").contains("canary"));
    }

    #[test]
    fn a_password_is_read_and_hidden_whatever_is_in_it() {
        for password in [
            "can?ary", "can/ary", "can@ary", "can:ary", "7?canary", "can#ary",
        ] {
            let url = parse(&format!("amqp://app:{password}@h:1/v?heartbeat=7"));

            assert_eq!(
                (url.user.as_str(), url.password.as_str()),
                ("app", password)
            );
            assert_eq!(url.to_string(), "amqp://app:***@h:1/v");
        }
        for broken in [
            "amqp://app:canary",
            "amqp://app:can?ary@h:x",
            "amqp://app:canary@",
        ] {
            let error = broken.parse::<AmqpUrl>().expect_err(broken).to_string();
            assert!(!error.contains("can"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "(amqp://)?\\PC{0,60}") {
            let _parsed = text.parse::<AmqpUrl>();
        }
    }
}
