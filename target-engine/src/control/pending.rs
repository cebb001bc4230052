//! Operations that wait for loops or jobs: their tickets, the answers they wait for, and when the reply is due.
//!
//! At its deadline the client gets a reply; the operation goes on until its last answer has come.

use std::collections::BTreeMap;
use std::time::Instant;

use super::messages::{LoopError, LoopId, Ticket};

/// Identifies an admin connection; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(pub u64);

/// All operations under way; `W` is the work of one.
#[derive(Debug)]
pub struct Pending<W> {
    last: u64,
    operations: BTreeMap<Ticket, Operation<W>>,
}

/// One operation.
#[derive(Debug)]
pub struct Operation<W> {
    /// The client that waits for the reply; `None`: none, or none any more.
    pub client: Option<ClientId>,
    /// When the reply is due.
    pub deadline: Instant,
    /// The loops that have not answered yet.
    pub waiting: Vec<LoopId>,
    /// The answers that have come.
    pub answers: Vec<LoopAnswer>,
    /// The work.
    pub work: W,
}

/// The answer of a loop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoopAnswer {
    /// The loop.
    pub from: LoopId,
    /// What it answered.
    pub result: Result<(), LoopError>,
}

impl<W> Default for Pending<W> {
    fn default() -> Self {
        Self { last: 0, operations: BTreeMap::new() }
    }
}

impl<W> Pending<W> {
    /// Begins an operation that waits for these loops.
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

    /// Records the answer of a loop. Returns the operation if it was the last one.
    pub fn answer(
        &mut self,
        ticket: Ticket,
        from: LoopId,
        result: Result<(), LoopError>,
    ) -> Option<Operation<W>> {
        let operation = self.operations.get_mut(&ticket)?;
        let index = operation.waiting.iter().position(|waiting| *waiting == from)?;
        operation.waiting.swap_remove(index);
        operation.answers.push(LoopAnswer { from, result });
        if operation.waiting.is_empty() { self.operations.remove(&ticket) } else { None }
    }

    /// Ends an operation.
    pub fn take(&mut self, ticket: Ticket) -> Option<Operation<W>> {
        self.operations.remove(&ticket)
    }

    /// Answers for a loop that has ended: it does not serve the target any more. Returns the operations for which that
    /// was the last answer.
    pub fn loop_ended(&mut self, gone: LoopId) -> Vec<Operation<W>> {
        let tickets: Vec<_> = self.operations.keys().copied().collect();
        tickets.into_iter().filter_map(|ticket| self.answer(ticket, gone, Err(LoopError::NoTarget))).collect()
    }

    /// Forgets a client; its operations go on.
    pub fn client_ended(&mut self, gone: ClientId) {
        for operation in self.operations.values_mut() {
            operation.client.take_if(|client| *client == gone);
        }
    }

    /// Ends the operations for which `is_over` returns true, and returns them.
    pub fn extract(&mut self, mut is_over: impl FnMut(&mut W) -> bool) -> Vec<Operation<W>> {
        let ended = |(ticket, operation): (&Ticket, &mut Operation<W>)| {
            is_over(&mut operation.work).then_some(*ticket)
        };
        let ended: Vec<_> = self.operations.iter_mut().filter_map(ended).collect();
        ended.into_iter().filter_map(|ticket| self.operations.remove(&ticket)).collect()
    }

    /// Returns when the next reply is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let waited_for = self.operations.values().filter(|operation| operation.client.is_some());
        waited_for.map(|operation| operation.deadline).min()
    }

    /// Returns the clients whose reply is due, with the work; the operations go on without them.
    pub fn overdue(&mut self, now: Instant) -> Vec<(ClientId, &W)> {
        let due = self.operations.values_mut().filter(|operation| operation.deadline <= now);
        due.filter_map(|operation| Some((operation.client.take()?, &operation.work))).collect()
    }

    /// Returns the work of all operations.
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
    fn last_answer_ends_operation() {
        let mut pending = Pending::default();
        let ticket = pending.begin(Some(CLIENT), Instant::now(), vec![A, B], "add");
        assert!(pending.answer(ticket, A, Ok(())).is_none());
        assert!(pending.answer(ticket, A, Ok(())).is_none(), "a loop answers once");
        assert!(pending.answer(Ticket(99), B, Ok(())).is_none());
        let operation = pending.answer(ticket, B, Err(LoopError::Busy)).unwrap();
        assert_eq!((operation.client, operation.work), (Some(CLIENT), "add"));
        let answer = |from, result| LoopAnswer { from, result };
        assert_eq!(operation.answers, [answer(A, Ok(())), answer(B, Err(LoopError::Busy))]);
        assert!(pending.take(ticket).is_none());
    }

    #[test]
    fn operation_outlives_its_deadline() {
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
    fn loop_that_ends_counts_as_answered() {
        let mut pending = Pending::default();
        pending.begin(Some(CLIENT), Instant::now(), vec![A], "one");
        let both = pending.begin(Some(CLIENT), Instant::now(), vec![A, B], "both");
        let ended = pending.loop_ended(A);
        assert_eq!(ended.iter().map(|operation| operation.work).collect::<Vec<_>>(), ["one"]);
        assert_eq!(ended[0].answers, [LoopAnswer { from: A, result: Err(LoopError::NoTarget) }]);
        assert!(pending.answer(both, B, Ok(())).is_some());
    }

    #[test]
    fn client_that_disconnected_gets_no_reply() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.begin(Some(CLIENT), now, vec![A], "one");
        pending.client_ended(CLIENT);
        assert_eq!(pending.overdue(now), []);
        assert_eq!(pending.works().count(), 1);
    }
}
