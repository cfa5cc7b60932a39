//! Whole pipelines against a real RabbitMQ.

mod link;
mod refusals;
