//! The gRPC services: each method parses, asks [`crate::jobs`], and answers.

mod answer;
mod ask;
mod calls;
mod deadline;
mod door;
mod error;
mod intake;
mod output_call;
mod pieces;
mod service;
mod stream;

pub use calls::{Calls, CallsOf, Reply, turn_away};
pub use door::Door;
pub use output_call::OutputBody;
pub use pieces::Pieces;
pub use service::Service;

/// The domain in every error's details.
pub const ERROR_DOMAIN: &str = "airlock";
