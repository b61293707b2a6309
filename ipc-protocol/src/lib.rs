//! What joins airlock-frontend and airlock-executor: the messages, the frames they travel in, and their limits.
//!
//! # One job's walk through the protocol
//!
//! ```text
//! frontend                                            executor
//!   Hello (version byte first)            ──────────>   SO_PEERCRED was checked before this byte was read
//!                                         <──────────   Welcome, Profiles, Job…, SyncEnd      what it knows
//!   Resume…, SyncEnd                      ──────────>   what stands in the frontend's logs; the connection is live
//!   Input…, Spawn                         ──────────>
//!                                         <──────────   Spawned | NotStarted | Refused
//!                                         <──────────   Output…      at most a window ahead of the Acks
//!   Ack…                                  ──────────>   these bytes stand in the log file
//!   Stop | Signal                         ──────────>
//!                                         <──────────   Stopped | Signalled
//!                                         <──────────   Exited       after the last byte of output
//!   Release                               ──────────>   the end is recorded; the executor forgets the job
//! ```
//!
//! A repeated `Spawn` of a job id is answered with what exists. A connection that breaks loses nothing: the next one begins
//! with the comparison above, and output goes on at the offset that each `Resume` names.
//!
//! # Trust
//!
//! The executor trusts nothing in a [`Request`]: every value is checked against its own configuration and state before it is
//! used. [`decode_request`] is bounded ([`REQUEST_FRAME_MAX`]), consumes every byte and refuses encodings that are not the
//! canonical one. The frontend trusts the executor, yet decodes its answers with the same bounds.

#![forbid(unsafe_code)]

mod answer;
mod codec;
mod frame;
mod ids;
mod limits;
mod request;
mod step;

pub use answer::{
    Answer, End, Facts, JobEntry, LostReason, Phase, ProfileInfo, Refusal, SignalOutcome, StartError, StopFact,
};
pub use codec::{CodecError, decode_answer, decode_request, encode_answer, encode_request, output_prefix};
pub use frame::{FrameBuffer, FrameError, body_length, frame_header};
pub use ids::{JobId, ParseJobIdError, Stream};
pub use limits::{Limit, Limits};
pub use request::{Claimed, Hello, InputDigest, Request, Spawn, Version, VersionRange, negotiate};
pub use step::Step;

/// Longest body of a frame from the frontend, in bytes: the arguments and environment of one `Spawn` and room for the rest.
pub const REQUEST_FRAME_MAX: usize = 256 * 1024;
/// Longest body of a frame from the executor, in bytes: one [`OUTPUT_BYTES_MAX`] and its prefix.
pub const ANSWER_FRAME_MAX: usize = OUTPUT_BYTES_MAX + 4 * 1024;
/// Most bytes that one `Output` carries.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// Most bytes that one `Input` carries.
pub const INPUT_BYTES_MAX: usize = 128 * 1024;
/// Most bytes of arguments and environment together, each with its terminating NUL.
pub const ARGUMENT_BYTES_MAX: usize = 128 * 1024;
/// Most characters of a request id, a profile's name, an owner and the like.
pub const NAME_MAX: usize = 256;

#[cfg(test)]
mod tests;
