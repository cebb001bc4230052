//! Entry point for fuzzers: a session that receives arbitrary PDUs, with a store that answers at once, late, or with an
//! error. It asserts that nothing panics and that nothing is left when the session has ended.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iscsi_proto::frame::{Digests, header_digest, trailer};
use iscsi_proto::ids::{Cid, Tsih};
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use iscsi_proto::pdu::{Bhs, set_lengths};
use iscsi_proto::sn::{CmdSn, StatSn};
use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::device::{Nexus, NexusId};
use scsi_core::lun::Lun;
use scsi_core::store::{
    Block, BlockOp, Completed, Completion, Engines, InlineOp, IoEngine, IoError, IoTag, Now, Port, Slot,
};

use super::receive::WorkLimit;
use super::session::Session;
use super::settings::TargetSettings;
use super::{Env, ShardEvent, TargetShard};
use crate::buffers::Pool;
use crate::iscsi::connection::NewConnection;
use crate::iscsi::text_exchange::{TextExchange, TextSession};
use crate::keys::ConnectionIndex;
use crate::test_store::TestStore;

/// Drives a session by a script. The first byte selects the negotiated parameters; steps follow, each a byte that selects
/// what happens, and the data of the step.
///
/// # Panics
/// An invariant does not hold.
pub fn connection(bytes: &[u8]) {
    let Some((control, mut script)) = bytes.split_first() else { return };
    let mut fuzzed = Fuzzed::new(*control);
    while let Some((step, rest)) = script.split_first() {
        script = rest;
        match step % 8 {
            // A PDU whose header comes from the input, with numbers and lengths that make sense.
            0..=3 => script = fuzzed.pdu(*step, script),
            // Bytes as they are.
            4 => {
                let (raw, rest) = script.split_at(script.len().min(usize::from(step >> 3)));
                fuzzed.feed(raw);
                script = rest;
            }
            5 => fuzzed.complete(),
            6 => fuzzed.wait(Duration::from_millis(500 * u64::from(step >> 3))),
            _ => fuzzed.flush(usize::from(step >> 3) * 16),
        }
    }
    fuzzed.end();
}

const STORE_LEN: usize = 64 << 10;

struct Fuzzed {
    shard: TargetShard,
    engines: Engines,
    pool: Pool,
    now: Instant,
    digests: Digests,
    cmd_sn: CmdSn,
    connection: ConnectionIndex,
}

impl Fuzzed {
    fn new(control: u8) -> Self {
        let flag = |bit: u8| control & 1 << bit != 0;
        let settings = TargetSettings {
            tid: 1,
            name: TARGET.to_owned(),
            max_queue_cmd: 8,
            nop_interval: Duration::from_secs(if flag(0) { 1 } else { 0 }),
            nop_count: 2,
            online: true,
        };
        let digests = Digests { header: flag(1), data: flag(2) };
        let session = SessionParams {
            initial_r2t: flag(3),
            immediate_data: flag(4),
            first_burst_len: 1024,
            max_burst_len: 2048,
            max_outstanding_r2t: if flag(5) { 3 } else { 1 },
            ..SessionParams::default()
        };
        let connection = ConnectionParams {
            header_digest: digests.header,
            data_digest: digests.data,
            max_recv_data_segment_len: 4096,
            max_xmit_data_segment_len: 512,
        };
        let mut fuzzed = Self {
            shard: TargetShard::new(0, Arc::new(settings)),
            engines: Engines::default(),
            pool: Pool::default(),
            now: Instant::now(),
            digests,
            cmd_sn: CmdSn(1),
            connection: ConnectionIndex::new(0),
        };
        let unit = Unit::new(UnitConfig::disk(1, 1), Some(Arc::new(store(flag(6), flag(7)))));
        fuzzed.with_env(|shard, env| {
            let lun = Lun::new(1).expect("1 is a unit's number");
            shard.add_unit(lun, unit, env).expect("the store can be attached");
        });
        fuzzed.connection = fuzzed.with_env(|shard, env| open(shard, &session, &connection, env));
        fuzzed
    }

