//! `plugfest guest`: what real guests boot.

use real::qemu::{ImageOptions, image};

use crate::cli::GuestCommand;
use crate::output::{Stop, print};

/// Does what the arguments name.
pub fn run(command: &GuestCommand) -> Result<u8, Stop> {
    let GuestCommand::Build(arguments) = command;
    let options = ImageOptions {
        output: arguments.output.clone(),
        kernel: arguments.kernel.clone(),
        initrd: arguments.initrd.clone(),
    };
    let image = image::build(&options).map_err(Stop::error)?;
    let (kernel, initrd) = (image.kernel.display(), image.initrd.display());
    print(&format!("kernel  {kernel}\ninitrd  {initrd}\n"))?;
    Ok(0)
}
