//! One session on the engine's shard without sockets: requests go in as bytes, responses come out as bytes. It serves
//! to count and time what a command costs in the engine itself.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstores::memory::Memory;
use backstores::null::Null;
use bytes::BytesMut;
use iscsi_proto::frame::{Digests, encode_pdu};
use iscsi_proto::ids::{Cid, Itt, Tsih};
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use iscsi_proto::pdu::{BHS_LEN, ScsiCommand, TaskAttribute};
use iscsi_proto::sn::{CmdSn, StatSn};
use scsi_core::cdb::encode::{Width, encode_as};
use scsi_core::cdb::{Cdb, Extent};
use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::device::{Nexus, NexusId};
use scsi_core::lun::Lun;
use scsi_core::store::{Backstore, Completion, Engines};
use target_engine::buffers::Pool;
use target_engine::iscsi::connection::NewConnection;
use target_engine::iscsi::text_exchange::{TextExchange, TextSession};
use target_engine::keys::ConnectionIndex;
use target_engine::shard::receive::WorkLimit;
use target_engine::shard::session::Session;
use target_engine::shard::settings::TargetSettings;
use target_engine::shard::{Env, TargetShard};

/// Commands of one batch: as many as an initiator at this queue depth sends at once.
pub const BATCH: u32 = 32;
/// Size of the unit in bytes.
const SIZE: u64 = 64 << 20;
const BLOCK_LEN: u32 = 512;
/// CmdSN of the first command.
const FIRST: CmdSn = CmdSn(1);
const TARGET: &str = "iqn.2001-04.com.example:bare";

/// A shard with one disk at LUN 1 and one session with one connection.
pub struct Bare {
    shard: TargetShard,
    pool: Pool,
    engines: Engines,
    now: Instant,
    connection: ConnectionIndex,
    cmd_sn: CmdSn,
    done: Vec<Completion>,
}

/// The PDUs of [`BATCH`] commands, encoded once and given new CmdSNs each time they are sent.
pub struct Batch {
    bytes: Vec<u8>,
    pdu_len: usize,
    response_len: usize,
}

/// The store behind the unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Store {
    /// [`Null`]: reads return zeroes, writes are dropped.
    Null,
    /// [`Memory`]: reads return what was written.
    Memory,
}

impl Batch {
    /// READ (10) of `len` bytes each, at consecutive offsets.
    #[must_use]
    pub fn reads(len: u32) -> Self {
        Self::new(len, true)
    }

    /// WRITE (10) of `len` bytes each, all of them immediate data.
    #[must_use]
    pub fn writes(len: u32) -> Self {
        Self::new(len, false)
    }

    /// # Panics
    /// READ (10) and WRITE (10) cannot encode that many blocks.
    fn new(len: u32, read: bool) -> Self {
        let mut bytes = BytesMut::new();
        let blocks = len / BLOCK_LEN;
        let lun = Lun::new(1).expect("1 is a LUN").to_wire();
        for number in 0..BATCH {
            let extent = Extent { lba: u64::from(number * blocks), blocks, ..Extent::default() };
            let cdb = if read { Cdb::Read(extent) } else { Cdb::Write(extent) };
            let command = ScsiCommand {
                immediate: false,
                last: true,
                read,
                write: !read,
                attribute: TaskAttribute::Simple,
                lun,
                itt: Itt(number),
                expected_len: len,
                cmd_sn: CmdSn(0),
                exp_stat_sn: StatSn(0),
                cdb: encode_as(&cdb, Width::Ten)
                    .expect("the extent fits in READ (10) and WRITE (10)")
                    .padded(),
            };
            let mut bhs = [0; BHS_LEN];
            command.encode(&mut bhs);
            let data = vec![number as u8; if read { 0 } else { len as usize }];
            encode_pdu(&mut bytes, &bhs, &[], &data, Digests::NONE);
        }
        let response_len = BATCH as usize * (BHS_LEN + if read { len as usize } else { 0 });
        Self { pdu_len: bytes.len() / BATCH as usize, bytes: bytes.to_vec(), response_len }
    }

    fn number(&mut self, mut cmd_sn: CmdSn) -> CmdSn {
        for pdu in self.bytes.chunks_exact_mut(self.pdu_len) {
            pdu[24..28].copy_from_slice(&cmd_sn.0.to_be_bytes());
            cmd_sn = cmd_sn.next();
        }
        cmd_sn
    }
}

