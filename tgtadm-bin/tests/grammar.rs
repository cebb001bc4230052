//! The request or the message of each command line.
//!
//! The expectations were recorded from tgt's `tgtadm` 1.0.85. The last tests compare with the installed one (Debian
//! package `tgt`).

#![allow(clippy::unwrap_used, reason = "tests")]

mod recorder;

use std::path::Path;

use recorder::{OURS, TGT, run};
use target_engine::control::wire::{Mode, Op, Record, RequestHeader};
use tgtadm_bin::args::{self, Invocation};

/// Command line (`''` is an empty word), then either the request in short form (only fields that differ from the
/// default, the payload in brackets without its NUL) or exit code and message.
#[rustfmt::skip]
const CASES: &[(&str, Expected)] = &[
    ("--op show --mode target",                                   Sends("target show")),
    ("-oshow -mtarget",                                           Sends("target show")),
    ("-mtgt -oshow -t1 -dt2",                                     Sends("target show tid=2")),
    ("-o show -m target -t 0",                                    Sends("target show tid=0")),
    ("-o show -m target --",                                      Sends("target show")),
    ("--lld iscsi --op new --mode target --tid 1 -T iqn.a:b",     Sends("target new lld=iscsi tid=1 [targetname=iqn.a:b]")),
    ("-L iscsi -o new -m target --tid=0x10 -T x",                 Sends("target new lld=iscsi tid=16 [targetname=x]")),
    ("-o new -m target --ti 010 -T x",                            Sends("target new tid=8 [targetname=x]")),
    ("-o new -m target -t 5x -T x",                               Sends("target new tid=5 [targetname=x]")),
    ("-o new -m target -t +5 -T a -T b",                          Sends("target new tid=5 [targetname=b]")),
    ("-o new -m target -t 1 -T ''",                               Sends("target new tid=1 [targetname=]")),
    ("-o delete -m target -t 1 -F 1",                             Sends("target delete tid=1 force")),
    ("-o delete -m target -t 1 -F -t1",                           Sends("target delete tid=1 force")),
    ("-o delete -m target -t 1 --for",                            Sends("target delete tid=1 force")),
    ("-o delete -m target -t 1 --drain 5",                        Sends("target delete tid=1 [drain=5]")),
    ("-o delete -m lu -t 1 -l 1 -D 5 --force",                    Sends("logicalunit delete tid=1 lun=1 force [drain=5]")),
    ("-o stat -m target -t 1",                                    Sends("target stat tid=1")),
    ("-m target -o bind -t 1 -I ALL",                             Sends("target bind tid=1 [initiator-address=ALL]")),
    ("-m target -o bind -t 1 -Q iqn.a -I ALL",                    Sends("target bind tid=1 [initiator-address=ALL,initiator-name=iqn.a]")),
    ("-m target -o bind -t 1 -H 3",                               Sends("target bind tid=1 host=3")),
    ("-m target -o unbind -t 1 -H 3 -I ''",                       Sends("target unbind tid=1 host=3 [initiator-address=]")),
    ("-m target -o update -t 1 -n x -v y",                        Sends("target update tid=1 [x=y]")),
    ("-m lu -o new -t 1 -l 1",                                    Sends("logicalunit new tid=1 lun=1")),
    ("-m lu -o new -t 1 -l 0x11 -b ''",                           Sends("logicalunit new tid=1 lun=17 [path=]")),
    ("-m lu -o new -t 1 -l 1 -b /x -E aio -S a=b;c=d -f sync:direct -y 4096",
        Sends("logicalunit new tid=1 lun=1 [path=/x,bstype=aio,bsopts=a=b;c=d,bsoflags=sync:direct,blocksize=4096]")),
    ("-m lu -o new -t 1 -l 1 -b /x -Y ssc -E rdwr",               Sends("logicalunit new tid=1 lun=1 type=1 [path=/x,bstype=ssc]")),
    ("-m lu -o new -t 1 -l 1 -Y cd",                              Sends("logicalunit new tid=1 lun=1 type=5")),
    ("-m lu -o new -t 1 -l 1 -Y pt -b /dev/sg0 -E sg",            Sends("logicalunit new tid=1 lun=1 type=255 [path=/dev/sg0,bstype=sg]")),
    ("-m lu -o new -t 1 -l 18446744073709551614 -b /x",           Sends("logicalunit new tid=1 lun=18446744073709551614 [path=/x]")),
    ("-m lu -o delete -t 1 -l 1",                                 Sends("logicalunit delete tid=1 lun=1")),
    ("-m lu -o update -t 1 -l 1 --param a=b,c=d",                 Sends("logicalunit update tid=1 lun=1 [targetOps a=b,c=d,]")),
    ("-P a=b -o update -m lu -t 1 -l 1",                          Sends("logicalunit update tid=1 lun=1 [targetOps a=b,]")),
    ("-m lu -o stat -t 1 -l 1",                                   Sends("logicalunit stat tid=1 lun=1")),
    ("-o bind -m account -u a --outgoing",                        Sends("account bind outgoing [user=a]")),
    ("-o bind -m account -u a --outgoing -t 3",                   Sends("account bind tid=3 outgoing [user=a]")),
    ("-o bind -m account -u a,b -t 3 -Q iqn.i",                   Sends("account bind lld=json.1 tid=3 [initiator-name=iqn.i,user=a,b]")),
    ("-L iscsi -o unbind -m account -u a -t 3 -Q ''",             Sends("account unbind lld=json.1/iscsi tid=3 [initiator-name=,user=a]")),
    ("-o new -m account -u a -p b -f x",                          Sends("account new [bsoflags=x,user=a,password=b]")),
    ("-o update -m account -u a -p b",                            Sends("account update [user=a,password=b]")),
    ("-o delete -m account",                                      Sends("account delete")),
    ("-o new -m portal --param portal=1.2.3.4:3260",              Sends("portal new [portalOps portal=1.2.3.4:3260,]")),
    ("-o show -m pt",                                             Sends("portal show")),
    ("-P a -m portal -P b -m conn -o show",                       Sends("connection show [targetOps a,,portalOps b,]")),
    ("-o show -m sys -d",                                         Sends("system show")),
    ("-o stat -m sys -n a",                                       Sends("system stat [a=(null)]")),
    ("-o update -m sys -n a -v b",                                Sends("system update [a=b]")),
    ("-o delete -m sys -t 3",                                     Sends("system delete tid=3")),
    ("-m lld -o start -L iscsi",                                  Sends("lld start lld=iscsi")),
    ("-m lld -o stop",                                            Sends("lld stop")),
    ("-m sess -o stat -s 0x1F",                                   Sends("session stat sid=31")),
    ("-m sess -o new -s -3",                                      Sends("session new sid=18446744073709551613")),
    ("-m conn -o delete -t 1 -s 2 -c 3 -n a -v b -b c -E d -S e -f f -y g -T h -I i -Q j -u k -p l -H 5 -O x",
        Sends("connection delete tid=1 sid=2 cid=3 host=5 outgoing \
               [a=b,path=c,bstype=d,bsopts=e,bsoflags=f,blocksize=g,targetname=h,initiator-address=i,initiator-name=j,user=k,password=l]")),
    ("-m conn -o show -c 4294967295 -H 4294967295",               Sends("connection show cid=4294967295 host=4294967295")),
    ("-m conn -o show -n -x",                                     Sends("connection show [-x=(null)]")),

    ("--json -m target -o show -t 1",                             Sends("target show lld=json.1 tid=1")),
    ("-j -L iscsi -m lld -o start",                               Sends("lld start lld=json.1/iscsi")),
    ("--json -m lu -o show -t 1",                                 Sends("logicalunit show lld=json.1 tid=1")),
    ("-m target",                                                 Says(22, "tgtadm: specify the operation type\n", "")),
    ("-o show",                                                   Says(22, "tgtadm: specify the mode\n", "")),
    ("-o xx -m yy",                                               Says(1, "tgtadm: unknown operation: xx\n", "")),
    ("-m '' -o xx",                                               Says(1, "tgtadm: unknown mode: \n", "")),
    ("-Y xx -o yy",                                               Says(22, "tgtadm: unknown target type: xx\n", "")),
    ("-o show foo -m target",                                     Says(22, "tgtadm: unrecognized option 'foo'\n", ADVICE)),
    ("-o show -m target -- -z",                                   Says(22, "tgtadm: unrecognized option '-z'\n", ADVICE)),
    ("foo -z",                                                    Says(22, "tgtadm: invalid option -- 'z'\n", ADVICE)),
    ("--bogus=3",                                                 Says(22, "tgtadm: unrecognized option '--bogus=3'\n", ADVICE)),
    ("--op",                                                      Says(22, "tgtadm: option '--op' requires an argument\n", ADVICE)),
    ("--force=1",                                                 Says(22, "tgtadm: option '--force' doesn't allow an argument\n", ADVICE)),
    ("-o delete -m target -t 1 -F",                               Says(22, "tgtadm: option requires an argument -- 'F'\n", ADVICE)),
    ("--bs x",                                                    Says(22, "tgtadm: option '--bs' is ambiguous; possibilities: '--bstype' '--bsopts' '--bsoflags'\n", ADVICE)),
    ("-t -1",                                                     Says(22, "-t argument value '-1' invalid\n", ADVICE)),
    ("-t ''",                                                     Says(22, "-t argument value '' invalid\n", ADVICE)),
    ("-t 2147483648",                                             Says(22, "-t argument value '2147483648' out of range\n", ADVICE)),
    ("-t 99999999999999999999",                                   Says(22, "-t argument value '99999999999999999999' invalid\n", ADVICE)),
    ("-c 4294967296",                                             Says(22, "-c argument value '4294967296' out of range\n", ADVICE)),
    ("-C 32768",                                                  Says(22, "-C argument value '32768' out of range\n", ADVICE)),
    ("-l 18446744073709551615",                                   Says(22, "-l argument value '18446744073709551615' invalid\n", ADVICE)),
    ("-B nobus,1",                                                Says(22, "tgtadm: can't find bus: nobus\n", "")),
    ("-o new -m target -T x -I z",                                Says(22, "tgtadm: 'tid' option is necessary\n", "")),
    ("-o new -m target -t 0 -T x",                                Says(22, "tgtadm: 'tid' cannot be 0\n", "")),
    ("-o new -m target -t 08 -T x",                               Says(22, "tgtadm: 'tid' cannot be 0\n", "")),
    ("-o new -m target -t 1",                                     Says(22, "tgtadm: creating new target requires a name, use --targetname\n", "")),
    ("-o new -m target -t 1 -b x",                                Says(22, "tgtadm: target mode: option '-b' is not allowed/supported\n", "")),
    ("-o show -m target -b x -l 3",                               Says(22, "tgtadm: target mode: option '-b' is not allowed/supported\n", "")),
    ("-o start -m target -t 1",                                   Says(22, "tgtadm: operation start not supported in target mode\n", "")),
    ("-o bind -m target -t 1 -H 0",                               Says(22, "tgtadm: bind operation requires initiator-address, initiator-nameor bus\n", "")),
    ("-o unbind -m target -t 1",                                  Says(22, "tgtadm: unbind operation requires initiator-address, initiator-nameor bus\n", "")),
    ("-o update -m target -t 1 -n x",                             Says(22, "tgtadm: update operation requires 'name' and 'value' options\n", "")),
    ("-o new -m lu -t 0 -l 1",                                    Says(22, "tgtadm: 'tid' must not be 0\n", "")),
    ("-o bind -m lu -t 1",                                        Says(22, "tgtadm: 'lun' option is necessary\n", "")),
    ("-o show -m lu -t 1 -l 1",                                   Says(22, "tgtadm: operation show not supported in logicalunit mode\n", "")),
    ("-o new -m lu -t 1 -l 1 -Y changer",                         Says(22, "tgtadm: 'backing-store' option is necessary\n", "")),
    ("-o new -m lu -t 1 -l 1 -n a",                               Says(22, "tgtadm: logicalunit mode: option '-n' is not allowed/supported\n", "")),
    ("-o update -m lu -t 1 -l 1 -b /x",                           Says(22, "tgtadm: option '-b' not supported in logicalunit mode\n", "")),
    ("-o new -m account -u a",                                    Says(22, "tgtadm: 'user' and 'password' options are required\n", "")),
    ("-o update -m account -u a",                                 Says(22, "tgtadm: 'user' and 'password' options are required\n", "")),
    ("-o update -m account -u a -p b -O x",                       Says(22, "tgtadm: account mode: option '-O' is not allowed/supported\n", "")),
    ("-o bind -m account",                                        Says(22, "tgtadm: 'user' option is necessary\n", "")),
    ("-o show -m account -u x",                                   Says(22, "tgtadm: account mode: option '-u' is not allowed/supported\n", "")),
    ("-P portal=a -o new -m portal",                              Says(22, "tgtadm: you must specify --param portal=<portal>\n", "")),
    ("-o show -m portal -t 1",                                    Says(22, "tgtadm: option '-t' not supported in portal mode\n", "")),
    ("-o update -m lld",                                          Says(22, "tgtadm: option 5 not supported in lld mode\n", "")),
    ("-o new -m sys",                                             Says(22, "tgtadm: operation new not supported in system mode\n", "")),
    ("-o update -m sys",                                          Says(22, "tgtadm: update operation requires 'name' and 'value' options\n", "")),
];

