//! Whole pipelines against a real RabbitMQ.

mod execution;
mod kills;
mod link;
mod refusals;
