//! The numbers by which parts of a guest know each other's things.

/// Where a disk stands in the order of their appearance since the last boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskNo(pub usize);

/// The place of a request of an application in the block layer's table. It is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IoNo(pub usize);

/// The place of a kernel flow among those of its device: its buffer goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowNo(pub usize);

/// The place of a fio thread: its buffers and its actor go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThreadNo(pub usize);

/// A step of a script, in the order in which they were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepNo(pub usize);
