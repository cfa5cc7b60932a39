//! Whole pipelines against a real RabbitMQ.

mod execution;
mod link;
mod refusals;
