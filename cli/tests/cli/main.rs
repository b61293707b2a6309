//! The real `airlock` binary and the client library against a server of this test's own, over real TLS.

#![forbid(unsafe_code)]

mod errors;
mod fake;
mod harness;
mod interruptions;
mod jobs;
mod json;
mod patience;
mod reconnecting;
mod running;
mod setup;
mod trust;
