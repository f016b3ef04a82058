//! Kernel rules for a confined process: no files, no network, and no system call that computing does not need. Rules
//! that this kernel does not support are skipped; the other limits hold without them.
#![allow(unsafe_code)]

use rustix::io::Errno;

/// System calls for memory, the pipes and the end of the process. All others fail, including those that could affect
/// another process: signals, its memory, its limits.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const CALLS: [libc::c_long; 25] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// From linux/audit.h: the architecture of the system call numbers.
#[cfg(target_arch = "x86_64")]
const MACHINE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const MACHINE: u32 = 0xC000_00B7;

/// Closes inherited files other than the three standard streams.
pub(super) fn close_files() -> Result<(), Errno> {
    // SAFETY: nothing in this process uses a file above the standard streams; it has only begun.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    match result(closed) {
        // Before Linux 5.9.
        Err(Errno::NOSYS) => {
            for file in 3..65_536 {
                // SAFETY: as above; closing one that is not open fails.
                unsafe { libc::close(file) };
            }
            Ok(())
        }
        done => done,
    }
}

/// Landlock: no file can be opened, no address connected to, no process outside signalled.
pub(super) fn deny_files() -> Result<(), Errno> {
    const VERSION: libc::c_int = 1;
    // SAFETY: without attributes the kernel only returns its version.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0_usize, VERSION) };
    let version = match result(version) {
        Ok(()) => version,
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error),
    };
    // Bits from linux/landlock.h: handled accesses without a rule are denied. Later kernel versions have more.
    let files: u64 = match version {
        ..=1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    };
    let handled = [files, 0b11, 0b11];
    let fields = match version {
        ..=3 => 1_usize,
        4 | 5 => 2,
        _ => 3,
    };
    // SAFETY: the attributes have the given length, and outlive the call.
    let rules =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, handled.as_ptr(), fields * size_of::<u64>(), 0_u32) };
    result(rules)?;
    // SAFETY: the file was made above, and is closed once.
    unsafe {
        let restricted = libc::syscall(libc::SYS_landlock_restrict_self, rules, 0_u32);
        libc::syscall(libc::SYS_close, rules);
        result(restricted)
    }
}

/// seccomp: any system call that is not listed fails with EPERM.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn deny_calls() -> Result<(), Errno> {
    // From linux/bpf_common.h and linux/seccomp.h: load a word of the call's data; jump if equal; return.
    let load = |offset: u32| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let equal = |value: u32| libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: value };
    let give = |action: u32| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: action };
    let denied = give(libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned());
    let mut program = vec![
        load(4),
        libc::sock_filter { jt: 1, jf: 0, ..equal(MACHINE) },
        give(libc::SECCOMP_RET_KILL_PROCESS),
        load(0),
    ];
    for call in CALLS {
        program.extend([equal(u32::try_from(call).map_err(|_| Errno::INVAL)?), give(libc::SECCOMP_RET_ALLOW)]);
    }
    program.push(denied);
    let filter =
        libc::sock_fprog { len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?, filter: program.as_mut_ptr() };
    // SAFETY: the program outlives the call, which copies it.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    match result(set.into()) {
        // A kernel without seccomp.
        Err(Errno::INVAL | Errno::NOSYS) => Ok(()),
        done => done,
    }
}

/// Other architectures have other call numbers; there is no filter for them.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn deny_calls() -> Result<(), Errno> {
    Ok(())
}

fn result(returned: libc::c_long) -> Result<(), Errno> {
    match returned {
        0.. => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}
