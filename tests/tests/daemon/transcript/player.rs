//! Runs a script on a daemon and records the answers.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;

use scsi_core::page::read_capacity::ReadCapacity;

use super::recording::{Answer, Entry};
use super::script::{Command, Section, Step};
use crate::client::{Client, End};
use crate::harness::{Brand, Daemon, free_port, wait_until};

/// Options with which our daemon behaves as tgt's.
pub(super) const COMPATIBLE: &[&str] = &["--compat-ids", "--compat-defaults"];

/// Runs a script, with a new daemon for each section.
pub(super) fn play(script: &[Section], daemon: Brand, tool: Brand) -> Vec<Entry> {
    script.iter().flat_map(|section| Player::start(daemon, tool).play(section)).collect()
}

/// A daemon and its initiators.
pub(super) struct Player {
    daemon: Daemon,
    tool: Brand,
    clients: HashMap<String, Client>,
    /// Placeholders and their values.
    placeholders: Vec<(&'static str, String)>,
}

impl Player {
    pub(super) fn start(brand: Brand, tool: Brand) -> Self {
        let options = if brand == Brand::Ours { COMPATIBLE } else { &[] };
        let daemon = Daemon::start_at("0", brand, tool, options);
        let directory = daemon.path("").to_str().expect("text").trim_end_matches('/').to_owned();
        let placeholders = vec![
            ("{dir}", directory),
            ("{portal}", daemon.portal.to_string()),
            ("{free}", free_port().to_string()),
        ];
        Self { daemon, tool, clients: HashMap::new(), placeholders }
    }

    fn play(mut self, section: &Section) -> Vec<Entry> {
        let mut entries = Vec::new();
        for step in &section.steps {
            let (command, answer) = match step {
                Step::Command(command) => (command, self.run(command)),
                Step::Capacity(command) => (command, capacity(self.client(&command.words[0]))),
                step => {
                    self.prepare(step);
                    continue;
                }
            };
            entries.push(Entry { request: format!("[{}] {}", section.name, command.name), answer });
        }
        entries
    }

    fn run(&self, command: &Command) -> Answer {
        let words: Vec<String> = command.words.iter().map(|word| self.fill(word)).collect();
        let output = self.daemon.plain_adm(self.tool, &words);
        if String::from_utf8_lossy(&output.stderr).contains("closed the socket") {
            // Waits until the daemon has exited, so that the next command has a stable answer.
            is_alive(&self.daemon);
        }
        let mut answer = Answer::default();
        match (output.status.code(), output.status.signal()) {
            (Some(code), _) => answer.line(format_args!("exit {code}")),
            (None, signal) => answer.line(format_args!("signal {}", signal.unwrap_or_default())),
        }
        for (name, bytes) in [("out", &output.stdout), ("err", &output.stderr)] {
            answer.text(name, &self.empty(&String::from_utf8_lossy(bytes)));
        }
        answer
    }

    fn prepare(&mut self, step: &Step) {
        match step {
            Step::Command(_) | Step::Capacity(_) => {}
            Step::File(name, mib) => {
                let file = File::create(self.daemon.path(name)).expect("a file");
                file.set_len(mib << 20).expect("a length");
            }
            Step::Login { initiator, tid, lun } => {
                let client = Client::login_by(&self.daemon, &initiator_name(initiator), *tid, *lun);
                self.clients.insert(initiator.clone(), client);
            }
            Step::Use(initiator) => use_all(self.client(initiator)),
            Step::Prevent(initiator) => {
                let prevent = [0x1e, 0, 0, 0, 1, 0];
                self.client(initiator).command(&prevent, 0, &[]).expect("PREVENT ALLOW MEDIUM REMOVAL");
            }
            Step::Leave(initiator) => {
                drop(self.clients.remove(initiator));
                self.wait_until_gone(initiator);
            }
            Step::Ended(initiator) => {
                let mut client = self.clients.remove(initiator).expect("an initiator that has logged in");
                assert!(
                    matches!(client.read(0, 1), Err(End::Closed(_))),
                    "the session of {initiator} has ended"
                );
                self.wait_until_gone(initiator);
            }
        }
    }

    fn client(&mut self, initiator: &str) -> &mut Client {
        self.clients.get_mut(initiator).expect("an initiator that has logged in")
    }

    fn wait_until_gone(&self, initiator: &str) {
        let name = initiator_name(initiator);
        let words = ["--mode", "target", "--op", "show"].map(str::to_owned);
        wait_until("a session has ended", || {
            let shown = self.daemon.plain_adm(self.tool, &words);
            !String::from_utf8_lossy(&shown.stdout).contains(&name)
        });
    }

    /// Replaces the placeholders of a word by their values.
    pub(super) fn fill(&self, word: &str) -> String {
        self.placeholders
            .iter()
            .fold(word.to_owned(), |word, (placeholder, value)| word.replace(placeholder, value))
    }

    /// Replaces the values, which differ between daemons, by their placeholders.
    pub(super) fn empty(&self, text: &str) -> String {
        self.placeholders
            .iter()
            .fold(text.to_owned(), |text, (placeholder, value)| text.replace(value, placeholder))
    }
}

/// Whether a daemon is still running after its last request.
pub(super) fn is_alive(daemon: &Daemon) -> bool {
    let mut alive = None;
    wait_until("a daemon answers or has exited", || {
        let output = daemon.try_adm(&["--mode", "account", "--op", "show"]);
        alive = match output.status.code() {
            Some(107) => Some(false),
            Some(0) if output.stderr.is_empty() => Some(true),
            // It is dying.
            _ => None,
        };
        alive.is_some()
    });
    alive == Some(true)
}

fn initiator_name(initiator: &str) -> String {
    format!("iqn.2026-01.org.example:{initiator}")
}

/// The data of READ CAPACITY (16) as an answer.
fn capacity(client: &mut Client) -> Answer {
    client.command(&[0; 6], 0, &[]).expect("TEST UNIT READY");
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
    let data = client.command(&cdb, 32, &[]).expect("READ CAPACITY (16)");
    let capacity = ReadCapacity::decode_16(&data).expect("32 bytes");
    let mut answer = Answer::default();
    answer.line(format_args!("last block {}, of {} bytes", capacity.last_lba, capacity.block_len));
    answer.line(format_args!("logical blocks in a physical one: {}", 1 << capacity.physical_exponent));
    answer.line(format_args!("lowest aligned block {}", capacity.lowest_aligned_lba));
    answer
}

/// Runs commands of several kinds, one of which fails.
fn use_all(client: &mut Client) {
    client.command(&[0; 6], 0, &[]).expect("TEST UNIT READY");
    client.write(0, &[5; 4096]).expect("WRITE");
    client.write(8, &[6; 65536]).expect("WRITE");
    client.read(0, 256).expect("READ");
    client.command(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]).expect("SYNCHRONIZE CACHE");
    assert!(matches!(client.read(u32::MAX, 8), Err(End::Status(..))), "the block does not exist");
}
