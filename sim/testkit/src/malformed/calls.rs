//! JSON-RPC bytes: calls of every method of the target, with parameters that it may take or not, and
//! perhaps torn.

use spdk::rpc::{Field, Kind};
use wire::Component as _;
use wire::message::{ClientId, ToTarget};

use super::Fire;

/// Names of what is there, may come to be there, or never is.
const NAMES: [&str; 12] = [
    "Malloc0",
    "Malloc1",
    "Malloc2",
    "Malloc2p0",
    "EE_Malloc2",
    "Delay0",
    "Null0",
    "Nvme0",
    "Nvme0n1",
    "vhost.0",
    "vhost_scsi",
    "bdev",
];
/// Numbers that many parameters may be.
const NUMBERS: [&str; 10] = ["0", "1", "2", "3", "4", "8", "64", "512", "2048", "4096"];
/// What parameters are exchanged for. No number is a `split_count` that would make billions of bdevs, which
/// SPDK would make as well.
const VALUES: [&str; 13] = [
    "0",
    "-1",
    "1e400",
    "4096",
    "18446744073709551616",
    "\"vhost.0\"",
    "\"Malloc0\"",
    "null",
    "[]",
    "{\"a\":{}}",
    "\"\\u0000\"",
    "true",
    "9223372036854775807",
];

/// What a text is under the name of its parameter.
fn texts(name: &str) -> &'static [&'static str] {
    match name {
        "ctrlr" => &["vhost.0", "vhost.0", "vhost.1"],
        "base_bdev" | "base_name" | "base_bdev_name" => &["Malloc2", "Malloc2", "Null0", "Nvme0n1"],
        "cpumask" => &["0x1", "0x0", "[0]"],
        "trtype" => &["PCIe", "TCP"],
        "traddr" => &["0000:01:00.0", "0000:02:00.0"],
        "latency_type" => &["avg_read", "p99_read", "avg_write", "p99_write"],
        _ => &NAMES,
    }
}

impl Fire {
    fn one_of(&mut self, all: &[&'static str]) -> &'static str {
        all[self.rolls.below(all.len() as u32) as usize]
    }

    /// What a parameter may be, as JSON.
    fn value(&mut self, field: &Field) -> String {
        match field.kind {
            Kind::Text => format!("{:?}", self.one_of(texts(field.name))),
            Kind::Flag => self.rolls.chance(1, 2).to_string(),
            Kind::U32 if field.name == "split_count" => self.one_of(&["1", "4", "4096"]).to_owned(),
            Kind::I32 | Kind::U8 | Kind::U32 | Kind::U64 => self.one_of(&NUMBERS).to_owned(),
            Kind::Uuid => "\"6f1b1d3a-6a52-4c0c-9d7e-1f0f9a5f0b01\"".to_owned(),
            Kind::OneOf(all) | Kind::OneOfAnyCase(all) => format!("{:?}", self.one_of(all)),
        }
    }

    /// A call of any method: mostly with the parameters that it has to have, each mostly of its kind.
    fn any_call(&mut self) -> Vec<u8> {
        let method = self.rolls.below(self.methods.len() as u32) as usize;
        self.tally.methods |= 1 << method;
        let (name, fields) = self.methods[method];
        let mut params = Vec::new();
        for field in fields {
            let share = if field.required { (15, 16) } else { (1, 4) };
            if !self.rolls.chance(share.0, share.1) {
                continue;
            }
            let value = match self.rolls.below(8) {
                0 => self.one_of(&VALUES).to_owned(),
                _ => self.value(field),
            };
            params.push(format!("\"{}\":{value}", field.name));
        }
        let params = if params.is_empty() && self.rolls.chance(7, 8) {
            String::new()
        } else {
            format!(",\"params\":{{{}}}", params.join(","))
        };
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{name}\"{params}}}").into_bytes()
    }

    pub(super) fn rpc(&mut self) {
        self.tally.rpcs += 1;
        let mut bytes = self.any_call();
        match self.rolls.below(6) {
            0 => bytes.truncate(self.rolls.below(bytes.len() as u32) as usize),
            1 => {
                let at = self.rolls.below(bytes.len() as u32) as usize;
                bytes[at] = self.rolls.bits() as u8;
            }
            2 if self.rolls.chance(1, 4) => bytes = vec![b'['; self.rolls.below(600) as usize],
            2 => bytes.extend_from_slice(&self.rolls.bits().to_le_bytes()),
            _ => {}
        }
        self.bytes(bytes);
        if self.rolls.chance(1, 4) {
            // A client that sent half a call goes, and the next one begins anew.
            self.target.input(
                self.now,
                ToTarget::RpcClosed {
                    client: ClientId(0),
                },
            );
        }
    }
}
