//! `postern`, the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    program::keep_memory_private();
    postern::main()
}
