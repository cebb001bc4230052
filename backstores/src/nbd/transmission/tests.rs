//! Requests and replies as bytes: golden ones, in any chunks and order, errors and violations.

use std::collections::HashMap;

use scsi_core::store::IoErrorKind;

use super::*;

const FACTS: Facts = Facts {
    size: 1 << 20,
    flags: 0x16d,
    block: BlockSize { minimum: 512, preferred: 4096, maximum: 1 << 16 },
    structured: true,
    allocation: Some(9),
};

#[derive(Default)]
struct Sent(HashMap<u64, (Request, Progress)>);

impl Requests<Progress> for Sent {
    fn get(&mut self, Cookie(cookie): Cookie) -> Option<(&Request, &mut Progress)> {
        self.0.get_mut(&cookie).map(|(request, progress)| (&*request, progress))
    }
}

fn sent(kind: RequestKind, offset: u64, len: u64) -> Sent {
    Sent(HashMap::from([(7, (Request { kind, offset, len }, Progress::default()))]))
}

fn chunk(done: bool, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = STRUCTURED_REPLY_MAGIC.to_be_bytes().to_vec();
    bytes.extend(u16::from(done).to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(7u64.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn data(done: bool, offset: u64, len: usize) -> Vec<u8> {
    chunk(done, 1, &[&offset.to_be_bytes()[..], &vec![0x5a; len]].concat())
}

fn hole(done: bool, offset: u64, len: u32) -> Vec<u8> {
    chunk(done, 2, &[&offset.to_be_bytes()[..], &len.to_be_bytes()].concat())
}

fn error_at(done: bool, error: u32, offset: u64) -> Vec<u8> {
    chunk(
        done,
        CHUNK_ERROR_OFFSET,
        &[&error.to_be_bytes()[..], &[0, 2], b"no", &offset.to_be_bytes()].concat(),
    )
}

fn error(done: bool, error: u32) -> Vec<u8> {
    chunk(done, CHUNK_ERROR, &[&error.to_be_bytes()[..], &[0, 0]].concat())
}

fn simple(error: u32) -> Vec<u8> {
    [&SIMPLE_REPLY_MAGIC.to_be_bytes()[..], &error.to_be_bytes(), &7u64.to_be_bytes()].concat()
}

/// Feeds bytes in chunks, as a connection does, and returns all events.
fn feed(facts: Facts, requests: &mut Sent, bytes: &[u8], chunk: usize) -> Result<Vec<Event>, Broken> {
    let mut transmission = Transmission::new(facts);
    let (mut held, mut events, mut payload) = (Vec::new(), Vec::new(), 0usize);
    for piece in bytes.chunks(chunk) {
        held.extend_from_slice(piece);
        loop {
            let taken = payload.min(held.len());
            held.drain(..taken);
            payload -= taken;
            if payload > 0 {
                break;
            }
            let (used, event) = transmission.received(&held, requests)?;
            held.drain(..used);
            match event {
                Event::None if used == 0 => break,
                Event::None => {}
                Event::Payload { len, .. } => {
                    payload = len;
                    events.push(event);
                }
                event => events.push(event),
            }
        }
    }
    assert!(held.is_empty(), "all bytes are used");
    Ok(events)
}

fn events(requests: &mut Sent, messages: &[Vec<u8>]) -> Result<Vec<Event>, Broken> {
    feed(FACTS, requests, &messages.concat(), usize::MAX)
}

fn answer(result: Result<Completed, IoError>) -> Event {
    Event::Answer { cookie: Cookie(7), result }
}

const GOOD: Result<Completed, IoError> = Ok(Completed::Done);

#[test]
fn request_has_its_golden_bytes() {
    let mut transmission = Transmission::new(FACTS);
    let mut out = Vec::new();
    let request = Request { kind: RequestKind::Write { fua: true }, offset: 0x1_0000, len: 0x1000 };
    assert_eq!(transmission.request(Cookie(0x0102_0304_0506_0708), &request, &mut out), None);
    #[rustfmt::skip]
    assert_eq!(out, [
        0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1, // magic, FUA, WRITE
        1, 2, 3, 4, 5, 6, 7, 8,
        0, 0, 0, 0, 0, 1, 0, 0, // offset
        0, 0, 0x10, 0,
    ]);
}

#[test]
fn commands_and_flags_follow_the_operation_and_the_server() {
    let all = [
        (RequestKind::Read, READ, 0),
        (RequestKind::Write { fua: false }, WRITE, 0),
        (RequestKind::Discard, TRIM, 0),
        (RequestKind::WriteZeroes { may_unmap: true }, WRITE_ZEROES, 0),
        (RequestKind::WriteZeroes { may_unmap: false }, WRITE_ZEROES, NO_HOLE),
        (RequestKind::Allocation, BLOCK_STATUS, REQ_ONE),
    ];
    let encoded = |facts, kind, offset, len| {
        let mut out = Vec::new();
        let request = Request { kind, offset, len };
        match Transmission::new(facts).request(Cookie(7), &request, &mut out) {
            None => Ok((u16::from_be_bytes([out[6], out[7]]), u16::from_be_bytes([out[4], out[5]]))),
            Some(result) => {
                assert!(out.is_empty());
                Err(result)
            }
        }
    };
    for (kind, command, flags) in all {
        assert_eq!(encoded(FACTS, kind, 512, 512), Ok((command, flags)), "{kind:?}");
    }
    assert_eq!(encoded(FACTS, RequestKind::Flush, 0, 0), Ok((FLUSH, 0)));
    let bare = Facts { flags: flag::HAS_FLAGS, allocation: None, ..FACTS };
    assert_eq!(encoded(bare, RequestKind::Write { fua: true }, 0, 512), Ok((WRITE, 0)));
    assert_eq!(encoded(bare, RequestKind::Flush, 0, 0), Err(GOOD), "the server has no cache");
    for kind in [RequestKind::Discard, RequestKind::WriteZeroes { may_unmap: true }, RequestKind::Allocation]
    {
        assert_eq!(encoded(bare, kind, 0, 512), Err(Err(IoError::UNSUPPORTED)), "{kind:?}");
    }
    let read_only = Facts { flags: FACTS.flags | flag::READ_ONLY, ..FACTS };
    for (kind, command, _) in all {
        let changes = matches!(command, WRITE | TRIM | WRITE_ZEROES);
        assert_eq!(encoded(read_only, kind, 0, 512) == Err(Err(IoError::READ_ONLY)), changes, "{kind:?}");
    }
    for (offset, len) in [(FACTS.size, 512), (FACTS.size - 512, 1024), (u64::MAX, 2)] {
        assert_eq!(encoded(FACTS, RequestKind::Read, offset, len), Err(Err(IoError::OUT_OF_RANGE)));
    }
}

#[test]
fn chunks_in_any_order_and_chunking_make_a_read() {
    let messages = [data(false, 6144, 1024), hole(false, 5120, 1024), data(true, 4096, 1024)];
    let payload = |at| Event::Payload { cookie: Cookie(7), at, len: 1024 };
    let expected = vec![
        payload(2048),
        Event::Zeroes { cookie: Cookie(7), at: 1024, len: 1024 },
        payload(0),
        answer(GOOD),
    ];
    for chunk in [1, 4, 27, 28, 29, usize::MAX] {
        let mut requests = sent(RequestKind::Read, 4096, 3072);
        let fed = feed(FACTS, &mut requests, &messages.concat(), chunk);
        assert_eq!(fed.as_ref(), Ok(&expected), "{chunk}");
    }
    let mut requests = sent(RequestKind::Read, 0, 512);
    assert_eq!(
        events(&mut requests, &[data(false, 0, 512), chunk(true, 0, &[])]).unwrap().last(),
        Some(&answer(GOOD))
    );
    let mut requests = sent(RequestKind::Read, 0, 512);
    let last = events(&mut requests, &[hole(true, 0, 512)]).unwrap();
    assert_eq!(last[1..], [answer(GOOD)]);
}

#[test]
fn simple_replies_are_taken_where_the_protocol_allows_them() {
    let mut requests = sent(RequestKind::Write { fua: false }, 0, 512);
    assert_eq!(events(&mut requests, &[simple(0)]), Ok(vec![answer(GOOD)]));
    let mut requests = sent(RequestKind::Read, 512, 512);
    assert_eq!(events(&mut requests, &[simple(5)]), Ok(vec![answer(Err(IoError::medium(512)))]));
    let mut requests = sent(RequestKind::Read, 0, 512);
    assert!(events(&mut requests, &[simple(0)]).is_err());
    let plain = Facts { structured: false, ..FACTS };
    let read = [simple(0), vec![1; 512]].concat();
    let payload = Event::Payload { cookie: Cookie(7), at: 0, len: 512 };
    for chunk in [1, 16, 17, usize::MAX] {
        let fed = feed(plain, &mut sent(RequestKind::Read, 0, 512), &read, chunk);
        assert_eq!(fed, Ok(vec![payload, answer(GOOD)]), "{chunk}");
    }
    assert!(feed(plain, &mut sent(RequestKind::Read, 0, 512), &data(true, 0, 512), 64).is_err());
}

#[test]
fn error_has_the_offset_of_the_first_byte_that_failed() {
    let mut requests = sent(RequestKind::Read, 4096, 4096);
    let messages = [
        error_at(false, 5, 6144),
        error_at(false, 5, 5120),
        error_at(false, 5, 7168),
        data(false, 4096, 512),
        chunk(true, 0, &[]),
    ];
    assert_eq!(events(&mut requests, &messages).unwrap().last(), Some(&answer(Err(IoError::medium(5120)))));
    let mut requests = sent(RequestKind::Read, 4096, 4096);
    assert_eq!(events(&mut requests, &[error(true, 5)]), Ok(vec![answer(Err(IoError::medium(4096)))]));
    let mut requests = sent(RequestKind::Read, 4096, 4096);
    let unknown_error = chunk(true, CHUNK_IS_ERROR + 77, &[0; 6]);
    assert_eq!(events(&mut requests, &[unknown_error]), Ok(vec![answer(Err(IoError::medium(4096)))]));
}

#[test]
fn errors_of_the_server_become_errors_of_the_store() {
    let write = RequestKind::Write { fua: false };
    let cases = [
        (write, 1, IoErrorKind::ReadOnly),
        (RequestKind::Read, 1, IoErrorKind::Medium),
        (write, 5, IoErrorKind::Medium),
        (write, 12, IoErrorKind::Busy),
        (write, 22, IoErrorKind::Medium),
        (RequestKind::Discard, 22, IoErrorKind::Unsupported),
        (write, 28, IoErrorKind::NoSpace),
        (RequestKind::Flush, 28, IoErrorKind::NoSpace),
        (write, 75, IoErrorKind::Medium),
        (RequestKind::Allocation, 95, IoErrorKind::Unsupported),
        (write, 0xffff_ffff, IoErrorKind::Medium),
    ];
    for (kind, code, expected) in cases {
        let len = if kind == RequestKind::Flush { 0 } else { 512 };
        let answers = events(&mut sent(kind, 0, len), &[error(true, code)]).unwrap();
        let [Event::Answer { result: Err(error), .. }] = answers[..] else { panic!("{answers:?}") };
        assert_eq!(error.kind(), expected, "{kind:?} {code}");
    }
    assert_eq!(events(&mut sent(write, 0, 512), &[error(true, 108)]), Err(Broken::Ended));
}

#[test]
fn range_that_is_too_long_for_the_server_is_repeated_in_short_pieces() {
    let mut transmission = Transmission::new(FACTS);
    assert_eq!(transmission.len_max(RequestKind::Discard), 1 << 30);
    for _ in 0..2 {
        let mut requests = sent(RequestKind::Discard, 0, 1 << 17);
        let received = transmission.received(&error(true, 75), &mut requests);
        assert_eq!(received, Ok((26, Event::Repeat { cookie: Cookie(7) })));
    }
    assert_eq!(transmission.len_max(RequestKind::Discard), 1 << 16);
    let mut requests = sent(RequestKind::Discard, 0, 1 << 16);
    let received = transmission.received(&error(true, 75), &mut requests).unwrap().1;
    assert_eq!(received, answer(Err(IoError::medium(0))));
}

#[test]
fn allocation_is_that_of_the_first_extent() {
    let status = |context: u32, len: u32, flags: u32| {
        let fields = [context, len, flags].map(u32::to_be_bytes).concat();
        chunk(true, 5, &fields)
    };
    for (len, flags, expected) in [(512, 3, (512, true)), (512, 1, (512, false)), (9999, 0, (1024, false))] {
        let (len_expected, hole) = expected;
        let result = Ok(Completed::Allocation { len: len_expected, hole });
        let mut requests = sent(RequestKind::Allocation, 0, 1024);
        assert_eq!(events(&mut requests, &[status(9, len, flags)]), Ok(vec![answer(result)]));
    }
    for wrong in [status(8, 512, 0), status(9, 0, 0), chunk(true, 5, &[0, 0, 0, 9]), chunk(true, 0, &[])] {
        assert!(events(&mut sent(RequestKind::Allocation, 0, 1024), &[wrong]).is_err());
    }
}

#[test]
fn violations_end_the_connection() {
    let unknown = {
        let mut bytes = simple(0);
        bytes[15] = 8;
        bytes
    };
    let cases: &[(&str, Vec<Vec<u8>>)] = &[
        ("overlaps", vec![data(false, 0, 512), data(true, 256, 256)]),
        ("twice", vec![hole(false, 0, 512), hole(true, 0, 512)]),
        ("before the request", vec![data(true, u64::MAX, 512)]),
        ("behind the request", vec![data(true, 512, 1024)]),
        ("empty", vec![chunk(true, 1, &[0; 8])]),
        ("shorter than its fields", vec![chunk(true, 1, &[0; 4]), vec![0; 4]]),
        ("empty hole", vec![hole(true, 0, 0)]),
        ("hole of wrong length", vec![chunk(true, 2, &[0; 11])]),
        ("not all data", vec![data(true, 0, 512)]),
        ("no data", vec![chunk(true, 0, &[])]),
        ("unknown type", vec![chunk(true, 9, &[])]),
        ("type 0 with data", vec![chunk(true, 0, &[0])]),
        ("too long", vec![chunk(true, 5, &vec![0; CHUNK_LEN_MAX + 1])]),
        ("error 0", vec![error(true, 0)]),
        ("error outside", vec![error_at(true, 5, 1024)]),
        ("error text beyond the chunk", vec![chunk(true, CHUNK_ERROR, &[0, 0, 0, 5, 0, 9])]),
        ("error without offset", vec![chunk(true, CHUNK_ERROR_OFFSET, &[0, 0, 0, 5, 0, 0])]),
        ("simple behind chunks", vec![data(false, 0, 512), simple(0)]),
        ("unknown cookie", vec![unknown]),
        ("wrong magic", vec![vec![0; 4]]),
    ];
    for (what, messages) in cases {
        let fed = events(&mut sent(RequestKind::Read, 0, 1024), messages);
        assert!(matches!(fed, Err(Broken::Violation(_))), "{what}: {fed:?}");
    }
    let fed = events(&mut sent(RequestKind::Write { fua: false }, 0, 512), &[data(true, 0, 512)]);
    assert!(matches!(fed, Err(Broken::Violation(_))), "data for a write");
}
