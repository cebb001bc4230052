//! The mode pages of a disk with their fields (SPC-4 7.5.8 to 7.5.14, SBC-3 6.5.4 and 6.5.5).
//!
//! The same types encode masks of changeable values, with ones in the changeable fields.

use super::{ModePage, PageId};
use crate::page::{flag, is_set};

/// Declares a page: its codes, the lengths of header and body, and its fields. A field is a bit (`byte:bit`), a number
/// within a byte (`byte:high-low`), or a big-endian word at a byte. Bytes count from the start of the page, as in the
/// tables of the standard.
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
            /// Length of the body in bytes.
            pub const LEN: usize = $len;

            /// Encodes the page, with PS 0.
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

            /// Decodes a body. Fields that a short body lacks are 0.
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
        /// DISC: prefetch continues across time discontinuities, as cylinder boundaries.
        discontinuity @ 2:4;
        /// WCE: writes complete before the data is on the medium.
        write_cache @ 2:2;
        /// RCD: reads access the medium, not the cache.
        read_cache_disabled @ 2:0;
        /// FSW: blocks of a write are written in ascending order.
        force_sequential_write @ 12:7;
        /// DRA: read-ahead is disabled.
        read_ahead_disabled @ 12:5;
        /// NV_DIS: the non-volatile cache is disabled.
        non_volatile_disabled @ 12:0;
    }
    numbers {
        /// NUMBER OF CACHE SEGMENTS.
        cache_segments @ 13:7-0;
    }
    words {
        /// DISABLE PRE-FETCH TRANSFER LENGTH in blocks.
        disable_pre_fetch_len: u16 @ 4;
        /// MINIMUM PRE-FETCH in blocks.
        min_pre_fetch: u16 @ 6;
        /// MAXIMUM PRE-FETCH in blocks.
        max_pre_fetch: u16 @ 8;
        /// MAXIMUM PRE-FETCH CEILING in blocks.
        max_pre_fetch_ceiling: u16 @ 10;
    }
}

mode_page! {
    /// Control (SPC-4 7.5.8).
    Control = 0x0a / 0x00, header 2, len 10;
    bits {
        /// TMF_ONLY: only task management clears an ACA condition.
        task_management_only @ 2:4;
        /// DPICZ: protection information is not checked for RDPROTECT 0.
        protection_check_disabled @ 2:3;
        /// D_SENSE: sense data is in descriptor format.
        descriptor_sense @ 2:2;
        /// GLTSD: log parameters are not saved implicitly.
        global_logging_target_save_disabled @ 2:1;
        /// RLEC: exceptional conditions of log parameters are reported.
        report_log_exception @ 2:0;
        /// SWP: software write protect.
        software_write_protect @ 4:3;
        /// ATO: the application client owns the application tags.
        application_tag_owner @ 5:7;
        /// TAS: commands that another nexus aborts end with TASK ABORTED.
        task_aborted_status @ 5:6;
    }
    numbers {
        /// TST: 0 is one task set, 1 is one per I_T nexus.
        task_set_type @ 2:7-5;
        /// QUEUE ALGORITHM MODIFIER: 1 is unrestricted reordering.
        queue_algorithm_modifier @ 3:7-4;
        /// QERR: effect of CHECK CONDITION on other commands.
        queue_error_management @ 3:2-1;
        /// UA_INTLCK_CTRL: when a unit attention is cleared.
        unit_attention_interlock @ 4:5-4;
        /// AUTOLOAD MODE: action on a removable medium that is inserted.
        autoload_mode @ 5:2-0;
    }
    words {
        /// BUSY TIMEOUT PERIOD in units of 100 ms; ffffh is unlimited.
        busy_timeout: u16 @ 8;
        /// EXTENDED SELF-TEST COMPLETION TIME in seconds.
        extended_self_test_time: u16 @ 10;
    }
}

