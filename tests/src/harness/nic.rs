//! The VM's network devices: there while a test has them, so that no other test's tracer probes for them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::bench::{Bench, MIB, run};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Without scatter-gather; its driver counts the bytes of each packet itself.
    VirtioNet,
    /// With scatter-gather, checksums and segmentation.
    Vmxnet3,
}

impl Model {
    fn module(self) -> &'static str {
        match self {
            Model::VirtioNet => "virtio_net",
            Model::Vmxnet3 => "vmxnet3",
        }
    }

    /// Third byte of its network's addresses, last of its own (xtask/src/vm/qemu.rs).
    fn network(self) -> u8 {
        match self {
            Model::VirtioNet => 2,
            Model::Vmxnet3 => 3,
        }
    }
}

/// A network device that is up. Gone again when dropped.
pub struct Nic {
    pub name: String,
    model: Model,
}

impl Nic {
    /// `None`: this VM has no such device, or its kernel no driver.
    pub fn up(model: Model) -> Result<Option<Nic>> {
        if run("modprobe", &[model.module()]).is_err() {
            return Ok(None);
        }
        let Some(name) = find(model)? else { return Ok(None) };
        let nic = Nic { name, model };
        nic.speak_only_when_spoken_to()?;
        let network = model.network();
        run("ip", &["address", "add", &format!("10.0.{network}.15/24"), "dev", &nic.name])?;
        run("ip", &["link", "set", &nic.name, "up"])?;
        nic.wait_for_carrier()?;
        Ok(Some(nic))
    }

    /// The host behind it.
    pub fn host(&self) -> String {
        format!("10.0.{}.100", self.model.network())
    }

    /// What a workload needs to know that sends there.
    pub fn arguments(&self, bench: &Bench) -> Vec<String> {
        let dir = bench.tmpfs.display().to_string();
        ["--bytes", &MIB.to_string(), "--dir", &dir, "--host", &self.host()].map(str::to_owned).to_vec()
    }

    fn file(&self, name: &str) -> PathBuf {
        PathBuf::from("/sys/class/net").join(&self.name).join(name)
    }

    /// So that what the driver counts is what a workload sent, whenever it is read: without IPv6 there are no
    /// reports of groups (90 bytes, some seconds after the device is up: RFC 3810, 5.2.13) and no search for
    /// routers; and a neighbour once found is not asked again after 15 to 45 s (`neigh_rand_reach_time`).
    fn speak_only_when_spoken_to(&self) -> Result<()> {
        let settings =
            [("ipv6/conf", "disable_ipv6", "1"), ("ipv4/neigh", "base_reachable_time_ms", "3600000")];
        for (of, name, value) in settings {
            let path = PathBuf::from("/proc/sys/net").join(of).join(&self.name).join(name);
            fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn wait_for_carrier(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !fs::read_to_string(self.file("carrier")).is_ok_and(|text| text.trim() == "1") {
            ensure!(Instant::now() < deadline, "{} has no carrier", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What its driver counted: `tx_bytes`, `rx_bytes`, `tx_packets`.
    pub fn statistic(&self, name: &str) -> Result<u64> {
        let path = self.file("statistics").join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().parse()?)
    }

    /// Bytes sent and received, once they keep still: virtio_net counts a packet when it frees it.
    pub fn settled_bytes(&self) -> Result<(u64, u64)> {
        let read = || anyhow::Ok((self.statistic("tx_bytes")?, self.statistic("rx_bytes")?));
        let mut bytes = read()?;
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = read()?;
            if now == bytes {
                return Ok(now);
            }
            bytes = now;
        }
    }

    /// Switches scatter-gather off, and with it what needs it.
    pub fn switch_scatter_gather_off(&self) -> Result<()> {
        run("ethtool", &["-K", &self.name, "sg", "off"])
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        let _ = run("ip", &["link", "set", &self.name, "down"]);
        let _ = run("modprobe", &["-r", self.model.module()]);
    }
}

/// The device with the address that the VM gave it, which appears some time after its driver.
fn find(model: Model) -> Result<Option<String>> {
    let address = format!("52:54:00:00:00:0{}", model.network());
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        for entry in fs::read_dir("/sys/class/net")?.flatten() {
            let own = fs::read_to_string(entry.path().join("address")).unwrap_or_default();
            if own.trim() == address {
                match entry.file_name().into_string() {
                    Ok(name) => return Ok(Some(name)),
                    Err(name) => bail!("a network device is called {name:?}"),
                }
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(None)
}
