//! RabbitMQ's management API tells what AMQP does not: how many messages of a
//! queue are delivered and not answered, or on their way out as dead letters.
//!
//! Its numbers are some seconds old: RabbitMQ counts a quorum queue every 5 s,
//! and collects what it counted every 5 s
//! (<https://www.rabbitmq.com/docs/management#statistics-interval>).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use homing_broker::{AmqpUrl, BrokerUrl};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::exit::Exit;
use crate::settings::Settings;
use crate::trouble::Trouble;

/// How long one answer may take: the same as for the broker itself.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Most bytes of an answer: some 100 for each queue of the virtual host.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where the management API is.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the docs of a flag are its help, which is plain text"
)]
pub(crate) struct ManagementArgs {
    /// RabbitMQ's management API, such as
    /// `http://HOST:15672`
    /// [env: HOMING_MANAGEMENT_URL]; login: the broker's
    #[arg(long, value_name = "URL", verbatim_doc_comment)]
    management_url: Option<String>,
}

/// The management API, and the virtual host that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Management {
    /// Where its paths begin.
    api: String,
    vhost: String,
    user: String,
    /// Holds the password.
    authorization: String,
    /// Without the login.
    shown: String,
    from: String,
}

/// What it tells of a queue.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Told {
    pub(crate) name: String,
    /// All that are in it; `None` while it is too new to be counted.
    pub(crate) messages: Option<u64>,
    #[serde(rename = "messages_unacknowledged")]
    pub(crate) unacked: Option<u64>,
    /// `running`, unless something is wrong with it.
    pub(crate) state: Option<String>,
}

/// What it tells of a node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) running: bool,
    // A node that does not run tells nothing more.
    #[serde(default)]
    pub(crate) mem_alarm: bool,
    #[serde(default)]
    pub(crate) disk_free_alarm: bool,
}

/// What a user may do: patterns for the names of what may be declared, published
/// to and consumed from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Permissions {
    pub(crate) configure: String,
    pub(crate) write: String,
    pub(crate) read: String,
}

/// Why it tells nothing. Holds no secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ManagementError {
    #[error("the management API at {at} refuses the login (HTTP {status})")]
    Refused { at: String, status: u16 },
    #[error("the management API at {at} cannot be used: {cause}")]
    Unusable { at: String, cause: String },
}

impl ManagementArgs {
    /// The management API, if its URL is set.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: the URL is none.
    pub(crate) fn open(&self, settings: &Settings) -> Result<Option<Management>, Trouble> {
        let found = settings.management_url(self.management_url.as_deref())?;
        let Some((from, text)) = found else {
            return Ok(None);
        };
        match settings.broker_url()?.value {
            BrokerUrl::Amqp(broker) => Management::new(&text, &broker, from).map(Some),
            // The embedded broker tells by itself what RabbitMQ tells there.
            _ => Ok(None),
        }
    }
}