#[derive(Clone, Copy, Debug)]
enum Expected {
    Sends(&'static str),
    /// Exit code, message, and the text that follows it.
    Says(u8, &'static str, &'static str),
}
use Expected::{Says, Sends};

const ADVICE: &str = "Try `tgtadm --help' for more information.\n";

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(|word| word.replace("''", "")).collect()
}

fn in_short(record: &Record) -> String {
    let (header, default) = (&record.header, RequestHeader::default());
    let mode = Mode::from_number(header.mode).unwrap().word();
    let mut text = format!("{mode} {}", Op::from_number(header.op).unwrap().word());
    let mut add = |differs: bool, word: String| {
        if differs {
            text.push(' ');
            text.push_str(&word);
        }
    };
    add(header.lld != default.lld, format!("lld={}", header.lld));
    add(header.tid != default.tid, format!("tid={}", header.tid));
    add(header.sid != default.sid, format!("sid={}", header.sid));
    add(header.lun != default.lun, format!("lun={}", header.lun));
    add(header.cid != default.cid, format!("cid={}", header.cid));
    add(header.host_no != default.host_no, format!("host={}", header.host_no));
    add(header.device_type != default.device_type, format!("type={}", header.device_type));
    add(header.ac_dir == 1, "outgoing".to_owned());
    add(header.force == 1, "force".to_owned());
    if let Some((nul, strings)) = record.payload.split_last() {
        assert_eq!(*nul, 0, "the NUL counts");
        add(true, format!("[{}]", String::from_utf8_lossy(strings)));
    }
    assert_eq!(header.len as usize, 120 + record.payload.len());
    text
}

