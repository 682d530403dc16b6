//! The program `virtscope`.

use std::process::ExitCode;

fn main() -> ExitCode {
    virtscope::main()
}
