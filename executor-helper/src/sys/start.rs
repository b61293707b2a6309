//! Where airlock-keeper begins: the C start-up code calls `main`, since there is no Rust runtime.

#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int};

// SAFETY: the name that the C start-up code calls, with its signature.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    let word = if count == 2 {
        // SAFETY: the kernel and the start-up code pass `count` pointers to strings that stay for the life of the process.
        unsafe { CStr::from_ptr(*arguments.add(1)) }
    } else {
        c""
    };
    crate::run(word)
}
