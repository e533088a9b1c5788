use super::*;

fn supervisor(program: &str, arguments: &[&str], now: Instant) -> (Supervisor, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let service = Service {
        name: "s",
        description: "a service",
        program: program.into(),
        upgraded: None,
        arguments: arguments.iter().map(Into::into).collect(),
        log: folder.path().join("log"),
    };
    (Supervisor::new(vec![service], now), folder)
}

fn status(supervisor: &Supervisor, now: Instant) -> Status {
    supervisor.status(Some("s"), now).remove(0)
}

fn reap(supervisor: &mut Supervisor, now: Instant) {
    let pid = Pid::from_raw(status(supervisor, now).main_pid.unwrap());
    let ending = match nix::sys::wait::waitpid(pid, None).unwrap() {
        nix::sys::wait::WaitStatus::Exited(_, code) => Ending::Exited(code),
        nix::sys::wait::WaitStatus::Signaled(_, signal, _) => Ending::Killed(signal as i32),
        other => panic!("{other:?}"),
    };
    supervisor.ended(pid, ending, now);
}

#[test]
fn a_service_that_ends_is_started_again_after_the_delay() {
    let now = Instant::now();
    let (mut all, _folder) = supervisor("/bin/false", &[], now);
    assert_eq!(all.next(now), Some(Duration::ZERO));
    all.act(now);
    let first = status(&all, now).main_pid;
    assert_eq!((status(&all, now).activity, all.next(now)), (Activity::Active, None));
    all.ended(Pid::from_raw(1), Ending::Exited(0), now);
    reap(&mut all, now);
    let waiting = status(&all, now);
    assert_eq!(waiting.activity, Activity::Activating);
    assert_eq!(waiting.last.unwrap().ending, Ending::Exited(1));
    all.act(now);
    assert_eq!(status(&all, now).main_pid, None, "the delay has not passed");
    all.act(now + RESTART_DELAY);
    assert_ne!(status(&all, now).main_pid, first);
    reap(&mut all, now);
}

#[test]
fn what_is_stopped_stays_so_until_it_is_started() {
    let now = Instant::now();
    let (mut all, _folder) = supervisor("/bin/sleep", &["1000"], now);
    all.act(now);
    assert!(all.command("s", Action::Stop, now) && !all.command("t", Action::Stop, now));
    assert!(!all.is_settled("s", now));
    all.act(now);
    reap(&mut all, now);
    let stopped = status(&all, now);
    assert_eq!((stopped.activity, stopped.main_pid), (Activity::Inactive, None));
    assert_eq!(stopped.last.unwrap().ending, Ending::Killed(Signal::SIGTERM as i32));
    assert!(all.is_settled("s", now));
    all.act(now + STOP_TIMEOUT);
    assert_eq!((status(&all, now).main_pid, all.next(now)), (None, None));
    all.command("s", Action::Start, now);
    all.act(now);
    assert_eq!(status(&all, now).activity, Activity::Active);

    all.command("s", Action::Restart, now);
    all.act(now);
    reap(&mut all, now);
    assert!(!all.is_settled("s", now));
    all.act(now);
    assert!(all.is_settled("s", now));
    all.command("s", Action::Stop, now);
    all.act(now);
    reap(&mut all, now);
}

#[test]
fn one_that_does_not_end_is_killed() {
    let now = Instant::now();
    let script = "trap '' TERM; echo; while :; do read x; done";
    let (mut all, folder) = supervisor("/bin/bash", &["-c", script], now);
    all.act(now);
    while std::fs::read(folder.path().join("log")).is_ok_and(|log| log.is_empty()) {
        std::thread::yield_now();
    }
    all.command("s", Action::Stop, now);
    all.act(now);
    assert_eq!(all.next(now), Some(STOP_TIMEOUT));
    all.act(now + STOP_TIMEOUT);
    reap(&mut all, now);
    assert_eq!(status(&all, now).activity, Activity::Failed);
}

#[test]
fn a_program_that_is_missing_is_tried_again() {
    let now = Instant::now();
    let (mut all, _folder) = supervisor("/missing", &[], now);
    all.act(now);
    assert_eq!(all.next(now), Some(RESTART_DELAY));
    assert!(all.is_settled("s", now));
    let problem = status(&all, now).problem.unwrap();
    assert!(problem.starts_with("/missing: No such file"), "{problem}");
    all.command("s", Action::Stop, now);
    assert_eq!(all.next(now), None);
}

#[test]
fn a_service_is_told_that_the_node_stops() {
    let now = Instant::now();
    let (mut all, _folder) = supervisor("/bin/sleep", &["1000"], now);
    all.act(now);
    assert!(all.command("s", Action::Shutdown, now));
    all.act(now);
    reap(&mut all, now);
    assert_eq!(status(&all, now).last.unwrap().ending, Ending::Killed(Signal::SIGPWR as i32));
    assert!(all.is_settled("s", now));
    all.act(now + RESTART_DELAY);
    assert_eq!(status(&all, now).main_pid, None, "it is not started again");
}
