//! START STOP UNIT (SBC-3 5.25): ejects and loads a removable medium.

use super::super::Step;
use super::super::answer::{Answer, Refusal, good};
use super::super::request::Request;
use super::super::unit::UpdateError;
use crate::sense::Sense;

/// Fields of the CDB.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartStop {
    pub(super) power_condition: u8,
    pub(super) no_flush: bool,
    pub(super) load_eject: bool,
    pub(super) start: bool,
}

/// Ejects or loads the medium, and flushes the cache for a stop. Power conditions and stopping have no other effect.
pub(super) fn start_stop(request: &mut Request<'_>, options: StartStop) -> Answer {
    let state = request.state;
    let ejects = options.load_eject && options.power_condition == 0;
    if ejects && !state.config().removable {
        return Err(Sense::invalid_field_in_cdb(4, Some(1)).into());
    }
    if ejects {
        load_or_eject(request, options.start)?;
    }
    let stops = !options.start && !options.no_flush && options.power_condition == 0;
    if stops && state.medium().present && state.medium().capabilities.volatile_cache {
        request.task.writes();
        return Ok(Step::Flush);
    }
    Ok(good())
}

/// Refuses to eject or load the medium while any nexus prevents its removal.
fn load_or_eject(request: &Request<'_>, load: bool) -> Result<(), Refusal> {
    if request.state.removal_prevented() {
        return Err(UpdateError::RemovalPrevented.into());
    }
    request.unit.update_by(Some(request.nexus.id), |config| {
        config.online = load;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::device::NexusIndex;
    use crate::device::bench::{BAD_FIELD, Bench, FILE, GOOD, NO_MEDIUM, PREVENTED, verdict};

    #[test]
    fn medium_is_ejected_and_loaded() {
        let mut bench = Bench::disk(|config| config.removable = true, FILE);
        let start_stop = |byte4| [0x1b, 0, 0, 0, byte4, 0];
        let tur = &[0; 6];
        // Stopping, starting and power conditions do not eject.
        for byte4 in [0, 1, 4, 5, 0x12, 0xf2] {
            assert_eq!(verdict(&bench.run(&start_stop(byte4), &[])), GOOD, "{byte4:02x}");
            assert_eq!(verdict(&bench.run(tur, &[])), GOOD, "{byte4:02x}");
        }
        assert_eq!(verdict(&bench.run(&start_stop(2), &[])), GOOD);
        assert_eq!(verdict(&bench.run(tur, &[])), NO_MEDIUM);
        assert_eq!(verdict(&bench.run(&start_stop(3), &[])), GOOD);
        assert_eq!(verdict(&bench.run(tur, &[])), GOOD, "no attention for the nexus that loaded it");
        assert_eq!(
            verdict(&bench.command(1, tur, &[])),
            Some((6, 0x28, 0)),
            "an attention for other nexuses"
        );

        assert_eq!(verdict(&Bench::disk(|_| {}, FILE).run(&start_stop(2), &[])), BAD_FIELD);
    }

    #[test]
    fn prevented_medium_is_neither_ejected_nor_loaded() {
        let mut bench = Bench::disk(|config| config.removable = true, FILE);
        let (prevent, allow) = ([0x1e, 0, 0, 0, 1, 0], [0x1e, 0, 0, 0, 0, 0]);
        let (eject, load) = ([0x1b, 0, 0, 0, 2, 0], [0x1b, 0, 0, 0, 3, 0]);
        assert_eq!(verdict(&bench.command(1, &prevent, &[])), GOOD);
        assert_eq!(verdict(&bench.run(&eject, &[])), PREVENTED);
        assert_eq!(verdict(&bench.run(&allow, &[])), GOOD);
        assert_eq!(verdict(&bench.run(&eject, &[])), PREVENTED, "each nexus has its own prevention");
        assert!(bench.unit.update(|config| config.online = false).is_err(), "nor by the administrator");
        assert_eq!(verdict(&bench.command(1, &allow, &[])), GOOD);
        assert_eq!(verdict(&bench.run(&eject, &[])), GOOD);
        assert_eq!(verdict(&bench.run(&prevent, &[])), GOOD, "also without a medium");
        assert_eq!(verdict(&bench.run(&load, &[])), PREVENTED);
        // Loss of a nexus and reset end its prevention.
        bench.port.detach_nexus(NexusIndex(0));
        assert!(!bench.unit.removal_prevented());
        assert_eq!(verdict(&bench.command(1, &prevent, &[])), GOOD);
        bench.port.reset();
        assert!(!bench.unit.removal_prevented());
    }
}