#[test]
fn command_lines_send_or_print_as_recorded() {
    for (line, expected) in CASES {
        let arguments: Vec<Vec<u8>> =
            ["tgtadm".to_owned()].into_iter().chain(words(line)).map(String::into_bytes).collect();
        match (args::parse(&arguments, false), expected) {
            (Ok(Invocation::Send(order)), Sends(short)) => {
                assert_eq!(in_short(&order.record), *short, "{line}");
            }
            (Err(refusal), Says(exit, message, advice)) => {
                let (text, right) = split_lines(&refusal.text);
                assert_eq!((refusal.exit, text), (*exit, format!("{message}{advice}")), "{line}");
                assert_eq!(right.len(), 1, "{line}: {right:?}");
            }
            (got, expected) => panic!("{line}: {got:?} instead of {expected:?}"),
        }
    }
}

/// Splits a text into tgt's lines and our indented lines, which tgt does not print.
fn split_lines(text: &[u8]) -> (String, Vec<String>) {
    let text = String::from_utf8_lossy(text);
    let (right, tgt_lines): (Vec<&str>, Vec<&str>) =
        text.split_inclusive('\n').partition(|line| line.starts_with("  "));
    (tgt_lines.concat(), right.into_iter().map(|line| line.trim().to_owned()).collect())
}

