//! Wrong input: one clear sentence that names the place, status 1, and nothing is created.

mod harness;

use harness::{Bundle, Output, host, json, only_kiste};
use std::fs;

/// What every refusal looks like.
#[track_caller]
fn refused(bundle: &Bundle, output: Output, words: &[&str]) {
    let output = output.fails_with(words).code(1);
    assert!(output.out.is_empty(), "{}", output.out);
    if harness::runtime_is_kiste() {
        assert_eq!(output.err.trim_end().lines().count(), 1, "one sentence: {}", output.err);
    }
    bundle.assert_nothing_left();
}

/// Writes config.json as text.
fn raw(bundle: &Bundle, text: &str) {
    fs::write(bundle.config_path(), text).expect("config.json");
}

#[test]
fn text_that_is_no_json_is_told_with_its_line() {
    let bundle = Bundle::new();
    raw(&bundle, "{\n  \"ociVersion\": \"1.0.2\",\n  oops\n}\n");
    refused(&bundle, bundle.create(), &[]);
    if harness::runtime_is_kiste() {
        bundle.create().fails_with(&["line 3"]);
    }
}

#[test]
fn an_empty_configuration_and_one_that_is_no_object_are_refused() {
    for text in ["", "{}", "[]", "null", "42", "\"text\"", "{\"ociVersion\":\"1.0.2\"} more", "\0\0\0"] {
        let bundle = Bundle::new();
        raw(&bundle, text);
        refused(&bundle, bundle.create(), &[]);
    }
}

#[test]
fn members_of_no_meaning_to_us_are_passed_over() {
    let bundle = Bundle::with_args(&["exit", "0"]);
    bundle.set("/org.example.extension", json!({ "deep": [1, 2, 3] })).set("/linux/somethingNew", json!(true));
    bundle.run().ok();
}

