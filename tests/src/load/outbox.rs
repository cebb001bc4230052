//! Queue of PDUs to send on a session: owns the headers, refers to the data.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::TcpStream;

use iscsi_proto::frame::{Digests, header_digest, trailer};
use iscsi_proto::pdu::{BHS_LEN, Bhs, set_lengths};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use super::DIGEST_LEN;

/// Slices of one `sendmsg`: near the kernel's limit of 1024.
const SLICES: usize = 960;
/// Slices of one `sendmsg` for short queues: a small array is cheaper to fill.
const SLICES_FEW: usize = 24;

/// PDUs in sending order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pdus: VecDeque<Pdu>,
    /// Bytes of the first PDU that are sent.
    sent: usize,
}

/// One PDU with its digests and padding.
#[derive(Debug)]
struct Pdu {
    head: [u8; BHS_LEN + DIGEST_LEN],
    head_len: u8,
    tail: [u8; 8],
    tail_len: u8,
    data: Data,
}

/// A data segment within the buffers of the session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Data {
    /// Index of the buffer.
    pub(super) buffer: usize,
    /// Offset in the buffer.
    pub(super) from: usize,
    /// Length in bytes.
    pub(super) len: usize,
}

/// Result of a send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sent {
    All,
    /// The socket is full.
    Partly,
}

impl Outbox {
    /// Queues a PDU. `known` is the data digest if the caller knows it.
    #[inline]
    pub(super) fn push(
        &mut self,
        bhs: &mut Bhs,
        data: Data,
        digests: Digests,
        buffers: &[Vec<u8>],
        known: Option<[u8; DIGEST_LEN]>,
    ) {
        set_lengths(bhs, 0, data.len);
        let mut head = [0; BHS_LEN + DIGEST_LEN];
        head[..BHS_LEN].copy_from_slice(bhs);
        let mut head_len = BHS_LEN;
        if digests.header {
            head[BHS_LEN..].copy_from_slice(&header_digest(bhs, &[]));
            head_len += DIGEST_LEN;
        }
        let (mut tail, mut tail_len) = ([0; 8], 0);
        match known {
            Some(digest) if digests.data => {
                tail[..DIGEST_LEN].copy_from_slice(&digest);
                tail_len = DIGEST_LEN;
            }
            _ if data.len > 0 && (digests.data || !data.len.is_multiple_of(4)) => {
                (tail, tail_len) = trailer([&buffers[data.buffer][data.from..data.from + data.len]], digests);
            }
            _ => {}
        }
        self.pdus.push_back(Pdu { head, head_len: head_len as u8, tail, tail_len: tail_len as u8, data });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pdus.is_empty()
    }

    /// Sends until the queue is empty or the socket is full.
    pub(super) fn send(&mut self, socket: &TcpStream, buffers: &[Vec<u8>]) -> Result<Sent, Errno> {
        while !self.pdus.is_empty() {
            let (offered, result) = if self.pdus.len() <= SLICES_FEW / 3 {
                self.send_some::<SLICES_FEW>(socket, buffers)
            } else {
                self.send_some::<SLICES>(socket, buffers)
            };
            match result {
                Ok(count) => {
                    self.advance(count);
                    if count < offered {
                        return Ok(Sent::Partly);
                    }
                }
                Err(Errno::AGAIN) => return Ok(Sent::Partly),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Sent::All)
    }

    fn send_some<const N: usize>(
        &self,
        socket: &TcpStream,
        buffers: &[Vec<u8>],
    ) -> (usize, Result<usize, Errno>) {
        let mut slices = [IoSlice::new(&[]); N];
        let (mut count, mut offered, mut skip) = (0, 0, self.sent);
        'all: for pdu in &self.pdus {
            for part in pdu.parts(buffers) {
                if skip >= part.len() {
                    skip -= part.len();
                    continue;
                }
                if count == N {
                    break 'all;
                }
                slices[count] = IoSlice::new(&part[skip..]);
                offered += part.len() - skip;
                (count, skip) = (count + 1, 0);
            }
        }
        let mut nothing = SendAncillaryBuffer::default();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        (offered, rustix::net::sendmsg(socket, &slices[..count], &mut nothing, flags))
    }

    fn advance(&mut self, count: usize) {
        self.sent += count;
        while let Some(first) = self.pdus.front()
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            self.pdus.pop_front();
        }
    }
}

impl Pdu {
    fn len(&self) -> usize {
        usize::from(self.head_len) + self.data.len + usize::from(self.tail_len)
    }

    fn parts<'a>(&'a self, buffers: &'a [Vec<u8>]) -> [&'a [u8]; 3] {
        let data: &[u8] = match self.data.len {
            0 => &[],
            len => &buffers[self.data.buffer][self.data.from..self.data.from + len],
        };
        [&self.head[..usize::from(self.head_len)], data, &self.tail[..usize::from(self.tail_len)]]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use iscsi_proto::frame::data_digest;

    fn socket_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn partial_sends_keep_pdus_whole_and_in_order() {
        let (near, mut far) = socket_pair();
        near.set_nonblocking(true).unwrap();
        let buffers = vec![(0..100_003_u32).map(|number| number as u8).collect::<Vec<_>>()];
        let digests = Digests { header: true, data: true };
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for number in 0..100_u8 {
            let mut bhs = [number; BHS_LEN];
            let data = Data { buffer: 0, from: usize::from(number), len: 99_903 };
            outbox.push(&mut bhs, data, digests, &buffers, None);
            let bytes = &buffers[0][data.from..data.from + data.len];
            expected.extend_from_slice(&bhs);
            expected.extend_from_slice(&header_digest(&bhs, &[]));
            expected.extend_from_slice(bytes);
            expected.push(0);
            expected.extend_from_slice(&data_digest([bytes, &[0]]));
        }
        assert_eq!(
            outbox.send(&near, &buffers),
            Ok(Sent::Partly),
            "ten megabytes do not fit into the socket"
        );
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).map(|_| all)
        });
        near.set_nonblocking(false).unwrap();
        while outbox.send(&near, &buffers).unwrap() == Sent::Partly {
            std::thread::yield_now();
        }
        assert!(outbox.is_empty());
        drop(near);
        assert!(reader.join().unwrap().unwrap() == expected);
    }
}