#[test]
fn error_has_the_option_and_accepted_values() {
    let ops = "--op OP: new, delete, show, bind, unbind, update, stat, start or stop";
    let modes = "--mode MODE: system (sys), target (tgt), logicalunit (lu), portal (pt), lld, session (sess), connection (conn) or account";
    let user = "--user NAME: an account's name";
    #[rustfmt::skip]
    let cases = [
        ("-m target",                       ops),
        ("-o xx",                           ops),
        ("--op",                            ops),
        ("-o show",                         modes),
        ("-m xx",                           modes),
        ("-Y xx",                           "--device-type TYPE: disk (default), tape, ssc, cd, changer, osd or pt"),
        ("--bs x",                          "accepted: --bstype, --bsopts, --bsoflags"),
        ("--json=1",                        "--json: print the answer as JSON, and refuse requests that are not exact"),
        ("-t x",                            "--tid; accepted: 0 to 2147483647"),
        ("-c 4294967296",                   "--cid; accepted: 0 to 4294967295"),
        ("-H -1",                           "--host; accepted: 0 to 4294967295"),
        ("-l -1",                           "--lun; accepted: 0 to 18446744073709551614"),
        ("-s x",                            "--sid; accepted: 0 to 18446744073709551614"),
        ("-C 32768",                        "--control-port; accepted: 0 to 32767"),
        ("-B x",                            "--bus; accepted: BUS,ID"),
        ("-B nobus,1",                      "--bus; accepted: BUS,ID where /sys/bus/BUS/devices/ID has a SCSI host"),
        ("-m tgt -o new",                   "--tid N: the target's number, 1 or more"),
        ("-m lu -o new -t 0",               "--tid N: the target's number, 1 or more"),
        ("-m lu -o new -t 1",               "--lun N: the logical unit's number"),
        ("-m tgt -o new -t 1",              "--targetname IQN: the new target's name"),
        ("-m tgt -o update -t 1 -n x",      "--name NAME: the name of the parameter to change; --value VALUE: the new value of the parameter"),
        ("-m tgt -o start -t 1",            "--op; accepted with --mode target: new, delete, show, stat, bind, unbind, update"),
        ("-m lu -o show -t 1 -l 1",         "--op; accepted with --mode logicalunit: new, delete, stat, update"),
        ("-m lld -o new",                   "--op; accepted with --mode lld: start, stop, show"),
        ("-m tgt -o new -t 1 -b x",         "accepted with --mode target --op new: --lld, --op, --mode, --tid, --targetname, --control-port"),
        ("-m pt -o show -t 1",              "accepted with --mode portal --op show: --lld, --op, --mode, --control-port"),
        ("-m pt -o new",                    "--params portal=ADDRESS[:PORT], behind --mode portal"),
        ("-m lu -o new -t 1 -l 1 -Y osd",   "--backing-store PATH: the file or block device of a new logical unit"),
        ("-m account -o bind",              user),
        ("-m account -o new",               &format!("{user}; --password SECRET: the secret (password) of the account")),
    ];
    for (line, expected) in cases {
        assert_eq!(accepted_line(words(line).into_iter().map(String::into_bytes)), expected, "{line}");
    }
    let text = [b"-b".to_vec(), vec![0xff]];
    assert_eq!(accepted_line(text.into_iter()), "--backing-store; accepted: text in UTF-8");
    for line in ["--bogus", "-z", "x"] {
        let all = accepted_line([line.as_bytes().to_vec()].into_iter());
        let named = |option: &str| all.split([' ', ',']).any(|word| word == option);
        assert!(["--debug", "--op", "--control-port"].into_iter().all(named), "{line}: {all}");
    }
    let host = accepted_line(words("-m tgt -o bind -t 1").into_iter().map(String::into_bytes));
    for option in ["--initiator-address ADDRESS: ", "--initiator-name IQN: ", "--bus BUS,ID: "] {
        assert!(host.contains(option), "{host}");
    }
}

