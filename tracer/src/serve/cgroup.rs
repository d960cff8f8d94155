//! What a cgroup's path tells: systemd unit, container, Kubernetes pod. Pure functions.

/// The innermost systemd unit that manages processes of its own: `nginx.service`, `session-3.scope`.
/// Container runtimes make scopes too, which are units as well.
pub fn unit(path: &str) -> &str {
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    path.split('/').rfind(is_unit).unwrap_or("")
}

/// The innermost container's id, as its runtime calls it: 64 hexadecimal digits.
///
/// Names of directories, by runtime and cgroup driver: `docker-ID.scope`, `/docker/ID`,
/// `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, `/kubepods/.../ID`,
/// `garden`'s and `ecs`' `/ecs/TASK/ID`; containerd's `UNIT:cri-containerd:ID`.
pub fn container(path: &str) -> &str {
    path.rsplit('/').find_map(container_id).unwrap_or("")
}

fn container_id(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    // `libpod-conmon-ID` and `crio-conmon-ID` are the runtime's own processes, not the container's.
    if part.contains("conmon-") {
        return None;
    }
    let id = part.rsplit(['-', ':']).next()?;
    let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_id.then_some(id)
}

/// The uid of the Kubernetes pod, with dashes: `kubepods-burstable-pod0b1c..._....slice` (systemd driver,
/// dashes as underscores) or `/kubepods/burstable/pod0b1c...` (cgroupfs driver).
pub fn pod(path: &str) -> Option<String> {
    let mut inside = false;
    path.split('/').find_map(|part| {
        inside |= part.starts_with("kubepods");
        let name = part.strip_suffix(".slice").unwrap_or(part);
        let uid = match name.starts_with("kubepods") {
            true => name.rsplit_once("-pod")?.1,
            false => name.strip_prefix("pod")?,
        };
        (inside && is_uid(uid)).then(|| uid.replace('_', "-"))
    })
}

/// A UUID, or the 32 digits without dashes that static pods have (a hash of their manifest).
fn is_uid(uid: &str) -> bool {
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    digits == 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4d7c6a4cbf1a4dbb8d1c5c7e8c7f8b5b3e6c2a9f0d1e2f3a4b5c6d7e8f901234";

    #[test]
    fn units() {
        for (path, expected) in [
            ("/system.slice/nginx.service", "nginx.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service/sub", "x.service"),
            ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
            ("/init.scope", "init.scope"),
            ("/", ""),
            ("", ""),
            ("/kubepods/besteffort", ""),
        ] {
            assert_eq!(unit(path), expected, "{path}");
        }
    }

    #[test]
    fn containers() {
        for path in [
            "/system.slice/docker-ID.scope",
            "/docker/ID",
            "/docker/ID/init.scope",
            "/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope",
            "/kubepods/burstable/pod6b1e/ID",
            "/kubepods.slice/x.slice/crio-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            "/system.slice/containerd.service/kubepods-besteffort-pod1.slice:cri-containerd:ID",
            "/ecs/0123456789abcdef/ID",
        ] {
            assert_eq!(container(&path.replace("ID", ID)), ID, "{path}");
        }
        for path in [
            "/machine.slice/libpod-conmon-ID.scope",
            "/system.slice/docker.service",
            "/docker/0123",
            "/docker/",
            "",
        ] {
            assert_eq!(container(&path.replace("ID", ID)), "", "{path}");
        }
        assert_eq!(container(&format!("/docker/{}", ID.to_uppercase())), "");
    }

    #[test]
    fn pods() {
        const UID: &str = "0f8b2c3d-1a2b-4c5d-8e9f-001122334455";
        let systemd = UID.replace('-', "_");
        for path in [
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{systemd}.slice/x.scope"),
            format!("/kubepods.slice/kubepods-pod{systemd}.slice/cri-containerd-{ID}.scope"),
            format!("/kubepods/besteffort/pod{UID}/{ID}"),
            format!("/kubepods/pod{UID}"),
            format!("/kubelet.slice/kubepods.slice/kubepods-pod{systemd}.slice"),
        ] {
            assert_eq!(pod(&path).as_deref(), Some(UID), "{path}");
        }
        let manifest = "0123456789abcdef0123456789abcdef";
        assert_eq!(pod(&format!("/kubepods/pod{manifest}/{ID}")).as_deref(), Some(manifest));
        for path in
            ["/podman/x", "/system.slice/pod0f8b.service", "/kubepods/burstable", "/kubepods/podx", ""]
        {
            assert_eq!(pod(path), None, "{path}");
        }
        // Not in a Kubernetes hierarchy.
        assert_eq!(pod(&format!("/machine.slice/pod{UID}")), None);
    }
}
