//! packaging/kubernetes/, judged by others' tools: `cargo xtask setup` fetches them, PATH has them.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

const KUSTOMIZE: &str = "kustomize";
const VALIDATE: &str = "kubernetes-validate";
/// Debian 12's own is built without Kubernetes' service discovery.
const PROMTOOL: &str = "promtool-kubernetes";

const FORMS: [&str; 3] = ["base", "overlays/sys-admin", "overlays/tls"];

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("kubernetes::every_form_is_what_the_schemas_say", &[KUSTOMIZE, VALIDATE], || {
            FORMS.iter().try_for_each(|form| valid(&render(form)?).with_context(|| form.to_string()))
        }),
        trial("kubernetes::broken_manifests_are_refused", &[KUSTOMIZE, VALIDATE], broken_manifests),
        trial("kubernetes::privileges_are_the_least", &[KUSTOMIZE], privileges),
        trial("kubernetes::an_overlay_without_its_base_is_refused", &[KUSTOMIZE], || {
            ensure!(render("overlays").is_err(), "a folder without kustomization.yaml was rendered");
            Ok(())
        }),
        trial("prometheus::configuration", &[PROMTOOL], || promtool(&["check", "config"], "prometheus.yml")),
        trial("prometheus::rules", &[PROMTOOL], || promtool(&["check", "rules", "--lint-fatal"], "pods.yml")),
        trial("prometheus::pods_get_their_names", &[PROMTOOL], || {
            promtool(&["test", "rules"], "pods_test.yml")
        }),
        trial("prometheus::broken_configurations_are_refused", &[PROMTOOL], broken_configurations),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, needs: &'static [&'static str], test: fn() -> Result<()>) -> Trial {
    Trial::ignorable_test(name, move || {
        let lacks = |tool: &&&str| Command::new(tool).arg("--help").output().is_err();
        if let Some(tool) = needs.iter().find(lacks) {
            return Ok(Completion::ignored_with(format!("no {tool}: `cargo xtask setup` fetches it")));
        }
        test().map(|()| Completion::Completed).map_err(|error| Failed::from(format!("{error:#}")))
    })
}

fn kubernetes() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells it")).join("../packaging/kubernetes")
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{command:?}: {}\n{text}{said}", output.status);
    Ok(text)
}

fn render(form: &str) -> Result<String> {
    output(Command::new(KUSTOMIZE).arg("build").arg(kubernetes().join(form)))
}

/// A file for a tool, gone afterwards.
fn with_file<T>(text: &str, use_it: impl FnOnce(&Path) -> T) -> Result<T> {
    let name = format!("tracer-deploy-{}-{:?}.yml", std::process::id(), std::thread::current().id());
    let path = env::temp_dir().join(name);
    fs::write(&path, text)?;
    let result = use_it(&path);
    fs::remove_file(&path)?;
    Ok(result)
}

fn valid(manifests: &str) -> Result<()> {
    with_file(manifests, |path| output(Command::new(VALIDATE).arg("--strict").arg(path)).map(drop))?
}

/// What people get wrong: a name, a type, a value, something that is missing.
fn broken_manifests() -> Result<()> {
    let manifests = render("base")?;
    for (right, wrong) in [
        ("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"),
        ("hostPID: true", "hostPID: \"yes\""),
        ("containerPort: 9435", "containerPort: metrics"),
        ("mountPath: /host/kcore", "path: /host/kcore"),
        ("podSelector:", "podSelectors:"),
    ] {
        let broken = manifests.replacen(right, wrong, 1);
        ensure!(broken != manifests, "{right:?} is not there");
        ensure!(valid(&broken).is_err(), "{wrong:?} passed");
    }
    Ok(())
}

/// Items of the first list under `key`.
fn list<'a>(manifests: &'a str, key: &str) -> Result<BTreeSet<&'a str>> {
    let lines = manifests.lines().skip_while(|line| line.trim() != key).skip(1);
    let items: BTreeSet<&str> = lines.map_while(|line| line.trim().strip_prefix("- ")).collect();
    if items.is_empty() {
        bail!("nothing under {key}");
    }
    Ok(items)
}

fn privileges() -> Result<()> {
    let least = BTreeSet::from(["BPF", "PERFMON", "SYSLOG", "SYS_RAWIO"]);
    for form in FORMS {
        let manifests = render(form)?;
        let mut allowed = least.clone();
        if form == "overlays/sys-admin" {
            allowed.insert("SYS_ADMIN");
        }
        ensure!(list(&manifests, "add:")? == allowed, "{form}: other capabilities");
        ensure!(list(&manifests, "drop:")? == BTreeSet::from(["ALL"]), "{form}: not all are dropped");
        for wanted in ["privileged: false", "allowPrivilegeEscalation: false", "type: RuntimeDefault"] {
            ensure!(manifests.contains(wanted), "{form}: no {wanted}");
        }
        for unwanted in ["hostNetwork: true", "hostIPC: true", "privileged: true"] {
            ensure!(!manifests.contains(unwanted), "{form}: {unwanted}");
        }
        let (mounts, read_only) =
            (manifests.matches("mountPath: ").count(), manifests.matches("readOnly: true").count());
        ensure!(mounts >= 6 && mounts == read_only, "{form}: {read_only} of {mounts} mounts are read-only");
    }
    Ok(())
}

fn promtool(verb: &[&str], file: &str) -> Result<()> {
    let dir = kubernetes().join("prometheus");
    output(Command::new(PROMTOOL).args(verb).arg(file).current_dir(dir)).map(drop)
}

fn broken_configurations() -> Result<()> {
    let text = fs::read_to_string(kubernetes().join("prometheus/prometheus.yml"))?;
    // Paths are relative to the file, which is elsewhere here.
    let text = text.replace("- ../../../dashboards/rules.yml", "[]").replace("  - pods.yml\n", "");
    let text = text.replace("rule_files:\n  []", "rule_files: []");
    let check = |text: &str| -> Result<()> {
        with_file(text, |path| output(Command::new(PROMTOOL).args(["check", "config"]).arg(path)).map(drop))?
    };
    check(&text).context("as it is")?;
    for (right, wrong) in [
        ("role: pod", "role: pods"),
        ("regex: (https?)", "regex: (https?"),
        ("action: keep", "action: take"),
        ("remote_write:", "remote_writes:"),
    ] {
        let broken = text.replacen(right, wrong, 1);
        ensure!(broken != text, "{right:?} is not there");
        ensure!(check(&broken).is_err(), "{wrong:?} passed");
    }
    Ok(())
}
