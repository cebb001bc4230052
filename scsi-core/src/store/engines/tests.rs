//! How engines are called, in the order of their contract.

use super::*;
use crate::store::{Block, Completed};

/// What a [`ScriptedEngine`] was asked, and what it answers.
#[derive(Default)]
struct ScriptedEngine {
    calls: Vec<String>,
    start: Option<Instant>,
    /// The latest time that it got.
    now: Option<Instant>,
    timeout: Timeout,
    waiting: Vec<(IoTag, BlockOp)>,
    /// Operations complete only after `event_ready`.
    by_event: bool,
    completes: bool,
    notice: Option<Notice>,
    panics_in: &'static str,
}

/// The timeout of a [`ScriptedEngine`].
#[derive(Clone, Copy, Default)]
enum Timeout {
    #[default]
    Never,
    /// It needs the present time, from which on it waits for this time.
    After(Duration),
    At(Instant),
    /// It does not care for the time that it gets.
    Always,
}

impl ScriptedEngine {
    fn note(&mut self, call: &str) {
        self.calls.push(call.to_owned());
        assert!(self.panics_in != call, "on purpose");
    }
}

impl IoEngine for ScriptedEngine {
    fn try_now(&mut self, _: Slot, _: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        None
    }

    fn submit(&mut self, _: Slot, tag: IoTag, op: BlockOp) {
        self.waiting.push((tag, op));
    }

    fn kick(&mut self) {
        self.note("kick");
        self.completes |= !self.by_event;
    }

    fn reap(&mut self, done: &mut Vec<Completion>) {
        self.note("reap");
        if std::mem::take(&mut self.completes) {
            done.extend(self.waiting.drain(..).map(|(tag, op)| match op {
                BlockOp::Read { into, .. } => {
                    Completion { tag, block: Some(into), result: Ok(Completed::Done) }
                }
                _ => Completion { tag, block: None, result: Ok(Completed::Done) },
            }));
        }
    }

    fn event_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }

    fn event_ready(&mut self) {
        self.note("ready");
        self.completes = true;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.timeout {
            Timeout::Never => None,
            Timeout::After(_) | Timeout::Always => self.now,
            Timeout::At(at) => Some(at),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        self.note(&format!("timeout {}", (now - start).as_millis()));
        self.now = Some(now);
        match self.timeout {
            Timeout::After(time) => self.timeout = Timeout::At(now + time),
            Timeout::At(at) if at <= now => self.timeout = Timeout::Never,
            _ => {}
        }
    }

    fn notices(&mut self, into: &mut Vec<(Slot, Notice)>) {
        self.note("notices");
        into.extend(self.notice.take().map(|notice| (Slot(3), notice)));
    }

    fn cancel(&mut self, _: IoTag) {}

    fn detach(&mut self, _: Slot) {}
}

/// The engines of a loop with one engine, and the time.
struct Bench {
    engines: Engines,
    now: Instant,
}

const PORT: Port = Port { engine: EngineIndex(0), slot: Slot(3) };

impl Bench {
    /// An engine that was called for the first time.
    fn new() -> Self {
        let mut engines = Engines::default();
        engines.of_kind(|| Ok(ScriptedEngine::default())).unwrap();
        let mut bench = Self { engines, now: Instant::now() };
        assert_eq!(bench.reap(0), ["timeout 0", "notices", "reap"]);
        bench
    }

    /// The engine; that it is asked for here counts as a call.
    fn engine(&mut self) -> &mut ScriptedEngine {
        self.engines.of_kind(|| Ok(ScriptedEngine::default())).unwrap().1
    }

    fn calls(&mut self) -> Vec<String> {
        let engine: &mut dyn Any = self.engines.engine(PORT.engine);
        std::mem::take(&mut engine.downcast_mut::<ScriptedEngine>().unwrap().calls)
    }

    /// Takes completions after this many milliseconds, and returns the calls that the engine got.
    fn reap(&mut self, after: u64) -> Vec<String> {
        self.now += Duration::from_millis(after);
        self.engines.reap(self.now, &mut Vec::new());
        self.calls()
    }

