//! What hostile peers do. Each attack is a function that opens one of its connections.

use iscsi_proto::ids::Itt;
use iscsi_proto::pdu::{
    BHS_LEN, NopOut, ScsiCommand, TaskAttribute, TaskFunction, TaskManagementRequest, TextRequest,
};
use iscsi_proto::sn::CmdSn;
use rustix::net::SendFlags;
use scsi_core::cdb::encode::encode as encode_cdb;
use scsi_core::cdb::{Cdb, Extent};
use tgt_tests::load::{LoadError, Opened, UnitName, encode, fail_proof};

use super::crowd::{AtEnd, From, Place, Script};
use super::{ACCOUNT, BLOCK_LEN};
use crate::workload::selects;

/// An attack by many connections of one kind.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// What the connections do, for the table.
    pub(super) what: &'static str,
    pub(super) connections: usize,
    pub(super) from: From,
    /// Threads that share the connections; each waits for one login at a time.
    pub(super) threads: usize,
    pub(super) open: fn(Place<'_>) -> Result<Script, LoadError>,
    /// Honest sessions with the same offered load, beside which the victim is measured for comparison.
    pub(super) honest: Honest,
    /// The connections send nothing after they have begun, so the daemon must be idle without the victim.
    pub(super) holds: bool,
    pub(super) needs: Needs,
    /// Loops of the target.
    pub(super) loops: usize,
}

/// What the daemon is configured with besides the usual.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Needs {
    Nothing,
    /// Many targets.
    Targets,
    /// Many accounts of the target whose logins need a proof.
    Accounts,
}

/// Honest sessions in place of the attackers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Honest {
    /// Sessions without commands.
    Idle(usize),
    /// Sessions with reads.
    Reads { sessions: usize, transfer_len: u32, depth: usize },
}

const FLOODERS: usize = 16;
/// Requests in a script that is repeated.
const BATCH: u32 = 32;
/// Registrants of READ FULL STATUS.
const REGISTRANTS: usize = 256;
/// Receive buffer of a connection that does not read, in bytes.
const SMALL_BUFFER: usize = 4096;
/// Commands of a session: the command window.
const WINDOW: u32 = 128;
const LONG_READ_LEN: u32 = 8 << 20;
const LONG_WRITE_LEN: u32 = 256 << 10;

const READS: Honest = Honest::Reads { sessions: FLOODERS, transfer_len: 4096, depth: BATCH as usize };
const FLOOD: Attack = Attack {
    name: "",
    what: "",
    connections: FLOODERS,
    from: From::Addresses(4),
    threads: 2,
    open: silent,
    honest: READS,
    holds: false,
    needs: Needs::Nothing,
    loops: 1,
};
const HELD: Attack = Attack { honest: Honest::Idle(0), holds: true, ..FLOOD };

