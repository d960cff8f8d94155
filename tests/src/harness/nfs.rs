//! NFS without its tools: the kernel's server is told by its files what it would ask its daemons, and mounted over
//! loopback.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::bench::run;

const CONTROL: &str = "/proc/fs/nfsd";
/// Of whom the server knows, and by which name.
const CLIENT: &str = "127.0.0.1";
const DOMAIN: &str = "loopback";
/// Seconds of the epoch until which the answers hold.
const FOR_EVER: u32 = i32::MAX as u32;
/// include/uapi/linux/nfsd/export.h: from any port, asynchronous, no check of subtrees, with a number of its own (0,
/// the root of NFS 4). Writable, and root is root.
const FLAGS: u32 = 0x2 | 0x10 | 0x400 | 0x2000;

/// Mounts, with more options, a directory that this kernel serves: beside the `dir` of the first such mount.
pub fn mount(dir: &Path, options: &str) -> Result<()> {
    for module in ["nfsd", "nfsv4"] {
        run("modprobe", &[module])?;
    }
    if !Path::new(CONTROL).join("threads").exists() {
        let served = dir.with_extension("served");
        fs::create_dir_all(&served)?;
        run("mount", &["-t", "nfsd", "nfsd", CONTROL])?;
        serve(&served.display().to_string())?;
    }
    let options =
        format!("vers=4.2,proto=tcp,sec=sys,addr={CLIENT},clientaddr={CLIENT},nosharecache,{options}");
    // -i: without mount.nfs4.
    run("mount", &["-i", "-t", "nfs4", "-o", &options, &format!("{CLIENT}:/"), &dir.display().to_string()])
}

fn serve(path: &str) -> Result<()> {
    // rpc.mountd's answers: who a client is, what of a directory it may have, and which directory is number 0.
    answer("auth.unix.ip", &format!("nfsd {CLIENT} {FOR_EVER} {DOMAIN}"))?;
    answer("nfsd.export", &format!("{DOMAIN} {path} {FOR_EVER} {FLAGS} 65534 65534 0"))?;
    answer("nfsd.fh", &format!("{DOMAIN} 1 \\x00000000 {FOR_EVER} {path}"))?;
    // Older versions want to be registered with rpcbind, which nobody runs.
    tell("versions", "-2 -3 +4 +4.2").or_else(|_| tell("versions", "-3 +4 +4.2"))?;
    // Without it the server knows no clients of before, and new ones wait for them nevertheless, for 10 s. (Kernels that
    // are built for nfsdcld alone: always.)
    let _ = fs::create_dir_all("/var/lib/nfs/v4recovery");
    tell("nfsv4leasetime", "10")?;
    tell("nfsv4gracetime", "10")?;
    tell("portlist", "tcp 2049")?;
    tell("threads", "2")?;
    let _ = tell("v4_end_grace", "Y");
    Ok(())
}

fn answer(cache: &str, line: &str) -> Result<()> {
    write(&format!("/proc/net/rpc/{cache}/channel"), line)
}

fn tell(file: &str, line: &str) -> Result<()> {
    write(&format!("{CONTROL}/{file}"), line)
}

/// By one write(2), as these files want it.
fn write(file: &str, line: &str) -> Result<()> {
    fs::write(file, format!("{line}\n")).with_context(|| format!("cannot write {line:?} to {file}"))
}
