//! One module for each command word.

pub mod archive;
pub mod attach;
pub mod delete;
pub mod list;
pub mod logs;
pub mod run;
pub mod signal;
pub mod status;
pub mod stop;
pub mod wait;
