//! How things look: text, JSON, tables, times, sizes.

pub mod card;
pub mod json;
pub mod loglines;
pub mod sizes;
pub mod style;
pub mod table;
pub mod time;

mod base64;
mod sanitize;

pub use sanitize::sanitize;
