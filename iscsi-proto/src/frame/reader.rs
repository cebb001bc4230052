//! Reassembles PDUs from received chunks of any size, for slow paths.

use bytes::{Buf, Bytes, BytesMut};

use super::{Cut, DIGEST_LEN, Digests, FrameError, Limits, cut, data_digest};
use crate::pdu::{BHS_LEN, Bhs};

/// Collects received bytes until a PDU is complete.
///
/// After each [`push`](Self::push) call [`next_pdu`](Self::next_pdu) until it returns `None`. The reader then holds less
/// than one PDU of the maximum length.
#[derive(Debug)]
pub struct PduReader {
    limits: Limits,
    digests: Digests,
    received: BytesMut,
    /// The first error. It is final, because the start of the next PDU is unknown.
    failed: Option<FrameError>,
}

/// A complete PDU whose header is not decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawPdu {
    /// The basic header segment.
    pub bhs: Bhs,
    /// All additional header segments.
    pub ahs: Bytes,
    /// The data segment, without padding.
    pub data: Bytes,
}

impl PduReader {
    /// A reader without digests, for the login of a connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, digests: Digests::NONE, received: BytesMut::new(), failed: None }
    }

    /// Sets limits and digests from the next PDU on. Call it after the final Login Response.
    pub fn configure(&mut self, limits: Limits, digests: Digests) {
        (self.limits, self.digests) = (limits, digests);
    }

    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.received.extend_from_slice(bytes);
        }
    }

    /// The next complete PDU, if there is one. After an error every call returns that error.
    pub fn next_pdu(&mut self) -> Option<Result<RawPdu, FrameError>> {
        if let Some(error) = self.failed {
            return Some(Err(error));
        }
        let pdu = self.try_next().transpose()?;
        if let Err(error) = pdu {
            self.failed = Some(error);
            self.received = BytesMut::new();
        }
        Some(pdu)
    }

    /// Returns the bytes after the last PDU that was returned.
    pub fn into_unread(self) -> Bytes {
        self.received.freeze()
    }

    fn try_next(&mut self) -> Result<Option<RawPdu>, FrameError> {
        let Cut::Header(header) = cut(&self.received, self.digests, &self.limits)? else {
            return Ok(None);
        };
        if self.received.len() < header.wire_len {
            return Ok(None);
        }
        let (bhs, ahs_len, data_len) = (*header.bhs, header.ahs.len(), header.data_len);
        let (header_len, padded_len) = (header.header_len, header.padded_len);
        let mut pdu = self.received.split_to(header.wire_len).freeze();
        let ahs = pdu.slice(BHS_LEN..BHS_LEN + ahs_len);
        pdu.advance(header_len);
        let mut data = pdu.split_to(padded_len);
        if pdu.len() == DIGEST_LEN && data_digest([&data[..]]) != pdu[..] {
            return Err(FrameError::DataDigest);
        }
        data.truncate(data_len);
        Ok(Some(RawPdu { bhs, ahs, data }))
    }
}
