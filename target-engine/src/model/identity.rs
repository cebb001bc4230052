//! The names of a logical unit, by which initiators identify it: made from the installation, the target's name and the
//! unit's number, or given by an administrator.
//!
//! A generated name is one hash in four forms: NAA 3h (locally assigned) with 60 bits of it, NAA 6h with 100 bits,
//! the T10 vendor ID based designator and the serial number with 112 bits each. The project has no IEEE
//! company identifier: in NAA 6h it is zero, as in tgt. The target's number and the time are not part of a name: it is
//! the same after each restart.

use scsi_core::device::unit::{DeviceType, UnitConfig};
use scsi_core::lun::Lun;
use sha2::{Digest, Sha256};

use super::tid::Tid;

/// The identity of a server. The SCSI ID, serial number and designators of a unit without given ones are made from it, the
/// target's name and the unit's LUN.
///
/// An initiator treats units of the same designators as one disk with several paths: two servers that export different
/// disks must not have the same identity.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Identity {
    /// A number that no other server has, for example the bytes of a UUID that the caller keeps. The names of units are
    /// the same after each restart, and on each host that is given the same number.
    Given([u8; 16]),
    /// A random number, made when the server binds. It lasts as long as the server: after a restart initiators find
    /// other disks.
    #[default]
    Unique,
    /// The names of tgt 1.0.85, made of the target's number and the LUN. They are the same on every host, for different
    /// disks.
    Compatible,
}

impl Identity {
    /// Returns how units are named; makes the number of [`Identity::Unique`].
    ///
    /// # Errors
    /// The operating system has no random numbers.
    pub fn naming(self) -> Result<Naming, getrandom::Error> {
        Ok(match self {
            Self::Given(number) => Naming::Installation(number),
            Self::Unique => {
                let mut number = [0; 16];
                getrandom::fill(&mut number)?;
                Naming::Installation(number)
            }
            Self::Compatible => Naming::Compatible,
        })
    }
}

/// How units are named.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Naming {
    /// As in tgt 1.0.85, see [`Identity::Compatible`].
    #[default]
    Compatible,
    /// By the number of the installation.
    Installation([u8; 16]),
}

impl Naming {
    /// Makes the configuration of a new unit, with generated names.
    #[must_use]
    pub fn config(self, device_type: DeviceType, tid: Tid, target_name: &str, lun: Lun) -> UnitConfig {
        let mut config = match device_type {
            DeviceType::Controller => UnitConfig::controller(tid.number()),
            DeviceType::Disk => UnitConfig::disk(tid.number(), lun.number().into()),
        };
        if let Self::Installation(number) = self {
            let name = target_name.to_ascii_lowercase();
            let parts = [&number[..], name.as_bytes(), &[0], &lun.number().to_be_bytes()];
            let hash = hash(MADE, &parts);
            let serial: String = hash[..SERIAL_LEN].iter().map(|byte| format!("{byte:02x}")).collect();
            config.scsi_id = format!("{VENDOR}{serial}");
            config.scsi_sn = serial;
            config.naa_local = naa_local(&hash);
            config.naa_extended = naa_extended(&hash);
        }
        config
    }

    /// Sets the SCSI ID of a unit. If it is a hexadecimal number, alone or after `IET`, it is the NAA 6h designator, too, as
    /// in tgt. For other texts the designator is a hash, where tgt gives many of them the same. Equal IDs give equal
    /// designators on all hosts.
    pub fn rename(self, config: &mut UnitConfig, scsi_id: String) {
        let digits = scsi_id.strip_prefix(VENDOR.trim_end()).map_or(scsi_id.as_str(), str::trim_start);
        let is_number =
            (1..=NAA_DIGITS).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let hash = hash(GIVEN, &[scsi_id.as_bytes()]);
        let as_tgt = is_number || self == Self::Compatible;
        config.naa_extended = if as_tgt { UnitConfig::naa_of_digits(&scsi_id) } else { naa_extended(&hash) };
        if self != Self::Compatible {
            config.naa_local = naa_local(&hash);
        }
        config.scsi_id = scsi_id;
    }
}

/// Returns whether initiators would take the two for one disk.
#[must_use]
pub fn same(one: &UnitConfig, other: &UnitConfig) -> bool {
    one.naa_extended == other.naa_extended || one.scsi_id == other.scsi_id || one.scsi_sn == other.scsi_sn
}

fn hash(domain: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let hasher = parts.iter().fold(Sha256::new_with_prefix(domain), |hasher, part| hasher.chain_update(part));
    hasher.finalize().into()
}

/// The first 15 digits of the serial number.
fn naa_local(hash: &[u8; 32]) -> u64 {
    hash[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)) >> 4
}

/// The first 25 digits of the serial number after a company identifier of zero.
fn naa_extended(hash: &[u8; 32]) -> u128 {
    hash[..16].iter().fold(0, |number, byte| number << 8 | u128::from(*byte)) >> 28
}

