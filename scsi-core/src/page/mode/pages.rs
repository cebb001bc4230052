//! The mode pages of a disk by their fields (SPC-4 7.5.8 to 7.5.14, SBC-3 6.5.4 and 6.5.5).
//!
//! A mask of changeable values is made the same way, with ones in what may change.

use super::{ModePage, PageId};
use crate::page::{flag, is_set};

/// Declares a page: its id, the length of its header and body, and the fields it is made of. A field is a bit
/// (`byte:bit`), a number within a byte (`byte:high-low`), or a word from a byte on, big endian. Bytes count from
/// the front of the page, as in the standard's tables.
macro_rules! mode_page {
    (
        $(#[$doc:meta])* $name:ident = $page:literal / $subpage:literal, header $header:literal, len $len:literal;
        bits { $($(#[$bit_doc:meta])* $bit:ident @ $bit_byte:literal : $bit_at:literal;)* }
        numbers { $($(#[$number_doc:meta])* $number:ident @ $byte:literal : $high:literal - $low:literal;)* }
        words { $($(#[$word_doc:meta])* $word:ident: $word_ty:ident @ $word_byte:literal;)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub struct $name {
            $($(#[$bit_doc])* pub $bit: bool,)*
            $($(#[$number_doc])* pub $number: u8,)*
            $($(#[$word_doc])* pub $word: $word_ty,)*
        }

        impl $name {
            /// PAGE CODE and SUBPAGE CODE.
            pub const ID: PageId = PageId { page: $page, subpage: $subpage };
            /// Bytes after PAGE LENGTH.
            pub const LEN: usize = $len;

            /// As bytes; not saveable.
            #[must_use]
            pub fn to_page(&self) -> ModePage {
                let mut body = vec![0; Self::LEN];
                $(body[$bit_byte - $header] |= flag(self.$bit, $bit_at);)*
                $(body[$byte - $header] |= (self.$number & mask($high, $low)) << $low;)*
                $(
                    let bytes = self.$word.to_be_bytes();
                    body[$word_byte - $header..][..bytes.len()].copy_from_slice(&bytes);
                )*
                ModePage { id: Self::ID, saveable: false, body }
            }

            /// Reads the fields; those that a short body does not have are 0.
            #[must_use]
            pub fn from_body(body: &[u8]) -> Self {
                let mut page = [0; Self::LEN];
                let len = body.len().min(Self::LEN);
                page[..len].copy_from_slice(&body[..len]);
                Self {
                    $($bit: is_set(page[$bit_byte - $header], $bit_at),)*
                    $($number: page[$byte - $header] >> $low & mask($high, $low),)*
                    $($word: {
                        let mut bytes = [0; size_of::<$word_ty>()];
                        bytes.copy_from_slice(&page[$word_byte - $header..][..size_of::<$word_ty>()]);
                        $word_ty::from_be_bytes(bytes)
                    },)*
                }
            }
        }
    };
}

mode_page! {
    /// Caching (SBC-3 6.5.5).
    Caching = 0x08 / 0x00, header 2, len 18;
    bits {
        /// DISC: pre-fetch goes on across boundaries.
        discontinuity @ 2:4;
        /// WCE: a write may be answered before it is on the medium.
        write_cache @ 2:2;
        /// RCD: reads come from the medium.
        read_cache_disabled @ 2:0;
        /// FSW: writes are done in their order.
        force_sequential_write @ 12:7;
        /// DRA: no read ahead.
        read_ahead_disabled @ 12:5;
        /// NV_DIS: the non-volatile cache is off.
        non_volatile_disabled @ 12:0;
    }
    numbers {
        /// NUMBER OF CACHE SEGMENTS.
        cache_segments @ 13:7-0;
    }
    words {
        /// DISABLE PRE-FETCH TRANSFER LENGTH, blocks.
        disable_pre_fetch_len: u16 @ 4;
        /// MINIMUM PRE-FETCH, blocks.
        min_pre_fetch: u16 @ 6;
        /// MAXIMUM PRE-FETCH, blocks.
        max_pre_fetch: u16 @ 8;
        /// MAXIMUM PRE-FETCH CEILING, blocks.
        max_pre_fetch_ceiling: u16 @ 10;
    }
}

mode_page! {
    /// Control (SPC-4 7.5.8).
    Control = 0x0a / 0x00, header 2, len 10;
    bits {
        /// TMF_ONLY.
        task_management_only @ 2:4;
        /// DPICZ.
        protection_check_disabled @ 2:3;
        /// D_SENSE: sense data is in descriptor format.
        descriptor_sense @ 2:2;
        /// GLTSD.
        global_logging_target_save_disabled @ 2:1;
        /// RLEC.
        report_log_exception @ 2:0;
        /// SWP: the software's write protection.
        software_write_protect @ 4:3;
        /// ATO.
        application_tag_owner @ 5:7;
        /// TAS: commands another nexus aborted end with TASK ABORTED.
        task_aborted_status @ 5:6;
    }
    numbers {
        /// TST: 1 is a task set per I_T nexus.
        task_set_type @ 2:7-5;
        /// QUEUE ALGORITHM MODIFIER: 1 is unrestricted reordering.
        queue_algorithm_modifier @ 3:7-4;
        /// QERR.
        queue_error_management @ 3:2-1;
        /// UA_INTLCK_CTRL.
        unit_attention_interlock @ 4:5-4;
        /// AUTOLOAD MODE.
        autoload_mode @ 5:2-0;
    }
    words {
        /// BUSY TIMEOUT PERIOD, 100 ms each; ffffh is unlimited.
        busy_timeout: u16 @ 8;
        /// EXTENDED SELF-TEST COMPLETION TIME, seconds.
        extended_self_test_time: u16 @ 10;
    }
}

mode_page! {
    /// Control Extension (SPC-4 7.5.9).
    ControlExtension = 0x0a / 0x01, header 4, len 28;
    bits {
        /// TCMOS.
        timestamp_changeable @ 4:2;
        /// SCSIP.
        scsi_precedence @ 4:1;
        /// IALUAE.
        implicit_asymmetric_access @ 4:0;
    }
    numbers {
        /// INITIAL COMMAND PRIORITY.
        initial_command_priority @ 5:3-0;
        /// MAXIMUM SENSE DATA LENGTH; 0: no limit is told.
        max_sense_len @ 6:7-0;
    }
    words {}
}

mode_page! {
    /// Informational Exceptions Control (SBC-3 6.5.8).
    InformationalExceptions = 0x1c / 0x00, header 2, len 10;
    bits {
        /// PERF: delays by them are not acceptable.
        performance @ 2:7;
        /// EBF.
        background_functions @ 2:5;
        /// EWASC.
        warnings @ 2:4;
        /// DEXCPT: off.
        disabled @ 2:3;
        /// TEST.
        test @ 2:2;
        /// EBACKERR.
        background_errors @ 2:1;
        /// LOGERR.
        log_errors @ 2:0;
    }
    numbers {
        /// MRIE: how they are reported.
        reporting_method @ 3:3-0;
    }
    words {
        /// INTERVAL TIMER, 100 ms each.
        interval_timer: u32 @ 4;
        /// REPORT COUNT.
        report_count: u32 @ 8;
    }
}

mode_page! {
    /// Read-Write Error Recovery (SBC-3 6.5.10).
    ReadWriteErrorRecovery = 0x01 / 0x00, header 2, len 10;
    bits {
        /// AWRE.
        automatic_write_reallocation @ 2:7;
        /// ARRE.
        automatic_read_reallocation @ 2:6;
        /// TB.
        transfer_block @ 2:5;
        /// RC.
        read_continuous @ 2:4;
        /// EER.
        early_recovery @ 2:3;
        /// PER.
        post_error @ 2:2;
        /// DTE.
        data_terminate_on_error @ 2:1;
        /// DCR.
        correction_disabled @ 2:0;
    }
    numbers {
        /// READ RETRY COUNT.
        read_retries @ 3:7-0;
        /// WRITE RETRY COUNT.
        write_retries @ 8:7-0;
    }
    words {
        /// RECOVERY TIME LIMIT, ms.
        recovery_time_limit: u16 @ 10;
    }
}

mode_page! {
    /// Disconnect-Reconnect (SPC-4 7.5.11); iSCSI takes its limits from the login instead.
    DisconnectReconnect = 0x02 / 0x00, header 2, len 14;
    bits {
        /// EMDP: data may come out of order.
        modify_data_pointers @ 12:7;
    }
    numbers {
        /// BUFFER FULL RATIO.
        buffer_full_ratio @ 2:7-0;
        /// BUFFER EMPTY RATIO.
        buffer_empty_ratio @ 3:7-0;
    }
    words {
        /// BUS INACTIVITY LIMIT.
        bus_inactivity_limit: u16 @ 4;
        /// DISCONNECT TIME LIMIT.
        disconnect_time_limit: u16 @ 6;
        /// CONNECT TIME LIMIT.
        connect_time_limit: u16 @ 8;
        /// MAXIMUM BURST SIZE, 512 bytes each.
        max_burst_size: u16 @ 10;
        /// FIRST BURST SIZE, 512 bytes each.
        first_burst_size: u16 @ 14;
    }
}

/// The ones of a number that stands in bits `high` to `low`.
const fn mask(high: u8, low: u8) -> u8 {
    0xff >> (7 - (high - low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(page: &ModePage) -> Vec<u8> {
        let mut out = Vec::new();
        page.encode(&mut out);
        out
    }

    #[test]
    fn caching() {
        let page = Caching {
            write_cache: true,
            discontinuity: true,
            read_ahead_disabled: true,
            max_pre_fetch: 0x0102,
            cache_segments: 9,
            ..Caching::default()
        };
        assert_eq!(
            bytes(&page.to_page()),
            [0x08, 18, 0x14, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0x20, 9, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(Caching::from_body(&page.to_page().body), page);
        assert!(!Caching::from_body(&[0x10]).write_cache);
    }

    #[test]
    fn control() {
        let page = Control {
            task_set_type: 1,
            descriptor_sense: true,
            queue_algorithm_modifier: 1,
            queue_error_management: 3,
            software_write_protect: true,
            task_aborted_status: true,
            busy_timeout: 0xffff,
            extended_self_test_time: 2,
            ..Control::default()
        };
        assert_eq!(bytes(&page.to_page()), [0x0a, 10, 0x24, 0x16, 0x08, 0x40, 0, 0, 0xff, 0xff, 0, 2]);
        assert_eq!(Control::from_body(&page.to_page().body), page);
    }

    #[test]
    fn control_extension_is_a_subpage() {
        let page = ControlExtension {
            scsi_precedence: true,
            initial_command_priority: 7,
            max_sense_len: 252,
            ..ControlExtension::default()
        };
        let bytes = bytes(&page.to_page());
        assert_eq!(bytes[..8], [0x4a, 1, 0, 28, 0x02, 7, 252, 0]);
        assert_eq!(bytes.len(), 32);
        assert_eq!(ControlExtension::from_body(&page.to_page().body), page);
    }

    #[test]
    fn informational_exceptions() {
        let page = InformationalExceptions {
            disabled: true,
            reporting_method: 6,
            interval_timer: 1,
            report_count: 2,
            ..InformationalExceptions::default()
        };
        assert_eq!(bytes(&page.to_page()), [0x1c, 10, 0x08, 6, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(InformationalExceptions::from_body(&page.to_page().body), page);
    }

    #[test]
    fn error_recovery() {
        let page = ReadWriteErrorRecovery {
            automatic_write_reallocation: true,
            automatic_read_reallocation: true,
            read_retries: 1,
            write_retries: 2,
            recovery_time_limit: 3,
            ..ReadWriteErrorRecovery::default()
        };
        assert_eq!(bytes(&page.to_page()), [0x01, 10, 0xc0, 1, 0, 0, 0, 0, 2, 0, 0, 3]);
        assert_eq!(ReadWriteErrorRecovery::from_body(&page.to_page().body), page);
    }

    #[test]
    fn disconnect_reconnect() {
        let page = DisconnectReconnect {
            buffer_full_ratio: 0x80,
            buffer_empty_ratio: 0x81,
            max_burst_size: 10,
            first_burst_size: 11,
            modify_data_pointers: true,
            ..DisconnectReconnect::default()
        };
        assert_eq!(bytes(&page.to_page()), [0x02, 14, 0x80, 0x81, 0, 0, 0, 0, 0, 0, 0, 10, 0x80, 0, 0, 11]);
        assert_eq!(DisconnectReconnect::from_body(&page.to_page().body), page);
    }

    #[test]
    fn ones_in_a_field_are_its_changeable_mask() {
        let mask = Control { software_write_protect: true, descriptor_sense: true, ..Control::default() };
        assert_eq!(mask.to_page().body, [4, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn bodies_of_any_length_are_read() {
        assert_eq!(Control::from_body(&[]), Control::default());
        assert_eq!(Control::from_body(&[0xff; 300]).busy_timeout, 0xffff);
    }
}
