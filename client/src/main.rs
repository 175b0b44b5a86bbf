//! `postern`, the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    postern::main()
}
