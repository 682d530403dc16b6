//! What a guest's kernel finds as its file system: busybox, modules, our program.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use cpio::newc::{self, Builder};

use super::modules::Module;

const INIT: &str = include_str!("init.sh");
const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
/// Where it looks for the statically linked one of Debian.
const BUSYBOX: &str = "/bin/busybox";

/// Writes it, uncompressed: unpacking costs an emulated CPU more than reading.
pub(crate) fn write(
    to: &Path,
    modules: &[Module],
    programs: &[(&str, &Path)],
) -> anyhow::Result<()> {
    let busybox = std::fs::read(BUSYBOX).with_context(|| format!("reading {BUSYBOX}"))?;
    let file = std::fs::File::create(to).with_context(|| format!("making {}", to.display()))?;
    let mut archive = Archive {
        out: io::BufWriter::new(file),
        inode: 0,
    };
    for folder in ["bin", "modules", "proc", "sys", "dev"] {
        archive.add(folder, DIRECTORY, &[])?;
    }
    archive.add("bin/busybox", EXECUTABLE, &busybox)?;
    archive.add("init", EXECUTABLE, INIT.as_bytes())?;
    let mut order = String::new();
    for module in modules {
        archive.add(
            &format!("modules/{}.ko", module.name),
            FILE,
            &module.content,
        )?;
        order.push_str(&module.name);
        order.push('\n');
    }
    archive.add("modules/order", FILE, order.as_bytes())?;
    for (name, program) in programs {
        let content =
            std::fs::read(program).with_context(|| format!("reading {}", program.display()))?;
        archive.add(&format!("bin/{name}"), EXECUTABLE, &content)?;
    }
    newc::trailer(archive.out)
        .and_then(|mut out| out.flush())
        .with_context(|| format!("writing {}", to.display()))
}

struct Archive<W> {
    out: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        self.inode += 1;
        let length = u32::try_from(content.len()).context("too large for an archive")?;
        let mut entry = Builder::new(name)
            .ino(self.inode)
            .mode(mode)
            .nlink(1)
            .write(&mut self.out, length);
        entry
            .write_all(content)
            .and_then(|()| entry.finish().map(drop))
            .with_context(|| format!("adding {name}"))
    }
}