/// All attacks, in the order in which they are made.
#[rustfmt::skip]
pub(super) const ATTACKS: &[Attack] = &[
    Attack { name: "silent", what: "1024 connections of 4 addresses that send nothing", connections: 1024, open: silent, ..HELD },
    Attack { name: "silent-own", what: "256 of the new initiator's own address", connections: 256, from: From::Victims, open: silent, ..HELD },
    Attack { name: "urgent", what: "16 connections with a byte of urgent data", open: urgent, honest: Honest::Idle(8), ..HELD },
    Attack { name: "targets-unread", what: "512 discovery sessions, SendTargets of 1000 targets, not read", connections: 512, threads: 8, open: targets_unread, honest: Honest::Idle(0), needs: Needs::Targets, ..FLOOD },
    Attack { name: "targets-read", what: "128 discovery sessions of one address, SendTargets, read", connections: 128, from: From::Addresses(1), threads: 8, open: targets_read, honest: Honest::Idle(0), needs: Needs::Targets, ..FLOOD },
    Attack { name: "short-data", what: "2100 headers that announce immediate data, one byte of it", connections: 2100, threads: 8, open: short_data, honest: Honest::Idle(256), ..HELD },
    Attack { name: "held-data", what: "22 sessions whose unsolicited data does not end", connections: 22, open: held_data, honest: Honest::Idle(22), ..HELD },
    Attack { name: "unread-reads", what: "4 sessions with 128 direct reads of 8 MiB, not read", connections: 4, open: unread_reads, honest: Honest::Idle(4), ..HELD },
    Attack { name: "unread-nops", what: "256 sessions that ping, not read", connections: 256, threads: 4, open: unread_nops, honest: Honest::Idle(256), ..HELD },
    Attack { name: "one-name", what: "17000 sessions of one initiator name", connections: 17_000, from: From::Addresses(2), threads: 8, open: one_name, honest: Honest::Idle(0), ..FLOOD },
    Attack { name: "inquiry", what: "16 sessions, immediate INQUIRY without pause", open: inquiries, ..FLOOD },
    Attack { name: "ready", what: "16 sessions, immediate TEST UNIT READY", open: unit_readies, ..FLOOD },
    Attack { name: "text", what: "16 sessions, immediate text requests", open: texts, ..FLOOD },
    Attack { name: "abort", what: "16 sessions, ABORT TASK", open: aborts, ..FLOOD },
    Attack { name: "full-status", what: "16 sessions, READ FULL STATUS with 256 registrants", connections: REGISTRANTS, open: full_statuses, ..FLOOD },
    Attack { name: "unread-status", what: "the same, not read", connections: REGISTRANTS, open: unread_statuses, ..FLOOD },
    Attack { name: "inquiry-loops", what: "as inquiry, the target on two loops", open: inquiries, loops: 2, ..FLOOD },
    Attack { name: "abort-loops", what: "as abort, the target on two loops", open: aborts, loops: 2, ..FLOOD },
    Attack { name: "full-status-loops", what: "as full-status, the target on two loops", connections: REGISTRANTS, open: full_statuses, loops: 2, ..FLOOD },
    Attack { name: "restarts", what: "4 sessions that start 128 direct reads of 8 MiB and close", connections: 4, threads: 4, open: restarts, honest: Honest::Reads { sessions: 4, transfer_len: 1 << 20, depth: 8 }, ..FLOOD },
    Attack { name: "proofs", what: "16 logins at a time with a wrong proof", threads: FLOODERS, open: proofs, honest: Honest::Idle(0), ..FLOOD },
    Attack { name: "accounts", what: "the same, at a target with 4000 accounts", threads: FLOODERS, open: proofs, honest: Honest::Idle(0), needs: Needs::Accounts, ..FLOOD },
    Attack { name: "callback", what: "16 logins at a time that run a redirect command", threads: FLOODERS, open: callbacks, honest: Honest::Idle(0), ..FLOOD },
];

fn silent(place: Place<'_>) -> Result<Script, LoadError> {
    Ok(Script::new(place.port().connect(place.field.portal)?, Vec::new(), AtEnd::Keep, false)?)
}

/// Half of the connections log in before.
fn urgent(place: Place<'_>) -> Result<Script, LoadError> {
    let socket = if place.number.is_multiple_of(2) {
        place.port().connect(place.field.portal)?
    } else {
        Opened::log_in(place.field.portal, place.port(), Some(&place.field.unit))?.socket
    };
    rustix::net::send(&socket, &[0], SendFlags::OOB)?;
    Ok(Script::new(socket, Vec::new(), AtEnd::Keep, false)?)
}

fn targets_unread(place: Place<'_>) -> Result<Script, LoadError> {
    send_targets(place, false)
}

fn targets_read(place: Place<'_>) -> Result<Script, LoadError> {
    send_targets(place, true)
}

fn send_targets(place: Place<'_>, takes: bool) -> Result<Script, LoadError> {
    let mut port = place.port();
    port.receive_buffer = (!takes).then_some(SMALL_BUFFER);
    let opened = Opened::log_in(place.field.portal, port, None)?;
    let requests = batch(&opened, |opened, itt| encode(text(opened, itt), b"SendTargets=All\0"));
    Ok(Script::new(opened.socket, requests, AtEnd::Repeat, takes)?)
}

fn short_data(place: Place<'_>) -> Result<Script, LoadError> {
    let opened = Opened::log_in(place.field.portal, place.port(), Some(&place.field.unit))?;
    let data = vec![0; opened.max_data_len.min(LONG_WRITE_LEN as usize)];
    let mut bytes = encode(long_write(&opened, 0), &data);
    bytes.truncate(BHS_LEN + 1);
    Ok(Script::new(opened.socket, bytes, AtEnd::Keep, false)?)
}

/// Three quarters of the data come with the commands; the rest, announced as unsolicited, never comes.
fn held_data(place: Place<'_>) -> Result<Script, LoadError> {
    let opened = Opened::log_in(place.field.portal, place.port(), Some(&place.field.unit))?;
    let data = vec![0; opened.max_data_len.min(LONG_WRITE_LEN as usize / 4 * 3)];
    let writes = (0..WINDOW).flat_map(|number| encode(long_write(&opened, number), &data)).collect();
    Ok(Script::new(opened.socket, writes, AtEnd::Keep, true)?)
}

