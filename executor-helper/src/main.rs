//! airlock-executor: see the library for what it is.

fn main() -> std::process::ExitCode {
    executor_helper::start::main()
}
