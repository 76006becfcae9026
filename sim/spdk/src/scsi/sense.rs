//! Sense data, and what the bdev layer's status means in SCSI (scsi_bdev.c, bdev/scsi_nvme.c).
//!
//! Knows no command.

use wire::scsi::status;

use super::Outcome;

/// Sense key, additional sense code and qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense(pub u8, pub u8, pub u8);

impl Sense {
    /// No sense: what SPDK says where it has nothing to say.
    pub const NONE: Self = Self(0, 0, 0);
    /// Not ready.
    pub const NOT_READY: Self = Self(0x02, 0x04, 0);
    /// Illegal request: invalid command operation code.
    pub const INVALID_OPCODE: Self = Self(0x05, 0x20, 0);
    /// Illegal request: logical block address out of range.
    pub const LBA_OUT_OF_RANGE: Self = Self(0x05, 0x21, 0);
    /// Illegal request: invalid field in CDB.
    pub const INVALID_FIELD: Self = Self(0x05, 0x24, 0);
    /// Illegal request: logical unit not supported.
    pub const LUN_NOT_SUPPORTED: Self = Self(0x05, 0x25, 0);
    /// Illegal request: invalid release of persistent reservation.
    pub const INVALID_RELEASE: Self = Self(0x05, 0x26, 4);
    /// Illegal request: saving parameters not supported.
    pub const SAVING_NOT_SUPPORTED: Self = Self(0x05, 0x39, 0);
    /// Unit attention: capacity data has changed (a LUN that was resized, once).
    pub const CAPACITY_CHANGED: Self = Self(0x06, 0x2a, 9);
    /// Aborted command: hot-removed, reset, or failed in the backend.
    pub const ABORTED: Self = Self(0x0b, 0, 0);
    pub const MISCOMPARE: Self = Self(0x0e, 0x1d, 0);
}

/// Fixed-format sense data (SPC-4 4.5.3) as `spdk_scsi_task_build_sense_data` lays it out.
pub const fn sense_bytes(sense: Sense) -> [u8; 18] {
    let Sense(key, asc, ascq) = sense;
    let mut bytes = [0; 18];
    bytes[0] = 0xf0;
    bytes[2] = key & 0xf;
    bytes[7] = 10;
    bytes[12] = asc;
    bytes[13] = ascq;
    bytes
}

/// How a bdev I/O ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BdevStatus {
    /// `SPDK_BDEV_IO_STATUS_SUCCESS`.
    Success,
    /// `…_FAILED`: no better known.
    Failed,
    /// `…_ABORTED`: by a reset, or by the unregistration of the bdev.
    Aborted,
    /// `…_MISCOMPARE`.
    Miscompare,
    /// `…_NVME_ERROR`: status code type and status code.
    Nvme { sct: u8, sc: u8 },
    /// The submission was refused with an errno other than ENOMEM.
    Refused,
}

impl BdevStatus {
    /// Status and sense (`spdk_bdev_io_get_scsi_status`); nothing said of the transfer.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Success => Outcome::good(0),
            Self::Failed | Self::Aborted => Outcome::check(Sense::ABORTED),
            Self::Miscompare => Outcome::check(Sense::MISCOMPARE),
            Self::Refused => Outcome::check(Sense::NONE),
            Self::Nvme { sct, sc } => nvme(sct, sc),
        }
    }
}

/// The NVMe to SCSI translation (`spdk_scsi_nvme_translate`, after NVM Express's SCSI translation
/// reference). Codes that no source fixes end as an invalid operation code, SPDK's default.
const fn nvme(sct: u8, sc: u8) -> Outcome {
    const TASK_ABORTED: Outcome = Outcome {
        status: status::TASK_ABORTED,
        sense: None,
        transferred: 0,
    };
    Outcome::check(match (sct, sc) {
        (0, 0x00) => return Outcome::good(0),
        // Invalid field; conflicting attributes.
        (0, 0x02) | (1, 0x80) => Sense::INVALID_FIELD,
        // Data transfer error; capacity exceeded.
        (0, 0x04 | 0x81) => Sense(0x03, 0, 0),
        // Power loss; abort requested, SQ deleted, fused pair.
        (0, 0x05 | 0x07..=0x0a) => return TASK_ABORTED,
        // Internal device error.
        (0, 0x06) => Sense(0x04, 0x44, 0),
        // Invalid namespace or format.
        (0, 0x0b) => Sense(0x05, 0x20, 9),
        (0, 0x80) => Sense::LBA_OUT_OF_RANGE,
        (0, 0x82) => Sense::NOT_READY,
        (0, 0x83) => return Outcome::reservation_conflict(),
        // Invalid format.
        (1, 0x0a) => Sense(0x05, 0x31, 1),
        // Write to a read-only range.
        (1, 0x82) => Sense(0x07, 0x27, 0),
        (2, 0x80) => Sense(0x03, 0x03, 0),
        (2, 0x81) => Sense(0x03, 0x11, 0),
        // Guard, application tag, reference tag.
        (2, 0x82) => Sense(0x03, 0x10, 1),
        (2, 0x83) => Sense(0x03, 0x10, 2),
        (2, 0x84) => Sense(0x03, 0x10, 3),
        (2, 0x85) => Sense::MISCOMPARE,
        // Access denied.
        (2, 0x86) => Sense(0x07, 0x20, 2),
        _ => Sense::INVALID_OPCODE,
    })
}
