//! What a worker gives up before the first stranger speaks to it: capabilities, most of the file system, dangerous system
//! calls, ports and signals. Each layer is taken as far as the kernel has it, and the report says which are in force.
//!
//! [`enter`] restricts the calling thread and every thread it starts from then on, so it comes before any other thread.
//! What must be readable is listed here; a worker that was taken over can still speak to the network and read the
//! cameras' addresses that it was given.

mod syscalls;

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::base::{Error, ErrorKind, Result};
use crate::config::{DetectConfig, Provider, Sandbox};
use crate::wire::ipc::{Layer, SandboxReport};

/// The newest rights this policy was written for.
const KNOWN: ABI = ABI::V7;

/// Libraries, certificates, name resolution and what C libraries ask of the machine.
const READABLE: &[&str] = &[
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/gnutls",
    "/etc/pkcs11",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/sys/devices/system",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];

/// What a process that decodes strangers' streams may still do.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Files and directories beside those that every worker reads.
    pub readable: Vec<PathBuf>,
    /// Directories to make, write and remove files in.
    pub writable: Vec<PathBuf>,
    /// Devices, /proc and /sys of a graphics card.
    pub gpu: bool,
}

impl Policy {
    /// For a worker with this detector that records into `recordings`.
    pub fn of_worker(detect: &DetectConfig, recordings: &Path) -> Self {
        let runtime = std::fs::canonicalize(&detect.runtime).unwrap_or_else(|_| detect.runtime.clone());
        // Execution providers are libraries beside it.
        let libraries = runtime.parent().map(Path::to_owned).unwrap_or(runtime);
        // Manifest and weights may be links to another place.
        let model = ["toml", "onnx"].map(|kind| detect.models_dir.join(format!("{}.{kind}", detect.model)));
        let linked = model.iter().filter_map(|path| std::fs::canonicalize(path).ok());
        Self {
            readable: [detect.models_dir.clone(), libraries].into_iter().chain(linked).collect(),
            writable: vec![recordings.to_owned()],
            gpu: detect.provider == Provider::Cuda,
        }
    }
}

/// Enters the sandbox as far as the kernel allows; there is no way back.
///
/// # Errors
/// With [`Sandbox::Require`], when no_new_privs, the system call filter or the file rules are not in force.
pub fn enter(policy: &Policy, wanted: Sandbox) -> Result<SandboxReport> {
    let mut report = SandboxReport::default();
    if wanted == Sandbox::Off {
        report.missing = Layer::ALL.map(|layer| (layer, "switched off".to_owned())).to_vec();
        return Ok(report);
    }
    let others = threads().saturating_sub(1);
    note(&mut report, &[Layer::NoNewPrivs], rustix::thread::set_no_new_privs(true).map_err(|e| e.to_string()));
    note(&mut report, &[Layer::Capabilities], drop_capabilities().map_err(|e| e.to_string()));
    files_and_network(policy, &mut report);
    // Last: what the others need is allowed until here.
    note(&mut report, &[Layer::Seccomp], syscalls::forbid().map_err(|e| e.to_string()));
    if others > 0 {
        report.missing.push((Layer::Files, format!("{others} threads were started before it and are not restricted")));
    }
    let lacking = report.missing.iter().find(|(layer, _)| layer.is_required());
    match (wanted, lacking) {
        (Sandbox::Require, Some((layer, why))) => {
            Err(Error::new(ErrorKind::Unavailable, format!("the sandbox lacks {}: {why}", layer.as_str()))
                .hint("use a kernel with seccomp and Landlock (`wardwatch check` shows), or sandbox = \"best_effort\""))
        }
        _ => Ok(report),
    }
}

/// Enters the sandbox on a thread of its own, which ends at once: what would be in force here.
pub fn rehearse(policy: &Policy) -> Result<SandboxReport> {
    let policy = policy.clone();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = super::thread("sandbox", move || {
        // An error leaves the channel empty, which is an error below.
        tell.send(enter_alone(&policy)).ok();
    })?;
    let report = told.recv();
    super::join(thread);
    report.map_err(|_| Error::new(ErrorKind::Internal, "the sandbox could not be tried"))?
}

fn enter_alone(policy: &Policy) -> Result<SandboxReport> {
    let mut report = enter(policy, Sandbox::BestEffort)?;
    // The threads of the process that tries are not those of a worker.
    report.missing.retain(|(_, why)| !why.contains("were started before it"));
    Ok(report)
}

/// Limits what a process may take: no memory of its own beyond `data_bytes`, no core dump (it would hold pictures and
/// passwords); when the machine runs out of memory it goes before others do.
pub fn limit(data_bytes: u64) -> Result<()> {
    let both = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Core, both(0))
        .and_then(|()| setrlimit(Resource::Data, both(data_bytes)))
        .map_err(|e| Error::new(ErrorKind::Exhausted, "a worker's memory cannot be limited").source(e))?;
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", "500") {
        tracing::debug!("the order in which the kernel frees memory stays as it is: {e}");
    }
    Ok(())
}

fn note(report: &mut SandboxReport, layers: &[Layer], result: std::result::Result<(), String>) {
    match result {
        Ok(()) => report.enforced.extend(layers),
        Err(why) => report.missing.extend(layers.iter().map(|layer| (*layer, why.clone()))),
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(1)
}

/// Root's worker keeps only the right to files of other users, which the file rules bound.
fn drop_capabilities() -> std::io::Result<()> {
    let now = rustix::thread::capabilities(None)?;
    let kept = now.permitted & CapabilitySet::DAC_OVERRIDE;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::clear_ambient_capability_set()?;
    Ok(())
}

fn files_and_network(policy: &Policy, report: &mut SandboxReport) {
    const LAYERS: [Layer; 3] = [Layer::Files, Layer::Network, Layer::Signals];
    let restricted = restrict(policy);
    let abi = match &restricted {
        Ok((RulesetStatus::NotEnforced, LandlockStatus::NotEnabled)) => Err("Landlock is not enabled (lsm=)".into()),
        Ok((RulesetStatus::NotEnforced, _)) => Err("the kernel has no Landlock".to_owned()),
        Ok((_, LandlockStatus::Available { effective_abi, .. })) => Ok(*effective_abi),
        Ok(_) => Err("Landlock says nothing".to_owned()),
        Err(e) => Err(e.to_string()),
    };
    match abi {
        Err(why) => note(report, &LAYERS, Err(why)),
        Ok(abi) => {
            for (layer, since) in LAYERS.into_iter().zip([ABI::V1, ABI::V4, ABI::V6]) {
                let old = || Err(format!("the kernel's Landlock is version {}, not {}", abi as i32, since as i32));
                note(report, &[layer], if abi >= since { Ok(()) } else { old() });
            }
        }
    }
}

fn restrict(policy: &Policy) -> std::result::Result<(RulesetStatus, LandlockStatus), landlock::RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let odd: BitFlags<AccessFs> =
        AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::MakeFifo | AccessFs::MakeSym;
    let work = AccessFs::from_all(KNOWN) & !(odd | AccessFs::Execute | AccessFs::IoctlDev);
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        // Connecting goes anywhere, cameras do; nobody connects to a worker.
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(&policy.readable, read))?
        .add_rules(path_beneath_rules(&policy.writable, work))?;
    if policy.gpu {
        let device = read | AccessFs::WriteFile | AccessFs::IoctlDev;
        rules = rules
            .add_rules(path_beneath_rules(["/dev"], device))?
            .add_rules(path_beneath_rules(["/proc", "/sys"], read))?;
    }
    let status = rules.restrict_self()?;
    Ok((status.ruleset, status.landlock))
}
