//! virtio-scsi: virtio 1.x §5.6. All fields are little-endian.

/// Bytes of a request header: `lun[8]`, `id`, `task_attr`, `prio`, `crn`, `cdb[32]`.
pub const REQUEST_SIZE: u32 = 51;
/// Offset of the CDB in a request header.
pub const REQUEST_CDB: usize = 19;
/// Bytes of a CDB.
pub const CDB_SIZE: usize = 32;
/// Bytes of a response.
pub const RESPONSE_SIZE: u32 = 108;
/// Offset of le32 sense_len.
pub const RESPONSE_SENSE_LEN: u64 = 0;
/// Offset of le32 resid.
pub const RESPONSE_RESID: u64 = 4;
/// Offset of le16 status_qualifier.
pub const RESPONSE_STATUS_QUALIFIER: u64 = 8;
/// Offset of the SCSI status byte.
pub const RESPONSE_STATUS: u64 = 10;
/// Offset of the virtio response byte.
pub const RESPONSE_RESPONSE: u64 = 11;
/// Offset of the sense data.
pub const RESPONSE_SENSE: u64 = 12;
/// Bytes of sense data.
pub const SENSE_SIZE: usize = 96;
/// Bytes of a task management request: le32 type, le32 subtype, `lun[8]`, le64 tag.
pub const TMF_SIZE: u32 = 24;

/// Task management functions (virtio 1.x §5.6.6.2).
pub mod tmf {
    /// VIRTIO_SCSI_T_TMF.
    pub const TYPE: u32 = 0;
    /// VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET.
    pub const LOGICAL_UNIT_RESET: u32 = 5;

    /// The subtype of a function.
    #[must_use]
    pub const fn subtype(of: scenarios::TaskFunction) -> u32 {
        use scenarios::TaskFunction as Of;
        match of {
            Of::AbortTask => 0,
            Of::AbortTaskSet => 1,
            Of::ClearAca => 2,
            Of::ClearTaskSet => 3,
            Of::ItNexusReset => 4,
            Of::LunReset => LOGICAL_UNIT_RESET,
            Of::QueryTask => 6,
            Of::QueryTaskSet => 7,
        }
    }
}
/// Bytes of an event: le32 event, `lun[8]`, le32 reason.
pub const EVENT_SIZE: u32 = 16;

/// Response codes (virtio 1.x §5.6.6.1.1, `VIRTIO_SCSI_S_…`).
pub mod response {
    /// The command was carried out; see the status byte.
    pub const OK: u8 = 0;
    /// More data than the buffers hold.
    pub const OVERRUN: u8 = 1;
    /// Aborted by a task management request.
    pub const ABORTED: u8 = 2;
    /// No such target.
    pub const BAD_TARGET: u8 = 3;
    /// Aborted by a reset.
    pub const RESET: u8 = 4;
    /// Not now.
    pub const BUSY: u8 = 5;
    /// The transport failed.
    pub const TRANSPORT_FAILURE: u8 = 6;
    /// The target failed.
    pub const TARGET_FAILURE: u8 = 7;
    /// The nexus failed.
    pub const NEXUS_FAILURE: u8 = 8;
    /// Anything else.
    pub const FAILURE: u8 = 9;
    /// Task management: no such LUN.
    pub const INCORRECT_LUN: u8 = 12;
}

/// Events (virtio 1.x §5.6.6.3).
pub mod event {
    /// A target came or went.
    pub const TRANSPORT_RESET: u32 = 1;
    /// A parameter changed; the reason is asc | ascq << 8.
    pub const PARAM_CHANGE: u32 = 3;
    /// Or-ed in: events were lost.
    pub const EVENTS_MISSED: u32 = 0x8000_0000;
    /// Reason of a TRANSPORT_RESET: a hard reset.
    pub const RESET_HARD: u32 = 0;
    /// Reason of a TRANSPORT_RESET: look again.
    pub const RESET_RESCAN: u32 = 1;
    /// Reason of a TRANSPORT_RESET: gone.
    pub const RESET_REMOVED: u32 = 2;
}

/// Feature bits.
pub mod feature {
    /// VIRTIO_SCSI_F_INOUT.
    pub const INOUT: u64 = 1 << 0;
    /// VIRTIO_SCSI_F_HOTPLUG.
    pub const HOTPLUG: u64 = 1 << 1;
    /// VIRTIO_SCSI_F_CHANGE.
    pub const CHANGE: u64 = 1 << 2;
    /// VHOST_F_LOG_ALL.
    pub const LOG_ALL: u64 = 1 << 26;
    /// VIRTIO_F_ANY_LAYOUT.
    pub const ANY_LAYOUT: u64 = 1 << 27;
    /// VIRTIO_F_RING_INDIRECT_DESC.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// VHOST_USER_F_PROTOCOL_FEATURES.
    pub const PROTOCOL_FEATURES: u64 = 1 << 30;
    /// VIRTIO_F_VERSION_1.
    pub const VERSION_1: u64 = 1 << 32;
}

/// SCSI status bytes (SAM-5).
pub mod status {
    /// Done.
    pub const GOOD: u8 = 0x00;
    /// See the sense data.
    pub const CHECK_CONDITION: u8 = 0x02;
    /// Busy.
    pub const BUSY: u8 = 0x08;
    /// Somebody else holds a reservation.
    pub const RESERVATION_CONFLICT: u8 = 0x18;
    /// The queue is full.
    pub const TASK_SET_FULL: u8 = 0x28;
    /// Aborted.
    pub const TASK_ABORTED: u8 = 0x40;
}

/// The 8 LUN bytes for `target` and LUN `lun`, as Linux writes them (01, target, 40|lun>>8, lun).
#[must_use]
pub fn lun_bytes(target: u8, lun: u16) -> [u8; 8] {
    [1, target, 0x40 | (lun >> 8) as u8, lun as u8, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    #[test]
    fn lun_0_of_target_3_is_what_linux_writes() {
        assert_eq!(super::lun_bytes(3, 0), [1, 3, 0x40, 0, 0, 0, 0, 0]);
    }
}
