//! The daemon where a container puts it: /proc/kcore hidden, and a cgroup namespace of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{LIMIT, metrics, until};

use crate::{Check, on_any_kernel};

const ROOT: &str = "/sys/fs/cgroup";
const POD: &str = "01234567-89ab-cdef-0123-456789abcdef";

pub fn checks() -> Vec<Check> {
    vec![on_any_kernel("serve::knows_pods_from_within_a_container", from_within)]
}

/// A cgroup that is removed in the end, if nobody is in it any more.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(pod: &str, container: char) -> Result<Self> {
        let pod = Path::new(ROOT).join(format!("kubepods-pod{}.slice", pod.replace('-', "_")));
        let path = pod.join(format!("cri-containerd-{}.scope", container.to_string().repeat(64)));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Cgroup(path))
    }

    /// A shell that goes there first.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-ec", &format!("echo $$ > {}/cgroup.procs; {script}", self.0.display())]);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for path in [Some(self.0.as_path()), self.0.parent()].into_iter().flatten() {
            // The VM ends soon.
            let _ = fs::remove_dir(path);
        }
    }
}

fn from_within(bench: &Bench) -> Result<()> {
    let own = Cgroup::new("00000000-0000-0000-0000-000000000000", 'a')?;
    let other = Cgroup::new(POD, 'b')?;
    let address = metrics::free_address()?;
    let kcore = bench.tmpfs.join("kcore").display().to_string();
    // Both mounts are in a mount namespace of its own.
    let hide = format!("touch {kcore}; mount --bind /proc/kcore {kcore}; mount --bind /dev/null /proc/kcore");
    let serve = format!("exec {} serve --group-by comm,pod --listen {address}", bench.tracer.display());
    let mut command = own.shell(&format!("exec unshare -C -m sh -ec '{hide}; {serve}'"));
    command.env("TRACER_KCORE", &kcore);
    let mut tracer = Tracer::start_command(command)?;
    tracer.wait_counting_everybody()?;
    let (_, status) = metrics::get(address, "/status")?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    ensure!(status["coverage"]["state"] == "complete", "{}", status["coverage"]);
    // One that has ended when it is read, and one that lives.
    let dd = "dd if=/dev/zero bs=64k count=16";
    let ended = other.shell(&format!("exec {dd} of=/dev/null")).output()?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let mut lives = other.shell("read line < /etc/passwd; exec sleep 1000").spawn()?;
    let found = until("both are in their pod", LIMIT, || {
        let page = metrics::scrape(address)?;
        let of = |comm| metrics::sum(&page, "tracer_syscalls_total", &[("comm", comm), ("pod_uid", POD)]);
        Ok((of("dd") > 0 && of("sleep") > 0).then_some(()))
    });
    let _ = (lives.kill(), lives.wait());
    found?;
    let outcome = tracer.terminate()?;
    ensure!(outcome.status.success(), "{}: {}", outcome.status, outcome.stderr);
    Ok(())
}
