//! Single sessions: one that logs in and out, and one whose commands may hang.

use std::net::{SocketAddr, TcpStream};

use bytes::BytesMut;
use iscsi_proto::frame::{Digests, encode_pdu};
use iscsi_proto::ids::{Cid, Itt};
use iscsi_proto::pdu::{BHS_LEN, LogoutReason, LogoutRequest, Pdu, ScsiCommand, TaskAttribute};
use scsi_core::cdb::{Cdb, Extent};

use super::dial::{Dialler, InitiatorPort, cdb, dial};
use super::{LoadError, UnitName, odd};

/// Logs in as the initiator port `number`, reads the capacity of the unit, and logs out.
///
/// # Errors
/// The target refuses the login, a command fails, or no response arrives in time.
pub fn visit(portal: SocketAddr, unit: &UnitName, number: u32) -> Result<(), LoadError> {
    let mut dialler = Dialler::connect(portal, Digests::NONE, InitiatorPort::of_load(number))?;
    dialler.login(Some(unit))?;
    dialler.settle()?;
    let logout = LogoutRequest {
        immediate: false,
        reason: LogoutReason::CLOSE_SESSION,
        itt: Itt(dialler.cmd_sn.0),
        cid: Cid(0),
        cmd_sn: dialler.cmd_sn,
        exp_stat_sn: dialler.exp_stat_sn,
    };
    dialler.send(logout.into(), &[])?;
    match dialler.receive()? {
        (Pdu::LogoutResponse(_), _) => Ok(()),
        (other, _) => Err(odd(format!("unexpected {other:?}"))),
    }
}

/// Logs in and sends `reads` reads of one block. The commands are outstanding until the returned socket is dropped.
///
/// # Errors
/// The target refuses the login, or the connection fails.
pub fn leave_reads(
    portal: SocketAddr,
    unit: &UnitName,
    number: u32,
    reads: u32,
) -> Result<TcpStream, LoadError> {
    let dialled = dial(portal, unit, Digests::NONE, number)?;
    let mut bytes = BytesMut::new();
    let mut cmd_sn = dialled.next_cmd_sn;
    for lba in 0..u64::from(reads) {
        let command = ScsiCommand {
            immediate: false,
            last: true,
            read: true,
            write: false,
            attribute: TaskAttribute::Simple,
            lun: dialled.lun,
            itt: Itt(cmd_sn.0),
            expected_len: dialled.block_len,
            cmd_sn,
            exp_stat_sn: dialled.exp_stat_sn,
            cdb: cdb(&Cdb::Read(Extent { lba, blocks: 1, ..Extent::default() }))?.padded(),
        };
        let mut bhs = [0; BHS_LEN];
        Pdu::from(command).encode(&mut bhs);
        encode_pdu(&mut bytes, &bhs, &[], &[], Digests::NONE);
        cmd_sn = cmd_sn.next();
    }
    dialled.socket.set_nonblocking(false)?;
    std::io::Write::write_all(&mut &dialled.socket, &bytes)?;
    Ok(dialled.socket)
}
