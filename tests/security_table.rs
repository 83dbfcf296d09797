//! tests/cve.md: every row names tests, and they exist.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

#[test]
fn every_known_flaw_has_tests_that_exist() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&home.join("src"), &mut files);
    sources(&home.join("tests"), &mut files);
    let text: String = files.iter().map(|path| fs::read_to_string(path).expect("a source")).collect();
    let table = fs::read_to_string(home.join("tests/cve.md")).expect("the table");
    let mut rows = 0;
    for line in table.lines().filter(|line| line.starts_with("| ") && !line.contains("| tests |")) {
        let tests = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty() || tests.contains("no test: "), "no test: {line}");
        for name in names {
            let test = text.split("#[test]").skip(1).any(|part| {
                let head = part.split('{').next().unwrap_or_default();
                head.contains(&format!("fn {name}("))
            });
            assert!(test, "there is no test {name}: {line}");
        }
        rows += 1;
    }
    assert!(rows > 40, "{rows} rows");
}