    fn with_env<T>(&mut self, call: impl FnOnce(&mut TargetShard, &mut Env<'_>) -> T) -> T {
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        call(&mut self.shard, &mut env)
    }

    fn feed(&mut self, bytes: &[u8]) {
        let place = self.connection;
        self.with_env(|shard, env| shard.receive(place, bytes, WorkLimit::of_cost(usize::MAX), env));
    }

    /// A header of 12 bytes of the input, which say opcode, flags, tags and CDB, and up to 255 · 4 bytes of data.
    fn pdu<'a>(&mut self, step: u8, script: &'a [u8]) -> &'a [u8] {
        let Some((head, rest)) = script.split_first_chunk::<12>() else { return &[] };
        let mut bhs: Bhs = [0; 48];
        (bhs[0], bhs[1], bhs[2]) = (head[0], head[1], head[2]);
        bhs[9] = head[3] & 3;
        // Few tags, so that they meet; a quarter of them reserved.
        for (at, tag) in [(16, head[4]), (20, head[5])] {
            let tag = if tag & 3 == 3 { u32::MAX } else { u32::from(tag & 7) };
            bhs[at..at + 4].copy_from_slice(&tag.to_be_bytes());
        }
        let cmd_sn = self.cmd_sn.plus(u32::from(head[6] & 0x03));
        if head[0] & 0x40 == 0 && step & 0x80 == 0 {
            self.cmd_sn = self.cmd_sn.next();
        }
        bhs[24..28].copy_from_slice(&cmd_sn.0.to_be_bytes());
        if head[0] & 0x3f == 0x01 {
            bhs[22..24].copy_from_slice(&(u16::from(head[7]) * 64).to_be_bytes());
            (bhs[20], bhs[21]) = (0, 0);
            (bhs[32], bhs[33], bhs[37], bhs[40]) = (head[8], head[9], head[10], head[11]);
        } else {
            (bhs[39], bhs[42], bhs[43]) = (head[8], head[9], head[10]);
        }
        let (data, rest) = rest.split_at(rest.len().min(usize::from(step >> 2) * 16));
        set_lengths(&mut bhs, 0, data.len());
        let mut wire = bhs.to_vec();
        if self.digests.header {
            wire.extend_from_slice(&header_digest(&bhs, &[]));
        }
        wire.extend_from_slice(data);
        let (tail, len) = trailer([data], self.digests);
        wire.extend_from_slice(&tail[..len]);
        self.feed(&wire);
        rest
    }

    fn complete(&mut self) {
        let mut done = Vec::new();
        self.engines.kick();
        self.engines.reap(self.now, &mut done);
        for completion in done {
            self.with_env(|shard, env| shard.complete(completion, env));
        }
        self.with_env(TargetShard::run_ready);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        if self.shard.poll_timeout(self.now).is_some_and(|due| due <= self.now) {
            self.with_env(TargetShard::handle_timeout);
        }
    }

    /// The socket takes so many bytes.
    fn flush(&mut self, most: usize) {
        let Some(connection) = self.shard.connection(self.connection) else { return };
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = connection.slices(&mut slices);
        let offered: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
        connection.sent(offered.min(most), &mut self.pool);
        let over = connection.is_drained();
        let place = self.connection;
        self.with_env(|shard, env| {
            shard.resume_reads(place, env);
            if over {
                shard.close_connection(place, env);
            }
        });
    }

    /// Closes the connection and completes all operations: nothing may be left.
    fn end(mut self) {
        self.with_env(TargetShard::close_all);
        while self.shard.running() > 0 {
            self.complete();
        }
        assert!(self.shard.is_idle(), "the session has ended");
        assert_eq!(self.pool.used_bytes(), 0, "all blocks are back");
        assert_eq!(self.pool.reserved_bytes(), 0, "nothing is set aside");
        let mut events = Vec::new();
        self.shard.take_events(&mut events);
        let ended = events.iter().filter(|event| matches!(event, ShardEvent::SessionEnded(..))).count();
        assert_eq!(ended, 1, "the end of the session is reported once");
    }
}

const TARGET: &str = "iqn.2026-01.org.example:disk";

