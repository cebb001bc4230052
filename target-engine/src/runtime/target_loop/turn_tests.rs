//! A loop that is driven turn by turn, with an initiator of bare PDUs at the other end of a socket.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use iscsi_proto::frame::{Digests, encode_pdu};
use iscsi_proto::ids::{Cid, Isid, Itt, Tsih};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use iscsi_proto::pdu::{LoginResponse, ScsiCommand, TaskAttribute, TaskFunction, TaskManagementRequest};
use iscsi_proto::sn::{CmdSn, StatSn};
use scsi_core::device::NexusId;
use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::lun::Lun;
use scsi_core::store::*;

use super::*;
use crate::control::messages::{AttachMode, NewTarget, ServiceId, TargetSettings, ToLoop};
use crate::iscsi::login::LoggedIn;
use crate::model::Tid;
use crate::test_store::TestStore;

mod aborts;
mod shares;

const SIZE: u64 = 1 << 30;

/// Zeroes, at once or by the next reap.
#[derive(Clone, Default)]
struct Zeroes {
    at_once: bool,
    /// No operation ends before it is cancelled.
    hangs: bool,
    kicks: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    /// Bytes that were moved at once.
    moved: Arc<AtomicUsize>,
}

struct ZeroesEngine {
    store: Zeroes,
    hanging: Vec<(IoTag, Block)>,
    done: VecDeque<Completion>,
}

impl Zeroes {
    fn store(self) -> TestStore {
        let attach = move |engines: &mut Engines| {
            let make =
                || Ok(ZeroesEngine { store: self.clone(), hanging: Vec::new(), done: VecDeque::new() });
            let (engine, _) = engines.of_kind(make)?;
            Ok(Port { engine, slot: Slot(0) })
        };
        TestStore::attached_by(SIZE, attach).read_only()
    }
}

impl IoEngine for ZeroesEngine {
    fn try_now(&mut self, _: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let InlineOp::Read { into, .. } = op else { unreachable!("it is read only") };
        self.store.at_once.then(|| {
            self.store.moved.fetch_add(into.len(), Ordering::Relaxed);
            Ok(Now::Zeroes)
        })
    }
    fn submit(&mut self, _: Slot, tag: IoTag, op: BlockOp) {
        let BlockOp::Read { into, .. } = op else { unreachable!("it is read only") };
        self.store.reads.fetch_add(1, Ordering::Relaxed);
        if self.store.hangs {
            return self.hanging.push((tag, into));
        }
        self.done.push_back(Completion { tag, block: Some(into), result: Ok(Completed::Done) });
    }
    fn kick(&mut self) {
        self.store.kicks.fetch_add(1, Ordering::Relaxed);
    }
    fn reap(&mut self, done: &mut Vec<Completion>) {
        done.extend(self.done.pop_front());
    }
    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn cancel(&mut self, tag: IoTag) {
        for (tag, block) in self.hanging.extract_if(.., |(hanging, _)| *hanging == tag) {
            self.done.push_back(Completion { tag, block: Some(block), result: Err(IoError::CANCELLED) });
        }
    }
    fn detach(&mut self, _: Slot) {}
}

fn logged_in(name: &IscsiName) -> LoggedIn {
    let response = LoginResponse {
        next: Some(Stage::FullFeature),
        continues: false,
        stage: Stage::OperationalNegotiation,
        version_max: 0,
        version_active: 0,
        isid: Isid([0; 6]),
        tsih: Tsih::NEW,
        itt: Itt(0),
        stat_sn: StatSn(0),
        exp_cmd_sn: CmdSn(1),
        max_cmd_sn: CmdSn(1),
        status: LoginStatus::Success,
    };
    LoggedIn {
        initiator_name: name.clone(),
        initiator_alias: None,
        target_name: name.clone(),
        isid: Isid([0; 6]),
        tsih: Tsih::NEW,
        cid: Cid(0),
        chap_user: None,
        session: SessionParams::default(),
        connection: ConnectionParams {
            max_xmit_data_segment_len: 1 << 18,
            max_recv_data_segment_len: 1 << 18,
            ..ConnectionParams::default()
        },
        portal_group_tag: 1,
        response,
        response_text: Bytes::new(),
        next_cmd_sn: CmdSn(1),
        next_stat_sn: StatSn(1),
        unread: Bytes::new(),
        received: 0,
        sent: 0,
    }
}

/// A loop with one target, one unit and one session, and the initiator's end of its connection.
fn loop_with(store: Zeroes) -> (DataLoop, UnixStream) {
    let (data_loop, mut sockets) = loop_with_sessions(store, 1);
    (data_loop, sockets.remove(0))
}

