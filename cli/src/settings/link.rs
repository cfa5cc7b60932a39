use std::sync::Arc;

use homing_broker::{Broker, BrokerError, BrokerUrl, Patience, PublishError};
use homing_protocol::topology::Topology;

use super::Setting;
use crate::trouble::Trouble;

/// The way to the broker, and where its URL came from.
pub(crate) struct Link {
    pub(crate) broker: Arc<dyn Broker>,
    from: String,
}

impl Link {
    /// To the broker that is set at `url`. Nothing is opened yet.
    pub(crate) fn new(url: Setting<BrokerUrl>, topology: Topology, patience: Patience) -> Self {
        let name = format!("homing {}", std::process::id());
        Self {
            broker: homing_broker::connect(url.value, topology, patience, name),
            from: url.from,
        }
    }

    /// Where the URL came from, with the URL. Holds no secret.
    pub(crate) fn origin(&self) -> &str {
        &self.from
    }

    /// What to say of `error`.
    pub(crate) fn trouble(&self, error: &BrokerError) -> Trouble {
        Trouble::broker(error).from(self.from.clone())
    }

    /// What to say of a message that was not published, and how to do so `again`.
    pub(crate) fn publish_trouble(&self, error: &PublishError, again: &str) -> Trouble {
        Trouble::publish(error, again).from(self.from.clone())
    }
}
