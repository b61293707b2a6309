//! End-to-end tests over the real binaries; each function's name says what holds.
