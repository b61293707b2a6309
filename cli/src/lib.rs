//! The Rust client of Airlock.
//!
//! A [`Client`] speaks to one server over mutual TLS 1.3. It starts jobs ([`Client::start`], [`Client::upload`]), follows
//! their output across lost connections ([`Follower`]) and learns how they ended ([`Client::wait`], [`JobEnd`]).
//! The messages are those of `airlock/v1/airlock.proto`, re-exported as [`api`].
//!
//! ```no_run
//! use airlock_client::{Client, FollowEvent, Follower, Identity, OutputQuery, Target, api};
//! use std::{path::Path, time::Duration};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = Identity::load(Path::new("/home/bob/.config/airlock/certs"), "bob")?;
//! let client = Client::new(Target::new("build1.example.org:7443".parse()?, None, identity)?);
//! let request = api::StartJobRequest {
//!     request_id: "4c0e2a7e-nightly".into(),
//!     command: vec!["make".into(), "test".into()],
//!     ..Default::default()
//! };
//! let window = Duration::from_secs(300);
//! let job = client.start(&request, window).await?.job;
//! let mut output = Follower::new(client.clone(), OutputQuery::follow(&job.job_id, 0), window).persistent();
//! while let Some(event) = output.next().await? {
//!     match event {
//!         FollowEvent::Chunk(chunk) => print!("{}", String::from_utf8_lossy(&chunk.data)),
//!         FollowEvent::End { job, .. } => println!("ended: {:?}", job.exit_status),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! A server that is being restarted does not answer for a moment. Calls wait for it, two seconds unless
//! [`Client::with_patience`] says otherwise, and are made again only when that cannot do anything twice.
//!
//! Nothing here blocks a thread except [`Identity::load`], which reads three small files. Every call can be cancelled by
//! dropping its future; what the server was already told to do, it then does all the same.

#![forbid(unsafe_code)]

mod address;
mod client;
mod dial;
mod end;
mod error;
mod follow;
mod identity;
mod output_stream;
mod patience;
mod start;
mod tls;
mod turns;

pub use address::{AddressError, DEFAULT_PORT, ServerAddress};
pub use airlock_proto::v1 as api;
pub use client::{Client, NetworkFacts, Target};
pub use dial::{DialError, TlsRefusal};
pub use end::{JobEnd, is_live, short_id, signal_name, signal_number, state_from_word, state_word};
pub use error::{Answer, Error};
pub use follow::{FollowEvent, Follower, OutputQuery, Start};
pub use identity::{CertificateFacts, Identity, IdentityError};
pub use start::Started;