impl Bare {
    /// A disk with this store, and a session that has received its power-on unit attention.
    ///
    /// # Panics
    /// The engine refuses the disk.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let store: Arc<dyn Backstore> = match store {
            Store::Null => Arc::new(Null::new(SIZE)),
            Store::Memory => Arc::new(Memory::new(SIZE)),
        };
        let settings = TargetSettings {
            tid: 1,
            name: TARGET.to_owned(),
            max_queue_cmd: BATCH,
            nop_interval: Duration::ZERO,
            nop_count: 0,
            online: true,
        };
        let (mut engines, mut pool, now) = (Engines::default(), Pool::default(), Instant::now());
        let mut shard = TargetShard::new(0, Arc::new(settings));
        let unit = Unit::new(UnitConfig::disk(1, 1), Some(store));
        let mut env = Env { engines: &mut engines, pool: &mut pool, now };
        let lun = Lun::new(1).expect("1 is a LUN");
        shard.add_unit(lun, unit, &mut env).expect("a store of this kind can always be attached");
        let connection = Self::connect(&mut shard, &mut env);
        let mut bare = Self { shard, pool, engines, now, connection, cmd_sn: FIRST, done: Vec::new() };
        // The first command reports the power-on attention.
        bare.put(&mut Batch::reads(BLOCK_LEN));
        bare.take();
        bare
    }

    fn connect(shard: &mut TargetShard, env: &mut Env<'_>) -> ConnectionIndex {
        let session = SessionParams { initial_r2t: false, ..SessionParams::default() };
        let connection = ConnectionParams {
            max_recv_data_segment_len: 256 << 10,
            max_xmit_data_segment_len: 256 << 10,
            ..ConnectionParams::default()
        };
        let target_name = IscsiName::parse(TARGET).expect("a valid iSCSI name");
        let nexus = Nexus { id: NexusId(1), initiator_port: "bare".into(), target_port: 1 };
        let address = ([127, 0, 0, 1], 3260).into();
        let new = NewConnection {
            cid: Cid(0),
            peer: address,
            local: address,
            params: &connection,
            target_name: target_name.clone(),
            text: TextExchange::new(TextSession::Normal(target_name), session, connection),
            next_stat_sn: StatSn(1),
            stats: Arc::default(),
        };
        let session = Session::new(Tsih(1), nexus, &session, FIRST, BATCH, Arc::default());
        shard.open(session, new, env)
    }

    /// Receives a batch and takes all of its responses.
    ///
    /// # Panics
    /// The responses do not have the length of those of commands that end with GOOD.
    #[inline]
    pub fn run(&mut self, batch: &mut Batch) {
        self.put(batch);
        let received = self.take();
        assert_eq!(received, batch.response_len, "bytes of {BATCH} responses");
    }

    fn put(&mut self, batch: &mut Batch) {
        self.cmd_sn = batch.number(self.cmd_sn);
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        self.shard.receive(self.connection, &batch.bytes, WorkLimit::of_cost(usize::MAX), &mut env);
    }

    /// Takes all responses and returns their length in bytes.
    fn take(&mut self) -> usize {
        let mut taken = 0;
        loop {
            self.reap();
            let Some(connection) = self.shard.connection(self.connection) else { return taken };
            let mut slices = [IoSlice::new(&[]); 3 * BATCH as usize];
            let filled = connection.slices(&mut slices);
            let count: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            connection.sent(count, &mut self.pool);
            taken += count;
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            if !self.shard.resume_reads(self.connection, &mut env) && count == 0 {
                return taken;
            }
        }
    }

    fn reap(&mut self) {
        if !self.shard.take_submitted() {
            return;
        }
        self.engines.kick();
        self.engines.reap(self.now, &mut self.done);
        for completion in self.done.drain(..) {
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            self.shard.complete(completion, &mut env);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_run_repeatedly_on_each_store() {
        for store in [Store::Null, Store::Memory] {
            let mut bare = Bare::new(store);
            let (mut writes, mut reads) = (Batch::writes(4096), Batch::reads(4096));
            for _ in 0..3 {
                bare.run(&mut writes);
                bare.run(&mut reads);
            }
        }
    }
}
