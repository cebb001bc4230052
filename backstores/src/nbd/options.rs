//! The options of an NBD store (`bsopts`).

use std::time::Duration;

use crate::registry::{OpenError, OpenOptions};

/// The keys.
pub(super) const NAMES: &[&str] = &["connections", "timeout", "open-timeout", "after-reconnect", "size-poll"];

/// Maximum number of connections of a loop to one export.
const CONNECTIONS_MAX: usize = 16;

/// Maximum of the options that are times, in seconds: a day.
const SECONDS_MAX: u64 = 86_400;

/// The options of an NBD store, with their defaults.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Options {
    pub(super) connections: usize,
    pub(super) timeout: Option<Duration>,
    pub(super) open_timeout: Duration,
    /// `after-reconnect=trust`.
    pub(super) trusts_server: bool,
    pub(super) size_poll: Option<Duration>,
}

impl Options {
    pub(super) fn parse(options: &OpenOptions) -> Result<Self, OpenError> {
        let number = |key: &'static str, least: u64, most: u64, default: u64, why: &'static str| {
            let Some(value) = options.option(key) else { return Ok(default) };
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = value.parse().ok().filter(|number| digits && (least..=most).contains(number));
            parsed.ok_or_else(|| OpenError::BadOption { key, value: value.to_owned(), why })
        };
        let seconds = |key, least, default| {
            let why = if least == 0 {
                "expected seconds, up to 86400; 0: never"
            } else {
                "expected seconds, 1 to 86400"
            };
            number(key, least, SECONDS_MAX, default, why)
        };
        let duration = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        let key = "after-reconnect";
        let trusts_server = match options.option(key) {
            None | Some("flush-fails") => false,
            Some("trust") => true,
            Some(value) => {
                let why = "expected flush-fails or trust";
                return Err(OpenError::BadOption { key, value: value.to_owned(), why });
            }
        };
        let connections = number("connections", 1, CONNECTIONS_MAX as u64, 1, "expected a number, 1 to 16")?;
        Ok(Self {
            connections: connections as usize,
            timeout: duration(seconds("timeout", 0, 0)?),
            open_timeout: Duration::from_secs(seconds("open-timeout", 1, 20)?),
            trusts_server,
            size_poll: duration(seconds("size-poll", 0, 0)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bsopts: &str) -> Result<Options, OpenError> {
        Options::parse(&OpenOptions { bsopts: bsopts.to_owned(), ..OpenOptions::default() })
    }

    #[test]
    fn options_have_defaults() {
        let seconds = Duration::from_secs;
        let defaults = Options {
            connections: 1,
            timeout: None,
            open_timeout: seconds(20),
            trusts_server: false,
            size_poll: None,
        };
        assert_eq!(parse("").unwrap(), defaults);
        let given =
            parse("connections=16;timeout=60;open-timeout=3;after-reconnect=trust;size-poll=1").unwrap();
        let expected = Options {
            connections: 16,
            timeout: Some(seconds(60)),
            open_timeout: seconds(3),
            trusts_server: true,
            size_poll: Some(seconds(1)),
        };
        assert_eq!(given, expected);
        assert_eq!(parse("timeout=0;size-poll=0;after-reconnect=flush-fails").unwrap(), defaults);
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_accepted() {
        for (bsopts, part) in [
            ("connections=0", "1 to 16"),
            ("connections=17", "1 to 16"),
            ("timeout=-1", "0: never"),
            ("timeout=+1", "0: never"),
            ("timeout=", "0: never"),
            ("timeout=86401", "up to 86400"),
            ("open-timeout=0", "1 to 86400"),
            ("size-poll=1s", "0: never"),
            ("after-reconnect=ignore", "expected flush-fails or trust"),
        ] {
            let why = parse(bsopts).expect_err(bsopts).to_string();
            assert!(why.contains(part), "{bsopts}: {why}");
        }
    }
}
