//! `tgt-admin`: makes a running daemon what a configuration file says.
//!
//! The file is read ([`config`]) and so is the daemon ([`running`]); what is to be done are `tgtadm` commands
//! ([`command`]), which are printed as stock prints them and sent without a `tgtadm` process each.

pub mod command;
pub mod config;
mod console;
mod device;
mod dump;
mod execute;
mod files;
pub mod invocation;
mod make;
mod outcome;
mod plan;
mod portrait;
mod remake;
pub mod running;
mod secrets;
mod update;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use command::{Command, Commands};
use config::Config;
use console::{MISTAKE, Stop, USAGE, complain, passed_over, refused, say, warn};
use invocation::{Action, Invocation, help, help_on};
use running::Running;

use crate::Refusal;

/// `tgt-admin`, from its arguments (the program's name first) to its exit code.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> =
        arguments.into_iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let nothing_wanted = words.is_empty();
    let invocation = Invocation::read(&words);
    invocation.complaints.iter().for_each(complain);
    if !invocation.complaints.is_empty() {
        return ExitCode::from(USAGE.0);
    }
    let Some(action) = invocation.action.clone() else {
        say(if nothing_wanted { help() } else { "No action specified.".to_owned() });
        return ExitCode::SUCCESS;
    };
    match Admin::new(invocation).act(&action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop(code)) => ExitCode::from(code),
    }
}

/// One run of the tool.
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
            Action::Undecided => {
                say("Invalid value (you can't use both ready and offline)!");
                return Err(MISTAKE);
            }
            Action::Plan(which) => return self.show_plan(which),
            Action::Update(which) => return self.update(which),
            Action::Dump => return self.dump(),
        }
        Ok(())
    }

    /// Reads the file; what is wrong with it is said.
    fn configuration(&mut self) -> Result<Config, Stop> {
        let path = Path::new(&self.conf);
        if !path.exists() {
            complain(format_args!("Config file {} not found. Exiting...", self.conf));
            return Err(USAGE);
        }
        self.tell(&format!("# Using {} as configuration file\n", self.conf));
        let entries = config::read(path, &files::Disk).map_err(|mistake| vec![mistake]);
        let config = entries.and_then(config::understand).map_err(|mistakes| {
            mistakes.iter().for_each(warn);
            complain("Check your config file for errors.");
            MISTAKE
        })?;
        config.warnings.iter().for_each(warn);
        for refused in &config.refused {
            refused.mistakes.iter().for_each(warn);
            complain(format_args!("Check your config file for errors (target: {})", refused.name));
        }
        if let Some(port) = &config.control_port {
            if self.commands.port != "0" && self.commands.port != *port {
                warn(format_args!(
                    "the file says 'control-port {port}', the command line {}",
                    self.commands.port
                ));
                return Err(MISTAKE);
            }
            self.commands.port.clone_from(port);
        }
        self.ignore_errors |= config.ignore_errors;
        Ok(config)
    }

    /// Reads the daemon. Without one, a pretence is one of a daemon without targets.
    fn running(&self) -> Result<Running, Stop> {
        match Running::ask(&self.commands) {
            Err(refusal) if self.pretend => {
                passed_over(&refusal);
                Ok(Running::default())
            }
            answer => answer.map_err(|refusal| refused(&self.commands.show("target", None), &refusal)),
        }
    }

    /// Comments and commands are for who asked to see them.
    fn tell(&self, line: &str) {
        if self.verbose {
            say(line);
        }
    }

    fn print(&self, command: &Command) {
        self.tell(command.text());
    }

    /// Sends a command, unless it is a pretence.
    fn send(&self, command: &Command) -> Result<(), Stop> {
        self.try_send(command).or_else(|refusal| self.fail_unless_ignored(command, &refusal))
    }

    /// The same; what the daemon refuses is not said yet.
    fn try_send(&self, command: &Command) -> Result<(), Refusal> {
        self.print(command);
        if self.pretend { Ok(()) } else { command.send().map(drop) }
    }

    /// Says that a command was refused. It is a failure unless errors are ignored.
    fn fail_unless_ignored(&self, command: &Command, refusal: &Refusal) -> Result<(), Stop> {
        if self.ignore_errors {
            passed_over(refusal);
            return Ok(());
        }
        Err(refused(command, refusal))
    }
}

const DEFAULT_CONF: &str = "/etc/tgt/targets.conf";
