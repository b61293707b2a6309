//! airlock-keeper: see the library's module `keeper` for what it is.

fn main() -> std::process::ExitCode {
    executor_helper::keeper::main()
}
