//! What [`submit_all`](crate::Producer::submit_all) takes.

use std::error::Error;

use futures::stream::{self, BoxStream, StreamExt as _};
use homing_protocol::Task;

/// Any error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Many tasks: an iterator or a stream, of tasks or of `Result`s of them.
///
/// `Form` tells the four apart and is never named.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no source of tasks",
    label = "pass an iterator or a `Send` stream of tasks, or of `Result`s of tasks"
)]
pub trait Tasks<T, Form>: Send {
    /// The tasks, one after the other.
    fn into_stream<'a>(self) -> BoxStream<'a, Result<T, BoxError>>
    where
        Self: 'a;
}

/// [`Tasks`] from an iterator.
#[derive(Debug)]
pub struct Iter;

/// [`Tasks`] from an iterator of results.
#[derive(Debug)]
pub struct IterOfResults<E>(E);

/// [`Tasks`] from a stream.
#[derive(Debug)]
pub struct Stream;

/// [`Tasks`] from a stream of results.
#[derive(Debug)]
pub struct StreamOfResults<E>(E);

impl<T, I> Tasks<T, Iter> for I
where
    T: Task,
    I: IntoIterator<Item = T> + Send,
    I::IntoIter: Send,
{
    fn into_stream<'a>(self) -> BoxStream<'a, Result<T, BoxError>>
    where
        Self: 'a,
    {
        // The iterator may borrow from `self` only for as long as `self` lives.
        let mut tasks = Some(self);
        let tasks = tasks.take().into_iter().flatten().map(Ok);
        stream::iter(tasks).boxed()
    }
}

impl<T, E, I> Tasks<T, IterOfResults<E>> for I
where
    T: Task,
    E: Into<BoxError>,
    I: IntoIterator<Item = Result<T, E>> + Send,
    I::IntoIter: Send,
{
    fn into_stream<'a>(self) -> BoxStream<'a, Result<T, BoxError>>
    where
        Self: 'a,
    {
        let tasks = Some(self).into_iter().flatten();
        stream::iter(tasks.map(|task| task.map_err(Into::into))).boxed()
    }
}

impl<T, S> Tasks<T, Stream> for S
where
    T: Task,
    S: futures::Stream<Item = T> + Send,
{
    fn into_stream<'a>(self) -> BoxStream<'a, Result<T, BoxError>>
    where
        Self: 'a,
    {
        self.map(Ok).boxed()
    }
}

impl<T, E, S> Tasks<T, StreamOfResults<E>> for S
where
    T: Task,
    E: Into<BoxError>,
    S: futures::Stream<Item = Result<T, E>> + Send,
{
    fn into_stream<'a>(self) -> BoxStream<'a, Result<T, BoxError>>
    where
        Self: 'a,
    {
        self.map(|task| task.map_err(Into::into)).boxed()
    }
}
