//! What an RPC is answered, now or later.

use serde_json::Value;

use crate::handles::VdevId;
use crate::rpc::{Errno, RpcError};

/// What a method gives at once; `None` if it is answered later.
pub(super) type Answer = Option<Result<Value, RpcError>>;

/// What most methods give that went well.
pub(super) const DONE: Result<Value, RpcError> = Ok(Value::Bool(true));

/// A controller that was found by name, or the answer that there is none.
pub(super) fn no_such(vdev: Option<VdevId>) -> Result<VdevId, RpcError> {
    vdev.ok_or(RpcError::vhost(Errno::NoDev))
}
