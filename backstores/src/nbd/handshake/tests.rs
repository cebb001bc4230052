//! Handshakes as bytes: golden ones, in any chunks, refusals and violations.

use super::*;

/// The greeting of a server with fixed newstyle and NO_ZEROES.
const GREETING: [u8; 18] = [
    0x4e, 0x42, 0x44, 0x4d, 0x41, 0x47, 0x49, 0x43, // NBDMAGIC
    0x49, 0x48, 0x41, 0x56, 0x45, 0x4f, 0x50, 0x54, // IHAVEOPT
    0, 3, // FIXED_NEWSTYLE, NO_ZEROES
];

fn option(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"IHAVEOPT".to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 3, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9];
    bytes.extend(option.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn info_export(size: u64, flags: u16) -> Vec<u8> {
    [&0u16.to_be_bytes()[..], &size.to_be_bytes(), &flags.to_be_bytes()].concat()
}

fn info_block_size(sizes: [u32; 3]) -> Vec<u8> {
    let mut bytes = 3u16.to_be_bytes().to_vec();
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes
}

/// Lets a handshake take messages of the server in chunks; returns what the client sent and the last step.
fn drive(tls: bool, messages: &[Vec<u8>], chunk: usize) -> Result<(Vec<u8>, Step), Broken> {
    let mut handshake = Handshake::new("disk".to_owned(), tls);
    let (mut held, mut out, mut last) = (Vec::new(), Vec::new(), Step::Next);
    for piece in messages.concat().chunks(chunk) {
        held.extend_from_slice(piece);
        loop {
            let (used, step) = handshake.received(&held, &mut out)?;
            held.drain(..used);
            if step == Step::StartTls {
                let (used, step) = handshake.received(&[], &mut out)?;
                assert_eq!((used, step), (0, Step::Next));
            }
            if step != Step::Next {
                last = step;
            }
            if used == 0 || matches!(step, Step::Ready(_)) {
                break;
            }
        }
    }
    assert!(held.is_empty(), "all messages are used");
    Ok((out, last))
}

fn refusal(messages: &[Vec<u8>]) -> String {
    match drive(false, messages, usize::MAX) {
        Err(Broken::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// What a server with all extensions sends.
fn whole() -> Vec<Vec<u8>> {
    let context = [&9u32.to_be_bytes()[..], b"base:allocation"].concat();
    vec![
        GREETING.to_vec(),
        reply(8, 1, &[]),
        reply(10, 4, &context),
        reply(10, 1, &[]),
        reply(7, 3, &info_export(1 << 30, 0x16d)),
        reply(7, 3, &info_block_size([1, 4096, 32 << 20])),
        reply(7, 3, &[0, 99, 1, 2, 3]),
        reply(7, 1, &[]),
    ]
}

#[test]
fn handshake_with_all_extensions_in_any_chunks() {
    let name = [&[0, 0, 0, 4][..], b"disk"].concat();
    let sent = [
        vec![0, 0, 0, 3],
        option(8, &[]),
        option(10, &[&name[..], &[0, 0, 0, 1, 0, 0, 0, 15], b"base:allocation"].concat()),
        option(7, &[&name[..], &[0, 2, 0, 0, 0, 3]].concat()),
    ];
    let facts = Facts {
        size: 1 << 30,
        flags: 0x16d,
        block: BlockSize { minimum: 1, preferred: 4096, maximum: 32 << 20 },
        structured: true,
        allocation: Some(9),
    };
    for chunk in [1, 19, 20, 21, usize::MAX] {
        assert_eq!(drive(false, &whole(), chunk), Ok((sent.concat(), Step::Ready(facts))), "{chunk}");
    }
}

#[test]
fn server_without_extensions_is_asked_by_export_name() {
    let unsup = |option| reply(option, ERR_UNSUP, b"no");
    let export = [&(1u64 << 20).to_be_bytes()[..], &[0, 1]].concat();
    let (sent, step) =
        drive(false, &[GREETING.to_vec(), unsup(8), unsup(7), export.clone()], usize::MAX).unwrap();
    assert!(sent.ends_with(&option(1, b"disk")));
    let Step::Ready(facts) = step else { panic!("{step:?}") };
    assert_eq!((facts.size, facts.flags, facts.structured, facts.allocation), (1 << 20, 1, false, None));
    assert_eq!(facts.block, BlockSize::default());

    let mut greeting = GREETING.to_vec();
    greeting[17] = 1;
    let zeroes = [export, vec![0; 124]].concat();
    let (sent, step) = drive(false, &[greeting, unsup(8), unsup(7), zeroes], 50).unwrap();
    assert_eq!(sent[..4], [0, 0, 0, 1], "NO_ZEROES is not set if the server did not offer it");
    assert!(matches!(step, Step::Ready(_)));
}

#[test]
fn tls_comes_first_and_its_refusal_ends_the_handshake() {
    let mut messages = whole();
    messages.insert(1, reply(5, 1, &[]));
    let (sent, step) = drive(true, &messages, usize::MAX).unwrap();
    assert!(sent[4..].starts_with(&option(5, &[])) && matches!(step, Step::Ready(_)));
    for (kind, part) in [(ERR_UNSUP, "does not support TLS"), (ERR_POLICY, "by its policy (not you)")] {
        let refused = drive(true, &[GREETING.to_vec(), reply(5, kind, b"not you")], usize::MAX);
        let Err(Broken::Refused(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn refusals_are_explained() {
    let go = |kind, data: &[u8]| {
        let mut messages = whole();
        messages.truncate(4);
        messages.push(reply(7, kind, data));
        messages
    };
    let tls = [GREETING.to_vec(), reply(8, ERR_TLS_REQD, &[])];
    assert!(refusal(&tls).contains("requires TLS: use nbds:"));
    assert!(refusal(&go(ERR_TLS_REQD, &[])).contains("requires TLS"));
    assert!(refusal(&go(ERR_SHUTDOWN, &[])).contains("shutting down"));
    assert!(refusal(&go(ERR_BLOCK_SIZE_REQD, &[])).contains("block size"));
    assert!(refusal(&go(ERR_POLICY, b"no\x1b[1m")).ends_with("(no[1m)"));
    assert!(refusal(&go(INFO, &info_block_size([3, 4096, 4096]))).contains("3, 4096, 4096"));

    let unknown = |names: &[String]| {
        let mut messages = go(ERR_UNKNOWN, &[]);
        for name in names {
            let data = [&(name.len() as u32).to_be_bytes()[..], name.as_bytes(), b"description"].concat();
            messages.push(reply(3, 2, &data));
        }
        messages.push(reply(3, 1, &[]));
        refusal(&messages)
    };
    assert!(unknown(&[]).contains("no export 'disk' and lists none"));
    let names: Vec<String> = (0..30).map(|number| format!("d{number}")).collect();
    let why = unknown(&names);
    assert!(why.contains("'d0', 'd1'") && why.contains("'d19', and 10 more"), "{why}");

    for old in [&[0, 0, 0x42, 2, 0x81, 0x86, 0x12, 0x53, 0, 3][..], b"IHAVEOPT\0\0"] {
        assert!(refusal(&[b"NBDMAGIC".to_vec(), old.to_vec()]).contains("fixed newstyle"));
    }
}

#[test]
fn violations_end_the_handshake() {
    let mut wrong_magic = whole();
    wrong_magic[1][0] = 1;
    let mut wrong_option = whole();
    wrong_option[1] = reply(10, 1, &[]);
    let mut long = whole();
    long[1] = reply(8, 1, &[0; 65537]);
    let mut without_export = whole();
    without_export.remove(4);
    let mut short = whole();
    short[4] = reply(7, 3, &[0, 0, 1]);
    let mut short_block = whole();
    short_block[5] = reply(7, 3, &[0, 3, 1]);
    let mut many = whole();
    many.splice(6..7, std::iter::repeat_n(reply(7, 3, &[0, 99]), 300));
    let mut much = whole();
    much.splice(6..7, std::iter::repeat_n(reply(7, 3, &[9; 60000]), 20));
    let mut web = whole();
    web[0] = b"HTTP/1.1 400 Bad Request\r\n".to_vec();
    for messages in [wrong_magic, wrong_option, long, without_export, short, short_block, many, much, web] {
        let driven = drive(false, &messages, usize::MAX);
        assert!(matches!(driven, Err(Broken::Violation(_))), "{driven:?}");
    }
}
