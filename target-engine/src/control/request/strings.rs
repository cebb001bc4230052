//! The strings of a request: how a client joins them, and the pieces a daemon takes them apart with.

use super::super::error::{ControlError, TgtadmError};
use super::Secret;

/// The textual options of one `tgtadm` call, as they are joined into a payload.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Strings {
    /// `--name` and `--value`; a missing value travels as `(null)`.
    pub name: Option<(String, Option<String>)>,
    /// `--backing-store`.
    pub path: Option<String>,
    /// `--bstype`.
    pub bstype: Option<String>,
    /// `--bsopts`.
    pub bsopts: Option<String>,
    /// `--bsoflags`.
    pub bsoflags: Option<String>,
    /// `--blocksize`.
    pub blocksize: Option<String>,
    /// `--targetname`.
    pub targetname: Option<String>,
    /// `--initiator-address`.
    pub initiator_address: Option<String>,
    /// `--initiator-name`.
    pub initiator_name: Option<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--password`.
    pub password: Option<Secret>,
    /// `--drain`, which stock has not and does not look at.
    pub drain: Option<String>,
    /// `--params`, for all modes but portal.
    pub target_ops: Option<String>,
    /// `--params`, for mode portal.
    pub portal_ops: Option<String>,
}

impl Strings {
    /// The payload as a stock client makes it: fixed order, commas between, a NUL at the end; nothing at all where
    /// no option was given.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let name = self
            .name
            .as_ref()
            .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("(null)")));
        let pairs = [
            ("path", self.path.as_deref()),
            ("bstype", self.bstype.as_deref()),
            ("bsopts", self.bsopts.as_deref()),
            ("bsoflags", self.bsoflags.as_deref()),
            ("blocksize", self.blocksize.as_deref()),
            ("targetname", self.targetname.as_deref()),
            ("initiator-address", self.initiator_address.as_deref()),
            ("initiator-name", self.initiator_name.as_deref()),
            ("user", self.user.as_deref()),
            ("password", self.password.as_ref().map(Secret::reveal)),
            ("drain", self.drain.as_deref()),
        ];
        let pairs = pairs.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        let operations = [("targetOps", &self.target_ops), ("portalOps", &self.portal_ops)];
        let operations =
            operations.into_iter().filter_map(|(word, value)| Some(format!("{word} {},", value.as_ref()?)));
        let items: Vec<_> = name.into_iter().chain(pairs).chain(operations).collect();
        if items.is_empty() {
            return Vec::new();
        }
        let mut payload = items.join(",").into_bytes();
        payload.push(0);
        payload
    }
}

/// The payload up to its first NUL, or to its end where it has none.
///
/// # Errors
/// It is not UTF-8, which no name, path or number of ours can be.
pub(super) fn text(payload: &[u8]) -> Result<&str, ControlError> {
    let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
    std::str::from_utf8(&payload[..end]).map_err(|error| {
        let reason = format!("the strings of the request are not UTF-8 from byte {} on", error.valid_up_to());
        TgtadmError::InvalidRequest.because(reason)
    })
}

/// What follows the first `marker`, to the end.
pub(super) fn after<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    text.split_once(marker).map(|(_, rest)| rest)
}

/// The items of a comma separated list as key and value; an item without `=` has an empty value. Empty items, like
/// the one after a closing comma, are none.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter(|item| !item.is_empty()).map(|item| item.split_once('=').unwrap_or((item, "")))
}

/// Refuses a list of which a value had a comma: it is cut there, and the rest follows a key that is known without being
/// one. Keys before the first known one are ignored, as by tgt.
///
/// # Errors
/// The key, and what follows its value.
pub(super) fn whole_values(text: &str, keys: &[&str]) -> Result<(), ControlError> {
    let mut before = None;
    for item in text.split(',') {
        let key = item.split_once('=').map_or(item, |(key, _)| key);
        match (keys.iter().find(|known| **known == key), before) {
            (Some(known), _) => before = Some(*known),
            (None, Some(before)) => return Err(cut(before, item)),
            (None, None) => {}
        }
    }
    Ok(())
}

/// A value that had a comma: `rest` follows it.
pub(super) fn cut(key: &str, rest: &str) -> ControlError {
    TgtadmError::InvalidRequest.because(format!(
        "the value of {key} is followed by \",{rest}\"; accepted: a value without a comma, which separates"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_joined_as_stock_joins_them() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(Strings::default().payload(), b"");
        let unit =
            Strings { path: some("/a"), bstype: some("rdwr"), blocksize: some("4096"), ..Strings::default() };
        assert_eq!(unit.payload(), b"path=/a,bstype=rdwr,blocksize=4096\0");
        let name = Strings { name: Some(("state".to_owned(), None)), ..Strings::default() };
        assert_eq!(name.payload(), b"state=(null)\0");
        let params = Strings { target_ops: some("online=1,readonly=0"), ..Strings::default() };
        assert_eq!(params.payload(), b"targetOps online=1,readonly=0,\0");
        let password = Some(Secret::new("hush".to_owned()));
        let account = Strings { password, user: some("u"), ..Strings::default() };
        assert_eq!(account.payload(), b"user=u,password=hush\0");
        assert!(!format!("{account:?}").contains("hush"));
        let portal = Strings { portal_ops: some("portal=1.2.3.4"), user: some("u"), ..Strings::default() };
        assert_eq!(portal.payload(), b"user=u,portalOps portal=1.2.3.4,\0");
    }

    #[test]
    fn a_value_with_a_comma_is_seen_by_what_follows_it() {
        let keys = ["path", "bstype"];
        for whole in ["", "path=/a", "bstype=x,path=/a=b", "else=1,path=/a,bstype=x", "path=/a,path=/b"] {
            assert_eq!(whole_values(whole, &keys), Ok(()), "{whole}");
        }
        for cut in
            ["path=/a,b", "path=/a,b=c", "path=/a,", "path=/a,,bstype=x", "bstype=x,path=/a,b,bstype=x"]
        {
            assert_eq!(whole_values(cut, &keys), Err(TgtadmError::InvalidRequest.into()), "{cut}");
        }
        let reason = whole_values("path=/a,b=c", &keys).unwrap_err().reason;
        assert!(reason.starts_with("the value of path is followed by \",b=c\""), "{reason}");
    }
}
