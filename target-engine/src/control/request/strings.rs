//! The strings of a request: how a client joins them, and how the daemon splits them.

use super::super::error::{ControlError, TgtadmError};
use super::Secret;

/// A string of a request by its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the keys by their names")]
pub enum Key {
    Path,
    Bstype,
    Bsopts,
    Bsoflags,
    Blocksize,
    TargetName,
    InitiatorAddress,
    InitiatorName,
    User,
    Password,
    Drain,
}

impl Key {
    /// All of them, in the order in which a payload has them.
    pub const ALL: [Self; 11] = [
        Self::Path,
        Self::Bstype,
        Self::Bsopts,
        Self::Bsoflags,
        Self::Blocksize,
        Self::TargetName,
        Self::InitiatorAddress,
        Self::InitiatorName,
        Self::User,
        Self::Password,
        Self::Drain,
    ];

    /// The key in the payload.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Bstype => "bstype",
            Self::Bsopts => "bsopts",
            Self::Bsoflags => "bsoflags",
            Self::Blocksize => "blocksize",
            Self::TargetName => "targetname",
            Self::InitiatorAddress => "initiator-address",
            Self::InitiatorName => "initiator-name",
            Self::User => "user",
            Self::Password => "password",
            Self::Drain => "drain",
        }
    }

    /// The long name of its option.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Path => "backing-store",
            other => other.word(),
        }
    }
}

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
    /// `--drain`, which tgt does not have and ignores.
    pub drain: Option<String>,
    /// `--params`, for all modes but portal.
    pub target_ops: Option<String>,
    /// `--params`, for mode portal.
    pub portal_ops: Option<String>,
}

impl Strings {
    /// The value of a key, if it was given.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&str> {
        match key {
            Key::Path => self.path.as_deref(),
            Key::Bstype => self.bstype.as_deref(),
            Key::Bsopts => self.bsopts.as_deref(),
            Key::Bsoflags => self.bsoflags.as_deref(),
            Key::Blocksize => self.blocksize.as_deref(),
            Key::TargetName => self.targetname.as_deref(),
            Key::InitiatorAddress => self.initiator_address.as_deref(),
            Key::InitiatorName => self.initiator_name.as_deref(),
            Key::User => self.user.as_deref(),
            Key::Password => self.password.as_ref().map(Secret::reveal),
            Key::Drain => self.drain.as_deref(),
        }
    }

    /// Sets the value of a key.
    pub fn set(&mut self, key: Key, value: String) {
        let text = match key {
            Key::Path => &mut self.path,
            Key::Bstype => &mut self.bstype,
            Key::Bsopts => &mut self.bsopts,
            Key::Bsoflags => &mut self.bsoflags,
            Key::Blocksize => &mut self.blocksize,
            Key::TargetName => &mut self.targetname,
            Key::InitiatorAddress => &mut self.initiator_address,
            Key::InitiatorName => &mut self.initiator_name,
            Key::User => &mut self.user,
            Key::Password => return self.password = Some(Secret::new(value)),
            Key::Drain => &mut self.drain,
        };
        *text = Some(value);
    }

    /// The payload as tgt's tgtadm makes it: fixed order, commas between, a NUL at the end; empty where no option was
    /// given.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let name = self
            .name
            .as_ref()
            .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("(null)")));
        let pairs = Key::ALL.into_iter().filter_map(|key| Some(format!("{}={}", key.word(), self.get(key)?)));
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
/// It is not UTF-8, which no name, path or number of ours can be, or a value other than a password has control
/// characters: values appear in lines of reports, of the log and of PDUs.
pub(in crate::control) fn text(payload: &[u8]) -> Result<&str, ControlError> {
    let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
    let text = std::str::from_utf8(&payload[..end]).map_err(|error| {
        let reason = format!("the strings of the request are not UTF-8 from byte {} on", error.valid_up_to());
        TgtadmError::InvalidRequest.because(reason)
    })?;
    check_control(text).map(|()| text)
}

/// Refuses control characters in all items but the password.
fn check_control(text: &str) -> Result<(), ControlError> {
    let is_password = |item: &str| item.split_once('=').map_or(item, |(key, _)| key) == Key::Password.word();
    let Some(item) = text.split(',').find(|item| item.contains(char::is_control) && !is_password(item))
    else {
        return Ok(());
    };
    let lists = ["targetOps ", "portalOps "];
    let item = lists.into_iter().find_map(|list| item.strip_prefix(list)).unwrap_or(item);
    // An item that follows a password may be the rest of it.
    let shown = if text.split(',').any(is_password) { "a value".to_owned() } else { format!("{item:?}") };
    Err(TgtadmError::InvalidRequest.because(format!(
        "{shown} has control characters; accepted: text without line breaks and other control characters"
    )))
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

/// Refuses a list in which a value had a comma: the value is cut there, and its rest is an item that is no known key.
/// Unknown keys before the first known one are ignored, as by tgt.
///
/// # Errors
/// Names the key and the item that follows its value.
pub(super) fn whole_values(text: &str, keys: &[Key]) -> Result<(), ControlError> {
    let mut before = None;
    for item in text.split(',') {
        let word = item.split_once('=').map_or(item, |(word, _)| word);
        match (keys.iter().find(|key| key.word() == word), before) {
            (Some(known), _) => before = Some(*known),
            (None, Some(before)) => return Err(cut(Key::word(before), item)),
            (None, None) => {}
        }
    }
    Ok(())
}

/// A value that had a comma: `rest` follows it.
pub(super) fn cut(key: &str, rest: &str) -> ControlError {
    TgtadmError::InvalidRequest.because(format!(
        "the value of {key} is followed by \",{rest}\"; accepted: a value without a comma, which separates items"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_joined_as_tgt_joins_them() {
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
    fn control_characters_are_refused_except_in_passwords() {
        for accepted in ["", "path=/a b", "user=é", "password=a\tb", "user=u,password=a\nb,drain=1\0\n"] {
            assert!(text(accepted.as_bytes()).is_ok(), "{accepted:?}");
        }
        for (refused, shown) in [
            ("path=/a\nb", r#""path=/a\nb""#),
            ("targetOps scsi_id=a\rb,", r#""scsi_id=a\rb""#),
            ("RedirectAddress=a\tb", r#""RedirectAddress=a\tb""#),
            ("iSNSServerIP=\u{7f}", r#""iSNSServerIP=\u{7f}""#),
            ("portalOps portal=a\x1b,", r#""portal=a\u{1b}""#),
            ("user=u\u{85},password=p", "a value"),
            ("password=p,q\n", "a value"),
        ] {
            let error = text(refused.as_bytes()).unwrap_err();
            assert_eq!(error.kind, TgtadmError::InvalidRequest, "{refused:?}");
            assert!(
                error.reason.starts_with(&format!("{shown} has control")),
                "{refused:?}: {}",
                error.reason
            );
        }
    }

    #[test]
    fn a_value_with_a_comma_is_seen_by_what_follows_it() {
        let keys = [Key::Path, Key::Bstype];
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
