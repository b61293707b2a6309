//! The gRPC services: each method parses, asks [`crate::jobs`], and answers.

mod answer;
mod ask;
mod door;
mod error;
mod service;
mod stream;

pub use door::Door;
pub use service::Service;

/// The domain in every error's details.
pub const ERROR_DOMAIN: &str = "airlock";
