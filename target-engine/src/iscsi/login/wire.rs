//! The bytes of Login Responses.

use bytes::{Bytes, BytesMut};
use iscsi_proto::frame::{self, Digests};
use iscsi_proto::login::LoginStatus;
use iscsi_proto::pdu::{BHS_LEN, LoginResponse};

/// A response and its text as bytes; digests begin after the login (RFC 7143 13.1).
pub(super) fn encode(response: &LoginResponse, text: &[u8]) -> Bytes {
    let mut bhs = [0; BHS_LEN];
    response.encode(&mut bhs);
    let mut out = BytesMut::new();
    frame::encode_pdu(&mut out, &bhs, &[], text, Digests::default());
    out.freeze()
}

/// The response that refuses a login in place of `instead`.
pub(super) fn refusal(instead: &LoginResponse, status: LoginStatus) -> LoginResponse {
    debug_assert!(!status.is_success(), "a refusal needs a reason");
    let status = if status.is_success() { LoginStatus::TargetError } else { status };
    LoginResponse { next: None, continues: false, status, ..*instead }
}
