//! Over sockets: `serve`, recordings, plans and replays on a target that runs.

mod conform_serve;
mod ctrl_c;
mod replay_on_target;
mod serve;
mod spdk;