/// Separates these hashes from those for other purposes.
const MADE: &[u8] = b"tgt-rs unit made\0";
const GIVEN: &[u8] = b"tgt-rs unit given\0";
/// T10 VENDOR IDENTIFICATION, as in tgt.
const VENDOR: &str = "IET     ";
/// Bytes of the hash in the serial number: with the vendor before its digits it fills the 36 bytes there are.
const SERIAL_LEN: usize = 14;
/// Digits of an NAA 6h designator.
const NAA_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Naming = Naming::Installation([7; 16]);

    fn disk(naming: Naming, tid: u32, name: &str, lun: u64) -> UnitConfig {
        naming.config(DeviceType::Disk, Tid::new(tid).unwrap(), name, Lun::new(lun).unwrap())
    }

    /// A change of these values is another disk to every initiator.
    #[test]
    fn generated_names_never_change() {
        let config = disk(HERE, 1, "iqn.2001-04.com.example:disk", 1);
        assert_eq!(config.scsi_sn, "d9150fdfc1783ca779209b790a00");
        assert_eq!(config.scsi_id, "IET     d9150fdfc1783ca779209b790a00");
        assert_eq!(config.naa_local, 0x0d91_50fd_fc17_83ca);
        assert_eq!(config.naa_extended, 0x0d_9150_fdfc_1783_ca77_9209_b790);
        assert_eq!(config.scsi_id.len(), UnitConfig::IDENTIFIER_LEN);
        assert_eq!(
            disk(HERE, 9, "IQN.2001-04.com.example:DISK", 1),
            config,
            "by its name, not by its number"
        );
        let mut given = disk(HERE, 1, "iqn.x", 1);
        HERE.rename(&mut given, "volume-1".to_owned());
        assert_eq!(given.naa_local, 0x059b_ce43_018b_0056);
        assert_eq!(given.naa_extended >> 40, given.naa_local.into());
    }

    #[test]
    fn names_depend_on_installation_target_and_lun() {
        let one = disk(HERE, 1, "iqn.x:a", 1);
        let there = Naming::Installation([8; 16]);
        let controller = HERE.config(DeviceType::Controller, Tid::new(1).unwrap(), "iqn.x:a", Lun::ZERO);
        let others = [
            disk(there, 1, "iqn.x:a", 1),
            disk(HERE, 1, "iqn.x:b", 1),
            disk(HERE, 1, "iqn.x:a", 2),
            controller,
        ];
        for other in others {
            assert!(!same(&one, &other) && one.naa_local != other.naa_local, "{other:?}");
            assert_ne!(one.naa_extended, other.naa_extended, "{other:?}");
        }
        assert!(same(&one, &disk(HERE, 2, "iqn.x:a", 1)));
    }

    #[test]
    fn given_identity_repeats_and_unique_one_does_not() {
        let serial = |identity: Identity| disk(identity.naming().unwrap(), 1, "iqn.x:a", 1).scsi_sn;
        assert_eq!(serial(Identity::Given([7; 16])), disk(HERE, 1, "iqn.x:a", 1).scsi_sn);
        assert_eq!(serial(Identity::Given([7; 16])), serial(Identity::Given([7; 16])));
        assert_ne!(serial(Identity::Given([8; 16])), serial(Identity::Given([7; 16])));
        assert_ne!(serial(Identity::Unique), serial(Identity::Unique));
        assert_eq!(serial(Identity::Compatible), "beaf11");
        assert_eq!(Identity::default(), Identity::Unique);
    }

    #[test]
    fn names_of_tgt_are_made_of_numbers() {
        let config = disk(Naming::Compatible, 1, "iqn.x:a", 0x0b);
        assert_eq!((config.scsi_id.as_str(), config.scsi_sn.as_str()), ("IET     0001000b", "beaf111"));
        assert_eq!(config, UnitConfig::disk(1, 0x0b));
    }

    #[test]
    fn numeric_scsi_id_is_the_designator() {
        let cases = [
            ("IET     00010001", Some(0x0e00_0000_0001_0001)),
            ("6001405aBcdef0123456789abcdef012", Some(0x6001_405a_bcde_f012_3456_789a_bcde_f012)),
            ("deadbeaf1", Some(0x000d_eadb_eaf1)),
            ("volume-1", None),
            ("IET", None),
            ("16001405abcdef0123456789abcdef0123", None),
            ("", None),
        ];
        for (text, number) in cases {
            let (mut ours, mut tgt) = (disk(HERE, 1, "iqn.x", 1), disk(Naming::Compatible, 1, "iqn.x", 1));
            HERE.rename(&mut ours, text.to_owned());
            assert_eq!(ours.scsi_id, text);
            match number {
                Some(number) => assert_eq!(ours.naa_extended, number),
                None => assert_eq!(ours.naa_extended >> 40, ours.naa_local.into(), "{text}: of the hash"),
            }
            Naming::Compatible.rename(&mut tgt, text.to_owned());
            assert_eq!(tgt.naa_extended, UnitConfig::naa_of_digits(text));
            assert_eq!(tgt.naa_local, 0x1_0000_0001);
        }
        let mut elsewhere = disk(Naming::Installation([9; 16]), 2, "iqn.y", 5);
        Naming::Installation([9; 16]).rename(&mut elsewhere, "volume-1".to_owned());
        let mut here = disk(HERE, 1, "iqn.x", 1);
        HERE.rename(&mut here, "volume-1".to_owned());
        assert_eq!(here.naa_local, elsewhere.naa_local, "one disk, two ways to it");
    }

    #[test]
    fn equal_names_are_found() {
        let named = |id: &str, serial: &str| {
            let mut config = disk(HERE, 1, "iqn.x", 1);
            HERE.rename(&mut config, id.to_owned());
            config.scsi_sn = serial.to_owned();
            config
        };
        let one = named("0a1", "s1");
        assert!(same(&one, &named("0a1", "s2")) && same(&one, &named("0a2", "s1")));
        assert!(same(&one, &named("a1", "s2")), "the same number, written otherwise");
        assert!(!same(&one, &named("0a2", "s2")) && !same(&named("x", "s1"), &named("y", "s2")));
    }
}
