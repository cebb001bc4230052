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

/// Bytes that each of eight connections may receive and send in a turn.
const EIGHTH: usize = 128 << 10;

#[test]
fn connection_sends_its_share_of_a_turn_at_most() {
    let (mut data_loop, mut sockets) = loop_with_sessions(Zeroes { at_once: true, ..Zeroes::default() }, 8);
    for socket in &mut sockets {
        send(socket, 1, &[0], 0);
    }
    assert!(data_loop.turn());
    sockets.iter_mut().for_each(|socket| assert_eq!(read_all(socket), 2 * 48 + 20));
    for turn in 0..6 {
        // The first asks for more and more, and is ready and unfinished in one; the others ask once.
        for socket in &mut sockets[..if turn == 0 { 8 } else { 1 }] {
            send(socket, 2 + turn, &[0x28, 0, 0, 0, 0, 0, 0, 0x40, 0, 0], 8 << 20);
        }
        assert!(data_loop.turn());
        let shares: Vec<_> = sockets.iter_mut().map(read_all).collect();
        let most = EIGHTH + 100;
        assert!(shares.iter().all(|share| (EIGHTH..most).contains(share)), "turn {turn}: {shares:?}");
    }
}

#[test]
fn few_commands_are_spread_over_turns_while_others_have_more_than_their_shares() {
    const READ_LEN: usize = 4096;
    for (others_have_more, per_turn) in [(false, 4), (true, 2)] {
        let store = Zeroes { at_once: true, ..Zeroes::default() };
        let (mut data_loop, mut sockets) = loop_with_sessions(store, 16);
        for socket in &mut sockets {
            send(socket, 1, &[0], 0);
        }
        assert!(data_loop.turn());
        sockets.iter_mut().for_each(|socket| _ = read_all(socket));
        let (few, others) = sockets.split_first_mut().unwrap();
        if others_have_more {
            // READ of 8 MiB.
            others.iter_mut().for_each(|other| {
                send(other, 2, &[0x28, 0, 0, 0, 0, 0, 0, 0x40, 0, 0], 8 << 20);
            });
            assert!(data_loop.turn());
        }
        let (mut sent, mut answered) = (0, 0);
        for turn in 1..=8 {
            for _ in sent - answered..4 {
                sent += 1;
                send(few, 1 + sent, &[0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0], READ_LEN as u32);
            }
            assert!(data_loop.turn());
            others.iter_mut().for_each(|other| _ = read_all(other));
            answered += (read_all(few) / (48 + READ_LEN)) as u32;
            assert_eq!(answered, turn * per_turn, "others have more: {others_have_more}");
        }
    }
}

/// Sends so many NOP-Outs that want no answer.
fn send_nops(socket: &mut UnixStream, count: usize, payload: usize) {
    let mut bhs = [0; 48];
    (bhs[0], bhs[1]) = (0x40, 0x80);
    bhs[16..24].fill(0xff);
    let mut bytes = BytesMut::new();
    for _ in 0..count {
        encode_pdu(&mut bytes, &bhs, &[], &vec![0; payload], Digests::default());
    }
    let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&*socket, 64 << 20);
    socket.set_nonblocking(true).unwrap();
    socket.write_all(&bytes).unwrap();
}

#[test]
fn connection_receives_its_share_of_a_turn_at_most() {
    let (mut data_loop, mut sockets) = loop_with_sessions(Zeroes::default(), 8);
    for socket in &mut sockets {
        send_nops(socket, 4, 1 << 18);
    }
    for turn in 0..4 {
        let before = data_loop.state.received();
        assert!(data_loop.turn());
        let after = data_loop.state.received();
        let shares: Vec<_> =
            after.iter().zip(before).map(|(after, before)| (after - before) as usize).collect();
        let fair = EIGHTH - 4096..EIGHTH + 8192;
        assert!(shares.iter().all(|share| fair.contains(share)), "turn {turn}: {shares:?}");
    }
}

#[test]
fn connection_executes_its_share_of_a_turn_at_most() {
    for payload in [0, 1 << 10] {
        let (mut data_loop, mut sockets) = loop_with_sessions(Zeroes::default(), 8);
        let count = (1 << 20) / (48 + payload);
        for socket in &mut sockets[1..] {
            send_nops(socket, count, payload);
        }
        let most = EIGHTH / (48 + payload + crate::limits::PDU_COST) + 1;
        let mut executed = 0;
        for number in 1..4 {
            send(&mut sockets[0], number, &[0], 0);
            assert!(data_loop.turn());
            assert!(read_all(&mut sockets[0]) > 0, "the other connection is served in each turn");
            assert!(data_loop.state.commands() <= 7 * most + 1, "{}", data_loop.state.commands());
            executed += data_loop.state.commands();
        }
        assert!(executed > 3 * 6 * most, "{executed}");
        while executed < 7 * count + 3 {
            assert!(data_loop.turn());
            executed += data_loop.state.commands();
        }
        assert_eq!(data_loop.state.pool().used_bytes(), 0, "no connection keeps a buffer");
    }
}

