//! `spec`: a configuration to start from.

use super::arguments::{Global, SpecArguments};
use crate::error::{Error, Result};
use std::io::Write;

/// The configuration for root.
pub const DEFAULT: &str = include_str!("../../config/default-spec.json");

/// The configuration for an ordinary user; the ids it maps are the caller's and put in when it is written.
const ROOTLESS: &str = include_str!("../../config/default-spec-rootless.json");

/// What stands in for the caller's ids.
const UID: &str = "\"hostID\": \"UID\"";
const GID: &str = "\"hostID\": \"GID\"";

/// Writes the file, never over another one.
///
/// # Errors
/// The file exists or cannot be written.
pub fn run(_global: &Global, arguments: SpecArguments) -> anyhow::Result<u8> {
    let text = match arguments.rootless {
        true => rootless(nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
        false => DEFAULT.to_owned(),
    };
    let path = arguments.file.unwrap_or_else(|| arguments.bundle.join("config.json"));
    write(&path, &text)?;
    Ok(0)
}

fn rootless(uid: u32, gid: u32) -> String {
    ROOTLESS.replace(UID, &format!("\"hostID\": {uid}")).replace(GID, &format!("\"hostID\": {gid}"))
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    let fail = |call, error: &std::io::Error| {
        let failed = Error::input(format!("cannot write {}", path.display())).io(call, error);
        if error.kind() == std::io::ErrorKind::AlreadyExists { failed.hint("remove it first") } else { failed }
    };
    let mut file = std::fs::File::create_new(path).map_err(|error| fail("open", &error))?;
    file.write_all(text.as_bytes()).map_err(|error| fail("write", &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn document(text: &str) -> Value {
        let spec: oci_spec::runtime::Spec = serde_json::from_str(text).expect("a configuration oci-spec accepts");
        // The oldest version that has every field used: older peers refuse newer ones.
        assert_eq!(spec.version(), "1.0.2");
        serde_json::from_str(text).unwrap()
    }

    /// The second file is the first one with the differences an ordinary user needs, and none else.
    #[test]
    fn the_rootless_configuration_differs_where_it_must() {
        let mut expected = document(DEFAULT);
        let linux = expected["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        linux["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "network");
        linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        linux.insert("uidMappings".into(), json!([{"containerID": 0, "hostID": 1000, "size": 1}]));
        linux.insert("gidMappings".into(), json!([{"containerID": 0, "hostID": 100, "size": 1}]));
        for mount in expected["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/sys" {
                *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
            }
            if mount["destination"] == "/dev/pts" {
                mount["options"].as_array_mut().unwrap().retain(|option| option != "gid=5");
            }
        }
        assert_eq!(document(&rootless(1000, 100)), expected);
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = std::env::temp_dir().join(format!("kiste-spec-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("config.json");
        let first = write(&path, DEFAULT);
        let second = write(&path, "x");
        let content = std::fs::read_to_string(&path);
        std::fs::remove_dir_all(&directory).unwrap();
        first.unwrap();
        assert!(second.unwrap_err().to_string().contains("remove it first"));
        assert_eq!(content.unwrap(), DEFAULT);
    }
}
