//! The `grootfs` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    grootfs::cli::run(std::env::args_os())
}
