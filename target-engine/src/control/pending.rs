//! Operations that wait for others: tickets, whose answers are awaited, and by when the client gets a reply.
//!
//! A deadline ends the reply, not the operation: what was begun goes on until its last answer is in.

use std::collections::BTreeMap;
use std::time::Instant;

use super::messages::{LoopError, LoopId, Ticket};

/// Names an admin connection; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(pub u64);

/// All operations under way; `W` is what is being done.
#[derive(Debug)]
pub struct Pending<W> {
    last: u64,
    operations: BTreeMap<Ticket, Operation<W>>,
}

/// One operation.
#[derive(Debug)]
pub struct Operation<W> {
    /// Who waits for a reply, if still anybody does.
    pub client: Option<ClientId>,
    /// When the reply is due.
    pub deadline: Instant,
    /// The loops that have not answered yet.
    pub waiting: Vec<LoopId>,
    /// Those that have.
    pub answers: Vec<(LoopId, Result<(), LoopError>)>,
    /// What is being done.
    pub work: W,
}

impl<W> Default for Pending<W> {
    fn default() -> Self {
        Self { last: 0, operations: BTreeMap::new() }
    }
}

impl<W> Pending<W> {
    /// Begins an operation.
    pub fn begin(
        &mut self,
        client: Option<ClientId>,
        deadline: Instant,
        waiting: Vec<LoopId>,
        work: W,
    ) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        let operation = Operation { client, deadline, waiting, answers: Vec::new(), work };
        self.operations.insert(ticket, operation);
        ticket
    }

    /// A loop has answered. The operation, once that was the last answer.
    pub fn answer(
        &mut self,
        ticket: Ticket,
        from: LoopId,
        answer: Result<(), LoopError>,
    ) -> Option<Operation<W>> {
        let operation = self.operations.get_mut(&ticket)?;
        let place = operation.waiting.iter().position(|waiting| *waiting == from)?;
        operation.waiting.swap_remove(place);
        operation.answers.push((from, answer));
        if operation.waiting.is_empty() { self.operations.remove(&ticket) } else { None }
    }

    /// Ends an operation that waits for no loop.
    pub fn take(&mut self, ticket: Ticket) -> Option<Operation<W>> {
        self.operations.remove(&ticket)
    }

    /// A loop is gone and answers no more: as if it had said that the target is gone. The operations that ended by
    /// that.
    pub fn loop_ended(&mut self, gone: LoopId) -> Vec<Operation<W>> {
        let tickets: Vec<_> = self.operations.keys().copied().collect();
        tickets.into_iter().filter_map(|ticket| self.answer(ticket, gone, Err(LoopError::NoTarget))).collect()
    }

    /// Nobody waits for these replies any more.
    pub fn client_ended(&mut self, gone: ClientId) {
        for operation in self.operations.values_mut() {
            operation.client.take_if(|client| *client == gone);
        }
    }

    /// Takes out the operations whose work is over by what has happened.
    pub fn extract(&mut self, mut is_over: impl FnMut(&mut W) -> bool) -> Vec<Operation<W>> {
        let ended = |(ticket, operation): (&Ticket, &mut Operation<W>)| {
            is_over(&mut operation.work).then_some(*ticket)
        };
        let ended: Vec<_> = self.operations.iter_mut().filter_map(ended).collect();
        ended.into_iter().filter_map(|ticket| self.operations.remove(&ticket)).collect()
    }

    /// When the next reply is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let waited_for = self.operations.values().filter(|operation| operation.client.is_some());
        waited_for.map(|operation| operation.deadline).min()
    }

    /// The clients whose reply is due, with what is done for them; the operations go on without them.
    pub fn overdue(&mut self, now: Instant) -> Vec<(ClientId, &W)> {
        let due = self.operations.values_mut().filter(|operation| operation.deadline <= now);
        due.filter_map(|operation| Some((operation.client.take()?, &operation.work))).collect()
    }

    /// What is under way.
    pub fn works(&self) -> impl Iterator<Item = &W> {
        self.operations.values().map(|operation| &operation.work)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: LoopId = LoopId(1);
    const B: LoopId = LoopId(2);
    const CLIENT: ClientId = ClientId(7);

    #[test]
    fn the_last_answer_ends_it() {
        let mut pending = Pending::default();
        let ticket = pending.begin(Some(CLIENT), Instant::now(), vec![A, B], "add");
        assert!(pending.answer(ticket, A, Ok(())).is_none());
        assert!(pending.answer(ticket, A, Ok(())).is_none(), "a loop answers once");
        assert!(pending.answer(Ticket(99), B, Ok(())).is_none());
        let operation = pending.answer(ticket, B, Err(LoopError::Busy)).unwrap();
        assert_eq!((operation.client, operation.work), (Some(CLIENT), "add"));
        assert_eq!(operation.answers, [(A, Ok(())), (B, Err(LoopError::Busy))]);
        assert!(pending.take(ticket).is_none());
    }

    #[test]
    fn a_deadline_ends_the_reply_and_not_the_operation() {
        let now = Instant::now();
        let due = now + Duration::from_secs(1);
        let mut pending = Pending::default();
        let ticket = pending.begin(Some(CLIENT), due, vec![A], "add");
        pending.begin(None, now, vec![A], "other");
        assert_eq!(pending.next_deadline(), Some(due));
        assert_eq!(pending.overdue(now), []);
        assert_eq!(pending.overdue(due), [(CLIENT, &"add")]);
        assert_eq!(pending.overdue(due), [], "one reply is enough");
        assert_eq!(pending.next_deadline(), None);
        assert_eq!(pending.answer(ticket, A, Ok(())).unwrap().client, None);
    }

    #[test]
    fn a_loop_that_ends_leaves_nobody_waiting() {
        let mut pending = Pending::default();
        pending.begin(Some(CLIENT), Instant::now(), vec![A], "one");
        let both = pending.begin(Some(CLIENT), Instant::now(), vec![A, B], "both");
        let ended = pending.loop_ended(A);
        assert_eq!(ended.iter().map(|operation| operation.work).collect::<Vec<_>>(), ["one"]);
        assert_eq!(ended[0].answers, [(A, Err(LoopError::NoTarget))]);
        assert!(pending.answer(both, B, Ok(())).is_some());
    }

    #[test]
    fn a_client_that_is_gone_gets_no_reply() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.begin(Some(CLIENT), now, vec![A], "one");
        pending.client_ended(CLIENT);
        assert_eq!(pending.overdue(now), []);
        assert_eq!(pending.works().count(), 1);
    }
}