/// The indented line in the error of a command line.
fn accepted_line(words: impl Iterator<Item = Vec<u8>>) -> String {
    let arguments: Vec<Vec<u8>> = [b"tgtadm".to_vec()].into_iter().chain(words).collect();
    let refusal = args::parse(&arguments, false).unwrap_err();
    split_lines(&refusal.text).1.concat()
}

/// The recorded request of `tgtadm -L iscsi -m logicalunit -o new -t 258 -l 3 -b /x`.
#[test]
fn golden_bytes() {
    let mut expected = vec![0; 120];
    expected[0] = 2; // mode
    expected[8..13].copy_from_slice(b"iscsi");
    expected[72] = 128; // length
    expected[76..78].copy_from_slice(&[2, 1]); // tid
    expected[88] = 3; // lun
    expected.extend_from_slice(b"path=/x\0");

    let line = "tgtadm -L iscsi -m logicalunit -o new -t 258 -l 3 -b /x";
    let arguments: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let Ok(Invocation::Send(order)) = args::parse(&arguments, false) else { panic!("not sent") };
    assert_eq!(order.record.encode(), expected);
}

#[test]
fn help_and_version_end_parsing() {
    for (line, expected) in [
        ("tgtadm -h -z", Invocation::Help),
        ("tgtadm foo --he", Invocation::Help),
        ("tgtadm -V -h", Invocation::Version),
    ] {
        let arguments: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        assert_eq!(args::parse(&arguments, false), Ok(expected), "{line}");
    }
}

