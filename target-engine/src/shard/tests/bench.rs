//! The bench: a store that completes at once or later, and an initiator that sends single PDUs.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use iscsi_proto::frame::{Digests, Limits, PduReader, encode_pdu};
use iscsi_proto::ids::{Cid, Itt, Tsih};
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use iscsi_proto::pdu::{Bhs, DataOut, ScsiCommand, TaskAttribute};
use iscsi_proto::sn::{CmdSn, DataSn, StatSn};
use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::device::{Nexus, NexusId};
use scsi_core::lun::Lun;
use scsi_core::store::*;

use crate::buffers::Pool;
use crate::iscsi::connection::NewConnection;
use crate::iscsi::text_exchange::{TextExchange, TextSession};
use crate::keys::ConnectionIndex;
use crate::shard::receive::WorkLimit;
use crate::shard::session::Session;
use crate::shard::settings::TargetSettings;
use crate::shard::{Env, TargetShard};
use crate::test_store::TestStore;

/// How the store completes an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    Inline,
    /// Completed at the next `settle`, in order.
    Later,
    /// Completed at the next `settle`, last first.
    Backwards,
    /// Never, until it is cancelled.
    Hang,
}

pub(super) type Shared = Arc<Mutex<Inner>>;

pub(super) struct Inner {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: Mode,
    pub(super) log: Vec<String>,
}

struct TestEngine {
    stores: Vec<Shared>,
    waiting: Vec<(Slot, IoTag, BlockOp)>,
    done: Vec<Completion>,
}

/// A store with these contents.
pub(super) fn store(inner: Shared) -> TestStore {
    let size = inner.lock().unwrap().bytes.len() as u64;
    let attach = move |engines: &mut Engines| {
        let make = || Ok(TestEngine { stores: Vec::new(), waiting: Vec::new(), done: Vec::new() });
        let (engine, state) = engines.of_kind(make)?;
        state.stores.push(Arc::clone(&inner));
        Ok(Port { engine, slot: Slot(state.stores.len() as u32 - 1) })
    };
    let mut store = TestStore::attached_by(size, attach);
    store.geometry.physical_block_len = 4096;
    store.capabilities.allocation = false;
    store
}

impl IoEngine for TestEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let mut inner = self.stores[slot.0 as usize].lock().unwrap();
        if inner.mode != Mode::Inline {
            return None;
        }
        match op {
            InlineOp::Read { offset, into } => {
                into.copy_from_slice(&inner.bytes[offset as usize..][..into.len()]);
            }
            InlineOp::Write { offset, from } => {
                inner.bytes[offset as usize..][..from.len()].copy_from_slice(from);
                inner.log.push(format!("write {offset}+{}", from.len()));
            }
        }
        Some(Ok(Now::Moved))
    }
    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        self.waiting.push((slot, tag, op));
    }
    fn kick(&mut self) {}
    fn reap(&mut self, done: &mut Vec<Completion>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mode = |slot: Slot, stores: &[Shared]| stores[slot.0 as usize].lock().unwrap().mode;
        if waiting.iter().any(|(slot, ..)| mode(*slot, &self.stores) == Mode::Backwards) {
            waiting.reverse();
        }
        for (slot, tag, op) in waiting {
            if mode(slot, &self.stores) == Mode::Hang {
                self.waiting.push((slot, tag, op));
                continue;
            }
            let mut inner = self.stores[slot.0 as usize].lock().unwrap();
            let block = inner.run(op);
            done.push(Completion { tag, block, result: Ok(Completed::Done) });
        }
        done.append(&mut self.done);
    }
    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn cancel(&mut self, tag: IoTag) {
        if let Some(at) = self.waiting.iter().position(|(_, waiting, _)| *waiting == tag) {
            let (_, tag, op) = self.waiting.remove(at);
            let block = match op {
                BlockOp::Read { into: block, .. } | BlockOp::Write { from: block, .. } => Some(block),
                _ => None,
            };
            self.done.push(Completion { tag, block, result: Err(IoError::CANCELLED) });
        }
    }
    fn check_size(&mut self, slot: Slot) {
        self.stores[slot.0 as usize].lock().unwrap().log.push("check size".to_owned());
    }
    fn detach(&mut self, _: Slot) {}
}

