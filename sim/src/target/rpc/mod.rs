//! Provisional: JSON-RPC enough for the core's tests.

#![expect(missing_docs, reason = "provisional")]

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::message::ClientId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    pub code: i32,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    VhostCreateScsiController {
        ctrlr: String,
        cpumask: Option<String>,
        delay: bool,
    },
    VhostStartScsiController {
        ctrlr: String,
    },
    VhostScsiControllerAddTarget {
        ctrlr: String,
        scsi_target_num: i32,
        bdev_name: String,
    },
    VhostScsiControllerRemoveTarget {
        ctrlr: String,
        scsi_target_num: u32,
    },
    VhostDeleteController {
        ctrlr: String,
    },
    VhostGetControllers {
        name: Option<String>,
    },
    BdevMallocCreate {
        name: Option<String>,
        block_size: u32,
        num_blocks: u64,
        physical_block_size: u32,
    },
    BdevMallocDelete {
        name: String,
    },
    BdevSplitCreate {
        base_bdev: String,
        split_count: u32,
        split_size_mb: u64,
    },
    BdevSplitDelete {
        base_bdev: String,
    },
    BdevErrorCreate {
        base_name: String,
    },
    BdevErrorDelete {
        name: String,
    },
    BdevErrorInjectError {
        name: String,
        io_type: String,
        error_type: String,
        num: u32,
    },
    BdevErrorResumePending {
        name: String,
    },
    BdevNvmeAttachController {
        name: String,
        traddr: String,
    },
    BdevNvmeDetachController {
        name: String,
    },
    BdevGetBdevs {
        name: Option<String>,
    },
    ScsiGetDevices,
}

#[derive(Debug, Default)]
pub struct RpcServer {
    calls: u32,
    requests: std::collections::VecDeque<(CallId, Method)>,
    open: BTreeMap<CallId, (ClientId, Value)>,
    answers: Vec<(ClientId, Bytes)>,
}

impl RpcServer {
    pub fn input(&mut self, client: ClientId, bytes: &[u8]) {
        for request in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
            let Ok(request) = request else { return };
            let call = CallId(self.calls);
            self.calls += 1;
            self.open.insert(call, (client, request["id"].clone()));
            match decode(&request) {
                Some(method) => self.requests.push_back((call, method)),
                None => self.answer(
                    call,
                    Err(RpcError {
                        code: -32602,
                        message: "Invalid argument".to_owned(),
                    }),
                ),
            }
        }
    }

    pub fn closed(&mut self, client: ClientId) {
        self.open.retain(|_, (of, _)| *of != client);
    }

    pub fn has_work(&self) -> bool {
        !self.requests.is_empty() || !self.answers.is_empty()
    }

    pub fn next(&mut self) -> Option<(CallId, Method)> {
        self.requests.pop_front()
    }

    pub fn answer(&mut self, call: CallId, result: Result<Value, RpcError>) {
        let Some((client, id)) = self.open.remove(&call) else {
            return;
        };
        let text = match result {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(e) => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": e.code, "message": e.message}})
            }
        };
        self.answers.push((client, Bytes::from(text.to_string())));
    }

    pub fn flush(&mut self, out: &mut Vec<(ClientId, Bytes)>) {
        out.append(&mut self.answers);
    }
}

fn decode(request: &Value) -> Option<Method> {
    let p = &request["params"];
    let text = |key: &str| p[key].as_str().map(str::to_owned);
    let number = |key: &str| p[key].as_u64();
    Some(match request["method"].as_str()? {
        "vhost_create_scsi_controller" => Method::VhostCreateScsiController {
            ctrlr: text("ctrlr")?,
            cpumask: text("cpumask"),
            delay: p["delay"].as_bool().unwrap_or(false),
        },
        "vhost_start_scsi_controller" => Method::VhostStartScsiController {
            ctrlr: text("ctrlr")?,
        },
        "vhost_scsi_controller_add_target" => Method::VhostScsiControllerAddTarget {
            ctrlr: text("ctrlr")?,
            scsi_target_num: i32::try_from(p["scsi_target_num"].as_i64()?).ok()?,
            bdev_name: text("bdev_name")?,
        },
        "vhost_scsi_controller_remove_target" => Method::VhostScsiControllerRemoveTarget {
            ctrlr: text("ctrlr")?,
            scsi_target_num: u32::try_from(number("scsi_target_num")?).ok()?,
        },
        "vhost_delete_controller" => Method::VhostDeleteController {
            ctrlr: text("ctrlr")?,
        },
        "vhost_get_controllers" => Method::VhostGetControllers { name: text("name") },
        "bdev_malloc_create" => Method::BdevMallocCreate {
            name: text("name"),
            block_size: number("block_size")? as u32,
            num_blocks: number("num_blocks")?,
            physical_block_size: 0,
        },
        "bdev_malloc_delete" => Method::BdevMallocDelete {
            name: text("name")?,
        },
        "bdev_split_create" => Method::BdevSplitCreate {
            base_bdev: text("base_bdev")?,
            split_count: number("split_count")? as u32,
            split_size_mb: number("split_size_mb").unwrap_or(0),
        },
        "bdev_split_delete" => Method::BdevSplitDelete {
            base_bdev: text("base_bdev")?,
        },
        "bdev_error_create" => Method::BdevErrorCreate {
            base_name: text("base_name")?,
        },
        "bdev_error_delete" => Method::BdevErrorDelete {
            name: text("name")?,
        },
        "bdev_error_inject_error" => Method::BdevErrorInjectError {
            name: text("name")?,
            io_type: text("io_type")?,
            error_type: text("error_type")?,
            num: number("num").unwrap_or(1) as u32,
        },
        "bdev_error_resume_pending" => Method::BdevErrorResumePending {
            name: text("name")?,
        },
        "bdev_nvme_attach_controller" => Method::BdevNvmeAttachController {
            name: text("name")?,
            traddr: text("traddr")?,
        },
        "bdev_nvme_detach_controller" => Method::BdevNvmeDetachController {
            name: text("name")?,
        },
        "bdev_get_bdevs" => Method::BdevGetBdevs { name: text("name") },
        "scsi_get_devices" => Method::ScsiGetDevices,
        _ => return None,
    })
}
