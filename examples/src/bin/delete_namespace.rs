//! Deletes every exchange and queue of the namespace `HOMING_NAMESPACE`, with
//! what is in them. `make demo` leaves nothing behind in a broker of yours.

use anyhow::{Context as _, Result};
use homing_examples::Place;

#[tokio::main]
async fn main() -> Result<()> {
    let namespace = std::env::var("HOMING_NAMESPACE").ok();
    // An empty one is where people keep their real tasks.
    let namespace = namespace.filter(|name| !name.is_empty());
    let namespace = namespace.context("HOMING_NAMESPACE names nothing to delete")?;
    Ok(Place::of_namespace(&namespace)?.broker().delete().await?)
}