impl Inner {
    fn run(&mut self, op: BlockOp) -> Option<Block> {
        match op {
            BlockOp::Read { offset, mut into } => {
                let len = into.len();
                into.copy_from_slice(&self.bytes[offset as usize..][..len]);
                Some(into)
            }
            BlockOp::Write { offset, from, fua } => {
                self.bytes[offset as usize..][..from.len()].copy_from_slice(&from);
                self.log.push(format!("write {offset}+{}{}", from.len(), if fua { " fua" } else { "" }));
                Some(from)
            }
            BlockOp::Discard { offset, len } | BlockOp::WriteZeroes { offset, len, .. } => {
                self.bytes[offset as usize..][..len as usize].fill(0);
                self.log.push(format!("zero {offset}+{len}"));
                None
            }
            BlockOp::Flush => {
                self.log.push("flush".to_owned());
                None
            }
            BlockOp::Allocation { .. } => None,
        }
    }
}

/// A shard with one disk at LUN 1 and one session with one connection.
pub(super) struct Bench {
    pub(super) shard: TargetShard,
    pub(super) store: Shared,
    pub(super) pool: Pool,
    pub(super) engines: Engines,
    pub(super) now: Instant,
    pub(super) connection: ConnectionIndex,
    pub(super) cmd_sn: u32,
    reader: PduReader,
}

/// A PDU that came out.
pub(super) type Out = (Bhs, Bytes);

