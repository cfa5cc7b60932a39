//! Notices commits by any process: PostgreSQL tells whoever listens.

use std::sync::Arc;
use std::time::Duration;

use super::address::Address;
use super::fault::Answer;
use super::pause::Pause;
use super::session::{Purpose, Session};
use super::{driver, in_time, schema};
use crate::error::StoreError;

/// How long it may take to listen, from the first packet on.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a look that failed for the server's sake is not made again.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Listens for commits.
#[derive(Debug)]
pub(crate) struct Watch {
    address: Arc<Address>,
    session: Session,
}

impl Watch {
    /// Listens from now on.
    pub(super) async fn new(address: Arc<Address>) -> Answer<Self> {
        let session = listen(&address).await?;
        Ok(Self { address, session })
    }

    /// Returns soon after a commit. While the server is away it waits, and what it
    /// may have missed counts as a commit.
    pub(crate) async fn changed(&mut self) -> Result<(), StoreError> {
        // A connection that ends notifies as well.
        if !self.session.is_closed() {
            self.session.noticed.notified().await;
        }
        self.reconnect().await
    }

    /// Returns when it is time to look again, after a look that the server did not
    /// answer. This connection may be fine: there was no room for another one.
    pub(crate) async fn pause(&mut self) -> Result<(), StoreError> {
        driver::sleep(LOOK_PAUSE).await;
        self.reconnect().await
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        let mut pause = Pause::default();
        while self.session.is_closed() {
            match listen(&self.address).await {
                Ok(session) => self.session = session,
                Err(fault) if fault.is_of_connection() => pause.wait().await,
                Err(fault) => return Err(fault.at(&self.address)),
            }
        }
        Ok(())
    }
}

async fn listen(address: &Address) -> Answer<Session> {
    let listening = async {
        let session = Session::open(address, Purpose::Read).await?;
        schema::check(&session).await?;
        session.batch("LISTEN homing").await?;
        Ok(session)
    };
    in_time(LISTEN_TIMEOUT, listening).await
}
