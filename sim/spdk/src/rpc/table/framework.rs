//! The methods of the application framework: start, threads, logs, notifications.

use super::super::decode::Kind::{Flag, OneOfAnyCase, Text, U32, U64};
use super::super::decode::{Field, may, must};
use super::super::method::{LogLevel, Method};
use super::{ARGUMENTS, PARAMETERS, Phase, Spec, VHOST, bare, spec};

const NAME: &[Field] = &[must("name", Text)];
const FLAG: &[Field] = &[must("flag", Text)];
const LEVEL: &[Field] = &[must("level", OneOfAnyCase(LEVELS))];
const LEVELS: &[&str] = &["disabled", "error", "warning", "notice", "info", "debug"];

pub(super) static TABLE: &[Spec] = &[
    bare(
        "framework_start_init",
        "framework_start_init requires no parameters",
        |_| Method::FrameworkStartInit,
    )
    .when(Phase::Startup),
    bare(
        "framework_wait_init",
        "framework_wait_init requires no parameters",
        |_| Method::FrameworkWaitInit,
    )
    .when(Phase::Any),
    spec("framework_get_config", ARGUMENTS, NAME, |mut p| {
        Method::FrameworkGetConfig {
            name: p.text("name"),
        }
    }),
    bare(
        "framework_get_subsystems",
        "'framework_get_subsystems' requires no arguments",
        |_| Method::FrameworkGetSubsystems,
    ),
    bare(
        "framework_get_reactors",
        "'framework_get_reactors' requires no arguments",
        |_| Method::FrameworkGetReactors,
    ),
    spec(
        "iobuf_set_options",
        PARAMETERS,
        &[
            may("small_pool_count", U64),
            may("large_pool_count", U64),
            may("small_bufsize", U32),
            may("large_bufsize", U32),
            may("enable_numa", Flag),
        ],
        |mut p| Method::IobufSetOptions {
            small_pool_count: p.some("small_pool_count"),
            large_pool_count: p.some("large_pool_count"),
            small_bufsize: p.some("small_bufsize"),
            large_bufsize: p.some("large_bufsize"),
            enable_numa: p.flag("enable_numa"),
        },
    )
    .when(Phase::Startup),
    bare(
        "spdk_get_version",
        "spdk_get_version method requires no parameters",
        |_| Method::SpdkGetVersion,
    )
    .when(Phase::Any),
    bare(
        "thread_get_pollers",
        "'thread_get_pollers' requires no arguments",
        |_| Method::ThreadGetPollers,
    ),
    bare(
        "thread_get_stats",
        "'thread_get_stats' requires no arguments",
        |_| Method::ThreadGetStats,
    ),
    bare(
        "thread_get_io_channels",
        "'thread_get_io_channels' requires no arguments",
        |_| Method::ThreadGetIoChannels,
    ),
    bare("notify_get_types", "No parameters required", |_| {
        Method::NotifyGetTypes
    }),
    spec(
        "notify_get_notifications",
        VHOST,
        &[may("id", U64), may("max", U64)],
        |mut p| Method::NotifyGetNotifications {
            id: p.number("id", 0),
            max: p.number("max", u64::MAX),
        },
    ),
    spec("log_set_flag", PARAMETERS, FLAG, |mut p| {
        Method::LogSetFlag {
            flag: p.text("flag"),
        }
    })
    .when(Phase::Any),
    spec("log_clear_flag", PARAMETERS, FLAG, |mut p| {
        Method::LogClearFlag {
            flag: p.text("flag"),
        }
    })
    .when(Phase::Any),
    bare(
        "log_get_flags",
        "log_get_flags requires no parameters",
        |_| Method::LogGetFlags,
    )
    .when(Phase::Any),
    spec("log_set_level", PARAMETERS, LEVEL, |mut p| {
        Method::LogSetLevel {
            level: level(p.choice("level")),
        }
    })
    .when(Phase::Any),
    bare(
        "log_get_level",
        "log_get_level requires no parameters",
        |_| Method::LogGetLevel,
    )
    .when(Phase::Any),
    spec("log_set_print_level", PARAMETERS, LEVEL, |mut p| {
        Method::LogSetPrintLevel {
            level: level(p.choice("level")),
        }
    })
    .when(Phase::Any),
    bare(
        "log_get_print_level",
        "log_get_print_level requires no parameters",
        |_| Method::LogGetPrintLevel,
    )
    .when(Phase::Any),
];

fn level(choice: usize) -> LogLevel {
    use LogLevel::*;
    [Disabled, Error, Warn, Notice, Info, Debug][choice]
}