pub(super) const SIZE: usize = 4 << 20;

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(SessionParams { initial_r2t: false, ..SessionParams::default() })
    }

    pub(super) fn with(params: SessionParams) -> Self {
        Self::over(params, store)
    }

    /// The same over a store that `make` makes.
    pub(super) fn over(params: SessionParams, make: impl Fn(Shared) -> TestStore) -> Self {
        let bytes = (0..SIZE).map(|n| (n / 512 + n % 7) as u8).collect();
        let contents = Arc::new(Mutex::new(Inner { bytes, mode: Mode::Inline, log: Vec::new() }));
        let settings = TargetSettings {
            tid: 1,
            name: "iqn.2001-04.com.example:t".to_owned(),
            max_queue_cmd: 32,
            nop_interval: Duration::ZERO,
            nop_count: 0,
            online: true,
        };
        let mut bench = Self {
            shard: TargetShard::new(3, Arc::new(settings)),
            store: Arc::clone(&contents),
            pool: Pool::default(),
            engines: Engines::default(),
            now: Instant::now(),
            connection: ConnectionIndex::new(0),
            cmd_sn: 1,
            reader: PduReader::new(Limits { max_data_len: 1 << 20, max_ahs_len: 0 }),
        };
        let unit = Unit::new(UnitConfig::disk(1, 1), Some(Arc::new(make(contents))));
        let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
        bench.shard.add_unit(Lun::new(1).unwrap(), unit, &mut env).unwrap();
        bench.connection = bench.connect(1, &params);
        // The power-on unit attention.
        bench.command(&[0], Expect::Nothing);
        bench.drain();
        bench
    }

    /// Opens a session with one connection.
    pub(super) fn connect(&mut self, number: u16, params: &SessionParams) -> ConnectionIndex {
        self.connect_as(number, 0, params)
    }

    /// Opens a session with a connection with this CID, or joins it.
    pub(super) fn connect_as(&mut self, number: u16, cid: u16, params: &SessionParams) -> ConnectionIndex {
        let target_name = IscsiName::parse("iqn.2001-04.com.example:t").unwrap();
        let params_connection = ConnectionParams {
            max_recv_data_segment_len: 65536,
            max_xmit_data_segment_len: 65536,
            ..ConnectionParams::default()
        };
        let address = "127.0.0.1:3260".parse().unwrap();
        let new = NewConnection {
            cid: Cid(cid),
            peer: address,
            local: address,
            params: &params_connection,
            target_name: target_name.clone(),
            text: TextExchange::new(TextSession::Normal(target_name), *params, params_connection),
            next_stat_sn: StatSn(1),
            stats: Arc::default(),
        };
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        if cid > 0 {
            return self.shard.join(Tsih(number), new, &mut env).unwrap();
        }
        let nexus =
            Nexus { id: NexusId(number.into()), initiator_port: format!("i{number}").into(), target_port: 1 };
        let session = Session::new(Tsih(number), nexus, params, CmdSn(1), 32, Arc::default());
        self.shard.open(session, new, &mut env)
    }

    /// Whether nothing is received from the first session's connection.
    pub(super) fn is_paused(&self) -> bool {
        self.shard.is_receive_paused(self.connection, &self.pool)
    }

    /// The account of the first session.
    pub(super) fn account(&mut self) -> crate::buffers::Account {
        self.shard.sessions.with_session(self.connection).0.account()
    }

    pub(super) fn feed(&mut self, place: ConnectionIndex, bytes: &[u8]) {
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        self.shard.receive(place, bytes, WorkLimit::of_cost(usize::MAX), &mut env);
    }

    pub(super) fn send(&mut self, bhs: &Bhs, data: &[u8]) {
        let mut bytes = BytesMut::new();
        encode_pdu(&mut bytes, bhs, &[], data, Digests::default());
        self.feed(self.connection, &bytes);
    }

    /// A simple command with the next CmdSN; its task tag is its CmdSN.
    pub(super) fn command(&mut self, cdb: &[u8], expect: Expect<'_>) -> Itt {
        let itt = Itt(self.cmd_sn);
        let command = self.pdu(cdb, expect);
        self.cmd_sn += 1;
        let mut bhs = [0; 48];
        command.encode(&mut bhs);
        self.send(&bhs, if let Expect::Out(_, immediate, _) = expect { immediate } else { &[] });
        itt
    }

    pub(super) fn pdu(&self, cdb: &[u8], expect: Expect<'_>) -> ScsiCommand {
        let mut padded = [0; 16];
        padded[..cdb.len()].copy_from_slice(cdb);
        let (read, write, expected_len, last) = match expect {
            Expect::Nothing => (false, false, 0, true),
            Expect::In(len) => (true, false, len, true),
            Expect::Out(len, _, last) => (false, true, len, last),
        };
        ScsiCommand {
            immediate: false,
            last,
            read,
            write,
            attribute: TaskAttribute::Simple,
            lun: Lun::new(1).unwrap().to_wire(),
            itt: Itt(self.cmd_sn),
            expected_len,
            cmd_sn: CmdSn(self.cmd_sn),
            exp_stat_sn: StatSn(0),
            cdb: padded,
        }
    }

    pub(super) fn data_out(
        &mut self,
        itt: Itt,
        r2t: Option<&iscsi_proto::pdu::R2t>,
        sn: u32,
        offset: u32,
        data: &[u8],
        last: bool,
    ) {
        let pdu = DataOut {
            last,
            lun: [0; 8],
            itt,
            ttt: r2t.map(|r2t| r2t.ttt),
            exp_stat_sn: StatSn(0),
            data_sn: DataSn(sn),
            buffer_offset: offset,
        };
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.send(&bhs, data);
    }

    /// Completes what waits at the store.
    pub(super) fn settle(&mut self) {
        loop {
            let mut done = Vec::new();
            self.engines.kick();
            self.engines.reap(self.now, &mut done);
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            if done.is_empty() && !self.shard.has_ready() {
                return;
            }
            for completion in done {
                self.shard.complete(completion, &mut env);
            }
            self.shard.run_ready(&mut env);
        }
    }

    /// All PDUs that came out on the first connection.
    pub(super) fn drain(&mut self) -> Vec<Out> {
        self.drain_of(self.connection)
    }

    pub(super) fn drain_of(&mut self, place: ConnectionIndex) -> Vec<Out> {
        let mut out = Vec::new();
        loop {
            let Some(connection) = self.shard.connection(place) else { return out };
            let mut slices = [IoSlice::new(&[]); 64];
            let filled = connection.slices(&mut slices);
            let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            connection.sent(bytes.len(), &mut self.pool);
            self.reader.push(&bytes);
            while let Some(pdu) = self.reader.next_pdu() {
                let pdu = pdu.unwrap();
                out.push((pdu.bhs, pdu.data));
            }
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            let more = self.shard.resume_reads(place, &mut env);
            let empty = self.shard.connection(place).is_none_or(|connection| connection.unsent() == 0);
            if empty && !more {
                return out;
            }
        }
    }

    pub(super) fn bytes(&self, from: usize, len: usize) -> Vec<u8> {
        self.store.lock().unwrap().bytes[from..from + len].to_vec()
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.store.lock().unwrap().mode = mode;
    }

    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.store.lock().unwrap().log)
    }
}

/// What a command is to transfer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expect<'a> {
    Nothing,
    In(u32),
    /// Length, immediate data, whether that is the last of the unsolicited data.
    Out(u32, &'a [u8], bool),
}
