//! `airlock-frontend`; see the library.

fn main() -> std::process::ExitCode {
    api_frontend::main()
}
