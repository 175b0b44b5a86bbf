//! The system calls that a process may make from here on (seccomp).
//!
//! A list of what no part of the agent ever does, and that would help who has taken one over: running
//! another program, looking into other processes, other namespaces, file systems and modules, and kinds
//! of sockets that it has no use for. A list of what it may do would be shorter than the truth with the
//! next libc.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::io;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Running another program.
const RUNNING: &[i64] = &[libc::SYS_execve, libc::SYS_execveat];

/// Never done by anyone here.
const NEVER: &[i64] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // Namespaces and file systems.
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// The other numbers that x86-64 has for calls, where the kernel knows that ABI: the same with this
/// bit, and these for some of those above (linux/arch/x86/entry/syscalls/syscall_64.tbl).
#[cfg(target_arch = "x86_64")]
const X32_BIT: i64 = 0x4000_0000;
#[cfg(target_arch = "x86_64")]
const X32_RUNNING: &[i64] = &[X32_BIT | 520, X32_BIT | 545];
#[cfg(target_arch = "x86_64")]
const X32_NEVER: &[i64] = &[X32_BIT | 521, X32_BIT | 528, X32_BIT | 539, X32_BIT | 540];

/// Flags of clone(2) that make namespaces.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Refuses what is listed, and sockets of other families, in all threads and for good.
///
/// # Errors
///
/// When this kernel, or this kind of machine, cannot.
pub(super) fn restrict(families: &[i32], runs_programs: bool) -> io::Result<()> {
    let refused = refused(families, runs_programs).map_err(io::Error::other)?;
    // What it asks for lies in memory, where no filter looks: the libc then uses the older call.
    let clone3: Rules = [(libc::SYS_clone3, Vec::new())].into();
    for (rules, errno) in [(clone3, libc::ENOSYS), (refused, libc::EPERM)] {
        let program = compile(rules, errno).map_err(io::Error::other)?;
        apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn compile(rules: Rules, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        TargetArch::try_from(ARCH)?,
    )?;
    filter.try_into()
}

fn refused(families: &[i32], runs_programs: bool) -> Result<Rules, seccompiler::BackendError> {
    let mut calls: Vec<i64> = NEVER.to_vec();
    if !runs_programs {
        calls.extend(RUNNING);
    }
    #[cfg(target_arch = "x86_64")]
    {
        let others: Vec<i64> = calls.iter().map(|call| X32_BIT | call).collect();
        calls.extend(others);
        calls.extend(X32_NEVER);
        if !runs_programs {
            calls.extend(X32_RUNNING);
        }
    }
    let mut rules: Rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let mut clone = Vec::new();
    for flag in NEW_NAMESPACES {
        let flag = u64::from(flag.unsigned_abs());
        clone.push(rule(&[(SeccompCmpOp::MaskedEq(flag), flag)])?);
    }
    let other_family: Vec<(SeccompCmpOp, u64)> = families
        .iter()
        .map(|family| (SeccompCmpOp::Ne, u64::from(family.unsigned_abs())))
        .collect();
    rules.insert(libc::SYS_clone, clone);
    // Without a condition it is every one.
    let sockets = match other_family.as_slice() {
        [] => Vec::new(),
        others => vec![rule(others)?],
    };
    rules.insert(libc::SYS_socket, sockets);
    Ok(rules)
}

/// All of these hold of the first argument.
fn rule(conditions: &[(SeccompCmpOp, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions
        .iter()
        .map(|(op, value)| SeccompCondition::new(0, SeccompCmpArgLen::Dword, op.clone(), *value));
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}
