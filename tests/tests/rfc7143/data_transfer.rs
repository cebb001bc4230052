//! RFC 7143 4.2.5 and 11.7, 11.8: immediate, unsolicited and solicited data, R2Ts, Data-In and phase collapse.

use tgt_tests::initiator::{Initiator, Io};
use tgt_tests::pair::Pair;
use tgt_tests::random::Random;
use tgt_tests::setup::each_chunk;

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 4, 0];
const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 4, 0];

#[test]
fn a_write_and_its_read() {
    each_chunk(|setup, store| {
        let pair = Pair::new(setup);
        let mut session = Initiator::login(&pair);
        let data = Random::new(1).bytes(2048);
        session.run(&WRITE, Io::Write(&data)).good();
        assert_eq!(store.bytes(0, 2048), data);
        assert_eq!(session.run(&READ, Io::Read(2048)).good(), data);
    });
}
