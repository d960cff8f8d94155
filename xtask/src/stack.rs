//! `cargo xtask stack`: tracer, Prometheus and, where it is installed, Grafana, on this machine's loopback.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::background::{self, Running};
use crate::{ask, build, paths, setup, sh};

/// Starts `tracer serve`, a Prometheus with the rules of dashboards/, and Grafana with its pages if there is one; all
/// on the loopback, until Ctrl-C. Data goes to a temporary directory. Takes root, for tracer.
#[derive(clap::Args)]
pub struct Args {
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
}

const TRACER: u16 = 9435;
const PROMETHEUS: u16 = 9090;
const GRAFANA: u16 = 3000;

/// What runs, each with its name.
struct Parts(Vec<(&'static str, Running)>);

impl Parts {
    fn start(&mut self, name: &'static str, command: &mut Command, dir: &Path) -> Result<()> {
        // What tracer cannot count here is for whoever looks; the others say a lot.
        let running = Running::start(command, &dir.join(format!("{name}.log")), name == "tracer")?;
        self.0.push((name, running));
        Ok(())
    }

    /// Waits until one has ended, which none should, or the time is up.
    fn wait(&mut self, mut left: Option<u64>, dir: &Path) -> Result<()> {
        while left != Some(0) {
            for (name, running) in &mut self.0 {
                if let Some(status) = running.ended()? {
                    let said = fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
                    bail!("{name} has ended ({status}):\n{}", sh::tail(&said, 10));
                }
            }
            std::thread::sleep(Duration::from_secs(1));
            left = left.map(|left| left - 1);
        }
        Ok(())
    }
}

pub fn main(args: &Args) -> Result<u8> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "tracer has to be root to count: `sudo -E cargo xtask stack`"
    );
    for port in [TRACER, PROMETHEUS, GRAFANA] {
        TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port} is taken"))?;
    }
    setup::ensure_build()?;
    setup::ensure_prometheus()?;
    let tracer = build::tracer(false)?;
    let dir = paths::TempDir::new_in(&std::env::temp_dir(), "tracer-stack-")?;
    let mut parts = Parts(Vec::new());
    let mut command = Command::new(tracer);
    command.args(["serve", "--group-by", "comm", "--listen", &TRACER.to_string()]);
    parts.start("tracer", &mut command, dir.path())?;
    prometheus(&mut parts, dir.path())?;
    let grafana = grafana(&mut parts, dir.path())?;
    // Attaching takes seconds; a tracer that cannot count ends, and says why below.
    for (name, port, path) in [("tracer", TRACER, "/-/healthy"), ("Prometheus", PROMETHEUS, "/-/ready")] {
        ask::wait(([127, 0, 0, 1], port).into(), path).with_context(|| format!("{name} does not answer"))?;
        println!("{name}: http://127.0.0.1:{port}");
    }
    match grafana {
        true => println!("Grafana: http://127.0.0.1:{GRAFANA}/dashboards"),
        false => println!("Grafana: not installed here; import dashboards/*.json where it is"),
    }
    println!("Ctrl-C ends all");
    parts.wait(args.duration, dir.path())?;
    Ok(0)
}

fn prometheus(parts: &mut Parts, dir: &Path) -> Result<()> {
    let config = paths::repo().join("dashboards/prometheus.yml");
    let own = ([127, 0, 0, 1], PROMETHEUS).into();
    parts.start("prometheus", &mut background::prometheus(&config, &dir.join("data"), own)?, dir)
}

/// False if there is none.
fn grafana(parts: &mut Parts, dir: &Path) -> Result<bool> {
    // As packages have it, and as the archive unpacks.
    let Some(program) = sh::which("grafana-server").or_else(|| sh::which("grafana")) else {
        return Ok(false);
    };
    let home =
        ["/usr/share/grafana", "/usr/local/share/grafana"].into_iter().find(|home| Path::new(home).is_dir());
    let home = home.context("Grafana is on PATH, but its files are not in /usr/share/grafana")?;
    let (from, to) = (paths::repo().join("dashboards"), dir.join("provisioning"));
    for kind in ["dashboards", "datasources"] {
        paths::create(&to.join(kind))?;
        for entry in fs::read_dir(from.join("provisioning").join(kind))? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            let text = text.replace("/var/lib/grafana/dashboards", &from.to_string_lossy());
            fs::write(to.join(kind).join(path.file_name().unwrap_or_default()), text)?;
        }
    }
    let mut command = Command::new(&program);
    if program.ends_with("grafana") {
        command.arg("server");
    }
    command.args(["--homepath", home]);
    let (data, logs) = (dir.join("grafana"), dir.join("grafana-logs"));
    command.env("GF_PATHS_PROVISIONING", &to).env("GF_PATHS_DATA", data).env("GF_PATHS_LOGS", logs);
    command.env("GF_SERVER_HTTP_ADDR", "127.0.0.1").env("GF_AUTH_ANONYMOUS_ENABLED", "true");
    parts.start("grafana", &mut command, dir)?;
    Ok(true)
}