#[test]
fn answer_of_the_daemon_determines_output_and_exit_code() {
    let show = words("-o show -m target");
    let text = run(OURS, &show, b"\0\0\0\0\x0f\0\0\0Target\0");
    assert_eq!(
        (text.exit, text.stdout.as_slice(), text.stderr.as_slice()),
        (Some(0), &b"Target"[..], &b""[..])
    );
    let refused = run(OURS, &show, b"\x04\0\0\0\x08\0\0\0");
    assert_eq!(refused.exit, Some(22));
    assert_eq!(refused.stderr, b"tgtadm: can't find the target\n");
    let no_daemon = run(OURS, &words("-o show -m target -C 7"), b"");
    assert_eq!(no_daemon.exit, Some(107));
    assert_eq!(no_daemon.record, None);
}

/// Runs both tools with the same words and daemon and compares the outcomes.
fn assert_alike(line: &[String]) {
    let reply = b"\0\0\0\0\x0a\0\0\0!\0";
    let (mut ours, tgt) = (run(OURS, line, reply), run(TGT, line, reply));
    ours.stderr = split_lines(&ours.stderr).0.into_bytes();
    assert_eq!(ours, tgt, "{line:?}");
}

/// tgt sends all of these, and its daemon uses the part before the comma.
#[test]
fn value_with_comma_is_refused_and_nothing_is_sent() {
    let unit = "-m lu -o new -t 1 -l 1";
    #[rustfmt::skip]
    let cases = [
        (format!("{unit} -b /srv/a,b.img"),              "--backing-store '/srv/a,b.img'"),
        (format!("{unit} -b /srv/a,"),                   "--backing-store '/srv/a,'"),
        (format!("{unit} -b /a -S size=1;a,b"),          "--bsopts 'size=1;a,b'"),
        (format!("{unit} -b /a -E null,path=/b"),        "--bstype 'null,path=/b'"),
        (format!("{unit} -b /a -f sync,direct"),         "--bsoflags 'sync,direct'"),
        (format!("{unit} -b /a -y 512,x"),               "--blocksize '512,x'"),
        ("-m target -o new -t 1 -T iqn.a:b,c".into(),    "--targetname 'iqn.a:b,c'"),
        ("-m target -o bind -t 1 -I 10.0.0.1,10.0.0.2".into(), "--initiator-address '10.0.0.1,10.0.0.2'"),
        ("-m target -o bind -t 1 -Q iqn.a,iqn.b".into(), "--initiator-name 'iqn.a,iqn.b'"),
        ("-m target -o delete -t 1 -D 5,6".into(),       "--drain '5,6'"),
        ("-m account -o new -u a,b -p secretpass12".into(), "--user 'a,b'"),
        ("-m lu -o update -t 1 -l 1 -P path=/a,b.img".into(), "--params 'path=/a,b.img'"),
        ("-m lu -o update -t 1 -l 1 -P path=/a,".into(), "--params 'path=/a,'"),
    ];
    for (line, named) in cases {
        let outcome = run(OURS, &words(&line), &[0, 0, 0, 0, 8, 0, 0, 0]);
        let stderr = String::from_utf8(outcome.stderr).unwrap();
        assert_eq!((outcome.exit, outcome.record), (Some(22), None), "{line}: {stderr}");
        assert!(stderr.starts_with(&format!("tgtadm: {named} ")), "{line}: {stderr}");
    }
    for line in [
        "-m target -o unbind -t 1 -I 10.0.0.1,10.0.0.2",
        "-m target -o update -t 1 -n HeaderDigest -v None,CRC32C",
        "-m account -o new -u a -p secret,pass12",
        "-m account -o delete -u a,b",
        "-m lu -o update -t 1 -l 1 -P path=/a,online=1",
        "-m portal -o new -P portal=[::1],nop_interval=5",
    ] {
        let outcome = run(OURS, &words(line), &[0, 0, 0, 0, 8, 0, 0, 0]);
        assert!(outcome.exit == Some(0) && outcome.record.is_some(), "{line}: {outcome:?}");
    }
}

