//! `--iser`: checked as tgt checks it, so that tgt's command lines start. RDMA is not supported, and the values are not
//! used.

/// Checks a comma-separated list of `KEY=VALUE` by tgt's rules and returns it unchanged.
///
/// # Errors
/// A message that names the unknown key or the invalid value, and what is accepted.
pub(crate) fn check(list: &str) -> Result<String, String> {
    for item in list.split(',').filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').unwrap_or((item, ""));
        let number = |least, most| value.parse().is_ok_and(|number: u32| (least..=most).contains(&number));
        let (is_valid, accepted) = match key {
            "port" => (number(1, 65535), "1 to 65535"),
            "nop" => (matches!(value, "on" | "off"), "on, off"),
            "pool_sz_mb" => (number(1, u32::MAX), "a number of megabytes, 1 or more"),
            "buf_sz_kb" => (number(1, u32::MAX), "a number of kilobytes, 1 or more"),
            "cq_vector" => (number(0, i32::MAX.cast_unsigned()), "a number, 0 or more"),
            _ => {
                return Err(format!(
                    "unknown key {key:?}; accepted: port, nop, pool_sz_mb, buf_sz_kb, cq_vector"
                ));
            }
        };
        if !is_valid {
            return Err(format!("{key}={value:?} is invalid; accepted: {accepted}"));
        }
    }
    Ok(list.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_checked_as_tgt_checks_them() {
        for valid in [
            "",
            "port=3260",
            "nop=on",
            "nop=off",
            "pool_sz_mb=64",
            "buf_sz_kb=512",
            "cq_vector=0",
            "port=3260,nop=on,pool_sz_mb=1024,buf_sz_kb=512,cq_vector=2",
        ] {
            assert_eq!(check(valid), Ok(valid.to_owned()));
        }
        for (invalid, accepted) in [
            ("port", "1 to 65535"),
            ("port=0", "1 to 65535"),
            ("port=99999", "1 to 65535"),
            ("nop=yes", "on, off"),
            ("pool_sz_mb=x", "megabytes"),
            ("buf_sz_kb=0", "kilobytes"),
            ("cq_vector=-1", "0 or more"),
            ("nop=on,colour=red", "port, nop, pool_sz_mb, buf_sz_kb, cq_vector"),
        ] {
            let error = check(invalid).unwrap_err();
            assert!(error.contains(accepted), "{invalid}: {error}");
        }
    }
}