fn unread_reads(place: Place<'_>) -> Result<Script, LoadError> {
    long_reads(place, AtEnd::Keep)
}

fn restarts(place: Place<'_>) -> Result<Script, LoadError> {
    long_reads(place, AtEnd::Close)
}

fn long_reads(place: Place<'_>, end: AtEnd) -> Result<Script, LoadError> {
    let mut port = place.port();
    port.receive_buffer = Some(SMALL_BUFFER);
    let opened = Opened::log_in(place.field.portal, port, Some(&place.field.direct))?;
    let blocks = LONG_READ_LEN / BLOCK_LEN;
    let cdb = cdb(&Cdb::Read(Extent { lba: 0, blocks, ..Extent::default() }));
    let reads = (0..WINDOW).flat_map(|number| {
        let cmd_sn = CmdSn(opened.cmd_sn.0.wrapping_add(number));
        encode(ScsiCommand { immediate: false, cmd_sn, ..read(&opened, number, cdb, LONG_READ_LEN) }, &[])
    });
    let reads = reads.collect();
    Ok(Script::new(opened.socket, reads, end, false)?)
}

fn unread_nops(place: Place<'_>) -> Result<Script, LoadError> {
    let mut port = place.port();
    port.receive_buffer = Some(SMALL_BUFFER);
    let opened = Opened::log_in(place.field.portal, port, Some(&place.field.unit))?;
    let ping = |opened: &Opened, itt| {
        let ping = NopOut {
            immediate: true,
            lun: [0; 8],
            itt: Some(itt),
            ttt: None,
            cmd_sn: opened.cmd_sn,
            exp_stat_sn: opened.exp_stat_sn,
        };
        encode(ping, &[0; 4096])
    };
    let pings = batch(&opened, ping);
    Ok(Script::new(opened.socket, pings, AtEnd::Repeat, false)?)
}

fn one_name(place: Place<'_>) -> Result<Script, LoadError> {
    let opened = Opened::log_in(place.field.portal, place.port_named("one-name"), Some(&place.field.unit))?;
    Ok(Script::new(opened.socket, Vec::new(), AtEnd::Keep, false)?)
}

fn inquiries(place: Place<'_>) -> Result<Script, LoadError> {
    flood(place, |opened, itt| encode(read(opened, itt.0, padded(&[0x12, 0, 0, 0, 255, 0]), 255), &[]))
}

fn unit_readies(place: Place<'_>) -> Result<Script, LoadError> {
    flood(place, |opened, itt| encode(read(opened, itt.0, [0; 16], 0), &[]))
}

fn texts(place: Place<'_>) -> Result<Script, LoadError> {
    flood(place, |opened, itt| encode(text(opened, itt), b"SendTargets=\0"))
}

fn aborts(place: Place<'_>) -> Result<Script, LoadError> {
    flood(place, |opened, itt| {
        let abort = TaskManagementRequest {
            immediate: true,
            function: TaskFunction::ABORT_TASK,
            lun: opened.lun,
            itt,
            referenced_task: Some(Itt(0x7fff_ffff)),
            cmd_sn: opened.cmd_sn,
            exp_stat_sn: opened.exp_stat_sn,
            ref_cmd_sn: CmdSn(opened.cmd_sn.0.wrapping_sub(1)),
            exp_data_sn: 0,
        };
        encode(abort, &[])
    })
}

fn full_statuses(place: Place<'_>) -> Result<Script, LoadError> {
    read_full_status(place, true)
}

fn unread_statuses(place: Place<'_>) -> Result<Script, LoadError> {
    read_full_status(place, false)
}

/// All connections register a key; some send READ FULL STATUS.
fn read_full_status(place: Place<'_>, takes: bool) -> Result<Script, LoadError> {
    let register = padded(&[0x5f, 0, 0, 0, 0, 0, 0, 0, 24]);
    let mut keys = [0; 24];
    keys[8..16].copy_from_slice(&(place.number as u64 + 1).to_be_bytes());
    let (field, mut port) = (place.field, place.port());
    port.receive_buffer = (!takes).then_some(SMALL_BUFFER);
    let opened = Opened::log_in_and_run(field.portal, port, &field.unit, (register, &keys))?;
    let full_status = padded(&[0x5e, 3, 0, 0, 0, 0, 0, 0xff, 0xff]);
    let requests = batch(&opened, |opened, itt| encode(read(opened, itt.0, full_status, 0xffff), &[]));
    let (requests, end) =
        if place.number < FLOODERS { (requests, AtEnd::Repeat) } else { (Vec::new(), AtEnd::Keep) };
    Ok(Script::new(opened.socket, requests, end, takes)?)
}

