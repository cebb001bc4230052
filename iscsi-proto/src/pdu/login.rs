//! Login Request and Response (RFC 7143 11.12, 11.13).

use super::header::{
    Bhs, FINAL, PduError, be16, be32, bytes, expect, put_bytes, put16, put32, request, task_tag,
};
use crate::ids::{Cid, Isid, Itt, Tsih};
use crate::login::{LoginStatus, Stage};
use crate::sn::{CmdSn, StatSn};

/// Login Request. Its data segment is key=value pairs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoginRequest {
    /// T and NSG: the stage that the initiator is ready to enter; `None` without the T bit.
    pub next: Option<Stage>,
    /// C: the text continues in the next request. Excludes `next`.
    pub continues: bool,
    /// CSG: the current stage.
    pub stage: Stage,
    /// Version-max: the highest protocol version that the initiator supports; RFC 7143 is 0.
    pub version_max: u8,
    /// Version-min: the lowest protocol version that the initiator supports.
    pub version_min: u8,
    /// Initiator part of the session identifier.
    pub isid: Isid,
    /// Target part of the session identifier: of the session to join, or [`Tsih::NEW`].
    pub tsih: Tsih,
    /// Initiator Task Tag, the same in all requests of a login.
    pub itt: Itt,
    /// Identifier of the connection within the session.
    pub cid: Cid,
    /// CmdSN: the first command number of a new session.
    pub cmd_sn: CmdSn,
    /// ExpStatSN: acknowledges all responses with a lower StatSN. Valid from the second request on.
    pub exp_stat_sn: StatSn,
}

/// Login Response. Its data segment is key=value pairs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoginResponse {
    /// T and NSG: the stage that the login enters; `None` if it stays in the current one.
    pub next: Option<Stage>,
    /// C: the text continues in the next response. Excludes `next`.
    pub continues: bool,
    /// CSG: the current stage.
    pub stage: Stage,
    /// Version-max: the highest protocol version that the target supports.
    pub version_max: u8,
    /// Version-active: the protocol version in use.
    pub version_active: u8,
    /// Initiator part of the session identifier, as in the request.
    pub isid: Isid,
    /// Target part of the session identifier; as in the request until the final response.
    pub tsih: Tsih,
    /// Initiator Task Tag of the request.
    pub itt: Itt,
    /// StatSN of this response.
    pub stat_sn: StatSn,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN: the highest command number that the target accepts.
    pub max_cmd_sn: CmdSn,
    /// Status-Class and Status-Detail.
    pub status: LoginStatus,
}

impl LoginRequest {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x03;

    /// Decodes a basic header segment.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        let Flags { next, continues, stage } = Flags::decode(bhs[1])?;
        Ok(Self {
            next,
            continues,
            stage,
            version_max: bhs[2],
            version_min: bhs[3],
            isid: Isid(bytes::<8, 6>(bhs)),
            tsih: Tsih(be16::<14>(bhs)),
            itt: task_tag(bhs)?,
            cid: Cid(be16::<20>(bhs)),
            cmd_sn: CmdSn(be32::<24>(bhs)),
            exp_stat_sn: StatSn(be32::<28>(bhs)),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0. The I bit is set, as in every Login Request.
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = request(Self::OPCODE, true);
        bhs[1] = Flags { next: self.next, continues: self.continues, stage: self.stage }.encode();
        bhs[2] = self.version_max;
        bhs[3] = self.version_min;
        put_bytes::<8, 6>(bhs, self.isid.0);
        put16::<14>(bhs, self.tsih.0);
        put32::<16>(bhs, self.itt.0);
        put16::<20>(bhs, self.cid.0);
        put32::<24>(bhs, self.cmd_sn.0);
        put32::<28>(bhs, self.exp_stat_sn.0);
    }
}

impl LoginResponse {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x23;