    fn submit(&mut self) {
        self.engines.submit(PORT, IoTag(1), BlockOp::Read { offset: 0, into: Block::new(512) });
    }
}

#[test]
fn engine_with_nothing_to_do_is_not_called() {
    let mut bench = Bench::new();
    assert_eq!(bench.reap(1000), [""; 0]);
    bench.engines.kick();
    assert_eq!(bench.calls(), [""; 0]);
    assert_eq!(bench.engines.poll_timeout(), None);

    bench.submit();
    bench.engines.kick();
    bench.engines.kick();
    assert_eq!(bench.calls(), ["kick"], "once for each submission");
    assert_eq!(bench.reap(0), ["reap"]);
    assert_eq!(bench.reap(0), [""; 0], "the operation has completed");
}

#[test]
fn engine_is_called_while_operations_run_and_when_its_event_is_readable() {
    let mut bench = Bench::new();
    bench.engine().by_event = true;
    bench.reap(0);
    bench.submit();
    bench.engines.kick();
    assert_eq!(bench.calls(), ["kick"]);
    assert_eq!((bench.reap(0), bench.reap(0)), (vec!["reap".to_owned()], vec!["reap".to_owned()]));
    bench.engines.set_ready(PORT.engine);
    assert_eq!(bench.reap(0), ["ready", "notices", "reap"]);
    assert_eq!(bench.reap(0), [""; 0]);
    bench.engines.set_ready(PORT.engine);
    assert_eq!(bench.reap(0), ["ready", "notices", "reap"], "also without operations");
}

#[test]
fn timeout_is_handled_when_it_is_due() {
    let mut bench = Bench::new();
    bench.engine().timeout = Timeout::After(Duration::from_millis(50));
    assert_eq!(
        bench.reap(10),
        ["reap", "timeout 10", "notices", "reap"],
        "an engine that needs the present time gets it at once"
    );
    assert_eq!(bench.engines.poll_timeout(), Some(bench.now + Duration::from_millis(50)));
    assert_eq!(bench.reap(49), [""; 0]);
    assert_eq!(bench.reap(1), ["timeout 60", "notices", "reap"]);
    assert_eq!(bench.engines.poll_timeout(), None);
}

#[test]
fn engine_that_ignores_the_time_is_called_once_a_millisecond() {
    let mut bench = Bench::new();
    bench.engine().timeout = Timeout::Always;
    assert_eq!(bench.reap(1), ["reap", "timeout 1", "notices", "reap"]);
    assert_eq!(bench.engines.poll_timeout(), Some(bench.now + TIMEOUT_AGAIN));
    assert_eq!(bench.reap(0), [""; 0]);
    assert_eq!(bench.reap(1), ["timeout 2", "notices", "reap"]);
}

#[test]
fn notices_are_taken_with_the_port_of_their_store() {
    let mut bench = Bench::new();
    bench.engine().notice = Some(Notice::Unreachable);
    assert_eq!(bench.reap(0), ["reap"]);
    assert!(!bench.engines.has_notices());
    bench.engines.set_ready(PORT.engine);
    bench.reap(0);
    assert!(bench.engines.has_notices());
    assert_eq!(bench.engines.take_notices(), [(PORT, Notice::Unreachable)]);
    assert!(!bench.engines.has_notices());
}

#[test]
fn panic_in_any_of_these_calls_fails_the_engine() {
    for call in ["ready", "timeout 5", "notices", "reap", "kick"] {
        let mut bench = Bench::new();
        let engine = bench.engine();
        engine.panics_in = call;
        engine.timeout = Timeout::At(engine.now.unwrap() + Duration::from_millis(5));
        bench.submit();
        bench.engines.kick();
        bench.engines.set_ready(PORT.engine);
        bench.reap(5);
        assert_eq!(bench.engines.failure(PORT.engine), Some("on purpose"), "{call}");
        assert!(bench.engines.take_lost());
        assert_eq!(bench.engines.poll_timeout(), None);
        bench.submit();
        bench.engines.kick();
        bench.engines.set_ready(PORT.engine);
        assert_eq!(bench.reap(5), [""; 0], "it is not called again");
    }
}
