//! Many callers at once: one wins, the others are told, nothing is left over.

mod harness;

use harness::{Bundle, Runtime, host, json, only_kiste, requires, wait_until};
use std::fs;

/// Runs something in several threads at once and gives the results.
fn at_once<T: Send>(count: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let gate = std::sync::Barrier::new(count);
    let one = |n| {
        gate.wait();
        act(n)
    };
    let one = &one;
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..count).map(|n| scope.spawn(move || one(n))).collect();
        all.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    })
}

#[test]
fn of_many_creations_of_one_id_one_succeeds() {
    let bundle = Bundle::with_args(&["sleep"]);
    let outputs = at_once(8, |_| bundle.create());
    let winners = outputs.iter().filter(|o| o.code == 0).count();
    assert_eq!(winners, 1, "{outputs:?}");
    assert_eq!(bundle.state()["status"], "created");
    bundle.start().ok();
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn of_many_starts_one_succeeds() {
    let bundle = Bundle::with_args(&["seq", "echo", "ran", "--", "sleep"]);
    let create = bundle.create().ok();
    let outputs = at_once(6, |_| bundle.start());
    assert_eq!(outputs.iter().filter(|o| o.code == 0).count(), 1, "{outputs:?}");
    wait_until("its output", || create.again() == "ran\n");
    assert_eq!(bundle.state()["status"], "running");
}

#[test]
fn many_deletions_leave_nothing() {
    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let outputs = at_once(6, |_| bundle.call(&["delete", "--force", &bundle.id]));
    assert!(outputs.iter().any(|o| o.code == 0), "{outputs:?}");
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn every_command_at_once_leaves_a_state_that_can_be_deleted() {
    for round in 0..6 {
        let bundle = Bundle::with_args(&["sleep"]);
        at_once(8, |n| match (n + round) % 8 {
            0 | 1 => bundle.create(),
            2 | 3 => bundle.start(),
            4 => bundle.kill("KILL"),
            5 => bundle.call(&["state", &bundle.id]),
            6 => bundle.call(&["list", "-q"]),
            _ => bundle.call(&["delete", "--force", &bundle.id]),
        });
        bundle.call(&["delete", "--force", &bundle.id]).ok();
        bundle.assert_nothing_left();
    }
}

#[test]
fn many_containers_live_side_by_side() {
    let first = Bundle::with_args(&["sleep"]);
    let bundles: Vec<Bundle> = (0..8)
        .map(|_| {
            let mut bundle = Bundle::with_args(&["exit", "0"]);
            bundle.runtime.root = first.runtime.root.clone();
            bundle
        })
        .collect();
    first.launch();
    for output in at_once(8, |n| bundles[n].run()) {
        output.ok();
    }
    assert_eq!(first.call(&["list", "-q"]).ok().lines(), [first.id.as_str()]);
}

#[test]
fn a_runtime_killed_half_way_can_be_cleaned_up_after() {
    for milliseconds in [1, 3, 5, 8, 12, 20, 30, 50] {
        let bundle = Bundle::with_args(&["sleep"]);
        let mut command = bundle.runtime.command(&["create", "--bundle", "bundle", &bundle.id]);
        let mut child =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("spawn");
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().expect("kill");
        child.wait().expect("wait");
        bundle.call(&["delete", "--force", &bundle.id]).ok();
        if harness::runtime_is_kiste() {
            wait_until(&format!("the end after {milliseconds} ms: {:?}", bundle.left_over()), || {
                bundle.left_over().is_empty()
            });
            // The id can be used again.
            bundle.args(&["exit", "3"]);
            bundle.run().code(3);
        }
    }
}

#[test]
fn another_process_with_the_same_number_is_not_the_container() {
    only_kiste!();
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.launch();
    bundle.wait_status("stopped");
    // The record is edited to name a process that lives but isn't ours.
    let mut other = std::process::Command::new("sleep").arg("60").spawn().expect("spawn");
    let folder = bundle.runtime.root.join(&bundle.id);
    let mut edited = 0;
    for entry in fs::read_dir(&folder).expect("the state").flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let Ok(mut record) = serde_json::from_str::<harness::Value>(&text) else { continue };
        edited += replace_pid(&mut record, other.id());
        fs::write(entry.path(), record.to_string()).expect("the record");
    }
    let states = (edited > 0).then(|| bundle.call(&["state", &bundle.id]).out);
    let kill = bundle.kill("KILL");
    let alive = host::is_alive(other.id() as i32);
    other.kill().expect("kill");
    other.wait().expect("wait");
    assert!(edited > 0, "the record names its process");
    assert!(alive && kill.code != 0, "{states:?} {kill:?}");
    assert!(states.is_some_and(|s| !s.contains("\"running\"")));
}

/// Replaces every number under a key `pid`, wherever it is; how many.
fn replace_pid(value: &mut harness::Value, pid: u32) -> usize {
    match value {
        harness::Value::Object(members) => members
            .iter_mut()
            .map(|(key, value)| {
                if key == "pid" && value.is_number() {
                    *value = json!(pid);
                    1
                } else {
                    replace_pid(value, pid)
                }
            })
            .sum(),
        harness::Value::Array(items) => items.iter_mut().map(|item| replace_pid(item, pid)).sum(),
        _ => 0,
    }
}

/// The same bundle and id in a root of its own.
fn other_root(bundle: &Bundle, n: usize) -> Runtime {
    let root = bundle.dir.join(format!("state-{n}"));
    fs::create_dir_all(&root).expect("a root");
    Runtime { root, ..bundle.runtime.clone() }
}

/// Neither with the default path, which the id makes, nor with one of the configuration.
#[test]
fn two_roots_never_share_a_cgroup() {
    only_kiste!();
    requires!(host::is_root(), "needs root and a cgroup");
    for path in [None, Some("/kiste-test")] {
        let bundle = Bundle::with_args(&["exit", "0"]);
        match path {
            None => bundle.remove("/linux/cgroupsPath"),
            Some(path) => bundle.set("/linux/cgroupsPath", json!(format!("{path}/{}", bundle.id))),
        };
        let other = other_root(&bundle, 1);
        let run = ["run", "--bundle", "bundle", &bundle.id];
        let owner = bundle.runtime.root.join(&bundle.id);
        let refused = || other.call(&run).fails_with(&["belongs to the container in", &owner.display().to_string()]);
        bundle.create().ok();
        refused();
        bundle.start().ok();
        bundle.wait_status("stopped");
        // It has no process, and its group all the same.
        refused();
        assert_eq!(fs::read_dir(&other.root).expect("the root").count(), 0, "nothing is left of the refused one");
        bundle.delete().ok();
        other.call(&run).ok();
        bundle.assert_nothing_left();
    }
}

#[test]
fn of_many_roots_one_gets_the_cgroup() {
    only_kiste!();
    requires!(host::is_root(), "needs root and a cgroup");
    let bundle = Bundle::with_args(&["sleep"]);
    for _ in 0..5 {
        let roots: Vec<Runtime> = (0..6).map(|n| other_root(&bundle, n)).collect();
        let outputs = at_once(6, |n| roots[n].call(&["run", "--detach", "--bundle", "bundle", &bundle.id]));
        let winners: Vec<usize> = (0..6).filter(|n| outputs[*n].code == 0).collect();
        assert_eq!(winners.len(), 1, "{outputs:?}");
        let losers = outputs.iter().filter(|output| output.code != 0);
        losers.for_each(|output| assert!(output.err.contains("cgroup"), "{}", output.err));
        let winner = &roots[winners[0]];
        assert_eq!(winner.call(&["state", &bundle.id]).ok().json()["status"], "running");
        winner.call(&["delete", "--force", &bundle.id]).ok();
        bundle.assert_nothing_left();
    }
}
