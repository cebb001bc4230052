//! Commands to a LUN without a logical unit (SAM-5 4.7.8, SPC-4 6.6.1).

use super::answer::{check_condition, data_in};
use super::{Step, TargetView, error};
use crate::cdb::{self, Cdb};
use crate::page::Peripheral;
use crate::page::inquiry::StandardInquiry;
use crate::page::report_luns::{self, select};
use crate::sense::{AdditionalSense, Sense};

const NOT_SUPPORTED: Sense = Sense::illegal_request(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED);

/// Completes a command to an absent logical unit. INQUIRY, REPORT LUNS and REQUEST SENSE succeed; other commands end with
/// LOGICAL UNIT NOT SUPPORTED. Returns [`Step::Done`].
#[must_use]
pub fn start(cdb: &[u8], view: &dyn TargetView) -> Step {
    match cdb::decode(cdb) {
        Ok(Cdb::Inquiry { vpd: None, allocation_len }) => {
            let inquiry =
                StandardInquiry { peripheral: Peripheral::ABSENT, version: 6, ..StandardInquiry::default() };
            data_in(inquiry.encode(), allocation_len)
        }
        Ok(Cdb::Inquiry { vpd: Some(_), .. }) => check_condition(Sense::invalid_field_in_cdb(2, None)),
        Ok(Cdb::ReportLuns { select: select::ADDRESSED | select::ALL, allocation_len }) => {
            data_in(report_luns::encode(view.luns()), allocation_len)
        }
        Ok(Cdb::ReportLuns { select: select::WELL_KNOWN, allocation_len }) => {
            data_in(report_luns::encode(&[]), allocation_len)
        }
        Ok(Cdb::ReportLuns { .. }) => check_condition(Sense::invalid_field_in_cdb(2, None)),
        Ok(Cdb::RequestSense { descriptor, allocation_len }) => {
            data_in(NOT_SUPPORTED.in_format(descriptor).to_bytes(), allocation_len)
        }
        Err(error @ cdb::CdbError::InvalidField { .. })
            if matches!(cdb.first(), Some(0x12 | 0xa0 | 0x03)) =>
        {
            check_condition(error::cdb_sense(error))
        }
        _ => check_condition(NOT_SUPPORTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Outcome;
    use crate::lun::Lun;
    use crate::status::Status;

    struct View(Vec<Lun>);

    impl TargetView for View {
        fn luns(&self) -> &[Lun] {
            &self.0
        }
    }

    fn answer(bytes: &[u8]) -> Outcome {
        let mut cdb = [0; 16];
        cdb[..bytes.len()].copy_from_slice(bytes);
        match start(&cdb, &View(vec![Lun::ZERO])) {
            Step::Done(outcome) => outcome,
            step => panic!("{step:?}"),
        }
    }

    #[test]
    fn inquiry_report_luns_and_request_sense_succeed() {
        let inquiry = answer(&[0x12, 0, 0, 0, 36, 0]);
        assert_eq!((inquiry.status, inquiry.data_in[0], inquiry.data_in.len()), (Status::Good, 0x7f, 36));
        let luns = answer(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]);
        assert_eq!(luns.data_in, [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let sense = answer(&[0x03, 0, 0, 0, 18, 0]);
        assert_eq!((sense.status, sense.data_in[12]), (Status::Good, 0x25));
    }

    #[test]
    fn other_commands_end_with_logical_unit_not_supported() {
        for cdb in [&[0x00][..], &[0x28, 0, 0, 0, 0, 0, 0, 0, 1], &[0xff], &[0x9e, 0x1f]] {
            let outcome = answer(cdb);
            assert_eq!(outcome.status, Status::CheckCondition);
            assert_eq!(outcome.sense, Some(NOT_SUPPORTED), "{cdb:02x?}");
        }
    }
}