fn open(
    shard: &mut TargetShard,
    session: &SessionParams,
    connection: &ConnectionParams,
    env: &mut Env<'_>,
) -> ConnectionIndex {
    let name = IscsiName::parse(TARGET).expect("a good name");
    let address = SocketAddr::from(([192, 0, 2, 1], 3260));
    let new = NewConnection {
        cid: Cid(0),
        peer: address,
        local: address,
        params: connection,
        target_name: name.clone(),
        text: TextExchange::new(TextSession::Normal(name), *session, *connection),
        next_stat_sn: StatSn(1),
        stats: Arc::default(),
    };
    let nexus = Nexus { id: NexusId(1), initiator_port: "fuzzer".into(), target_port: 1 };
    shard.open(Session::new(Tsih(1), nexus, session, CmdSn(1), 8, Arc::default()), new, env)
}

/// A store that completes late, or with an error.
fn store(late: bool, fails: bool) -> TestStore {
    TestStore::attached_by(STORE_LEN as u64, move |engines| {
        let (engine, _) = engines.of_kind(|| Ok(Engine { late, fails, ..Engine::default() }))?;
        Ok(Port { engine, slot: Slot(0) })
    })
}

/// Asserts that offsets and lengths are in bounds, which the device server guarantees.
#[derive(Default)]
struct Engine {
    late: bool,
    fails: bool,
    waiting: Vec<(IoTag, BlockOp)>,
    cancelled: Vec<Completion>,
}

impl IoEngine for Engine {
    fn try_now(&mut self, _: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        match op {
            InlineOp::Read { offset, into } => {
                in_bounds(offset, into.len() as u64);
                if !self.late {
                    into.fill(0x5a);
                }
            }
            InlineOp::Write { offset, from } => in_bounds(offset, from.len() as u64),
        }
        (!self.late).then_some(if self.fails { Err(IoError::medium(0)) } else { Ok(Now::Moved) })
    }

    fn submit(&mut self, _: Slot, tag: IoTag, op: BlockOp) {
        self.waiting.push((tag, op));
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.cancelled);
        for (tag, op) in self.waiting.drain(..) {
            let completed = match &op {
                BlockOp::Read { offset, into: block } | BlockOp::Write { offset, from: block, .. } => {
                    in_bounds(*offset, block.len() as u64);
                    Completed::Done
                }
                BlockOp::Discard { offset, len } | BlockOp::WriteZeroes { offset, len, .. } => {
                    in_bounds(*offset, *len);
                    Completed::Done
                }
                BlockOp::Allocation { offset, len } => {
                    in_bounds(*offset, *len);
                    Completed::Allocation { len: *len, hole: false }
                }
                BlockOp::Flush => Completed::Done,
            };
            let result = if self.fails { Err(IoError::NO_SPACE) } else { Ok(completed) };
            done.push(Completion { tag, block: block_of(op), result });
        }
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn cancel(&mut self, tag: IoTag) {
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == tag) {
            let (tag, op) = self.waiting.remove(at);
            self.cancelled.push(Completion { tag, block: block_of(op), result: Err(IoError::CANCELLED) });
        }
    }

    fn detach(&mut self, _: Slot) {}
}

fn in_bounds(offset: u64, len: u64) {
    assert!(offset + len <= STORE_LEN as u64, "the device server has checked it");
}

fn block_of(op: BlockOp) -> Option<Block> {
    match op {
        BlockOp::Read { into: block, .. } | BlockOp::Write { from: block, .. } => Some(block),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_cause_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            super::connection(&bytes);
        }

        /// Steps that begin with opcodes of an initiator and often with an existing command.
        #[test]
        fn plausible_sessions_cause_no_panic(
            control: u8,
            steps in prop::collection::vec(
                (0u8..0xff, prop::sample::select(vec![0x01u8, 0x41, 0x05, 0x02, 0x42, 0x00, 0x04, 0x06, 0x10]),
                 any::<[u8; 7]>(), prop::sample::select(vec![0x28u8, 0x2a, 0x35, 0x41, 0x42, 0x12, 0x1a, 0x8f]),
                 any::<[u8; 3]>(), prop::collection::vec(any::<u8>(), 0..64)),
                0..24,
            )
        ) {
            let mut bytes = vec![control];
            for (step, opcode, middle, cdb, end, data) in steps {
                bytes.push(step & !7 | step & 1);
                bytes.push(opcode);
                bytes.extend_from_slice(&middle);
                bytes.push(cdb);
                bytes.extend_from_slice(&end);
                bytes.extend_from_slice(&data);
            }
            super::connection(&bytes);
        }
    }
}
