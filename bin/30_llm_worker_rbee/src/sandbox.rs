//! What the process may still do once a stranger's file is parsed in it, in C++.
//!
//! It may read its model's file and what the kernel says of the machine, write into the folder of its
//! socket, and listen on Unix sockets there. It may not open anything else, reach any network or any
//! other process, nor start one.

use std::{fmt, fs::File, path::Path};

/// What of the sandbox the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sandbox {
    pub files: Enforced,
    pub calls: Enforced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    Wholly,
    /// As far as this kernel can.
    Partly,
    NotAtAll,
}

impl Sandbox {
    /// Enters the sandbox: the calling thread, and every thread that it starts from then on.
    ///
    /// To be called while there is no other thread. Where the kernel cannot enforce it, or not wholly,
    /// the process goes on with less, and the answer says so.
    pub fn enter(model: &File, folder: &Path) -> Self {
        let files =
            sys::restrict_files(model, folder).unwrap_or_else(|why| refused("files", &*why));
        let calls = sys::restrict_calls().unwrap_or_else(|why| refused("calls", &*why));
        Self { files, calls }
    }

    pub fn is_whole(self) -> bool {
        self.files == Enforced::Wholly && self.calls == Enforced::Wholly
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, calls } = self;
        write!(f, "files and network: {files} (landlock), system calls: {calls} (seccomp)")
    }
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wholly => "restricted",
            Self::Partly => "restricted in part",
            Self::NotAtAll => "not restricted",
        })
    }
}

type Refusal = Box<dyn std::error::Error>;

fn refused(what: &str, why: &dyn std::error::Error) -> Enforced {
    tracing::warn!(%why, "the kernel does not restrict {what}");
    Enforced::NotAtAll
}

#[cfg(target_os = "linux")]
mod sys {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
        RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
    };
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch, apply_filter,
    };

    use std::collections::BTreeMap;

    use super::{Enforced, File, Path, Refusal};

    /// What is asked of the kernel; one that knows less is asked for what it knows.
    const KNOWN: ABI = ABI::V6;

    /// What says how many cores there are, how much memory, and who this process is.
    const READ: [&str; 11] = [
        "/proc/self",
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/sys/kernel",
        "/proc/sys/vm",
        "/sys/devices/system",
        "/sys/fs/cgroup",
        "/sys/kernel/mm",
        "/dev/null",
        "/dev/urandom",
    ];

    pub(super) fn restrict_files(model: &File, folder: &Path) -> Result<Enforced, Refusal> {
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        // Nothing is executed, not even what is written here.
        let own = AccessFs::from_all(KNOWN) & !AccessFs::Execute;
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?
            .add_rule(PathBeneath::new(model, AccessFs::ReadFile))?
            .add_rule(PathBeneath::new(PathFd::new(folder)?, own))?
            .add_rules(path_beneath_rules(READ, reading))?;
        if let Ok(executable) = std::env::current_exe() {
            // A backtrace names its lines.
            rules = rules.add_rules(path_beneath_rules([executable], AccessFs::ReadFile))?;
        }
        Ok(match rules.restrict_self()?.ruleset {
            RulesetStatus::FullyEnforced => Enforced::Wholly,
            RulesetStatus::PartiallyEnforced => Enforced::Partly,
            RulesetStatus::NotEnforced => Enforced::NotAtAll,
        })
    }

    /// What reaches beyond the process, or opens parts of the kernel that nothing here needs.
    const REFUSED: [i64; 33] = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_connect,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
    ];

    /// On x86-64 the same calls have a second number each, for programs with short pointers.
    const X32: i64 = 0x4000_0000;

    pub(super) fn restrict_calls() -> Result<Enforced, Refusal> {
        let arch: TargetArch = std::env::consts::ARCH.try_into()?;
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            REFUSED.iter().map(|call| (*call, Vec::new())).collect();
        let sockets = [
            // Only Unix sockets, and of them only those that need a connection: the others send to
            // whatever is named with each message.
            when(0, SeccompCmpOp::Ne, libc::AF_UNIX)?,
            when(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE), libc::SOCK_DGRAM)?,
            when(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE), libc::SOCK_RAW)?,
            when(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE), libc::SOCK_SEQPACKET)?,
        ];
        rules.insert(libc::SYS_socket, sockets.into());
        let namespaces = NAMESPACES
            .map(|flag| when(0, SeccompCmpOp::MaskedEq(u64::from(flag.cast_unsigned())), flag));
        rules.insert(libc::SYS_clone, namespaces.into_iter().collect::<Result<_, _>>()?);
        let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        apply(arch, rules, refused)?;
        // Its flags cannot be looked at, so its callers are sent to the older call.
        let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        apply(arch, BTreeMap::from([(libc::SYS_clone3, Vec::new())]), missing)?;
        Ok(Enforced::Wholly)
    }

    const SOCKET_TYPE: u64 = 0xf;
    const NAMESPACES: [i32; 3] = [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET];

    fn apply(
        arch: TargetArch,
        mut rules: BTreeMap<i64, Vec<SeccompRule>>,
        action: SeccompAction,
    ) -> Result<(), Refusal> {
        if cfg!(target_arch = "x86_64") {
            let second: Vec<_> =
                rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
            rules.extend(second);
        }
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?;
        let program: seccompiler::BpfProgram = filter.try_into()?;
        Ok(apply_filter(&program)?)
    }

    fn when(argument: u8, is: SeccompCmpOp, value: i32) -> Result<SeccompRule, Refusal> {
        let value = u64::from(value.cast_unsigned());
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)?;
        Ok(SeccompRule::new(vec![condition])?)
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use super::{Enforced, File, Path, Refusal};

    pub(super) fn restrict_files(_: &File, _: &Path) -> Result<Enforced, Refusal> {
        Ok(Enforced::NotAtAll)
    }

    pub(super) fn restrict_calls() -> Result<Enforced, Refusal> {
        Ok(Enforced::NotAtAll)
    }
}
