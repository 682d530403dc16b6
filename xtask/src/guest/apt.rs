//! Packages of another Debian suite, through the sources this system is already
//! set up with, without touching the system's own state.
//!
//! apt itself checks the suite's signature and every package's hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::limit::Deadline;

/// Debian's own keys, with which the suite must be signed.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A Debian suite with its package list.
#[derive(Debug)]
pub(crate) struct Suite {
    options: Vec<String>,
}

impl Suite {
    /// Fetches the package list of `suite`. `state` is a folder for it.
    ///
    /// # Errors
    /// No package source of this system is a Debian archive that has the suite.
    pub(crate) fn open(suite: &str, state: &Path, deadline: Deadline) -> anyhow::Result<Self> {
        ensure!(
            Path::new(KEYS).exists(),
            "{KEYS} is not there: install debian-archive-keyring"
        );
        for folder in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(state.join(folder))
                .with_context(|| format!("making a folder in {}", state.display()))?;
        }
        let sources = sources(deadline)?;
        for source in &sources {
            let this = Self {
                options: options(state),
            };
            let list = state.join("sources.list");
            let line = format!("deb [signed-by={KEYS}] {source} {suite} main\n");
            fs::write(&list, line).with_context(|| format!("writing {}", list.display()))?;
            // A third party's archive is not signed by Debian, and fails here.
            let updated = deadline.run(this.apt("apt-get").args(["-q", "update"]));
            match updated {
                Ok(()) => return Ok(this),
                Err(error) => println!("{source} does not have {suite}: {error:#}"),
            }
        }
        bail!(
            "none of this system's {} package sources has Debian's {suite}",
            sources.len()
        )
    }

    /// `package` and those it needs, itself included, whose names begin with `prefix`
    /// and a digit: what stands behind a package that only names the newest.
    pub(crate) fn behind(
        &self,
        package: &str,
        prefixes: &[&str],
        deadline: Deadline,
    ) -> anyhow::Result<Vec<String>> {
        let mut depends = self.apt("apt-cache");
        depends.args(["depends", "--recurse", "--important", package]);
        let text = deadline.text_of(&mut depends)?;
        let packages = versioned(&text, prefixes);
        ensure!(!packages.is_empty(), "{package} needs no package that fits");
        Ok(packages)
    }

    /// Downloads `packages` and everything they need into the folder `into`, as for a
    /// system on which nothing is installed.
    pub(crate) fn fetch_all(
        &self,
        packages: &[&str],
        into: &Path,
        deadline: Deadline,
    ) -> anyhow::Result<Vec<PathBuf>> {
        fs::create_dir_all(into.join("partial"))
            .with_context(|| format!("making {}", into.display()))?;
        let status = into.join("status");
        fs::write(&status, "").with_context(|| format!("writing {}", status.display()))?;
        let mut install = self.apt("apt-get");
        install
            .args(["-o", &format!("Dir::State::status={}", status.display())])
            .args(["-o", &format!("Dir::Cache::archives={}", into.display())])
            .args(["-q", "-y", "--no-install-recommends", "--download-only"])
            .arg("install")
            .args(packages);
        deadline.run(&mut install)?;
        debs(into)
    }

    /// Downloads `packages` into the folder `into`.
    pub(crate) fn download(
        &self,
        packages: &[String],
        into: &Path,
        deadline: Deadline,
    ) -> anyhow::Result<Vec<PathBuf>> {
        fs::create_dir_all(into).with_context(|| format!("making {}", into.display()))?;
        let mut download = self.apt("apt-get");
        download.arg("-q").arg("download").args(packages);
        deadline.run(download.current_dir(into))?;
        let files = debs(into)?;
        ensure!(
            files.len() >= packages.len(),
            "{} packages asked for, {} came",
            packages.len(),
            files.len()
        );
        Ok(files)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// The packages in a folder, by name.
fn debs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Has apt keep everything below `state`.
fn options(state: &Path) -> Vec<String> {
    let at = |folder: &str| state.join(folder).display().to_string();
    [
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        format!("Dir::Etc::sourceparts={}", at("parts")),
        format!("Dir::State::Lists={}", at("lists")),
        format!("Dir::Cache={}", at("cache")),
        // Whatever the system does after its own updates is not for these.
        "APT::Update::Post-Invoke-Success=".to_owned(),
        "APT::Update::Error-Mode=any".to_owned(),
        // The folders are ours, not the user's that apt would drop to.
        "APT::Sandbox::User=root".to_owned(),
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_owned(), option])
    .collect()
}

/// The archives that this system takes its own release from.
fn sources(deadline: Deadline) -> anyhow::Result<Vec<String>> {
    let release = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"'))
        .context("/etc/os-release has no VERSION_CODENAME: is this Debian?")?;
    // Works without package lists, as on a fresh system.
    let uris = deadline.text_of(Command::new("apt-get").args(["--print-uris", "update"]))?;
    let sources = archives(&uris, codename);
    ensure!(
        !sources.is_empty(),
        "no package source of this system has {codename}"
    );
    Ok(sources)
}

/// The archives in what `apt-get --print-uris update` prints that have `codename`.
fn archives(uris: &str, codename: &str) -> Vec<String> {
    let end = format!("/dists/{codename}/InRelease");
    let mut archives: Vec<String> = uris
        .lines()
        .filter_map(|line| line.strip_prefix('\'')?.split_once('\''))
        .filter_map(|(uri, _)| uri.strip_suffix(&end))
        .map(str::to_owned)
        .collect();
    archives.dedup();
    archives
}

/// The package names in what `apt-cache depends` prints that begin with one of
/// `prefixes` and a digit.
fn versioned(depends: &str, prefixes: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = depends
        .lines()
        .filter(|line| {
            prefixes.iter().any(|prefix| {
                line.strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
            })
        })
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_one_that_has_this_release() {
        let uris = "'http://archive.invalid/debian/dists/bookworm/InRelease' a 0 \n\
                    'http://archive.invalid/debian/dists/bookworm-updates/InRelease' b 0 \n\
                    'https://else.invalid/apt/dists/nodistro/InRelease' c 0 \n";
        assert_eq!(
            archives(uris, "bookworm"),
            ["http://archive.invalid/debian"]
        );
        assert!(archives(uris, "trixie").is_empty());
    }

    #[test]
    fn packages_behind_a_name_have_a_version_in_theirs() {
        let depends = "linux-image-amd64\n  Depends: linux-image-6.1.0-50-amd64\n\
                       linux-image-6.1.0-50-amd64\n  Depends: kmod\nlinux-base\nkmod\n";
        assert_eq!(
            versioned(depends, &["linux-image-", "linux-base-"]),
            ["linux-image-6.1.0-50-amd64"]
        );
    }
}
