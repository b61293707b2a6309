//! The gRPC interface of Airlock, generated from `airlock/v1/airlock.proto`.
//!
//! The comments in the proto file are the API manual; they appear here as documentation of the generated types.

#![forbid(unsafe_code)]

pub mod identity;

/// Version 1 of the interface: messages, the `JobService` server trait and its client.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("airlock.v1");
}

/// The encoded descriptor set of the interface and its imports, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/airlock_v1.bin"));
