//! A store of a product: volumes on a server, which answers on a thread of its own. Everything here comes from the
//! documentation of [`Backstore`], [`IoEngine`], [`Outbox`] and [`Kind`].
//!
//! ```sh
//! cargo run -p backstores --example product_store --features contract
//! ```
//!
//! The program checks the store with the contract suite, opens a volume by the registry as the server does, and resizes it.

use std::collections::HashMap;
use std::error::Error;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use backstores::contract::{self, Subject};
use backstores::outbox::Outbox;
use backstores::registry::{Kind, OpenError, OpenOptions, PathUse, Registry, parse_size};
use backstores::waiting::Waiting;
use scsi_core::store::{
    Backstore, Block, BlockOp, Capabilities, Completed, Completion, Engines, Geometry, InlineOp, IoEngine,
    IoError, IoTag, Notice, Now, Port, Slot,
};

/// The state of the product, which all its stores share: the volumes by name, and the way to the server.
struct Product {
    volumes: Mutex<HashMap<String, Arc<Volume>>>,
    requests: Sender<Request>,
}

/// A volume on the server.
struct Volume {
    bytes: Mutex<Vec<u8>>,
    /// The engines that want to know of a resize, with their slots.
    watchers: Mutex<Vec<(Weak<Outbox<Answer>>, Slot)>>,
}

/// What an engine asks of the server.
struct Request {
    volume: Arc<Volume>,
    tag: IoTag,
    op: BlockOp,
    reply_to: Arc<Outbox<Answer>>,
}

/// What the thread of the server puts into the outbox of an engine.
enum Answer {
    Done(Completion),
    Resized(Slot),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Product {
    fn new() -> Arc<Self> {
        let (requests, received) = channel();
        std::thread::spawn(move || serve(&received));
        Arc::new(Self { volumes: Mutex::default(), requests })
    }

    fn create(&self, name: &str, size: usize) -> Arc<Volume> {
        let volume = Arc::new(Volume { bytes: Mutex::new(vec![0; size]), watchers: Mutex::default() });
        lock(&self.volumes).insert(name.to_owned(), Arc::clone(&volume));
        volume
    }

    /// The kind for the registry. Its function keeps the product.
    fn kind(self: &Arc<Self>) -> Kind {
        let product = Arc::clone(self);
        Kind {
            name: "product",
            summary: "a volume of the product",
            sync: false,
            direct: false,
            path: PathUse::Name,
            options: &["create"],
            open: Arc::new(move |options| product.open(options)),
        }
    }

    /// Opens the volume that the path names. Called on a thread that may block.
    fn open(self: &Arc<Self>, options: &OpenOptions) -> Result<Arc<dyn Backstore>, OpenError> {
        let name = options.name()?;
        let known = lock(&self.volumes).get(name).cloned();
        let volume = match (known, options.option("create")) {
            (Some(volume), _) => Some(volume),
            (None, Some(size)) => parse_size(size).map(|size| self.create(name, size as usize)),
            (None, None) => None,
        };
        let why = "there is no such volume; create it with the option 'create=SIZE'";
        let volume = volume.ok_or_else(|| OpenError::refused(&options.path, why))?;
        Ok(Arc::new(ProductStore { product: Arc::clone(self), volume, name: name.to_owned() }))
    }
}

impl Volume {
    fn resize(&self, size: usize) {
        lock(&self.bytes).resize(size, 0);
        for (outbox, slot) in &*lock(&self.watchers) {
            if let Some(outbox) = outbox.upgrade() {
                outbox.put(Answer::Resized(*slot));
            }
        }
    }

