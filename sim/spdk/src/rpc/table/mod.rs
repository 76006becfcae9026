//! The table of methods: name, when it may be called, parameters, and how it refuses wrong ones.
//!
//! Refusals are as recorded (T-A…) for the methods that a recording has, else from SPDK's code.

mod bdev;
mod framework;
mod vhost;

use super::decode::{Field, Params};
use super::json::Json;
use super::method::Method;
use super::{RpcError, code};

/// A method of the table.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) when: Phase,
    params: Rule,
    build: fn(Params) -> Method,
}

/// When a method may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the framework is initialised (`SPDK_RPC_STARTUP`).
    Startup,
    /// After (`SPDK_RPC_RUNTIME`).
    Runtime,
    /// At any time.
    Any,
}

enum Rule {
    /// None may be given, not even an empty object.
    Nothing(&'static str),
    Strict(Refusal, &'static [Field]),
    Relaxed(Refusal, &'static [Field]),
}

type Refusal = (i32, &'static str);

const EINVAL: &str = "Invalid argument";
const VHOST: Refusal = (code::INVALID_PARAMS, EINVAL);
const VHOST_GET: Refusal = (code::INTERNAL_ERROR, EINVAL);
const BDEV: Refusal = (code::INTERNAL_ERROR, "spdk_json_decode_object failed");
const BDEV_ERROR: Refusal = (code::INVALID_PARAMS, "spdk_json_decode_object failed");
const PARAMETERS: Refusal = (code::INVALID_PARAMS, "Invalid parameters");
const ARGUMENTS: Refusal = (code::INVALID_PARAMS, "Invalid arguments");

/// The method called `name`.
pub(super) fn find(name: &str) -> Option<&'static Spec> {
    all().find(|spec| spec.name == name)
}

/// All methods.
pub(super) fn all() -> impl Iterator<Item = &'static Spec> {
    let tables = [vhost::TABLE, bdev::TABLE, framework::TABLE];
    tables.into_iter().flatten()
}

impl Spec {
    /// The method with its parameters; `None` where the request had none, or null.
    pub(super) fn decode(&self, params: Option<&Json>) -> Result<Method, RpcError> {
        let (refusal, fields, relaxed) = match self.params {
            Rule::Strict(refusal, fields) => (refusal, fields, false),
            Rule::Relaxed(refusal, fields) => (refusal, fields, true),
            Rule::Nothing(message) if params.is_some() => {
                return Err(RpcError::new(code::INVALID_PARAMS, message));
            }
            Rule::Nothing(message) => ((code::INVALID_PARAMS, message), &[] as &[Field], false),
        };
        match Params::decode(fields, params, relaxed) {
            Some(params) => Ok((self.build)(params)),
            None => Err(RpcError::new(refusal.0, refusal.1)),
        }
    }
}

impl Spec {
    /// Its parameters.
    pub(super) fn fields(&self) -> &'static [Field] {
        match self.params {
            Rule::Nothing(_) => &[],
            Rule::Strict(_, fields) | Rule::Relaxed(_, fields) => fields,
        }
    }
}

const fn spec(
    name: &'static str,
    refusal: Refusal,
    fields: &'static [Field],
    build: fn(Params) -> Method,
) -> Spec {
    Spec {
        name,
        when: Phase::Runtime,
        params: Rule::Strict(refusal, fields),
        build,
    }
}

const fn bare(name: &'static str, message: &'static str, build: fn(Params) -> Method) -> Spec {
    Spec {
        name,
        when: Phase::Runtime,
        params: Rule::Nothing(message),
        build,
    }
}

impl Spec {
    const fn when(mut self, when: Phase) -> Self {
        self.when = when;
        self
    }
}
