//! Network devices that do DMA, and what they can do themselves: without scatter-gather or checksums the
//! kernel copies each packet into one piece first, also what sendfile handed over by reference.

use std::fs;
use std::path::Path;

use crate::sys::{self, Offload};

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    pub name: String,
    /// `None`: the driver does not say.
    pub scatter_gather: Option<bool>,
    pub transmit_checksum: Option<bool>,
    /// Segmentation of TCP packets.
    pub segmentation: Option<bool>,
}

impl NetDevice {
    /// True if packets can leave in the pieces that they are made of.
    pub fn sends_without_copy(&self) -> Option<bool> {
        Some(self.scatter_gather? && self.transmit_checksum?)
    }
}

/// Where the kernel lists network devices of this network namespace.
const CLASS: &str = "/sys/class/net";

/// True if a device hangs on a bus; loopback, bridges and tunnels do not.
fn is_physical(name: &str) -> bool {
    Path::new(CLASS).join(name).join("device").exists()
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(CLASS).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// True if there is a network device that does DMA.
pub fn any_physical() -> bool {
    names().iter().any(|name| is_physical(name))
}

/// All that do DMA.
pub fn physical() -> Vec<NetDevice> {
    let devices = names().into_iter().filter(|name| is_physical(name));
    devices
        .map(|name| {
            let offload = |what| sys::offload(&name, what).ok();
            NetDevice {
                scatter_gather: offload(Offload::ScatterGather),
                transmit_checksum: offload(Offload::TransmitChecksum),
                segmentation: offload(Offload::TcpSegmentation),
                name,
            }
        })
        .collect()
}