    fn perform(&self, op: &mut BlockOp) -> Result<Completed, IoError> {
        let mut bytes = lock(&self.bytes);
        match op {
            BlockOp::Read { offset, into } => {
                let at = *offset as usize;
                let found = bytes.get(at..at + into.len()).ok_or(IoError::OUT_OF_RANGE.at(*offset))?;
                into.copy_from_slice(found);
            }
            BlockOp::Write { offset, from, .. } => {
                let at = *offset as usize;
                let found = bytes.get_mut(at..at + from.len()).ok_or(IoError::OUT_OF_RANGE.at(*offset))?;
                found.copy_from_slice(from);
            }
            BlockOp::Flush => {}
            BlockOp::Discard { .. } | BlockOp::WriteZeroes { .. } | BlockOp::Allocation { .. } => {
                return Err(IoError::UNSUPPORTED);
            }
        }
        Ok(Completed::Done)
    }
}

/// The thread of the server.
fn serve(requests: &Receiver<Request>) {
    for Request { volume, tag, mut op, reply_to } in requests {
        let result = volume.perform(&mut op);
        reply_to.put(Answer::Done(Completion { tag, block: into_block(op), result }));
    }
}

fn into_block(op: BlockOp) -> Option<Block> {
    match op {
        BlockOp::Read { into: block, .. } | BlockOp::Write { from: block, .. } => Some(block),
        _ => None,
    }
}

/// An open volume.
struct ProductStore {
    product: Arc<Product>,
    volume: Arc<Volume>,
    name: String,
}

impl Backstore for ProductStore {
    fn kind(&self) -> &'static str {
        "product"
    }

    fn name(&self) -> std::borrow::Cow<'_, str> {
        self.name.as_str().into()
    }

    fn geometry(&self) -> Geometry {
        Geometry { size: lock(&self.volume.bytes).len() as u64, physical_block_len: 512 }
    }

    /// Writes are durable when they complete.
    fn capabilities(&self) -> Capabilities {
        Capabilities { fua: true, ..Capabilities::NONE }
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        Ok(self.geometry())
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, product) = engines.of_kind(|| ProductEngine::new(self.product.requests.clone()))?;
        let slot = product.add(&self.volume);
        Ok(Port { engine, slot })
    }
}

/// The engine of one loop for all volumes.
struct ProductEngine {
    requests: Sender<Request>,
    outbox: Arc<Outbox<Answer>>,
    volumes: Vec<Option<Arc<Volume>>>,
    /// Requests that `kick` sends.
    batch: Vec<Request>,
    /// Reused to take answers.
    answers: Vec<Answer>,
    done: Vec<Completion>,
    notices: Vec<(Slot, Notice)>,
    /// Operations at the server.
    running: usize,
    /// The latest time that the engine got.
    now: Option<Instant>,
    silence: Silence,
}

/// Whether the server answers.
#[derive(Clone, Copy, PartialEq)]
enum Silence {
    /// Nothing is asked of it.
    Idle,
    /// It was asked or has answered just now; the time follows by `handle_timeout`.
    Begins,
    /// It has not answered until now and counts as unreachable from this time on.
    Until(Instant),
    Unreachable,
}

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl ProductEngine {
    fn new(requests: Sender<Request>) -> Result<Self, IoError> {
        let outbox = Outbox::new().map_err(|_| IoError::NOT_READY)?;
        Ok(Self {
            requests,
            outbox: Arc::new(outbox),
            volumes: Vec::new(),
            batch: Vec::new(),
            answers: Vec::new(),
            done: Vec::new(),
            notices: Vec::new(),
            running: 0,
            now: None,
            silence: Silence::Idle,
        })
    }

    /// Adds a volume in a free slot, and watches its size.
    fn add(&mut self, volume: &Arc<Volume>) -> Slot {
        let free = self.volumes.iter().position(Option::is_none).unwrap_or(self.volumes.len());
        self.volumes.resize(self.volumes.len().max(free + 1), None);
        self.volumes[free] = Some(Arc::clone(volume));
        let slot = Slot(free as u32);
        lock(&volume.watchers).push((Arc::downgrade(&self.outbox), slot));
        slot
    }

    fn tell_all(&mut self, notice: Notice) {
        let slots = self.volumes.iter().enumerate().filter(|(_, volume)| volume.is_some());
        self.notices.extend(slots.map(|(slot, _)| (Slot(slot as u32), notice)));
    }
}

impl IoEngine for ProductEngine {
    fn try_now(&mut self, _: Slot, _: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        None
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        match self.volumes.get(slot.0 as usize).and_then(Option::as_ref) {
            Some(volume) => {
                let (volume, reply_to) = (Arc::clone(volume), Arc::clone(&self.outbox));
                self.batch.push(Request { volume, tag, op, reply_to });
            }
            None => {
                self.done.push(Completion { tag, block: into_block(op), result: Err(IoError::NOT_READY) })
            }
        }
    }

