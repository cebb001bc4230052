//! The control loop on loopback, driven turn by turn.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::BytesMut;
use iscsi_proto::frame::{Digests, encode_pdu};
use iscsi_proto::ids::{Cid, Isid, Itt, Tsih};
use iscsi_proto::login::Stage;
use iscsi_proto::pdu::{LoginRequest, Pdu, TextRequest};
use iscsi_proto::sn::{CmdSn, StatSn};
use scsi_core::store::Backstore;

use super::login_entry::Phase;
use super::*;
use crate::control::messages::LoginId;
use crate::control::request::Binding;
use crate::limits::DISCOVERY_REQUESTS_PER_TURN;
use crate::model::Tid;
use crate::model::store::{StoreKind, StoreSpec};

struct NoStores;

impl StoreOpener for NoStores {
    fn kinds(&self) -> Vec<StoreKind> {
        Vec::new()
    }

    fn open(&self, _: &StoreSpec) -> Result<Arc<dyn Backstore>, String> {
        Err("there are none".to_owned())
    }
}

/// A loop with one target and one portal.
fn control_loop() -> (ControlLoop, SocketAddr) {
    let mut control = ControlLoop::new(Arc::new(NoStores), Model::default()).unwrap();
    let tid = Tid::new(1).unwrap();
    let rule = Binding::Initiators { address: Some("ALL".to_owned()), name: None };
    control.prepare(Request::TargetNew { tid, name: "iqn.x:one".to_owned() }).unwrap().unwrap();
    control.prepare(Request::TargetBind { tid, rule }).unwrap().unwrap();
    control.control.listen("127.0.0.1:0".parse().unwrap(), &mut control.world).unwrap();
    let listener = control.world.listeners.values().next().unwrap();
    let address = listener.socket.local_addr().unwrap();
    (control, address)
}

fn encoded(pdu: impl Into<Pdu>, data: &[u8]) -> BytesMut {
    let (mut bhs, mut bytes) = ([0; 48], BytesMut::new());
    pdu.into().encode(&mut bhs);
    encode_pdu(&mut bytes, &bhs, &[], data, Digests::NONE);
    bytes
}

/// A connection that has sent the login of a discovery session.
fn seeker(portal: SocketAddr) -> TcpStream {
    let request = LoginRequest {
        next: Some(Stage::FullFeature),
        continues: false,
        stage: Stage::OperationalNegotiation,
        version_max: 0,
        version_min: 0,
        isid: Isid([0x80, 0, 0, 0, 0, 1]),
        tsih: Tsih::NEW,
        itt: Itt(0),
        cid: Cid(0),
        cmd_sn: CmdSn(1),
        exp_stat_sn: StatSn(0),
    };
    let mut stream = TcpStream::connect(portal).unwrap();
    stream.write_all(&encoded(request, b"InitiatorName=iqn.i\0SessionType=Discovery\0")).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Requests handled in each discovery session.
fn handled(control: &ControlLoop) -> BTreeMap<LoginId, u64> {
    let sessions =
        control.world.logins.iter().filter(|(_, entry)| matches!(entry.phase, Phase::Discovery(_)));
    sessions.map(|(id, entry)| (*id, entry.phase.requests())).collect()
}

#[test]
fn discovery_sessions_have_a_bounded_share_of_a_turn_and_logins_are_served_in_between() {
    const FLOODERS: usize = 32;
    let (mut control, portal) = control_loop();
    let mut flooders: Vec<_> = (0..FLOODERS).map(|_| seeker(portal)).collect();
    while handled(&control).len() < FLOODERS {
        control.turn(None).unwrap();
    }
    let text = TextRequest {
        immediate: true,
        last: true,
        continues: false,
        lun: [0; 8],
        itt: Itt(1),
        ttt: None,
        cmd_sn: CmdSn(1),
        exp_stat_sn: StatSn(1),
    };
    let request = encoded(text, b"SendTargets=All\0");
    let burst = request.repeat(8);
    let mut victim = seeker(portal);
    let mut response = [0; 256];
    let mut busiest = 0;
    loop {
        for flooder in &mut flooders {
            // What does not fit is lost to the flooder only.
            let _ = flooder.write(&burst);
            let _ = flooder.read(&mut [0; 4096]);
        }
        let before = handled(&control);
        control.turn(Some(Instant::now())).unwrap();
        let of_turn = handled(&control).into_iter();
        let of_turn: Vec<_> = of_turn.filter_map(|(id, count)| Some(count - before.get(&id)?)).collect();
        assert!(of_turn.iter().all(|count| *count <= 1), "one request of each connection");
        let sum = of_turn.iter().sum::<u64>() as usize;
        assert!(sum <= DISCOVERY_REQUESTS_PER_TURN, "{sum} requests");
        busiest = busiest.max(sum);
        if busiest == DISCOVERY_REQUESTS_PER_TURN && victim.read(&mut response).is_ok() {
            break;
        }
    }
    assert!(!control.world.requests.is_empty(), "the victim did not wait for them");
}
