//! What the control plane asks of its driver.

use std::io;
use std::net::SocketAddr;

use crate::control::admission::AdmissionCounts;
use crate::control::jobs::Job;
use crate::control::messages::{Attach, LoginId, LoopId, ToLoop};
use crate::control::pending::ClientId;
use crate::control::report::Reply;
use crate::iscsi::login::Answer;
use crate::model::PortalId;
use crate::model::store::StoreKind;

/// The effects of a [`Control`](super::Control). No method may block, and none may call back into the `Control`.
pub trait Outside {
    /// Sends a reply that [`Control::request`](super::Control::request) did not return.
    fn reply(&mut self, client: ClientId, reply: Reply);

    /// Starts the thread of a loop.
    ///
    /// # Errors
    /// There is no memory or no descriptor for it.
    fn spawn_loop(&mut self, id: LoopId, thread_name: String) -> io::Result<()>;

    /// Sends a message to a loop. It is delivered unless the loop has ended: the number of messages is bounded by the
    /// requests under way. Messages to one loop, [`Self::attach`] included, arrive in the order in which they were sent.
    ///
    /// # Errors
    /// The loop has ended.
    fn send(&mut self, to: LoopId, message: ToLoop) -> Result<(), LoopGone>;

    /// Hands a connection that has logged in to its loop, with the socket of this login.
    ///
    /// # Errors
    /// The loop has ended, or too many messages wait for it. The login keeps its socket.
    fn attach(&mut self, to: LoopId, login: LoginId, attach: Box<Attach>) -> Result<(), Box<Attach>>;

    /// A loop has ended: its thread and its mailbox are not needed any more.
    fn loop_ended(&mut self, id: LoopId);

    /// A loop has ended unasked: the server ends with an error.
    fn loop_failed(&mut self, id: LoopId);

    /// Queues a job. Its result comes back by [`Control::job_done`](super::Control::job_done), at any later time or
    /// never.
    ///
    /// # Errors
    /// Too many jobs are queued; the job is returned.
    fn job(&mut self, job: Job) -> Result<(), Job>;

    /// Opens a listening socket and returns its address, which has the port if the system chose it.
    ///
    /// # Errors
    /// The address is in use or not local.
    fn listen(&mut self, id: PortalId, address: SocketAddr) -> io::Result<SocketAddr>;

    /// Closes a listening socket.
    fn close_portal(&mut self, id: PortalId);

    /// Closes all connections that are logging in, and all discovery sessions.
    fn close_logins(&mut self);

    /// Answers a question that [`Control::question`](super::Control::question) did not answer.
    fn answer_login(&mut self, login: LoginId, answer: Answer);

    /// Returns the numbers of connections that are not part of a normal session.
    fn admission_counts(&self) -> AdmissionCounts;

    /// Returns whether a login whose question is not answered yet still waits for the answer.
    fn is_login_waiting(&self, login: LoginId) -> bool;

    /// Returns the kinds of stores that can be opened.
    fn store_kinds(&self) -> Vec<StoreKind>;

    /// Logs an event that initiators cause, at a limited rate.
    fn note(&mut self, text: std::fmt::Arguments<'_>);

    /// Turns debug messages on or off.
    fn set_debug(&mut self, on: bool);

    /// Ends the daemon once its replies are sent.
    fn end(&mut self);
}

/// A message was sent to a loop that has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the loop has ended")]
pub struct LoopGone;