#[test]
fn json_form_refuses_an_option_given_twice() {
    for (line, option) in [
        ("-m target -o show -t 1 -t 2", "tid"),
        ("-m target -o show -t 1 --tid 1", "tid"),
        ("-m target -o new -t 1 -T iqn.a -T iqn.b", "targetname"),
        ("-m lu -o update -t 1 -l 1 -P online=1 -P readonly=1", "params"),
        ("-m target -o delete -t 1 --force --force", "force"),
        ("-m target -m target -o show", "mode"),
        ("-m sess -o show -t 1 -C 0 -C 0", "control-port"),
    ] {
        for words in [words(&format!("{line} --json")), words(&format!("-j {line}"))] {
            let outcome = run(OURS, &words, &[0, 0, 0, 0, 8, 0, 0, 0]);
            let stderr = String::from_utf8(outcome.stderr).unwrap();
            assert_eq!((outcome.exit, outcome.record), (Some(22), None), "{words:?}: {stderr}");
            assert!(stderr.starts_with(&format!("tgtadm: --{option} is given twice\n")), "{stderr}");
        }
    }
    let text = run(OURS, &words("-m target -o show -t 1 -t 2"), &[0, 0, 0, 0, 8, 0, 0, 0]);
    assert!(text.exit == Some(0) && text.record.is_some(), "the text form takes the last: {text:?}");
}

#[test]
fn tgt_agrees_on_the_table() {
    require_tgt();
    // tgt has no --drain, no --json, no force for units, no update of accounts, and no names for them.
    let ours = ["--drain", "-D ", "--json", "-j ", "-o update -m account"];
    let is_ours = |line: &str| {
        ours.iter().any(|word| line.contains(word)) || line.contains("-m account") && line.contains("-Q")
    };
    for (line, _) in CASES.iter().filter(|(line, _)| !is_ours(line)) {
        // The message of the debug option has line numbers of tgt's source.
        let line: Vec<String> = words(line).into_iter().map(|word| word.replace("-dt2", "-t2")).collect();
        let line: Vec<String> = line.into_iter().filter(|word| word != "-d").collect();
        assert_alike(&line);
    }
}

#[test]
fn tgt_agrees_on_each_option_of_each_operation() {
    require_tgt();
    #[rustfmt::skip]
    let letters = [
        "-s3", "-c3", "-l1", "-nx", "-vx", "-b/x", "-Erdwr", "-Sx", "-fsync", "-y512", "-Tx", "-Ix", "-Qx", "-ux", "-px",
        "-H1", "--force", "-Px", "-Ycd", "--outgoing", "-t1", "-Liscsi", "-C0",
    ];
    for mode in Mode::ALL {
        for op in Op::ALL {
            if (mode, op) == (Mode::Account, Op::Update) {
                continue;
            }
            let base = [format!("-m{}", mode.word()), format!("-o{}", op.word())];
            assert_alike(&base);
            for letter in letters {
                if matches!(
                    (mode, op, letter),
                    (Mode::LogicalUnit, Op::Delete, "--force")
                        | (Mode::Account, Op::Bind | Op::Unbind, "-Qx")
                ) {
                    continue;
                }
                let mut line = [base.as_slice(), &[letter.to_owned()]].concat();
                assert_alike(&line);
                line.extend(["-t1", "-l1", "-I1"].map(str::to_owned));
                assert_alike(&line);
            }
        }
    }
}

fn require_tgt() {
    assert!(Path::new(TGT).exists(), "{TGT} is missing: install the Debian package tgt");
}
