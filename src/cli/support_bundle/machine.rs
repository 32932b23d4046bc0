//! The machine: what runs here, and within which limits. What cannot be read is left out.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The longest that is taken of a file.
const LONGEST: usize = 4096;

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = crate::telemetry::redact::shorten(text.trim(), LONGEST).to_owned();
    (!text.is_empty()).then_some(text)
}

/// Program, kernel, system, and whether it is a container.
pub(super) fn versions() -> String {
    let kernel: Vec<_> = ["ostype", "osrelease", "version"]
        .iter()
        .filter_map(|name| read(&format!("/proc/sys/kernel/{name}")))
        .collect();
    let release = read("/etc/os-release").unwrap_or_default();
    let release = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    format!(
        "portcullis {} ({}, {})\nkernel {}\nsystem {}\ncontainer {}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        if cfg!(debug_assertions) { "a build for developers" } else { "a release build" },
        kernel.join(" "),
        release.trim_matches('"'),
        container(),
    )
}

fn container() -> &'static str {
    if Path::new("/.dockerenv").exists() {
        "yes, Docker"
    } else if Path::new("/run/.containerenv").exists() {
        "yes, Podman"
    } else if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        "yes, Kubernetes"
    } else {
        "none that is known"
    }
}

/// Cores, memory, the room for what is kept in `folder`, and the limits of this process, which are the gateway's where it is run by the
/// same user in the same way.
pub(super) fn limits(folder: Option<&Path>) -> String {
    let mut told = String::new();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    // Writing to a `String` does not fail.
    let _ = writeln!(told, "cores {cores}");
    for name in ["MemTotal", "MemAvailable", "SwapFree"] {
        let all = read("/proc/meminfo").unwrap_or_default();
        if let Some(line) = all.lines().find(|line| line.starts_with(&format!("{name}:"))) {
            let _ = writeln!(told, "{line}");
        }
    }
    for name in ["memory.max", "memory.current", "cpu.max", "pids.max"] {
        if let Some(value) = read(&format!("/sys/fs/cgroup/{name}")) {
            let _ = writeln!(told, "cgroup {name} {value}");
        }
    }
    if let Some(folder) = folder {
        let _ = writeln!(told, "{}", room(folder));
    }
    if let Some(limits) = read("/proc/self/limits") {
        let _ = writeln!(told, "{limits}");
    }
    told
}

fn room(folder: &Path) -> String {
    let shown = folder.display();
    match rustix::fs::statvfs(folder) {
        Ok(about) => {
            let megabytes = |blocks: u64| blocks.saturating_mul(about.f_frsize) / (1024 * 1024);
            let (free, all) = (megabytes(about.f_bavail), megabytes(about.f_blocks));
            format!("disk of {shown}: {free} of {all} MB free, {} files can be made", about.f_favail)
        }
        Err(error) => format!("disk of {shown}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_runs_here_and_how_much_room_there_is() {
        let versions = versions();
        assert!(versions.starts_with(&format!("portcullis {} (", env!("CARGO_PKG_VERSION"))), "{versions}");
        assert!(versions.contains("\nkernel Linux ") && versions.contains("\ncontainer "), "{versions}");
        let limits = limits(Some(Path::new("/")));
        for told in ["cores ", "MemTotal:", "disk of /: ", "Max open files"] {
            assert!(limits.contains(told), "{told}: {limits}");
        }
        assert!(room(Path::new("/nowhere/at/all")).contains("No such file"));
    }
}
