//! What needs a broker of its own: users and queues that others must not see,
//! and a broker that is gone for a while.

mod alarm;
mod audit;
mod back_pressure;
mod consumer_timeout;
mod delays;
mod disk;
mod doctor;
mod errors;
mod outage;
mod permissions;
mod replay;
mod secrets;
mod shutdown;
