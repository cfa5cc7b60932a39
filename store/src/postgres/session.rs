//! One connection, set up as every one of ours is.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, CopyInSink, Error, Row, RowStream, Statement};

use super::address::Address;
use super::driver;
use super::fault::{Answer, Fault};
use super::tls;

/// How long a connection may take from the first packet to the last setting.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Statements that a connection keeps prepared. Filters make many texts.
const STATEMENTS_MAX: usize = 64;

/// Begins a transaction that writes: each statement sees what was committed
/// before it began, so what is read after a lock is there is what the holder
/// before left. That it is not read-only is set for the connection: a standby
/// refuses `READ WRITE` here in words that sound like a bug of ours.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// What a connection is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    Read,
    Write,
}

/// A connection.
pub(super) struct Session {
    client: Client,
    statements: Mutex<HashMap<String, Statement>>,
    /// Notified by `NOTIFY`, and once the connection has ended.
    pub(super) noticed: Arc<Notify>,
}

/// A statement that is sent without waiting for the one before it.
pub(super) struct Step<'a> {
    sql: &'static str,
    parameters: Vec<Parameter<'a>>,
}

pub(super) type Parameter<'a> = Box<dyn ToSql + Sync + Send + 'a>;

impl<'a> Step<'a> {
    pub(super) const fn new(sql: &'static str) -> Self {
        Self {
            sql,
            parameters: Vec::new(),
        }
    }

    /// With one more parameter.
    pub(super) fn with(mut self, parameter: impl ToSql + Sync + Send + 'a) -> Self {
        self.parameters.push(Box::new(parameter));
        self
    }
}