    fn kick(&mut self) {
        if self.silence == Silence::Idle && !self.batch.is_empty() {
            self.silence = Silence::Begins;
        }
        for request in self.batch.drain(..) {
            self.running += 1;
            if let Err(unsent) = self.requests.send(request) {
                self.running -= 1;
                let Request { tag, op, .. } = unsent.0;
                let result = Err(IoError::UNREACHABLE);
                self.done.push(Completion { tag, block: into_block(op), result });
            }
        }
    }

    fn reap(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.outbox.event_fd())
    }

    fn event_ready(&mut self) {
        let mut answers = std::mem::take(&mut self.answers);
        self.outbox.take(&mut answers);
        for answer in answers.drain(..) {
            match answer {
                Answer::Done(completion) => {
                    self.running -= 1;
                    self.done.push(completion);
                    if self.silence == Silence::Unreachable {
                        self.tell_all(Notice::Back);
                    }
                    self.silence = if self.running > 0 { Silence::Begins } else { Silence::Idle };
                }
                Answer::Resized(slot) => self.notices.push((slot, Notice::Resized)),
            }
        }
        self.answers = answers;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.silence {
            Silence::Begins => self.now,
            Silence::Until(at) => Some(at),
            Silence::Idle | Silence::Unreachable => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = Some(now);
        match self.silence {
            Silence::Begins => self.silence = Silence::Until(now + PATIENCE),
            Silence::Until(at) if at <= now => {
                self.silence = Silence::Unreachable;
                self.tell_all(Notice::Unreachable);
            }
            _ => {}
        }
    }

    fn notices(&mut self, into: &mut Vec<(Slot, Notice)>) {
        into.append(&mut self.notices);
    }

    /// What is not sent completes now; the server answers the rest.
    fn cancel(&mut self, tag: IoTag) {
        if let Some(at) = self.batch.iter().position(|request| request.tag == tag) {
            let Request { tag, op, .. } = self.batch.swap_remove(at);
            self.done.push(Completion { tag, block: into_block(op), result: Err(IoError::CANCELLED) });
        }
    }

    fn detach(&mut self, slot: Slot) {
        let Some(volume) = self.volumes.get_mut(slot.0 as usize).and_then(Option::take) else { return };
        let outbox = Arc::as_ptr(&self.outbox);
        lock(&volume.watchers).retain(|(other, of)| *of != slot || other.as_ptr() != outbox);
    }
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let product = Product::new();

    let (beside, next) = (Arc::clone(&product), AtomicUsize::new(0));
    contract::check(&Subject::new(move || {
        let name = format!("check{}", next.fetch_add(1, Ordering::Relaxed));
        let volume = beside.create(&name, 1 << 20);
        Arc::new(ProductStore { product: Arc::clone(&beside), volume, name })
    }));

    let mut registry = Registry::builtin();
    registry.add(product.kind());
    let options = OpenOptions {
        path: "product://rack7/volume1".into(),
        bsopts: "create=4M".to_owned(),
        ..OpenOptions::default()
    };
    let store = registry.open("product", &options)?;
    let mut disk = Waiting::new(&*store)?;
    disk.write(4096, b"on the server's thread", true)?;
    assert_eq!(*disk.read(4096, 22)?, *b"on the server's thread");
    println!("{}: {} bytes", store.name(), store.geometry().size);

    // What the server does in a loop.
    let mut engines = Engines::default();
    let port = engines.attach(&*store)?;
    engines.reap(Instant::now(), &mut Vec::new());
    let volume = lock(&product.volumes).get("product://rack7/volume1").cloned();
    volume.ok_or("the volume was created")?.resize(8 << 20);
    engines.set_ready(port.engine);
    engines.reap(Instant::now(), &mut Vec::new());
    for (from, notice) in engines.take_notices() {
        assert_eq!((from, notice), (port, Notice::Resized));
        println!("{}: {notice:?}, {} bytes now", store.name(), store.refresh()?.size);
    }
    assert_eq!(store.geometry().size, 8 << 20);
    Ok(())
}
