//! A Debian system on a disk, for programs that need more than busybox.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::apt::Suite;
use super::kernel::cache;
use crate::limit::Deadline;
use crate::steps::Failure;
use crate::tools::{DebianTool, debian};

/// What making the disk takes.
const TOOLS: [DebianTool; 2] = [
    DebianTool {
        program: "dpkg",
        package: "dpkg",
    },
    DebianTool {
        program: "mke2fs",
        package: "e2fsprogs",
    },
];
/// In MiB; what is not used takes no room.
const SIZE: u32 = 4096;

/// The disk with `packages` of `suite` and all they need, unpacked and not
/// configured: for programs that are only run. From the cache if it is there.
///
/// # Errors
/// [`Failure::Missing`] if it can't be fetched here.
pub(crate) fn disk(suite: &str, packages: &[&str], deadline: Deadline) -> Result<PathBuf, Failure> {
    debian(&TOOLS, deadline)?;
    let cache = cache()?;
    let image = cache.join(format!("{suite}-userland.ext4"));
    let about = cache.join(format!("{suite}-userland.about"));
    let wanted = packages.join(" ");
    let lock = File::create(cache.join("lock")).context("making the cache's lock")?;
    lock.lock().context("waiting for the cache's lock")?;
    let is_there = fs::read_to_string(&about).is_ok_and(|about| about == wanted);
    if is_there && image.exists() {
        return Ok(image);
    }
    println!("fetching {wanted} of Debian's {suite}, and all they need");
    fetch(suite, packages, &cache, &image, deadline)
        .map_err(|error| Failure::Missing(format!("{wanted}: {error:#}")))?;
    fs::write(&about, wanted).context("writing into the cache")?;
    Ok(image)
}

fn fetch(
    suite: &str,
    packages: &[&str],
    cache: &Path,
    image: &Path,
    deadline: Deadline,
) -> anyhow::Result<()> {
    let work = tempfile::Builder::new()
        .prefix("fetch-")
        .tempdir_in(cache)
        .context("making a folder in the cache")?;
    let suite = Suite::open(suite, &work.path().join("apt"), deadline)?;
    let debs = suite.fetch_all(packages, &work.path().join("debs"), deadline)?;
    let tree = work.path().join("tree");
    unpack(&debs, &tree, deadline)?;
    for name in ["proc", "sys", "dev", "tmp", "share", "run"] {
        fs::create_dir_all(tree.join(name))?;
    }
    let made = work.path().join("image");
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-t", "ext4", "-d"]).arg(&tree);
    deadline.run(mke2fs.arg(&made).arg(format!("{SIZE}M")))?;
    fs::rename(&made, image).context("putting the disk into the cache")?;
    Ok(())
}

/// Unpacks packages into `tree`, one beside the other, as they lie in a system.
pub(super) fn unpack(debs: &[PathBuf], tree: &Path, deadline: Deadline) -> anyhow::Result<()> {
    // Since trixie nothing but /usr is there, and the old names are links into it.
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(tree.join("usr").join(name))?;
        symlink(format!("usr/{name}"), tree.join(name))?;
    }
    // tar goes through the links, where dpkg would replace them.
    let mut extract = Command::new("sh");
    extract.args([
        "-e",
        "-c",
        "tree=$0; for deb; do dpkg --fsys-tarfile \"$deb\" | \
         tar --extract --keep-directory-symlink --directory \"$tree\"; done",
    ]);
    deadline.run(extract.arg(tree).args(debs))
}
