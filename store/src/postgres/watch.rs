//! Notices commits by any process: PostgreSQL tells whoever listens.

use std::sync::Arc;

use super::address::Address;
use super::fault::Answer;
use super::pause::Pause;
use super::schema;
use super::session::{Purpose, Session};
use crate::error::StoreError;

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
    let session = Session::open(address, Purpose::Read).await?;
    schema::check(&session).await?;
    session.batch("LISTEN homing").await?;
    Ok(session)
}
