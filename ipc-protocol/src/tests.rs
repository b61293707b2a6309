//! What is promised about the wire: fixed bytes, one form of each message, bounds, and a second implementation that agrees.

mod differential;
mod frames;
mod golden;
mod hostile_bytes;
mod identifiers;
mod limits;
mod properties;
mod samples;
mod strategies;
mod versions;
mod words;
