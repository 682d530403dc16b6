//! Debian's kernels: fetched once, reduced to what guests need, kept in a cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::ValueEnum;

use super::apt::Suite;
use super::modules::{self, Module, WANTED};
use crate::limit::Deadline;
use crate::steps::Failure;
use crate::tools::{DebianTool, debian};

/// What fetching takes.
const TOOLS: [DebianTool; 2] = [
    DebianTool {
        program: "dpkg",
        package: "dpkg",
    },
    DebianTool {
        program: "xz",
        package: "xz-utils",
    },
];

/// A kernel that Debian has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 12, bookworm: virtio itself is a module.
    #[value(name = "6.1", alias = "bookworm")]
    V6_1,
    /// Debian 13, trixie: virtio and PCI are built in.
    #[value(name = "6.12", alias = "trixie")]
    V6_12,
    /// Debian 14, forky.
    #[value(name = "7.2", alias = "forky")]
    V7_2,
}

impl Kernel {
    /// All of them, oldest first.
    pub(crate) const ALL: [Self; 3] = [Self::V6_1, Self::V6_12, Self::V7_2];

    /// The version it is called by. What the suite has may have moved on:
    /// [`Image::release`] says what it is.
    pub(crate) const fn version(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7_2 => "7.2",
        }
    }

    /// The Debian suite it comes from.
    pub(crate) const fn suite(self) -> &'static str {
        match self {
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
            Self::V7_2 => "forky",
        }
    }

    /// Fetches it, unless the cache has it.
    ///
    /// # Errors
    /// [`Failure::Missing`] if it can't be fetched here.
    pub(crate) fn fetch(self, deadline: Deadline) -> Result<Image, Failure> {
        debian(&TOOLS, deadline)?;
        let cache = cache()?;
        let folder = cache.join(self.suite());
        // One at a time, of all that run on this machine.
        let lock = File::create(cache.join("lock")).context("making the cache's lock")?;
        lock.lock().context("waiting for the cache's lock")?;
        if let Some(image) = Image::read(&folder)? {
            return Ok(image);
        }
        println!(
            "fetching the kernel {} of Debian's {} into {}",
            self.version(),
            self.suite(),
            folder.display()
        );
        self.fetch_into(&cache, &folder, deadline)
            .map_err(|error| Failure::Missing(format!("the kernel {}: {error:#}", self.version())))
    }

    fn fetch_into(self, cache: &Path, folder: &Path, deadline: Deadline) -> anyhow::Result<Image> {
        let work = tempfile::Builder::new()
            .prefix("fetch-")
            .tempdir_in(cache)
            .context("making a folder in the cache")?;
        let suite = Suite::open(self.suite(), &work.path().join("apt"), deadline)?;
        // The newest is split over several packages since 7.
        let parts = [
            "linux-image-",
            "linux-binary-",
            "linux-modules-",
            "linux-base-",
        ];
        let packages = suite.behind("linux-image-amd64", &parts, deadline)?;
        let debs = suite.download(&packages, &work.path().join("debs"), deadline)?;
        let tree = work.path().join("tree");
        for deb in &debs {
            deadline.run(Command::new("dpkg").arg("--extract").args([deb, &tree]))?;
        }
        let done = work.path().join("done");
        reduce(&tree, &done)?;
        let _ = fs::remove_dir_all(folder);
        fs::rename(&done, folder).context("putting the kernel into the cache")?;
        Image::read(folder)?.context("what was just fetched is not there")
    }
}

/// A kernel on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    folder: PathBuf,
    /// What `uname -r` says in it.
    pub(crate) release: String,
    /// Names of its modules, in an order in which they can be inserted.
    order: Vec<String>,
}

impl Image {
    /// What the cache has in `folder`, if it is whole and was made for the same
    /// [modules](WANTED).
    fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let Ok(about) = fs::read_to_string(folder.join("about")) else {
            return Ok(None);
        };
        let mut lines = about.lines();
        let release = lines.next().unwrap_or_default().to_owned();
        if lines.next() != Some(WANTED.join(" ").as_str()) {
            return Ok(None);
        }
        let order = lines.map(str::to_owned).collect();
        Ok(Some(Self {
            folder: folder.to_owned(),
            release,
            order,
        }))
    }

    /// What QEMU boots.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Its modules, in an order in which they can be inserted.
    pub(crate) fn modules(&self) -> anyhow::Result<Vec<Module>> {
        self.order
            .iter()
            .map(|name| {
                let path = self.folder.join(format!("{name}.ko"));
                let content = modules::read(&path)?;
                Ok(Module {
                    name: name.clone(),
                    content,
                })
            })
            .collect()
    }
}

/// From an unpacked package to the folder that the cache keeps: `vmlinuz`, the
/// modules that guests need, and `about`.
fn reduce(tree: &Path, into: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(into).with_context(|| format!("making {}", into.display()))?;
    let modules_of = ["lib/modules", "usr/lib/modules"]
        .map(|folder| tree.join(folder))
        .into_iter()
        .find(|folder| folder.exists())
        .context("the package has no modules")?;
    let releases: Vec<_> = fs::read_dir(&modules_of)?.collect::<Result<_, _>>()?;
    ensure!(releases.len() == 1, "modules of {} kernels", releases.len());
    let release = releases[0]
        .file_name()
        .into_string()
        .ok()
        .context("the release is no text")?;
    let modules_of = modules_of.join(&release);
    let kernel = [
        tree.join(format!("boot/vmlinuz-{release}")),
        modules_of.join("vmlinuz"),
    ]
    .into_iter()
    .find(|path| path.exists())
    .context("the package has no vmlinuz")?;
    fs::copy(kernel, into.join("vmlinuz")).context("copying vmlinuz")?;

    let there = modules::find(&modules_of.join("kernel"))?;
    let order = modules::in_order(WANTED, |name| {
        there.get(name).map(|path| modules::read(path)).transpose()
    })?;
    let mut about = format!("{release}\n{}\n", WANTED.join(" "));
    for module in &order {
        let path = into.join(format!("{}.ko", module.name));
        fs::write(&path, &module.content).with_context(|| format!("writing {}", path.display()))?;
        about.push_str(&module.name);
        about.push('\n');
    }
    fs::write(into.join("about"), about).context("writing about")?;
    Ok(())
}

/// The folder for what is fetched once a machine, `$XDG_CACHE_HOME/virtscope/guests`
/// or below `~/.cache`. Made if it is not there.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let named = |variable: &str| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = named("XDG_CACHE_HOME")
        .or_else(|| named("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME says where the cache is")?
        .join("virtscope/guests");
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    Ok(cache)
}
