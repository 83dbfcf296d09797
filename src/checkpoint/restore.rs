//! Restore: files become the processes of a new container.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::dump::{EXTERNAL_NAMESPACES, namespace_key};
use super::images::{Directory, Manifest};
use super::mount_table::{self, Bound, Source, key};
use super::program::{Birth, Criu, FIRST_INHERITED, Notification};
use super::protocol::{Kind, Options, Wishes};
use super::staging::{Stage, Tree, aside, stage};
use super::{check, log};
use crate::error::{Error, Origin, Result};

/// A container to restore, and how.
#[derive(Debug)]
pub struct Restore<'a> {
    /// Where the images are.
    pub images: &'a Path,
    /// Where CRIU's log goes, if not there.
    pub work: Option<&'a Path>,
    /// A directory of kiste's own that is covered, in a mount namespace that only CRIU sees, by what CRIU shall find.
    pub place: &'a Path,
    /// The new root's tree.
    pub root: &'a OwnedFd,
    /// The sources of its mounts.
    pub trees: &'a [Tree],
    /// The namespaces it joins, by their names in /proc: net, pid, ipc or uts.
    pub joined: &'a [(&'static str, &'a OwnedFd)],
    /// A user namespace with the maps of its own: its processes read the images, which are root's alone, while they are
    /// in it already.
    pub user_namespace: Option<&'a OwnedFd>,
    /// Its v2 control group.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// `cgroup.procs` of its v1 control groups.
    pub joins: Vec<BorrowedFd<'a>>,
    /// `TYPE:NAME` of a label for its processes.
    pub lsm_profile: Option<&'a str>,
    /// A label for its mounts.
    pub lsm_mount_context: Option<&'a str>,
    /// The rest.
    pub wishes: &'a Wishes,
}

/// Control groups as CRIU knows them: a v1 controller or all, and the path from the hierarchy's root.
pub type Groups = Vec<(Option<String>, String)>;

/// What the caller must do on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// CRIU is there and has not begun; what it restores is born in its control groups, which the caller tells.
    Born(i32, &'a mut Groups),
    /// The first process has its namespaces, and nothing in them runs.
    Namespaces(i32),
    /// The master of the container's terminal.
    Terminal(OwnedFd),
    /// All is there and waits: the first process, and the container's binds.
    Ready(i32, Vec<Bound>),
}

/// The log's name, in the work directory.
const LOG: &str = "restore.log";

/// Whether a checkpoint has a bind at a destination.
///
/// # Errors
/// The directory holds no checkpoint, or none that may be trusted.
pub fn has_bind(images: &Path, destination: &str) -> Result<bool> {
    let images = Directory::open(images).map_err(|error| error.at(&Origin::fixed("--image-path")))?;
    images.trust()?;
    let is = |source: &Source| matches!(source, Source::Bind { path, .. } if path == destination);
    Ok(images.manifest()?.mounts.iter().any(|external| is(&external.source)))
}

/// Restores a container; its first process is a child of this one.
///
/// # Errors
/// What the new configuration lacks, what the kernel refuses, CRIU's own failure with the words of its log, or that of
/// `meet`. No process is left.
pub fn restore(request: &Restore<'_>, mut meet: impl FnMut(Event<'_>) -> Result<()>) -> Result<i32> {
    check::rights()?;
    let place = std::fs::canonicalize(request.place)
        .map_err(|error| Error::refused(format!("cannot find {}", request.place.display())).io("realpath", &error))?;
    // The directories are opened there, too: CRIU mounts what it needs below its working directory.
    let (mut criu, images, work, found) = aside(|| {
        let images = Directory::open(request.images).map_err(|error| error.at(&Origin::fixed("--image-path")))?;
        images.trust()?;
        let manifest = images.manifest()?;
        same_namespaces(&manifest, request.joined)?;
        let work = Directory::make(request.work.unwrap_or(request.images))?;
        let standard = inherited(&images.descriptors()?, &manifest);
        let staged = stage(&place, request.root, request.trees, &manifest.mounts, &manifest.places)?;
        let images = match request.user_namespace {
            Some(namespace) => images.as_seen_by(namespace, &place)?,
            None => images,
        };
        Ok((start(request, &standard)?, images, work, (manifest, standard, staged)))
    })?;
    let (manifest, standard, staged) = found;
    let mut groups = Groups::new();
    meet(Event::Born(criu.pid(), &mut groups))?;
    let (from, to) = (images.descriptor.as_raw_fd(), work.descriptor.as_raw_fd());
    let mut options = Options::new(from, to, LOG, request.wishes);
    describe(&mut options, request, &staged, &standard);
    for (controller, path) in &groups {
        options.cgroup_root(controller.as_deref(), path);
    }
    let host = mount_table::read("self")?;
    let answer = criu.work(Kind::Restore, &options, |Notification { name, pid, descriptor }| {
        match (name.as_str(), pid, descriptor) {
            ("setup-namespaces", Some(pid), _) => meet(Event::Namespaces(pid)),
            ("orphan-pts-master", _, Some(master)) => meet(Event::Terminal(master)),
            ("post-restore", Some(pid), _) => {
                let bound = compare(pid, &manifest, &staged, &host)?;
                meet(Event::Ready(pid, bound))
            }
            _ => Ok(()),
        }
    });
    let pid = answer.map_err(|error| {
        let error = Error { what: format!("cannot restore the container: {}", error.what), ..error };
        log::explain(error, &work.path().join(LOG))
    })?;
    pid.restored.ok_or_else(|| Error::refused("CRIU does not say which process it has restored"))
}