#[test]
fn inline_work_of_a_target_is_bounded_in_a_turn() {
    let store = Zeroes { at_once: true, ..Zeroes::default() };
    let moved = Arc::clone(&store.moved);
    let (mut data_loop, mut sockets) = loop_with_sessions(store, 4);
    for socket in &mut sockets {
        send(socket, 1, &[0], 0);
        for number in 2..6 {
            // VERIFY of 16 MiB.
            send(socket, number, &[0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0], 0);
        }
    }
    let mut before = 0;
    loop {
        assert!(data_loop.turn());
        let now = moved.load(Ordering::Relaxed);
        assert!(now - before <= 2 * crate::limits::INLINE_BYTES_MAX, "from {before} to {now}");
        before = now;
        if is_quiet(&data_loop) {
            break;
        }
    }
    assert_eq!(before, 256 << 20);
    sockets.iter_mut().for_each(|socket| assert_eq!(read_all(socket), 6 * 48 + 20, "all are answered"));
}

#[test]
fn reads_that_a_turn_submits_are_bounded() {
    let store = Zeroes::default();
    let reads = Arc::clone(&store.reads);
    let (mut data_loop, mut sockets) = loop_with_sessions(store, 4);
    for socket in &mut sockets {
        send(socket, 1, &[0], 0);
        for number in 2..8 {
            // READ of 8 MiB.
            send(socket, number, &[0x28, 0, 0, 0, 0, 0, 0, 0x40, 0, 0], 8 << 20);
        }
    }
    let mut before = 0;
    loop {
        assert!(data_loop.turn());
        let now = reads.load(Ordering::Relaxed);
        // Of each session a received command and two that had to wait; and what follows completed operations.
        let most = 4 * 3 * (crate::limits::READ_BYTES_MAX as usize >> 18) + crate::limits::REAPS_PER_TURN;
        assert!(now - before <= most, "from {before} to {now}");
        before = now;
        sockets.iter_mut().for_each(|socket| _ = read_all(socket));
        if is_quiet(&data_loop) {
            break;
        }
    }
    assert_eq!(before, 4 * 6 * 32, "all are done");
}

#[test]
fn connection_with_little_to_do_waits_for_a_mebibyte_of_others() {
    const SESSIONS: usize = 65;
    let (mut data_loop, mut sockets) = loop_with_sessions(Zeroes::default(), SESSIONS as u16);
    for socket in &mut sockets[1..] {
        send_nops(socket, 2000, 0);
    }
    // All that have become ready are served once.
    assert!(data_loop.turn());
    let most = crate::limits::TURN_BYTES_MAX / crate::limits::PDU_COST;
    for number in 1..=32 {
        send(&mut sockets[0], number, &[0], 0);
        assert!(data_loop.turn());
        assert!(read_all(&mut sockets[0]) > 0, "it is served in each turn");
        assert!((2..=most + 1).contains(&data_loop.state.commands()), "{}", data_loop.state.commands());
    }
}

/// Sessions that have so many reads of 1 MiB each at a store that hangs.
fn loop_with_hanging_reads(sessions: u16, reads: u32) -> (DataLoop, Vec<UnixStream>, Arc<AtomicUsize>) {
    let store = Zeroes { hangs: true, ..Zeroes::default() };
    let (kicks, begun) = (Arc::clone(&store.kicks), Arc::clone(&store.reads));
    let (mut data_loop, mut sockets) = loop_with_sessions(store, sessions);
    for socket in &mut sockets {
        send(socket, 1, &[0], 0);
        (2..2 + reads).for_each(|number| send(socket, number, &[0x28, 0, 0, 0, 0, 0, 0, 8, 0, 0], 1 << 20));
    }
    while begun.load(Ordering::Relaxed) < usize::from(sessions) * reads as usize * 4 {
        assert!(data_loop.turn());
    }
    (data_loop, sockets, kicks)
}

/// Sends ABORT TASK; `next` is the number of the next command.
fn abort(socket: &mut UnixStream, number: u32, referenced: u32, next: u32) {
    let request = TaskManagementRequest {
        immediate: true,
        function: TaskFunction::ABORT_TASK,
        lun: Lun::new(1).unwrap().to_wire(),
        itt: Itt(1000 + number),
        referenced_task: Some(Itt(referenced)),
        cmd_sn: CmdSn(next),
        exp_stat_sn: StatSn(0),
        ref_cmd_sn: CmdSn(referenced),
        exp_data_sn: 0,
    };
    let mut bhs = [0; 48];
    request.encode(&mut bhs);
    socket.write_all(&bhs).unwrap();
}

#[test]
fn engine_is_kicked_once_for_all_cancelled_operations_of_a_turn() {
    for closes in [true, false] {
        let (mut data_loop, mut sockets, kicks) = loop_with_hanging_reads(1, 7);
        let before = kicks.load(Ordering::Relaxed);
        if closes {
            sockets.clear();
        } else {
            (2..9).for_each(|number| abort(&mut sockets[0], number, number, 9));
        }
        assert!(data_loop.turn());
        assert_eq!(
            kicks.load(Ordering::Relaxed) - before,
            1,
            "28 operations are cancelled; closes: {closes}"
        );
    }
}

#[test]
fn abort_looks_at_the_tasks_of_its_session_only() {
    const READS: u32 = 4;
    let (mut data_loop, mut sockets, _) = loop_with_hanging_reads(16, READS);
    let looked_at =
        |data_loop: &DataLoop| data_loop.state.target(Tid::new(1).unwrap()).unwrap().looked_at_tasks();
    let before = looked_at(&data_loop);
    read_all(&mut sockets[0]);
    (0..8).for_each(|number| abort(&mut sockets[0], number, 9999, 2 + READS));
    abort(&mut sockets[0], 8, 2, 2 + READS);
    while read_all(&mut sockets[0]) == 0 {
        assert!(data_loop.turn());
    }
    let count = looked_at(&data_loop) - before;
    assert!((1..=10 * READS as usize).contains(&count), "{count}");
}
