use serde::Serialize;

use crate::bare::Queues;

/// What the figures were taken on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores this process may use.
    pub cores: usize,
    /// RabbitMQ's version, or that there is none.
    pub rabbitmq: String,
    /// The version of the SQLite built in.
    pub sqlite: &'static str,
    /// Homing's version.
    pub homing: &'static str,
}

impl Machine {
    /// This one, and the broker at `url`.
    ///
    /// # Errors
    ///
    /// The broker cannot be reached.
    pub async fn look(url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            rabbitmq: match url.starts_with("sqlite:") {
                true => "none: the embedded broker".to_owned(),
                false => Queues::broker_version(url).await?,
            },
            sqlite: rusqlite::version(),
            homing: env!("CARGO_PKG_VERSION"),
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cores,
            rabbitmq,
            sqlite,
            homing,
        } = self;
        write!(
            f,
            "Homing {homing}, RabbitMQ {rabbitmq}, SQLite {sqlite}, {cores} cores"
        )
    }
}
