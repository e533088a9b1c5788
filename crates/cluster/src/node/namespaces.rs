//! Starting a process as PID 1 of new namespaces, and working inside a network namespace.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Bytes of stack for the moment between `clone` and `exec`.
const STACK: usize = 64 * 1024;

/// Starts `program` with `arguments` as PID 1 of new network, mount, PID, UTS and IPC namespaces,
/// with `input` as its standard input and `log` as its output. (The cgroup namespace comes later:
/// its root is the group of the process that makes it.)
///
/// # Errors
/// When the kernel refuses, as it does to all but root.
pub fn spawn(program: &Path, arguments: &[String], input: &OwnedFd, log: &File) -> io::Result<Pid> {
    let text = |value: &str| CString::new(value).map_err(io::Error::other);
    let program = text(&program.to_string_lossy())?;
    let mut argv = vec![program.clone()];
    for argument in arguments {
        argv.push(text(argument)?);
    }
    // Nothing of the caller's environment reaches a node: it would differ from run to run.
    let environment = [
        text("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")?,
        text("HOME=/root")?,
    ];
    let (input, log) = (input.as_raw_fd(), log.as_raw_fd());
    let child = Box::new(move || {
        // SAFETY: only async-signal-safe calls (setsid, dup2, close_range, execve) on descriptors
        // that stay open until exec; the process has a copy of the memory and no other thread.
        unsafe {
            libc::setsid();
            if libc::dup2(input, 0) < 0 || libc::dup2(log, 1) < 0 || libc::dup2(log, 2) < 0 {
                return 126;
            }
            libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int);
        }
        match nix::unistd::execve(&program, &argv, &environment) {
            Ok(never) => match never {},
            Err(_) => 127,
        }
    });
    let flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    let mut stack = vec![0_u8; STACK];
    // SAFETY: without CLONE_VM the child runs on its own copy of `stack` and of everything that
    // the closure holds, and it only execs or exits.
    let pid = unsafe { nix::sched::clone(child, &mut stack, flags, Some(Signal::SIGCHLD as i32)) };
    pid.map_err(io::Error::from)
}

/// Runs `work` on a thread inside the network namespace of process `pid`.
///
/// # Errors
/// When the process is gone or its namespace cannot be entered.
pub fn inside_network_of<T, F>(pid: Pid, work: F) -> io::Result<T>
where
    T: Send,
    F: FnOnce() -> T + Send,
{
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        thread.join().map_err(|_| io::Error::other("the thread in the namespace panicked"))?
    })
}
