//! How a connection that has logged in comes to its session on this loop.

use std::io::IoSlice;
use std::sync::Arc;

use iscsi_proto::login::LoginStatus;
use scsi_core::device::Nexus;

use super::LoopState;
use super::effect::Effect;
use super::stream::{ByteStream, Stream};
use crate::control::messages::{Attach, AttachMode, ToControl};
use crate::iscsi::connection::NewConnection;
use crate::iscsi::login::CloseReason;
use crate::iscsi::text_exchange::{TextExchange, TextSession};
use crate::keys::ConnectionIndex;
use crate::shard::receive::WorkLimit;
use crate::shard::session::Session;

impl<S: ByteStream, A: Clone> LoopState<S, A> {
    /// Takes over a connection that has logged in, or refuses it. `socket` does not block, and is watched for data as the
    /// connection [`next_stream`](Self::next_stream).
    pub fn attach(&mut self, attach: Attach, socket: S) {
        let index = self.find(attach.tid).filter(|&index| !self.targets[index].is_leaving());
        let Some(index) = index.filter(|_| self.end_by.is_none()) else {
            return self.refuse(&attach, socket, LoginStatus::TargetRemoved, "the target ends");
        };
        let Some(place) = self.make_connection(index, &attach) else {
            let why = "TSIH: the session ended during the login";
            return self.refuse(&attach, socket, LoginStatus::SessionDoesNotExist, why);
        };
        let Attach { tid, login, tsih, nexus, mode, .. } = attach;
        let stream = self.next_stream();
        self.streams.insert(Stream::new(socket, index, place));
        let served = &mut self.targets[index];
        if served.streams.len() <= place.get() {
            served.streams.resize(place.get() + 1, None);
        }
        served.streams[place.get()] = Some(stream);
        match mode {
            AttachMode::Join => {
                // The end of the connection that it replaces is reported first: they have the same CID.
                self.handle_events(index);
                self.notify(ToControl::ConnectionJoined(self.id, tid, tsih, login.cid));
            }
            AttachMode::New | AttachMode::Reinstate(_) => {
                self.notify(ToControl::SessionStarted(self.id, tid, tsih, nexus));
            }
        }
        // The control plane gets its message before the initiator gets the final response, so this is sent later.
        self.continue_in_turn(stream);
        let served = &mut self.targets[index];
        if let Some(window) = served.shard.window_of(place)
            && let Some(connection) = served.shard.connection(place)
        {
            connection.send_raw(&login.final_response(tsih, window.max));
        }
        let limit = WorkLimit::of_cost(self.share);
        served.shard.receive(place, &login.unread, limit, &mut self.resources.env());
        self.after(index, None);
    }

    fn make_connection(&mut self, index: usize, attach: &Attach) -> Option<ConnectionIndex> {
        let login = &attach.login;
        let shard = &mut self.targets[index].shard;
        let new = NewConnection {
            cid: login.cid,
            peer: attach.peer,
            local: attach.local,
            params: &login.connection,
            target_name: login.target_name.clone(),
            text: TextExchange::new(
                TextSession::Normal(login.target_name.clone()),
                login.session,
                login.connection,
            ),
            next_stat_sn: login.next_stat_sn,
            stats: Arc::clone(&attach.connection_stats),
        };
        if attach.mode == AttachMode::Join {
            return shard.join(attach.tsih, new, &mut self.resources.env());
        }
        if let AttachMode::Reinstate(old) = attach.mode {
            shard.close_session(old, &mut self.resources.env());
        }
        let initiator_port: Arc<str> = login.initiator_port().into();
        let nexus = Nexus { id: attach.nexus, initiator_port, target_port: login.portal_group_tag };
        let depth = shard.settings().max_queue_cmd;
        let stats = Arc::clone(&attach.session_stats);
        let session = Session::new(attach.tsih, nexus, &login.session, login.next_cmd_sn, depth, stats);
        Some(shard.open(session, new, &mut self.resources.env()))
    }

    /// Refuses a login whose target or session has ended meanwhile, or whose socket cannot be watched. The response is
    /// sent if the socket takes it at once.
    pub fn refuse(&mut self, attach: &Attach, mut socket: S, status: LoginStatus, why: &str) {
        let (peer, names, reason) = (attach.peer, attach.login.names(), CloseReason::Refused(status));
        self.warnings.warn(self.resources.now, format_args!("{peer}: {names}{reason} ({why})"));
        let _ = socket.write(&[IoSlice::new(&attach.login.refusal(status))]);
        self.effects.push_back(Effect::Close(socket));
        let Attach { tid, tsih, nexus, .. } = *attach;
        self.notify(ToControl::AttachFailed(self.id, tid, tsih, nexus, attach.login.cid));
    }
}
