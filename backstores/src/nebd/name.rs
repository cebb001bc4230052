//! Names of Curve volumes: `cbd:POOL//PATH_USER_`, with `:FILE` behind it for another configuration of Curve's client.

/// The name of a volume, as it goes to nebd-server.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct VolumeName(String);

impl VolumeName {
    /// Checks a name, and appends the configuration file `conf` if the name has none.
    ///
    /// # Errors
    /// Returns what is wrong and what is accepted.
    pub(crate) fn parse(name: &str, conf: Option<&str>) -> Result<Self, &'static str> {
        let len = name.len() + conf.map_or(0, |conf| conf.len() + 1);
        if len > NAME_LEN_MAX || name.chars().any(char::is_control) {
            return Err("expected at most 255 bytes without control characters");
        }
        let rest = name.strip_prefix("cbd:").ok_or(FORM)?;
        let (pool, path) = rest.split_once("//").ok_or(FORM)?;
        if pool.contains(['/', ':']) {
            return Err(FORM);
        }
        let (volume, own_conf) = match path.split_once(':') {
            Some((volume, conf)) => (volume, Some(conf)),
            None => (path, None),
        };
        // Curve takes the user from between the last two underscores.
        let (path, user) = volume.strip_suffix('_').and_then(|v| v.rsplit_once('_')).ok_or(FORM)?;
        let file_name_empty = path.rsplit('/').next().is_none_or(str::is_empty);
        if file_name_empty || user.is_empty() || user.contains('/') {
            return Err(FORM);
        }
        for conf in [own_conf, conf].into_iter().flatten() {
            // Both NEBD and Curve split at the last colon.
            if !conf.starts_with('/') || conf.contains(':') {
                return Err(
                    "expected an absolute path without colons for the configuration of Curve's client",
                );
            }
        }
        Ok(Self(match conf {
            Some(conf) if own_conf.is_none() => format!("{name}:{conf}"),
            _ => name.to_owned(),
        }))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

const FORM: &str = "expected cbd:POOL//VOLUME_USER_ or cbd:POOL//DIRECTORY/VOLUME_USER_, and :/FILE behind it for another configuration of Curve's client";

/// Longest name in bytes, that of a file: the lock file has the name of the volume.
const NAME_LEN_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_fork_are_accepted_and_kept() {
        for name in [
            "cbd:pool//iscsi_test_",
            "cbd:pool//dir/vol_user_",
            "cbd:pool1//vol1_test_:/etc/curve/client.conf",
            "cbd://a_b_",
            "cbd:pool//cinder/volume-0f_1_cinder_",
        ] {
            assert_eq!(VolumeName::parse(name, None).unwrap().as_str(), name);
        }
    }

    #[test]
    fn configuration_is_appended_unless_the_name_has_one() {
        let parse = |name: &str| VolumeName::parse(name, Some("/b.conf")).unwrap().0;
        assert_eq!(parse("cbd:p//v_u_"), "cbd:p//v_u_:/b.conf");
        assert_eq!(parse("cbd:p//v_u_:/a.conf"), "cbd:p//v_u_:/a.conf");
        assert!(VolumeName::parse("cbd:p//v_u_", Some("b.conf")).unwrap_err().contains("absolute path"));
        assert!(VolumeName::parse("cbd:p//v_u_", Some("/b:c")).unwrap_err().contains("without colons"));
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "pool//vol_user_",
            "rbd:pool//vol_user_",
            "cbd:pool/vol_user_",
            "cbd:pool/x//vol_user_",
            "cbd:pool//vol_user",
            "cbd:pool//vol",
            "cbd:pool//_user_",
            "cbd:pool//dir/_user_",
            "cbd:pool//vol__",
            "cbd:pool//vol_us/er_",
            "cbd:pool//vol_user_:",
            "cbd:pool//vol_user_:client.conf",
            "cbd:pool//vol_user_:/a:/b",
            "cbd:pool//vol\n_user_",
        ] {
            assert!(VolumeName::parse(name, None).unwrap_err().starts_with("expected"), "{name}");
        }
        let long = format!("cbd:p//{}_u_", "v".repeat(NAME_LEN_MAX));
        assert!(VolumeName::parse(&long, None).unwrap_err().contains("255"));
    }
}