    /// Decodes a basic header segment. Invalid T, C, CSG and NSG are ignored if the status is not success
    /// (RFC 7143 11.13.4).
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        let status = LoginStatus::from_wire(be16::<36>(bhs));
        let flags = Flags::decode(bhs[1]);
        let Flags { next, continues, stage } =
            if status.is_success() { flags? } else { flags.unwrap_or_default() };
        Ok(Self {
            next,
            continues,
            stage,
            version_max: bhs[2],
            version_active: bhs[3],
            isid: Isid(bytes::<8, 6>(bhs)),
            tsih: Tsih(be16::<14>(bhs)),
            itt: task_tag(bhs)?,
            stat_sn: StatSn(be32::<24>(bhs)),
            exp_cmd_sn: CmdSn(be32::<28>(bhs)),
            max_cmd_sn: CmdSn(be32::<32>(bhs)),
            status,
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = Flags { next: self.next, continues: self.continues, stage: self.stage }.encode();
        bhs[2] = self.version_max;
        bhs[3] = self.version_active;
        put_bytes::<8, 6>(bhs, self.isid.0);
        put16::<14>(bhs, self.tsih.0);
        put32::<16>(bhs, self.itt.0);
        put32::<24>(bhs, self.stat_sn.0);
        put32::<28>(bhs, self.exp_cmd_sn.0);
        put32::<32>(bhs, self.max_cmd_sn.0);
        put16::<36>(bhs, self.status.to_wire());
    }
}

/// Byte 1 of the request and of the response: T, C, CSG and NSG.
#[derive(Default)]
struct Flags {
    next: Option<Stage>,
    continues: bool,
    stage: Stage,
}

impl Flags {
    fn decode(byte: u8) -> Result<Self, PduError> {
        let (transit, continues) = (byte & FINAL != 0, byte & 0x40 != 0);
        if transit && continues {
            return Err(PduError::ContinuedAndFinal);
        }
        let stage = |bits: u8| Stage::from_bits(bits & 3).ok_or(PduError::Stage);
        let next = if transit { Some(stage(byte)?) } else { None };
        Ok(Self { next, continues, stage: stage(byte >> 2)? })
    }

    fn encode(self) -> u8 {
        let next = self.next.map_or(0, |next| FINAL | next as u8);
        next | u8::from(self.continues) << 6 | (self.stage as u8) << 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const REQUEST: Bhs = [
        0x43, 0x87, 1, 0, 0, 0, 0, 0,           // T, operational to full feature; versions 0 to 1
        0x00, 0x02, 0x3d, 0, 0, 1, 0, 2,        // ISID, TSIH 2
        0, 0, 0, 8, 0, 3, 0, 0,                 // ITT 8, CID 3
        0, 0, 0, 10, 0, 0, 0, 11,               // CmdSN 10, ExpStatSN 11
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[rustfmt::skip]
    const RESPONSE: Bhs = [
        0x23, 0x40, 1, 0, 0, 0, 0, 0,           // C, security
        0x00, 0x02, 0x3d, 0, 0, 1, 0, 2,        // ISID, TSIH 2
        0, 0, 0, 8, 0, 0, 0, 0,                 // ITT 8
        0, 0, 0, 11, 0, 0, 0, 10,               // StatSN 11, ExpCmdSN 10
        0, 0, 0, 42, 0, 0, 0, 0,                // MaxCmdSN 42; success
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    const ANSWER: LoginResponse = LoginResponse {
        next: None,
        continues: true,
        stage: Stage::SecurityNegotiation,
        version_max: 1,
        version_active: 0,
        isid: Isid([0, 2, 0x3d, 0, 0, 1]),
        tsih: Tsih(2),
        itt: Itt(8),
        stat_sn: StatSn(11),
        exp_cmd_sn: CmdSn(10),
        max_cmd_sn: CmdSn(42),
        status: LoginStatus::Success,
    };

    #[test]
    fn golden_request() {
        assert_golden(
            &REQUEST,
            LoginRequest {
                next: Some(Stage::FullFeature),
                continues: false,
                stage: Stage::OperationalNegotiation,
                version_max: 1,
                version_min: 0,
                isid: Isid([0, 2, 0x3d, 0, 0, 1]),
                tsih: Tsih(2),
                itt: Itt(8),
                cid: Cid(3),
                cmd_sn: CmdSn(10),
                exp_stat_sn: StatSn(11),
            },
        );
    }

    #[test]
    fn golden_response() {
        assert_golden(&RESPONSE, ANSWER);
    }

    #[test]
    fn refusal_has_class_and_detail() {
        let mut golden = RESPONSE;
        golden[1] = 0;
        golden[36..38].copy_from_slice(&[2, 3]);
        assert_golden(&golden, LoginResponse { continues: false, status: LoginStatus::NotFound, ..ANSWER });
    }

    #[test]
    fn invalid_flags_are_an_error_unless_the_login_is_refused() {
        for (flags, error) in
            [(0xc7, PduError::ContinuedAndFinal), (0x08, PduError::Stage), (0x82, PduError::Stage)]
        {
            for mut bytes in [REQUEST, RESPONSE] {
                bytes[1] = flags;
                assert_eq!(super::super::Pdu::decode(&bytes), Err(error), "{flags:#x}");
            }
            let mut refusal = RESPONSE;
            (refusal[1], refusal[36]) = (flags, 3);
            assert_eq!(LoginResponse::decode(&refusal).unwrap().status, LoginStatus::TargetError);
        }
    }

    #[test]
    fn next_stage_is_ignored_without_the_t_bit() {
        let mut bytes = REQUEST;
        bytes[1] = 0x06;
        assert_eq!(LoginRequest::decode(&bytes).unwrap().next, None);
    }
}
