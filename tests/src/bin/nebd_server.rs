//! The nebd-server of the tests as a process, so that it can be killed and stopped.
//!
//! ```text
//! nebd_server DIRECTORY
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use tgt_tests::servers::nebd::NebdServer;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: nebd_server DIRECTORY");
        return ExitCode::FAILURE;
    };
    let _server = NebdServer::start(&directory);
    loop {
        std::thread::park();
    }
}
