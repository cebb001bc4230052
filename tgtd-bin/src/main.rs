//! `tgtd`, the target daemon: reads the options, starts the log, detaches if asked to, and runs the server.

mod args;
mod assembly;
mod daemon;
mod export;
mod failure;
mod identity;
mod iser;
mod logging;

use std::io::IsTerminal;
use std::process::ExitCode;

use args::{Args, Ended};
use daemon::PidFile;
use failure::Failure;
use logging::FlushAtEnd;

fn main() -> ExitCode {
    let _flush = FlushAtEnd;
    let args = match Args::from_process() {
        Ok(args) => args,
        Err(Ended::Printed) => return ExitCode::SUCCESS,
        Err(Ended::Invalid(code)) => return code.into(),
    };
    match run(&args) {
        Ok(code) => code.into(),
        Err(failure) => {
            logging::print_error(&format_args!("tgtd: {failure}"));
            if !args.logs_to_stderr() {
                log::error!("{failure}");
            }
            failure.exit_code().into()
        }
    }
}

/// Runs the daemon, or starts it in the background; returns the exit code.
fn run(args: &Args) -> Result<u8, Failure> {
    if !args.stays() {
        return daemon::start_detached();
    }
    logging::start(args.logs_to_stderr(), args.debug())?;
    // With --export, or without root's privileges, the limits are not expected to be raised.
    daemon::raise_limits(args.exports.is_empty() && rustix::process::geteuid().is_root());
    daemon::protect_memory()?;
    if !args.iser.is_empty() {
        log::warn!("--iser has no effect: RDMA is not supported, and the driver iser is in the state error");
    }
    let (server, shutdown) = assembly::bind(args)?;
    if args.detached {
        daemon::leave_starter()?;
    }
    let pid_file = args.pid_file.as_deref().filter(|_| args.detached);
    let _pid_file = pid_file.map(PidFile::write).transpose()?;
    let terminal = !args.detached && std::io::stdin().is_terminal();
    daemon::watch_signals(terminal, move || {
        daemon::notify_stopping();
        shutdown.shutdown();
    })?;
    server.run()?;
    log::info!("ended");
    Ok(0)
}
