//! System calls that a worker never needs and that a worker taken over would: refused with EPERM from then on, for the
//! calling thread and those it starts.
//!
//! A list of what is refused, not of what is allowed: codecs, ONNX Runtime and graphics drivers change from release to
//! release, and a worker that dies of a harmless new call watches nothing.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refused whatever their arguments are.
const FORBIDDEN: &[libc::c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_tkill,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_setpriority,
    // Other users.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_personality,
    // Owners, modes and attributes of files, which Landlock does not see.
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_fchown,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_mknodat,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Servers: nobody connects to a worker.
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Large and young parts of the kernel, where most ways out of a process were found.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_vmsplice,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_setrlimit,
    libc::SYS_nfsservctl,
];

/// Those of older interfaces, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const FORBIDDEN_HERE: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_mknod,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_HERE: &[libc::c_long] = &[];

/// Installs the filters.
pub(super) fn forbid() -> Result<(), String> {
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let mut rules = forbidden()?;
    for (call, conditional) in conditional()? {
        rules.insert(call, conditional);
    }
    install(rules, refuse)?;
    // Its flags lie in memory, which no filter sees; the C library falls back to clone when there is none.
    let no_clone3 = Rules::from([(number(libc::SYS_clone3), vec![])]);
    install(no_clone3, SeccompAction::Errno(libc::ENOSYS as u32))
}

fn install(rules: Rules, refuse: SeccompAction) -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(|e| e.to_string())?;
    let program = BpfProgram::try_from(filter).map_err(|e| e.to_string())?;
    seccompiler::apply_filter(&program).map_err(|e| e.to_string())
}

#[allow(clippy::unnecessary_cast)] // c_long has another width elsewhere
fn number(call: libc::c_long) -> i64 {
    call as i64
}

fn forbidden() -> Result<Rules, String> {
    Ok(FORBIDDEN.iter().chain(FORBIDDEN_HERE).map(|call| (number(*call), vec![])).collect())
}

/// Refused with some arguments only.
fn conditional() -> Result<Rules, String> {
    let own = u64::from(std::process::id());
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(|family| family as u64);
    let not_these = families.iter().map(|family| when(0, Op::Ne, *family)).collect::<Result<Vec<_>, _>>()?;
    let raw = |family: libc::c_int| -> Result<SeccompRule, String> {
        all(vec![when(0, Op::Eq, family as u64)?, when(1, Op::MaskedEq(0xf), libc::SOCK_RAW as u64)?])
    };
    Ok(Rules::from([
        // A thread is started with CLONE_THREAD, a process without.
        (number(libc::SYS_clone), vec![all(vec![when(0, Op::MaskedEq(libc::CLONE_THREAD as u64), 0)?])?]),
        // Only to itself, as abort does.
        (number(libc::SYS_kill), vec![all(vec![when(0, Op::Ne, own)?])?]),
        (number(libc::SYS_tgkill), vec![all(vec![when(0, Op::Ne, own)?])?]),
        // Cameras and name servers: not the services of this machine, and no packets made by hand.
        (number(libc::SYS_socket), vec![all(not_these)?, raw(libc::AF_INET)?, raw(libc::AF_INET6)?]),
        // Limits may be read.
        (number(libc::SYS_prlimit64), vec![all(vec![qword(2, Op::Ne, 0)?])?]),
        // Typing into the terminal that wardwatch was started from.
        (
            number(libc::SYS_ioctl),
            vec![all(vec![when(1, Op::Eq, libc::TIOCSTI)?])?, all(vec![when(1, Op::Eq, libc::TIOCLINUX)?])?],
        ),
    ]))
}

fn all(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, String> {
    SeccompRule::new(conditions).map_err(|e| e.to_string())
}

fn when(argument: u8, op: Op, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, Len::Dword, op, value).map_err(|e| e.to_string())
}

fn qword(argument: u8, op: Op, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, Len::Qword, op, value).map_err(|e| e.to_string())
}
