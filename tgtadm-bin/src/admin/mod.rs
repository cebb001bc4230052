//! `tgt-admin`: configures a running daemon from a file.
//!
//! It reads the file ([`config`]) and the daemon's reports ([`running`]) and derives `tgtadm` commands from them
//! ([`command`]). It prints the commands as tgt's `tgt-admin` prints them, and sends the requests itself instead of
//! starting `tgtadm`.

pub mod command;
pub mod config;
mod console;
mod device;
mod dump;
mod execute;
mod files;
pub mod invocation;
mod outcome;
mod plan;
mod remake;
pub mod running;
mod secrets;
mod snapshot;
mod steps;
mod update;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use command::{Command, Commands};
use config::Config;
use console::{FAILURE, Stop, USAGE, print_error, print_refusal, refused, say, warn};
use invocation::{Action, Invocation, help, help_on};
use running::Running;

use crate::Refusal;

/// Runs `tgt-admin` with its arguments, of which the first is the program's name.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> =
        arguments.into_iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let no_arguments = words.is_empty();
    let invocation = Invocation::read(&words);
    invocation.errors.iter().for_each(print_error);
    if !invocation.errors.is_empty() {
        return ExitCode::from(USAGE.0);
    }
    let Some(action) = invocation.action.clone() else {
        say(if no_arguments { help() } else { "No action specified.".to_owned() });
        return ExitCode::SUCCESS;
    };
    match Admin::new(invocation).act(&action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop(code)) => ExitCode::from(code),
    }
}

/// One run of `tgt-admin`: its options and the commands for its daemon.
struct Admin {
    commands: Commands,
    conf: String,
    verbose: bool,
    pretend: bool,
    ignore_errors: bool,
    force: bool,
}

impl Admin {
    fn new(invocation: Invocation) -> Self {
        Self {
            commands: Commands { port: invocation.control_port.unwrap_or_else(|| "0".to_owned()) },
            conf: invocation.conf.unwrap_or_else(|| DEFAULT_CONF.to_owned()),
            verbose: invocation.verbose,
            pretend: invocation.pretend,
            ignore_errors: invocation.ignore_errors,
            force: invocation.force,
        }
    }

    fn act(&mut self, action: &Action) -> Result<(), Stop> {
        match action {
            Action::Help => say(help()),
            Action::Version => say(env!("CARGO_PKG_VERSION")),
            Action::Update(which) if which == "help" => say(help_on("update")),
            Action::Plan(which) if which == "help" => say(help_on("plan")),
            Action::Delete(which) if which == "help" => say(help_on("delete")),
            Action::State(which, state) if which == "help" => say(help_on(state)),
            Action::Show => {
                let command = self.commands.show("target", None);
                self.print(&command);
                if !self.pretend {
                    let text = command.send().map_err(|refusal| refused(&command, &refusal))?;
                    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
                }
            }
            Action::Execute => return self.execute(),
            Action::Delete(which) => return self.delete(which),
            Action::State(which, state) => return self.set_state(which, state),
            Action::ConflictingStates => {
                say("Invalid value (you can't use both ready and offline)!");
                return Err(FAILURE);
            }
            Action::Plan(which) => return self.show_plan(which),
            Action::Update(which) => return self.update(which),
            Action::Dump => return self.dump(),
        }
        Ok(())
    }

    /// Reads the configuration file and prints its errors and warnings.
    fn configuration(&mut self) -> Result<Config, Stop> {
        let path = Path::new(&self.conf);
        if !path.exists() {
            print_error(format_args!("Config file {} not found. Exiting...", self.conf));
            return Err(USAGE);
        }
        self.print_verbose(&format!("# Using {} as configuration file\n", self.conf));
        let entries = config::read(path, &files::Disk).map_err(|error| vec![error]);
        let config = entries.and_then(config::interpret).map_err(|errors| {
            errors.iter().for_each(warn);
            print_error("Check your config file for errors.");
            FAILURE
        })?;
        config.warnings.iter().for_each(warn);
        for refused in &config.refused {
            refused.errors.iter().for_each(warn);
            print_error(format_args!("Check your config file for errors (target: {})", refused.name));
        }
        if let Some(port) = &config.control_port {
            if self.commands.port != "0" && self.commands.port != *port {
                warn(format_args!(
                    "the file has 'control-port {port}', the command line has {}",
                    self.commands.port
                ));
                return Err(FAILURE);
            }
            self.commands.port.clone_from(port);
        }
        self.ignore_errors |= config.ignore_errors;
        Ok(config)
    }

    /// Reads the daemon's reports. With `--pretend`, an absent daemon counts as one without targets.
    fn running(&self) -> Result<Running, Stop> {
        match Running::ask(&self.commands) {
            Err(refusal) if self.pretend => {
                print_refusal(&refusal);
                Ok(Running::default())
            }
            answer => answer.map_err(|refusal| refused(&self.commands.show("target", None), &refusal)),
        }
    }

    /// Prints a comment or a command if `--verbose` is set.
    fn print_verbose(&self, line: &str) {
        if self.verbose {
            say(line);
        }
    }

    fn print(&self, command: &Command) {
        self.print_verbose(command.text());
    }

    /// Sends a command unless `--pretend` is set. A refusal is reported.
    fn send(&self, command: &Command) -> Result<(), Stop> {
        self.try_send(command).or_else(|refusal| self.fail_unless_ignored(command, &refusal))
    }

    /// Like [`Admin::send`], but returns a refusal without reporting it.
    fn try_send(&self, command: &Command) -> Result<(), Refusal> {
        self.print(command);
        if self.pretend { Ok(()) } else { command.send().map(drop) }
    }

    /// Reports a refused command. Succeeds if errors are ignored.
    fn fail_unless_ignored(&self, command: &Command, refusal: &Refusal) -> Result<(), Stop> {
        if self.ignore_errors {
            print_refusal(refusal);
            return Ok(());
        }
        Err(refused(command, refusal))
    }
}

/// The configuration file if `--conf` is not given.
const DEFAULT_CONF: &str = "/etc/tgt/targets.conf";
