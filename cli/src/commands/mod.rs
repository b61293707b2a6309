//! One module for each command word.

pub mod archive;
pub mod attach;
pub mod certs;
pub mod context;
pub mod delete;
pub mod doctor;
pub mod list;
pub mod logs;
pub mod manual;
pub mod run;
pub mod signal;
pub mod status;
pub mod stop;
pub mod wait;
pub mod whoami;