impl Session {
    /// Connects to `address`.
    pub(super) async fn open(address: &Address, purpose: Purpose) -> Answer<Self> {
        let tls = tls::connector(address).map_err(Fault::Tls)?;
        let config = address.config();
        let open = async move {
            let (client, connection) = config.connect(tls).await?;
            let noticed = Arc::new(Notify::new());
            // It ends once its client is dropped.
            tokio::spawn(drive(connection, Arc::clone(&noticed)));
            client.batch_execute(settings(purpose)).await?;
            Ok::<_, Error>((client, noticed))
        };
        // On the runtime of connections, whatever runtime is here.
        let opened =
            driver::runtime().spawn(async move { tokio::time::timeout(OPEN_TIMEOUT, open).await });
        let opened = opened.await.expect("connecting does not panic");
        let (client, noticed) = opened.map_err(|_| Fault::Silent)??;
        Ok(Self {
            client,
            statements: Mutex::default(),
            noticed,
        })
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs statements without parameters, one after the other.
    pub(super) async fn batch(&self, sql: &str) -> Answer<()> {
        Ok(self.client.batch_execute(sql).await?)
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Answer<Vec<Row>> {
        let statement = self.prepared(sql).await?;
        Ok(self.client.query(&statement, parameters).await?)
    }

    /// The rows one after the other, of which there may be more than fit into
    /// memory.
    pub(super) async fn stream(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Answer<RowStream> {
        let statement = self.prepared(sql).await?;
        let parameters = parameters.iter().copied();
        Ok(self.client.query_raw(&statement, parameters).await?)
    }

    /// Begins to send rows.
    pub(super) async fn copy_in(&self, sql: &str) -> Answer<CopyInSink<Bytes>> {
        Ok(self.client.copy_in(sql).await?)
    }

    /// The one row that there is, if any.
    pub(super) async fn query_opt(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Answer<Option<Row>> {
        let statement = self.prepared(sql).await?;
        Ok(self.client.query_opt(&statement, parameters).await?)
    }

    pub(super) async fn query_one(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Answer<Row> {
        let statement = self.prepared(sql).await?;
        Ok(self.client.query_one(&statement, parameters).await?)
    }

    /// Runs all steps in their order, and answers with the rows of each. All are
    /// sent at once: after one that fails the others are refused by the server,
    /// if they are in one transaction, and a `COMMIT` among them undoes it. After
    /// one that cannot be sent, of which the server knows nothing, none is.
    pub(super) async fn run(&self, steps: &[Step<'_>]) -> Answer<Vec<Vec<Row>>> {
        let mut statements = Vec::with_capacity(steps.len());
        for step in steps {
            statements.push(self.prepared(step.sql).await?);
        }
        let parameters: Vec<Vec<_>> = steps
            .iter()
            .map(|step| {
                let parameters = step.parameters.iter();
                parameters
                    .map(|parameter| &**parameter as &(dyn ToSql + Sync))
                    .collect()
            })
            .collect();
        let requests = statements.iter().zip(&parameters);
        let requests = requests.map(|(statement, parameters)| {
            Box::pin(self.client.query(statement, parameters)) as Request<'_, Vec<Row>, Error>
        });
        Ok(in_order(requests.collect()).await?)
    }

    async fn prepared(&self, sql: &str) -> Answer<Statement> {
        let known = self.statements().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.statements();
        if statements.len() >= STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        drop(statements);
        Ok(statement)
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<String, Statement>> {
        // An insertion that panicked leaves a map that is still one.
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What the server must do whatever its defaults are.
const fn settings(purpose: Purpose) -> &'static str {
    match purpose {
        // Plans follow the values asked for: what is rare is looked up. Tables are
        // joined by their keys, for few rows; a partitioned one has no statistics by
        // which the server would know. An audit of many million rows takes minutes;
        // whoever asked may be gone by then.
        Purpose::Read => {
            "SET search_path = homing, pg_catalog;
             SET client_encoding = 'UTF8';
             SET statement_timeout = '10min';
             SET idle_in_transaction_session_timeout = '15s';
             SET jit = off;
             SET enable_hashjoin = off;
             SET enable_mergejoin = off;
             SET plan_cache_mode = force_custom_plan;"
        }
        // A commit is on the disk before it returns. Whoever holds the lock and
        // falls silent has to let go of it. Everything is looked up by key,
        // also where the server believes a table to be empty, as it was when
        // the statement was planned.
        Purpose::Write => {
            "SET search_path = homing, pg_catalog;
             SET client_encoding = 'UTF8';
             SET default_transaction_isolation = 'read committed';
             SET default_transaction_read_only = off;
             SET synchronous_commit = on;
             SET statement_timeout = '60s';
             SET lock_timeout = '30s';
             SET idle_in_transaction_session_timeout = '15s';
             SET jit = off;
             SET enable_seqscan = off;
             SET enable_bitmapscan = off;
             SET enable_hashjoin = off;
             SET enable_mergejoin = off;"
        }
    }
}

/// Does the connection's reading and writing until it ends.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, noticed: Arc<Notify>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // Notices and what ends it are told to whoever uses the client.
    while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
        if let AsyncMessage::Notification(_) = message {
            noticed.notify_one();
        }
    }
    drop(connection);
    noticed.notify_one();
}

type Request<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// Sends all requests in their order and waits for all of them, up to the first
/// that fails, whose error it answers with. After one that fails before it is
/// sent, no other one is sent.
async fn in_order<T, E>(requests: Vec<Request<'_, T, E>>) -> Result<Vec<T>, E> {
    let requests = requests.into_iter().map(|request| (request, None));
    let mut requests: Vec<(Request<'_, T, E>, Option<T>)> = requests.collect();
    let mut failed = None;
    poll_fn(|cx| {
        let mut waits = false;
        // A request is sent when it is first polled, and they are answered in the
        // order they were sent.
        for (place, (request, answer)) in requests.iter_mut().enumerate() {
            if answer.is_some() {
                continue;
            }
            match request.as_mut().poll(cx) {
                Poll::Ready(Ok(ready)) => *answer = Some(ready),
                Poll::Ready(Err(error)) => {
                    failed = Some((place, error));
                    break;
                }
                Poll::Pending => waits = true,
            }
        }
        if let Some((place, _)) = &failed {
            requests.truncate(*place);
        }
        if waits {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    match failed {
        Some((_, error)) => Err(error),
        None => Ok(requests
            .into_iter()
            .filter_map(|(_, answer)| answer)
            .collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// As a value that its column does not take is noticed by the driver.
    #[test]
    fn after_a_request_that_cannot_be_sent_none_is_sent() {
        let sent = AtomicUsize::new(0);
        let send = || {
            Box::pin(async {
                sent.fetch_add(1, Ordering::Relaxed);
                Ok::<_, &str>(())
            }) as Request<'_, (), &str>
        };

        let answer = futures::executor::block_on(in_order(vec![
            send(),
            Box::pin(ready(Err("no text"))),
            send(),
        ]));

        assert_eq!(answer, Err("no text"));
        assert_eq!(sent.into_inner(), 1);
    }

    #[test]
    fn the_first_error_is_answered_whatever_is_still_to_come() {
        let answer = futures::executor::block_on(in_order::<(), _>(vec![
            Box::pin(ready(Ok(()))),
            Box::pin(ready(Err("refused"))),
            Box::pin(pending()),
        ]));

        assert_eq!(answer, Err("refused"));
    }
}