/// The same with several sessions.
fn loop_with_sessions(store: Zeroes, sessions: u16) -> (DataLoop, Vec<UnixStream>) {
    let (own, inbox) = mailbox(2 + usize::from(sessions)).unwrap();
    let (control, _) = mailbox(8).unwrap();
    let poller = poller_of(&inbox).unwrap();
    let mut data_loop = DataLoop::new(LoopId(1), inbox, own.clone(), control, poller);
    let settings = TargetSettings {
        tid: 1,
        name: "iqn.x:t".to_owned(),
        max_queue_cmd: 8,
        nop_interval: Duration::ZERO,
        nop_count: 0,
        online: true,
    };
    let tid = Tid::new(1).unwrap();
    let unit = Unit::new(UnitConfig::disk(1, 1), Some(Arc::new(store.store())));
    let units = vec![(Lun::new(1).unwrap(), unit)];
    let target = NewTarget { tid, service: ServiceId(1), settings: Arc::new(settings), units };
    own.send(ToLoop::AddTarget(Box::new(target)).into()).unwrap();
    let sockets = (1..=sessions).map(|number| {
        let (theirs, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        // More than a connection's ring holds, where that is permitted.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&ours, 64 << 20);
        let address = "127.0.0.1:3260".parse().unwrap();
        let attach = Attach {
            tid,
            peer: address,
            local: address,
            login: Box::new(logged_in(&IscsiName::parse_any("iqn.x:t").unwrap())),
            tsih: Tsih(number),
            nexus: NexusId(number.into()),
            mode: AttachMode::New,
            session_stats: Arc::default(),
            connection_stats: Arc::default(),
        };
        own.send(LoopMessage::Attach(Box::new(attach), OwnedFd::from(ours).into())).unwrap();
        theirs
    });
    let sockets = sockets.collect();
    assert!(data_loop.turn());
    (data_loop, sockets)
}

fn send(socket: &mut UnixStream, number: u32, cdb: &[u8], expected_len: u32) {
    let mut padded = [0; 16];
    padded[..cdb.len()].copy_from_slice(cdb);
    let command = ScsiCommand {
        immediate: false,
        last: true,
        read: expected_len > 0,
        write: false,
        attribute: TaskAttribute::Simple,
        lun: Lun::new(1).unwrap().to_wire(),
        itt: Itt(number),
        expected_len,
        cmd_sn: CmdSn(number),
        exp_stat_sn: StatSn(0),
        cdb: padded,
    };
    let mut bhs = [0; 48];
    command.encode(&mut bhs);
    let mut bytes = BytesMut::new();
    encode_pdu(&mut bytes, &bhs, &[], &[], Digests::default());
    socket.write_all(&bytes).unwrap();
}

/// Whether nothing is due soon. Memory that is not used any more is given back later.
fn is_quiet(data_loop: &DataLoop) -> bool {
    data_loop.timeout().is_none_or(|timeout| timeout > crate::limits::TICK)
}

/// Bytes that wait to be sent to sockets that are not full, while the loop would sleep.
fn forgotten(data_loop: &mut DataLoop) -> usize {
    if data_loop.timeout().is_some_and(|timeout| timeout.is_zero()) {
        return 0;
    }
    data_loop.state.unsent()
}

#[test]
fn data_of_the_last_round_of_a_turn_is_sent() {
    // From one segment to more than a turn sends.
    for segments in 1..=48 {
        let (mut data_loop, mut socket) = loop_with(Zeroes { at_once: true, ..Zeroes::default() });
        socket.set_nonblocking(true).unwrap();
        send(&mut socket, 1, &[0], 0);
        let [_, _, high, low] = (segments * 512u32).to_be_bytes();
        send(&mut socket, 2, &[0x28, 0, 0, 0, 0, 0, 0, high, low, 0], segments << 18);
        let mut came = 0;
        loop {
            assert!(data_loop.turn());
            assert_eq!(forgotten(&mut data_loop), 0, "of {segments} segments");
            if is_quiet(&data_loop) {
                let blocked = data_loop.state.is_blocked();
                while let Ok(count @ 1..) = socket.read(&mut [0; 65536]) {
                    came += count;
                }
                if !blocked {
                    break;
                }
            }
        }
        assert!(came > (segments as usize) << 18);
    }
}

#[test]
fn busy_store_is_bounded_in_a_turn() {
    let store = Zeroes::default();
    let reads = Arc::clone(&store.reads);
    let (mut data_loop, mut socket) = loop_with(store);
    send(&mut socket, 1, &[0], 0);
    // VERIFY of 256 MiB.
    send(&mut socket, 2, &[0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0], 0);
    for _ in 0..3 {
        assert!(data_loop.turn());
        assert_eq!(data_loop.timeout(), Some(Duration::ZERO), "it is not over");
    }
    let in_three_turns = reads.load(Ordering::Relaxed);
    assert!((1..500).contains(&in_three_turns), "{in_three_turns}");
    while !is_quiet(&data_loop) {
        assert!(data_loop.turn());
    }
    assert_eq!(reads.load(Ordering::Relaxed), 1024);
}

/// Reads all bytes that have arrived; returns their number.
fn read_all(socket: &mut UnixStream) -> usize {
    socket.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| socket.read(&mut [0; 65536]).ok().filter(|&count| count > 0)).sum()
}