/// config.json, exec's process file and update's resources; the misspelt member is missing under its right name.
#[test]
fn a_misspelt_member_is_refused_wherever_it_stands() {
    only_kiste!();
    for (pointer, meant) in [
        ("/Mounts", "mounts"),
        ("/process/noNewPrivilges", "noNewPrivileges"),
        ("/process/capabilities/efective", "effective"),
        ("/linux/maskedPath", "maskedPaths"),
        ("/linux/secomp", "seccomp"),
        ("/linux/resources", "limit"),
    ] {
        let bundle = Bundle::new();
        let (parent, typed) = pointer.rsplit_once('/').expect("a pointer");
        if meant == "limit" {
            bundle.set(pointer, json!({ "memory": { "limti": 1 << 26 } }));
        } else {
            bundle.remove(&format!("{parent}/{meant}")).set(pointer, json!([]));
        }
        let typed = if meant == "limit" { "/linux/resources/memory/limti" } else { typed };
        refused(&bundle, bundle.create(), &[typed, &format!("did you mean \"{meant}\"?")]);
        refused(&bundle, bundle.run(), &[typed]);
    }

    let bundle = Bundle::with_args(&["sleep"]);
    bundle.launch();
    let file = bundle.dir.join("process.json");
    fs::write(&file, r#"{"args":["/init"],"cwd":"/","noNewPrivilege":true}"#).expect("a process file");
    let output = bundle.call(&["exec", "--process", file.to_str().expect("UTF-8"), &bundle.id]);
    output.fails_with(&["/noNewPrivilege:", "did you mean \"noNewPrivileges\"?"]).code(255);
    let file = bundle.dir.join("resources.json");
    fs::write(&file, r#"{"pids":{"limits":10}}"#).expect("a resources file");
    let output = bundle.call(&["update", "-r", file.to_str().expect("UTF-8"), &bundle.id]);
    output.fails_with(&["/pids/limits:", "did you mean \"limit\"?"]).code(1);
}

#[test]
fn strictness_refuses_every_unknown_member() {
    only_kiste!();
    let mut bundle = Bundle::with_args(&["sleep"]);
    bundle.set("/linux/somethingNew", json!(true));
    bundle.launch();
    bundle.runtime.options.push("--strict".into());
    // What was taken once stays usable.
    bundle.exec(&["exit", "0"]).ok();
    let file = |name: &str, text: &str| {
        let path = bundle.dir.join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let process = file("process.json", r#"{"args":["/init","exit","0"],"cwd":"/","somethingNew":true}"#);
    let process = ["exec", "--process", &process, &bundle.id];
    let resources = file("resources.json", r#"{"somethingNew":{"a":true}}"#);
    let resources = ["update", "-r", &resources, &bundle.id];
    bundle.call(&process).fails_with(&["/somethingNew: unknown field"]).code(255);
    bundle.call(&resources).fails_with(&["/somethingNew: unknown field"]).code(1);
    bundle.runtime.options.pop();
    for words in [&process, &resources] {
        let output = bundle.call(words).ok();
        assert!(output.err.contains("/somethingNew: unknown, ignored"), "{}", output.err);
    }

    let mut bundle = Bundle::new();
    bundle.runtime.options.push("--strict".into());
    bundle.create().ok();
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.set("/org.example.extension", json!(1));
    refused(&bundle, bundle.create(), &["/org.example.extension: unknown field"]);
    let directory = bundle.config_path().parent().expect("a bundle").to_str().expect("UTF-8").to_owned();
    refused(&bundle, bundle.call(&["explain", "--bundle", &directory, &bundle.id]), &["/org.example.extension"]);
}

#[test]
fn a_member_given_twice_is_refused() {
    only_kiste!();
    let bundle = Bundle::new();
    let text = fs::read_to_string(bundle.config_path()).expect("config.json");
    raw(&bundle, &text.replacen("\"hostname\":", "\"hostname\":\"other\",\"hostname\":", 1));
    refused(&bundle, bundle.create(), &["hostname"]);
}

#[test]
fn a_value_of_the_wrong_type_is_named_by_its_pointer() {
    only_kiste!();
    for (pointer, value) in [
        ("/ociVersion", json!(1)),
        ("/process", json!([])),
        ("/process/args", json!("/init")),
        ("/process/args/0", json!(7)),
        ("/process/cwd", json!(null)),
        ("/process/user/uid", json!(-1)),
        ("/process/user/uid", json!("root")),
        ("/process/user/gid", json!(4_294_967_296_u64)),
        ("/process/noNewPrivileges", json!("yes")),
        ("/process/capabilities/bounding", json!("CAP_KILL")),
        ("/process/rlimits", json!({ "RLIMIT_CORE": 1 })),
        ("/process/oomScoreAdj", json!("high")),
        ("/root/path", json!(["rootfs"])),
        ("/root/readonly", json!(1)),
        ("/hostname", json!(["a"])),
        ("/mounts", json!({})),
        ("/mounts/1/destination", json!(5)),
        ("/mounts/1/options", json!("ro")),
        ("/hooks", json!([])),
        ("/linux/namespaces", json!("pid")),
        ("/linux/resources", json!({ "memory": { "limit": "64m" } })),
        ("/linux/sysctl", json!({ "kernel.msgmax": 7 })),
        ("/annotations", json!({ "key": 7 })),
    ] {
        let bundle = Bundle::new();
        bundle.set(pointer, value);
        let last = pointer.rsplit('/').find(|p| p.parse::<u32>().is_err()).expect("a name").to_owned();
        refused(&bundle, bundle.create(), &[&last]);
    }
}

#[test]
fn words_outside_a_list_are_refused() {
    for (pointer, value, word) in [
        ("/linux/namespaces/0/type", json!("pidd"), "pidd"),
        ("/linux/rootfsPropagation", json!("sometimes"), "sometimes"),
        ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_MAYBE" }), "SCMP_ACT_MAYBE"),
        ("/process/rlimits", json!([{ "type": "RLIMIT_PATIENCE", "soft": 1, "hard": 1 }]), "RLIMIT_PATIENCE"),
    ] {
        let bundle = Bundle::new();
        bundle.set(pointer, value);
        refused(&bundle, bundle.create(), &[word]);
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    only_kiste!();
    for (pointer, value, word) in [
        ("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }]), "/process/rlimits"),
        ("/linux/timeOffsets", json!({ "monotonic": { "secs": 1 } }), "/linux/timeOffsets"),
        ("/linux/resources/memory", json!({ "limit": 64 << 20, "swap": 32 << 20 }), "/linux/resources/memory"),
        ("/process/cwd", json!("relative"), "/process/cwd"),
        ("/process/cwd", json!(""), "/process/cwd"),
        ("/process/args", json!([]), "/process/args"),
        ("/process/env", json!(["NO-EQUAL-SIGN"]), "/process/env/0"),
        ("/process/env", json!(["A=b\u{0}c"]), "/process/env/0"),
        ("/root/path", json!(""), "/root/path"),
    ] {
        let bundle = Bundle::new();
        bundle.set(pointer, value);
        refused(&bundle, bundle.create(), &[word]);
    }
}

#[test]
fn a_version_of_the_future_is_refused() {
    only_kiste!();
    for version in ["2.0.0", "0.9.0", "one", ""] {
        let bundle = Bundle::new();
        bundle.set("/ociVersion", json!(version));
        refused(&bundle, bundle.create(), &["ociVersion"]);
    }
}

#[test]
fn a_missing_root_is_named() {
    let bundle = Bundle::new();
    bundle.set("/root/path", json!("not-there"));
    refused(&bundle, bundle.create(), &["not-there"]);
}

#[test]
fn a_root_that_is_a_file_is_refused() {
    let bundle = Bundle::new();
    bundle.set("/root/path", json!(bundle.host_file("")));
    refused(&bundle, bundle.create(), &[]);
}

#[test]
fn a_bundle_that_is_missing_or_a_file_is_named() {
    let bundle = Bundle::new();
    let file = bundle.host_file("");
    let file = file.to_str().expect("UTF-8");
    refused(&bundle, bundle.call(&["create", "--bundle", file, &bundle.id]), &[file]);
    refused(&bundle, bundle.call(&["create", "--bundle", "/no/such/bundle", &bundle.id]), &["/no/such/bundle"]);
    fs::remove_file(bundle.config_path()).expect("remove");
    refused(&bundle, bundle.create(), &["config.json"]);
}

#[test]
fn a_configuration_without_end_is_refused() {
    only_kiste!();
    let bundle = Bundle::new();
    bundle.set("/annotations", json!({ "long": "x".repeat(17 << 20) }));
    refused(&bundle, bundle.create(), &["config.json"]);
}

#[test]
fn a_configuration_nested_without_end_is_refused() {
    let bundle = Bundle::new();
    raw(&bundle, &format!("{{\"ociVersion\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)));
    refused(&bundle, bundle.create(), &[]);
}

#[test]
fn a_configuration_that_never_ends_coming_does_not_hang() {
    only_kiste!();
    let bundle = Bundle::new();
    fs::remove_file(bundle.config_path()).expect("remove");
    bundle.host_command("mkfifo", &[bundle.config_path().to_str().expect("UTF-8")]);
    refused(&bundle, bundle.create(), &["config.json"]);
}

#[test]
fn ids_are_checked() {
    let bundle = Bundle::new();
    for id in ["", "..", ".", "a/b", "../escape", "sp ace", "new\nline", "ü"] {
        assert_ne!(bundle.call(&["create", "--bundle", "bundle", id]).code, 0, "{id:?}");
        assert_ne!(bundle.call(&["state", id]).code, 0, "{id:?}");
        assert_ne!(bundle.call(&["delete", id]).code, 0, "{id:?}");
    }
    assert!(!bundle.dir.join("escape").exists());
    bundle.assert_nothing_left();
}

#[test]
fn unknown_commands_and_options_are_refused_with_a_usage() {
    let bundle = Bundle::new();
    for words in [
        &["no-such-command"][..],
        &["create", "--no-such-option", "id"],
        &["state"],
        &["create"],
        &["kill"],
        &["state", "a", "b"],
    ] {
        let output = bundle.call(words);
        assert_ne!(output.code, 0, "{words:?}");
        assert!(!output.err.is_empty() || !output.out.is_empty(), "{words:?}");
    }
    bundle.assert_nothing_left();
}

#[test]
fn errors_go_to_the_log_as_callers_parse_it() {
    let mut bundle = Bundle::new();
    let log = bundle.dir.join("log.json");
    let log = log.to_str().expect("UTF-8").to_owned();
    bundle.runtime.options.extend(["--log".into(), log.clone(), "--log-format".into(), "json".into()]);
    bundle.set("/root/path", json!("not-there"));
    assert_ne!(bundle.create().code, 0);
    let text = fs::read_to_string(&log).expect("the log");
    let last: harness::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["level"], "error");
    assert!(last["msg"].as_str().is_some_and(|m| m.contains("not-there")), "{last}");
    assert!(last["time"].as_str().is_some_and(|t| t.contains('T')), "{last}");
}

#[test]
fn a_capability_that_does_not_exist_harms_nothing() {
    // The specification: unknown ones are to be warned of, not refused.
    only_kiste!();
    let bundle = Bundle::new();
    bundle.push("/process/capabilities/bounding", json!("CAP_TIME_TRAVEL"));
    let output = bundle.run().ok();
    assert!(!output.out.contains("TIME_TRAVEL"));
}

/// crun hands these on as attributes of the mount, where they fail without a reason or mean something else.
#[test]
fn flags_of_a_file_system_for_a_tree_are_refused() {
    only_kiste!();
    for word in ["rsync", "rasync", "rdirsync", "rmand", "rnomand"] {
        let bundle = Bundle::new();
        let folder = bundle.host_folder();
        bundle.mount("/m", "none", folder.to_str().expect("UTF-8"), &["rbind", word]);
        refused(&bundle, bundle.create(), &[&format!("/options/1: {word:?}"), "no system call can give"]);
    }
}

/// Who may write there could plant a container's record, whose processes and cgroups root then kills and removes.
#[test]
fn a_state_directory_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    only_kiste!();
    let mut bundle = Bundle::with_args(&["exit", "0"]);
    let root = bundle.dir.join("shared");
    fs::create_dir(&root).expect("a folder");
    bundle.runtime.root = root.clone();
    // A group of one's own, as many systems give each user, is no danger.
    let foreign = host::is_root().then_some(0o770);
    if foreign.is_some() {
        std::os::unix::fs::chown(&root, None, Some(4242)).expect("chown");
    }
    for mode in foreign.into_iter().chain([0o777, 0o1777]) {
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).expect("chmod");
        for words in [&["list"][..], &["state", &bundle.id], &["run", "--bundle", "bundle", &bundle.id]] {
            let output = bundle.call(words).fails_with(&["is writable for", "chmod go-w "]).code(1);
            assert!(output.out.is_empty(), "{}", output.out);
        }
        assert_eq!(fs::read_dir(&root).expect("the folder").count(), 0);
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).expect("chmod");
    bundle.run().ok();
    bundle.assert_nothing_left();
}