/// Never opens: each try is a login that is refused.
fn proofs(place: Place<'_>) -> Result<Script, LoadError> {
    fail_proof(place.field.portal, place.port(), &place.field.chap_target, ACCOUNT)?;
    Err(LoadError::Closed)
}

/// Logs in to the target that redirects; a login that succeeds is repeated too.
fn callbacks(place: Place<'_>) -> Result<Script, LoadError> {
    let unit = UnitName { target: place.field.redirecting.clone(), lun: 1 };
    Opened::log_in(place.field.portal, place.port(), Some(&unit))?;
    Err(LoadError::Closed)
}

/// A session that sends these immediate requests without pause and reads the answers.
fn flood(place: Place<'_>, request: fn(&Opened, Itt) -> Vec<u8>) -> Result<Script, LoadError> {
    let opened = Opened::log_in(place.field.portal, place.port(), Some(&place.field.unit))?;
    let requests = batch(&opened, request);
    Ok(Script::new(opened.socket, requests, AtEnd::Repeat, true)?)
}

fn batch(opened: &Opened, request: impl Fn(&Opened, Itt) -> Vec<u8>) -> Vec<u8> {
    (0..BATCH).flat_map(|number| request(opened, Itt(number))).collect()
}

/// An immediate command with this much Data-In.
fn read(opened: &Opened, itt: u32, cdb: [u8; 16], expected_len: u32) -> ScsiCommand {
    ScsiCommand {
        immediate: true,
        last: true,
        read: expected_len > 0,
        write: false,
        attribute: TaskAttribute::Simple,
        lun: opened.lun,
        itt: Itt(itt),
        expected_len,
        cmd_sn: opened.cmd_sn,
        exp_stat_sn: opened.exp_stat_sn,
        cdb,
    }
}

/// A write that announces unsolicited data.
fn long_write(opened: &Opened, number: u32) -> ScsiCommand {
    let extent = Extent { lba: 0, blocks: LONG_WRITE_LEN / BLOCK_LEN, ..Extent::default() };
    let cdb = cdb(&Cdb::Write(extent));
    let cmd_sn = CmdSn(opened.cmd_sn.0.wrapping_add(number));
    let command = read(opened, number, cdb, LONG_WRITE_LEN);
    ScsiCommand { immediate: false, last: false, read: false, write: true, cmd_sn, ..command }
}

fn text(opened: &Opened, itt: Itt) -> TextRequest {
    TextRequest {
        immediate: true,
        last: true,
        continues: false,
        lun: [0; 8],
        itt,
        ttt: None,
        cmd_sn: opened.cmd_sn,
        exp_stat_sn: opened.exp_stat_sn,
    }
}

/// # Panics
/// The command has no encoding.
fn cdb(command: &Cdb) -> [u8; 16] {
    encode_cdb(command).expect("reads and writes have an encoding").padded()
}

fn padded(cdb: &[u8]) -> [u8; 16] {
    let mut padded = [0; 16];
    padded[..cdb.len()].copy_from_slice(cdb);
    padded
}

/// The attacks that `names` select: NAME, NAME* or all.
pub(super) fn choose(names: &[String]) -> Result<Vec<&'static Attack>, String> {
    let mut chosen = Vec::new();
    for name in names {
        let before = chosen.len();
        chosen.extend(ATTACKS.iter().filter(|attack| selects(name, attack.name)));
        if chosen.len() == before {
            let valid: Vec<_> = ATTACKS.iter().map(|attack| attack.name).collect();
            return Err(format!("unknown attack {name}; valid: {}", valid.join(", ")));
        }
    }
    Ok(chosen)
}

impl Honest {
    /// Number of sessions.
    pub(super) fn sessions(self) -> usize {
        match self {
            Self::Idle(sessions) | Self::Reads { sessions, .. } => sessions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_names_are_unique_and_chosen_by_prefix() {
        let mut names: Vec<_> = ATTACKS.iter().map(|attack| attack.name).collect();
        let chosen = choose(&["silent*".to_owned(), "text".to_owned()]).unwrap();
        assert_eq!(
            chosen.iter().map(|attack| attack.name).collect::<Vec<_>>(),
            ["silent", "silent-own", "text"]
        );
        assert!(choose(&["nothing".to_owned()]).is_err());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ATTACKS.len());
    }
}
