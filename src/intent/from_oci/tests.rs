//! Whole configurations: what callers write is read without a word, and what is broken never more than refused.

use std::path::Path;

use super::*;
use crate::error::Kind;

/// The corpus: the shape of what each caller writes.
const CORPUS: &[(&str, &[u8])] = &[];

fn bundle() -> &'static Path {
    Path::new("/run/bundle")
}

fn refusal(text: &str) -> String {
    let error = from_oci(text.as_bytes(), bundle()).unwrap_err();
    assert_eq!(error.kind, Kind::Input);
    error.to_string()
}

#[test]
fn the_corpus_is_read_without_warnings() {
    for (name, text) in CORPUS {
        let intent = from_oci(text, bundle()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(intent.warnings, [] as [String; 0], "{name}");
        assert_eq!(intent.unsupported, [], "{name}");
    }
}

#[test]
fn the_least_configuration_is_read() {
    let intent =
        from_oci(br#"{"ociVersion":"1.3.0","root":{"path":"./rootfs/"},"vm":{},"windows":{"x":1}}"#, bundle()).unwrap();
    assert_eq!(intent.root.path, Path::new("/run/bundle/rootfs"));
    assert!(intent.process.is_none() && intent.warnings.is_empty() && intent.namespaces.is_empty());
}

#[test]
fn the_top_level_is_checked() {
    for (text, message) in [
        ("[]", "expected an object, found a list of 0"),
        ("{}", "/ociVersion: missing"),
        (r#"{"ociVersion":"2.0.0"}"#, "/ociVersion: version 2.0.0"),
        (r#"{"ociVersion":"1.0"}"#, "/ociVersion: \"1.0\" is no version"),
        (r#"{"ociVersion":1}"#, "/ociVersion: expected a string, found the number 1"),
        (r#"{"ociVersion":"1.0.0"}"#, "/root: missing"),
        (r#"{"ociVersion":"1.0.0","root":{}}"#, "/root/path: missing"),
        (r#"{"ociVersion":"1.0.0","root":{"path":""}}"#, "/root/path: the root's path is empty"),
        (r#"{"ociVersion":"1.0.0","root":{"path":"r"},"root":{}}"#, "/root: config.json line 1 column"),
        (r#"{"ociVersion":"1.0.0","root":{"path":"r"},"annotations":{"":"x"}}"#, "/annotations/: an annotation"),
        (r#"{"ociVersion":"1.0.0","root":{"path":"r"},"annotations":{"a":1}}"#, "/annotations/a: expected a string"),
    ] {
        let error = refusal(text);
        assert!(error.starts_with(message), "{error}");
    }
    let long = format!(r#"{{"ociVersion":"1.0.0","root":{{"path":"r"}},"hostname":"{}"}}"#, "x".repeat(65));
    assert!(refusal(&long).starts_with("/hostname: a host name has at most 64 bytes"));
}

#[test]
fn versions_with_a_suffix_are_kept() {
    for version in ["1.0.2-dev", "1.1.0+dev", "1.0.0-rc5", "1.2.1"] {
        let text = format!(r#"{{"ociVersion":"{version}","root":{{"path":"/r"}}}}"#);
        let intent = from_oci(text.as_bytes(), bundle()).unwrap();
        assert_eq!((intent.version.as_str(), intent.root.path.as_path()), (version, Path::new("/r")));
    }
}
