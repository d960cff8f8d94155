//! QEMU's command line. The order of devices does not matter to the guest: it goes by names and tags.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{VmSpec, initramfs};
use crate::kernels::Cached;
use crate::sh;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Accel {
    Kvm,
    Tcg,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        })
    }
}

/// Nothing that differs from run to run: no random numbers from the CPU, a clock that starts at a fixed date.
///
/// Without erms and fsrm the kernel copies 8 bytes per counted instruction. With them it uses `rep movsb`, which
/// counts once per byte here, and moves 32 bytes or more per cycle on a real CPU.
const COUNTED: [&str; 8] = [
    "-accel",
    "tcg,thread=single",
    "-icount",
    "shift=0,sleep=off",
    "-cpu",
    "max,la57=off,-rdrand,-rdseed,-erms,-fsrm",
    "-rtc",
    "base=2026-01-01,clock=vm",
];

/// The host's end of what the guest writes: sockets in the run directory, by port name.
pub const PORTS: [&str; 3] = ["out", "err", "status"];

pub fn command(run: &Path, kernel: &Cached, spec: &VmSpec, accel: Accel) -> Result<Command> {
    let qemu = sh::which("qemu-system-x86_64")
        .context("qemu-system-x86_64 is missing; `apt-get install qemu-system-x86` or `cargo xtask setup`")?;
    // Should this process be killed, the VM must not live on.
    let mut command = match sh::which("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(qemu);
            command
        }
        None => Command::new(qemu),
    };
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35"]);
    match accel {
        _ if spec.counted => command.args(COUNTED),
        Accel::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
        // One thread for all virtual CPUs: with thread=multi, QEMU 7.2 now and then runs kernel text
        // that another CPU is patching (1 panic in 36 boots of a loaded host, seemingly in a static key), and
        // tracer's whole work is to have kernel text patched. Two VMs side by side use two CPUs.
        // `max` has the hardware breakpoints that the audit needs. Without la57 page walks are one
        // level shorter, as on most real machines.
        Accel::Tcg => command.args(["-accel", "tcg,thread=single", "-cpu", "max,la57=off"]),
    };
    // With two, a machine that counts instructions does not get as far as its console (QEMU 7.2): it has one, and
    // the kernel makes room for the others.
    let cpus = if spec.counted { format!("1,maxcpus={}", spec.cpus) } else { spec.cpus.to_string() };
    command.args(["-smp", &cpus, "-m", &spec.memory]);
    command.arg("-kernel").arg(&kernel.vmlinuz).arg("-initrd").arg(run.join("initramfs"));
    // A kernel tries its timer for a tenth of a second of its time, and panics if a busy host gives QEMU less than some
    // ticks of it ("IO-APIC + timer doesn't work!": seen on 6.12). A host cannot stall one that counts instructions.
    let fixed = if spec.counted { "nokaslr norandmaps " } else { "no_timer_check " };
    command.args(["-append", &format!("console=ttyS0 quiet panic=-1 {fixed}{}", spec.kernel_args)]);
    command.args(["-serial", &format!("file:{}", option(&run.join("console"))?)]);
    command.args(["-device", "virtio-serial-pci"]);
    for port in PORTS {
        let socket = option(&run.join(port))?;
        command.args(["-chardev", &format!("socket,id={port},path={socket}")]);
        command.args(["-device", &format!("virtserialport,chardev={port},name={port}")]);
    }
    disk(&mut command, run, "disk", DISK)?;
    // Whoever counts instructions has no use for what answers in the host's time.
    if !spec.counted {
        disk(&mut command, run, "second", SECOND_DISK)?;
        network(&mut command);
    }
    share(&mut command, "root", Path::new("/"), false)?;
    share(&mut command, "modules", &kernel.modules, false)?;
    if let Some(programs) = &spec.programs {
        share(&mut command, "programs", programs, false)?;
    }
    for (number, mount) in spec.mounts.iter().enumerate() {
        share(&mut command, &initramfs::tag(number), &mount.host, mount.writable)?;
    }
    Ok(command)
}

/// Size of the scratch disk, of which the host stores what is written.
const DISK: u64 = 512 << 20;

/// The same of another one, with room for many file systems.
const SECOND_DISK: u64 = 2 << 30;

/// An empty disk, `/dev/vda` once `virtio_blk` is loaded (the second is `/dev/vdb`): one whose transfers a guest can
/// count.
fn disk(command: &mut Command, run: &Path, name: &str, bytes: u64) -> Result<()> {
    let path = run.join(name);
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.set_len(bytes).with_context(|| format!("cannot size {}", path.display()))?;
    let drive = format!("file={},if=none,id={name},format=raw,cache=unsafe", option(&path)?);
    command.args(["-drive", &drive, "-device", &format!("virtio-blk-pci,drive={name}")]);
    Ok(())
}

/// Services behind both network devices, at host `.100` of their networks: RFC 863 discard (port 9) and
/// RFC 862 echo (port 7). Nothing else is reachable.
const SERVICES: [(u16, &str); 2] = [(9, "dd of=/dev/null bs=64k status=none"), (7, "cat")];

/// Two network devices, there once their modules are loaded. `virtio_net` offers no scatter-gather with this
/// back end, and counts its own bytes; `vmxnet3` has scatter-gather, checksums and segmentation.
fn network(command: &mut Command) {
    for (id, net, device) in [("slow", 2, "virtio-net-pci"), ("fast", 3, "vmxnet3")] {
        let mut back = format!("user,id={id},net=10.0.{net}.0/24,restrict=on");
        for (port, service) in SERVICES {
            back.push_str(&format!(",guestfwd=tcp:10.0.{net}.100:{port}-cmd:{service}"));
        }
        command.args([
            "-netdev",
            &back,
            "-device",
            &format!("{device},netdev={id},mac=52:54:00:00:00:0{net}"),
        ]);
    }
}

fn share(command: &mut Command, tag: &str, path: &Path, writable: bool) -> Result<()> {
    let readonly = if writable { "off" } else { "on" };
    // remap: the host's file systems have inode numbers in common.
    let text = format!(
        "local,path={},mount_tag={tag},security_model=none,readonly={readonly},multidevs=remap",
        option(path)?
    );
    command.args(["-virtfs", &text]);
    Ok(())
}

/// A path inside a QEMU option: commas are doubled.
fn option(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(text) => Ok(text.replace(',', ",,")),
        None => bail!("{} is not UTF-8", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_doubled() {
        assert_eq!(option(Path::new("/a,b")).unwrap(), "/a,,b");
    }
}