/// What of this process's 0 to 2 goes where the dumped process had a file, pipe or socket of its caller's: key and number,
/// none for the null device.
fn inherited(names: &[String], manifest: &Manifest) -> Vec<(String, Option<usize>)> {
    let files = manifest.files.iter().map(|file| (file.key.clone(), file.standard.filter(|number| *number < 3)));
    let mut found: Vec<(String, Option<usize>)> = files.collect();
    for (number, name) in names.iter().enumerate().take(3) {
        let from_caller = name.starts_with("pipe:[") || name.starts_with("socket:[");
        if from_caller && !found.iter().any(|(known, _)| known == name) {
            found.push((name.clone(), Some(number)));
        }
    }
    found
}

fn start(request: &Restore<'_>, standard: &[(String, Option<usize>)]) -> Result<Criu> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let own = [input.as_fd(), output.as_fd(), error.as_fd()];
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| Error::refused("cannot open /dev/null").io("open", &error))?;
    let given = |number: &Option<usize>| number.map_or(null.as_fd(), |number| own[number]);
    let mut inherited: Vec<BorrowedFd<'_>> = standard.iter().map(|(_, number)| given(number)).collect();
    inherited.extend(request.joined.iter().map(|(_, namespace)| namespace.as_fd()));
    let birth =
        Birth { cgroup: request.cgroup, joins: request.joins.clone(), inherited, shell_job: request.wishes.shell_job };
    Criu::start(&birth)
}

/// Everything CRIU must know of the new container.
fn describe(options: &mut Options, request: &Restore<'_>, staged: &Stage, standard: &[(String, Option<usize>)]) {
    options.restore(&staged.root).labels(request.lsm_profile, request.lsm_mount_context);
    for (number, source) in staged.sources.iter().enumerate() {
        options.external(&format!("mnt[{}]:{source}", key(number)));
    }
    let mut numbers = FIRST_INHERITED..;
    for ((name, _), number) in standard.iter().zip(&mut numbers) {
        options.inherit(name, number);
    }
    for ((name, _), number) in request.joined.iter().zip(&mut numbers) {
        if EXTERNAL_NAMESPACES.contains(name) {
            options.inherit(&namespace_key(name), number);
        } else {
            options.join(name, &format!("/proc/self/fd/{number}"));
        }
    }
}

/// A namespace that was another's when it was dumped is not in the images, and one that is can't be left out.
fn same_namespaces(manifest: &Manifest, joined: &[(&'static str, &OwnedFd)]) -> Result<()> {
    let origin = Origin::fixed("/linux/namespaces");
    let has = |name: &str| joined.iter().any(|(joined, _)| *joined == name);
    let mut external = joined.iter().filter(|(name, _)| EXTERNAL_NAMESPACES.contains(name));
    if let Some(missing) = manifest.namespaces.iter().find(|name| !has(name)) {
        let what =
            format!("the checkpointed container had joined a {missing} namespace, and the configuration names none");
        return Err(Error::input(what).at(&origin));
    }
    if let Some((more, _)) = external.find(|(name, _)| !manifest.namespaces.iter().any(|known| known == name)) {
        let what =
            format!("the checkpointed container had a {more} namespace of its own, and the configuration joins one");
        return Err(Error::input(what).at(&origin));
    }
    Ok(())
}

/// The restored mounts against what they must be.
fn compare(pid: i32, manifest: &Manifest, staged: &Stage, host: &[mount_table::Mount]) -> Result<Vec<Bound>> {
    let restored = mount_table::read(&pid.to_string())?;
    let numbers = mount_table::verify(&restored, &manifest.mounts, &staged.mounts, host)?;
    let bound = manifest.mounts.iter().zip(numbers).filter_map(|(external, mount)| match &external.source {
        Source::Bind { path, below, .. } if below.is_empty() => Some(Bound { path: path.clone(), mount }),
        _ => None,
    });
    Ok(bound.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_the_callers_is_the_callers_again() {
        let names = ["/dev/null", "pipe:[7]", "pipe:[7]", "pipe:[8]"].map(str::to_owned);
        let manifest = Manifest::default();
        assert_eq!(inherited(&names, &manifest), [("pipe:[7]".to_owned(), Some(1))]);
        let names = ["socket:[1]", "pipe:[2]", "pipe:[3]"].map(str::to_owned);
        assert_eq!(inherited(&names, &manifest).iter().filter_map(|entry| entry.1).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn joined_namespaces_must_be_the_same() {
        let file = OwnedFd::from(std::fs::File::open("/proc/self/ns/net").unwrap());
        let manifest = |names: &[&str]| Manifest {
            namespaces: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Manifest::default()
        };
        same_namespaces(&manifest(&["net"]), &[("net", &file)]).unwrap();
        assert!(same_namespaces(&manifest(&["net"]), &[]).unwrap_err().to_string().contains("names none"));
        assert!(same_namespaces(&manifest(&[]), &[("net", &file)]).unwrap_err().to_string().contains("joins one"));
    }
}