mode_page! {
    /// Control Extension (SPC-4 7.5.9).
    ControlExtension = 0x0a / 0x01, header 4, len 28;
    bits {
        /// TCMOS: the target may change the time stamp by other means.
        timestamp_changeable @ 4:2;
        /// SCSIP: a time stamp set by SCSI takes precedence.
        scsi_precedence @ 4:1;
        /// IALUAE: implicit asymmetric access state changes are enabled.
        implicit_asymmetric_access @ 4:0;
    }
    numbers {
        /// INITIAL COMMAND PRIORITY.
        initial_command_priority @ 5:3-0;
        /// MAXIMUM SENSE DATA LENGTH; 0 if not reported.
        max_sense_len @ 6:7-0;
    }
    words {}
}

mode_page! {
    /// Informational Exceptions Control (SBC-3 6.5.8).
    InformationalExceptions = 0x1c / 0x00, header 2, len 10;
    bits {
        /// PERF: informational exception operations must not delay commands.
        performance @ 2:7;
        /// EBF: background functions are enabled.
        background_functions @ 2:5;
        /// EWASC: warnings are reported.
        warnings @ 2:4;
        /// DEXCPT: informational exceptions are disabled.
        disabled @ 2:3;
        /// TEST: a test failure is reported.
        test @ 2:2;
        /// EBACKERR: background self-test errors are reported.
        background_errors @ 2:1;
        /// LOGERR: errors are logged.
        log_errors @ 2:0;
    }
    numbers {
        /// MRIE: method of reporting.
        reporting_method @ 3:3-0;
    }
    words {
        /// INTERVAL TIMER in units of 100 ms.
        interval_timer: u32 @ 4;
        /// REPORT COUNT; 0 is unlimited.
        report_count: u32 @ 8;
    }
}

mode_page! {
    /// Read-Write Error Recovery (SBC-3 6.5.10).
    ReadWriteErrorRecovery = 0x01 / 0x00, header 2, len 10;
    bits {
        /// AWRE: automatic reallocation for writes.
        automatic_write_reallocation @ 2:7;
        /// ARRE: automatic reallocation for reads.
        automatic_read_reallocation @ 2:6;
        /// TB: transfer a block that was not recovered.
        transfer_block @ 2:5;
        /// RC: read continuously, without recovery.
        read_continuous @ 2:4;
        /// EER: early recovery.
        early_recovery @ 2:3;
        /// PER: report recovered errors.
        post_error @ 2:2;
        /// DTE: terminate at the first recovered error.
        data_terminate_on_error @ 2:1;
        /// DCR: no error correction codes.
        correction_disabled @ 2:0;
    }
    numbers {
        /// READ RETRY COUNT.
        read_retries @ 3:7-0;
        /// WRITE RETRY COUNT.
        write_retries @ 8:7-0;
    }
    words {
        /// RECOVERY TIME LIMIT in milliseconds.
        recovery_time_limit: u16 @ 10;
    }
}

mode_page! {
    /// Disconnect-Reconnect (SPC-4 7.5.11). iSCSI negotiates its limits at login instead.
    DisconnectReconnect = 0x02 / 0x00, header 2, len 14;
    bits {
        /// EMDP: data may be transferred out of order.
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
        /// MAXIMUM BURST SIZE in units of 512 bytes.
        max_burst_size: u16 @ 10;
        /// FIRST BURST SIZE in units of 512 bytes.
        first_burst_size: u16 @ 14;
    }
}

/// Mask of a field of bits `high` to `low`, shifted to bit 0.
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
    fn field_of_ones_is_its_changeable_mask() {
        let mask = Control { software_write_protect: true, descriptor_sense: true, ..Control::default() };
        assert_eq!(mask.to_page().body, [4, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn body_of_any_length_decodes() {
        assert_eq!(Control::from_body(&[]), Control::default());
        assert_eq!(Control::from_body(&[0xff; 300]).busy_timeout, 0xffff);
    }
}