impl Management {
    pub(crate) fn new(text: &str, broker: &AmqpUrl, from: String) -> Result<Self, Trouble> {
        // The text is not shown: it may hold a password where one cannot tell.
        let bad = |problem: &str| {
            Trouble::new(Exit::Config, format!("the management URL {problem}"))
                .from(&*from)
                .fix("write it as http://USER:PASSWORD@HOST:15672")
        };
        let url: Url = text.trim().parse().map_err(|_| bad("is no URL"))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(bad(
                    "asks for TLS, which is not supported yet: use http:// within a trusted network or a tunnel",
                ));
            }
            _ => return Err(bad("does not begin with `http://`")),
        }
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let (user, password) = match url.username() {
            "" => (broker.user().to_owned(), broker.password().to_owned()),
            user => (decoded(user), decoded(url.password().unwrap_or_default())),
        };
        let host = url.host_str().ok_or_else(|| bad("names no host"))?;
        let port = url.port_or_known_default().unwrap_or(80);
        let shown = format!("{host}:{port}");
        let path = url.path().trim_end_matches('/');
        Ok(Self {
            api: format!("http://{shown}{path}/api"),
            vhost: broker.vhost().to_owned(),
            user: broker.user().to_owned(),
            authorization: format!("Basic {}", BASE64.encode(format!("{user}:{password}"))),
            shown,
            from,
        })
    }

    /// What it tells of every queue of the virtual host that the user may see.
    ///
    /// # Errors
    ///
    /// [`ManagementError`]: it does not answer as it should.
    pub(crate) async fn queues(&self) -> Result<Vec<Told>, ManagementError> {
        let columns = "name,messages,messages_unacknowledged,state";
        let path = format!("queues/{}?columns={columns}", encoded(&self.vhost));
        self.told(path).await
    }

    /// What it tells of every node of the cluster. Needs the tag `monitoring`.
    ///
    /// # Errors
    ///
    /// [`ManagementError`]: it does not answer as it should.
    pub(crate) async fn nodes(&self) -> Result<Vec<Node>, ManagementError> {
        let columns = "name,running,mem_alarm,disk_free_alarm";
        self.told(format!("nodes?columns={columns}")).await
    }

    /// What the broker's user may do in the virtual host. Needs the tag
    /// `administrator`.
    ///
    /// # Errors
    ///
    /// [`ManagementError`]: it does not answer as it should.
    pub(crate) async fn permissions(&self) -> Result<Permissions, ManagementError> {
        let (vhost, user) = (encoded(&self.vhost), encoded(&self.user));
        self.told(format!("permissions/{vhost}/{user}")).await
    }

    async fn told<T: DeserializeOwned + Send + 'static>(
        &self,
        path: String,
    ) -> Result<T, ManagementError> {
        let this = self.clone();
        let asked = tokio::task::spawn_blocking(move || this.ask(&path)).await;
        asked.unwrap_or_else(|_| Err(self.unusable("the call was given up")))
    }

    fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, ManagementError> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIME_MAX))
            // It is a neighbour of the broker, which is reached directly; a
            // redirect would carry the login elsewhere.
            .proxy(None)
            .max_redirects(0)
            .build();
        let answer = ureq::Agent::new_with_config(config)
            .get(format!("{}/{path}", self.api))
            .header("authorization", &self.authorization)
            .call();
        let mut answer = answer.map_err(|error| match error {
            ureq::Error::StatusCode(status @ (401 | 403)) => ManagementError::Refused {
                at: self.shown.clone(),
                status,
            },
            ureq::Error::StatusCode(404) => {
                self.unusable("it does not know the virtual host, or is none (HTTP 404)")
            }
            other => self.unusable(&other.to_string()),
        })?;
        let text = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|error| self.unusable(&error.to_string()))?;
        serde_json::from_str(&text)
            .map_err(|_| self.unusable("what answers there is no management API"))
    }

    fn unusable(&self, cause: &str) -> ManagementError {
        ManagementError::Unusable {
            at: self.shown.clone(),
            cause: cause.to_owned(),
        }
    }

    /// What to say of `error`.
    pub(crate) fn trouble(&self, error: &ManagementError) -> Trouble {
        let (exit, fix) = match error {
            ManagementError::Refused { .. } => (
                Exit::Denied,
                "let the user in: rabbitmqctl set_user_tags USER management",
            ),
            ManagementError::Unusable { .. } => (
                Exit::Unreachable,
                "turn it on: rabbitmq-plugins enable rabbitmq_management",
            ),
        };
        Trouble::new(exit, error.to_string())
            .from(&*self.from)
            .fix(fix)
    }
}

/// `text` as one part of a path.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str, broker: &str) -> Management {
        Management::new(url, &broker.parse().unwrap(), "--management-url".to_owned()).unwrap()
    }

    #[test]
    fn the_login_is_its_own_or_the_brokers() {
        let broker = "amqp://a%20b:s3cret@h/%2f";

        let theirs = open("http://h:15672", broker);
        let own = open("http://c:p%40ss@h:15672/", broker);

        let basic = |login: &str| format!("Basic {}", BASE64.encode(login));
        assert_eq!(theirs.authorization, basic("a b:s3cret"));
        assert_eq!(own.authorization, basic("c:p@ss"));
        assert!(!own.api.contains("p%40ss") && !own.shown.contains('@'));
    }

    #[test]
    fn the_virtual_host_is_one_part_of_the_path() {
        let management = open("http://h/rabbit/", "amqp://u:p@h/a%2fb%20c");

        assert_eq!(management.api, "http://h:80/rabbit/api");
        assert_eq!(encoded(&management.vhost), "a%2Fb%20c");
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_showing_it() {
        for url in [
            "",
            "h:15672",
            "amqp://u:s3cret@h",
            "https://u:s3cret@h",
            "http://:s3cret@",
        ] {
            let broker = "amqp://h".parse().unwrap();
            let trouble = Management::new(url, &broker, "--management-url".to_owned()).unwrap_err();

            assert_eq!(trouble.exit, Exit::Config);
            assert!(!trouble.to_string().contains("s3cret"), "{trouble}");
        }
    }
}
