//! `connectoid`: the relay, and the command line around it.

use std::process::ExitCode;

fn main() -> ExitCode {
    connectoid::cli::run()
}
