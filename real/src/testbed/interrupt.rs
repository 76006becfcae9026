//! Somebody wants the run to end: as a flag, and as something to wait for.
//!
//! Knows no signal; who listens for them says so here.

use std::future::pending;

use tokio::sync::watch::{self, Receiver, Sender};

/// Whether somebody wants the run to end.
#[derive(Clone, Debug)]
pub struct Interrupt(Receiver<bool>);

impl Interrupt {
    /// Nobody does yet; whoever has the other half may say so, with [`Sender::send_replace`].
    #[must_use]
    pub fn new() -> (Sender<bool>, Self) {
        let (say, heard) = watch::channel(false);
        (say, Self(heard))
    }

    /// Whether somebody does.
    #[must_use]
    pub fn asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until somebody does; for ever, if nobody is left who could.
    pub async fn wait(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            pending().await
        }
    }
}
