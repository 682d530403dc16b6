//! The eBPF objects: built the same, byte for byte, wherever the repository lies.
//!
//! They are committed, so that nobody needs the toolchain to use them. It is one
//! compiler (LLVM's output differs from version to version), `core` from its sources,
//! and bpf-linker built on the compiler's own LLVM.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::Args;

use crate::limit::{Deadline, LIMIT};
use crate::steps::Failure;
use crate::tools::is_there;

/// The compiler whose output is committed.
const RUSTC: &str = "1.95.0";
const LINKER: &str = "0.13.0";
const TARGET: &str = "bpfel-unknown-none";
/// Where the programs are, and where their objects lie beside the loader.
const PROGRAMS: &str = "tracer/ebpf";
const OBJECTS: [(&str, &str); 3] = [
    ("virtscope-ebpf", "tracer/virtscope.bpf.o"),
    ("virtscope-peek", "tracer/virtscope-peek.bpf.o"),
    ("virtscope-usdt", "tracer/virtscope-usdt.bpf.o"),
];

#[derive(Args, Debug)]
pub(crate) struct BpfArgs {
    /// Compare with what is committed, have clippy look at the sources, and change nothing.
    #[arg(long)]
    check: bool,
}

/// Rebuilds the committed objects, or compares them.
pub(crate) fn bpf(args: &BpfArgs) -> anyhow::Result<bool> {
    let root = crate::test::root()?;
    let deadline = Deadline::after(LIMIT);
    let done = if args.check {
        check(&root, deadline)
    } else {
        build(&root, deadline).and_then(|built| Ok(install(&root, &built)?))
    };
    match done {
        Ok(()) => Ok(true),
        Err(Failure::Missing(what)) => anyhow::bail!("missing: {what}"),
        Err(Failure::Failed(error)) => Err(error),
    }
}

/// Rebuilds the objects and fails if one byte differs from what is committed, or if clippy
/// finds something in what they are built from.
pub(crate) fn check(root: &Path, deadline: Deadline) -> Result<(), Failure> {
    // First: what it finds is mended in the sources, and the objects follow.
    let mut clippy = cargo("clippy", root, &compiler(deadline)?, deadline)?;
    deadline.run(clippy.args(["--", "-D", "warnings"]))?;
    let built = build(root, deadline)?;
    for ((_, committed), built) in OBJECTS.iter().zip(&built) {
        let new = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
        let old = fs::read(root.join(committed))
            .with_context(|| format!("cannot read {committed}; make it with `cargo xtask bpf`"))?;
        if new != old {
            let problem = anyhow::anyhow!(
                "{committed} is not what {PROGRAMS} is built to: run `cargo xtask bpf` and \
                 commit it"
            );
            return Err(problem.into());
        }
    }
    Ok(())
}

fn install(root: &Path, built: &[PathBuf]) -> anyhow::Result<()> {
    for ((_, committed), built) in OBJECTS.iter().zip(built) {
        let to = root.join(committed);
        fs::copy(built, &to).with_context(|| format!("cannot write {}", to.display()))?;
        println!("{committed}");
    }
    Ok(())
}

/// Builds and strips all objects; returns where they are.
fn build(root: &Path, deadline: Deadline) -> Result<Vec<PathBuf>, Failure> {
    let sysroot = compiler(deadline)?;
    let mut cargo = cargo("build", root, &sysroot, deadline)?;
    let linker = linker(root, &sysroot, deadline)?;
    deadline.run(cargo.env("PATH", in_front(&linker)?))?;
    let mut stripped = Vec::new();
    for (name, _) in OBJECTS {
        let object = folder(root).join(TARGET).join("release").join(name);
        let to = folder(root).join(format!("{name}.o"));
        strip(&sysroot, &object, &to, deadline)?;
        stripped.push(to);
    }
    Ok(stripped)
}

/// Where cargo leaves what it makes of the programs.
fn folder(root: &Path) -> PathBuf {
    root.join("target/bpf")
}

/// A command of cargo's on the programs, for the kernel's machine.
fn cargo(
    subcommand: &str,
    root: &Path,
    sysroot: &Path,
    deadline: Deadline,
) -> Result<Command, Failure> {
    let library = core_sources(sysroot, deadline)?;
    let flags = [
        "-Clink-arg=--btf".to_owned(),
        // Else memory is filled, and moved, by calls of loops over single bytes.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        remap(root, "/virtscope"),
        remap(&cargo_home()?, "/cargo"),
        remap(&library, "/rust/library"),
    ];
    let mut cargo = Command::new("cargo");
    cargo
        .args([subcommand, "--release", "--locked", "-Zbuild-std=core"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(folder(root))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .current_dir(root.join(PROGRAMS));
    Ok(cargo)
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

fn cargo_home() -> anyhow::Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".cargo"))
}

/// The folder of `program` in front of all others that programs are looked for in.
fn in_front(program: &Path) -> anyhow::Result<std::ffi::OsString> {
    let folder = program.parent().unwrap_or(Path::new("/")).to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(folder).chain(std::env::split_paths(&others));
    Ok(std::env::join_paths(all)?)
}

/// Where the compiler is installed, if it is the one.
fn compiler(deadline: Deadline) -> Result<PathBuf, Failure> {
    let version = deadline.text_of(Command::new("rustc").arg("--version"))?;
    if version.split_whitespace().nth(1) != Some(RUSTC) {
        return Err(Failure::Missing(format!(
            "rustc {RUSTC}, which the eBPF objects are built with (this is {})",
            version.trim()
        )));
    }
    let sysroot = deadline.text_of(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(sysroot.trim()))
}

/// The sources of `core` that belong to the compiler.
fn core_sources(sysroot: &Path, deadline: Deadline) -> Result<PathBuf, Failure> {
    let library = sysroot.join("lib/rustlib/src/rust/library");
    let found = || library.join("core/src/lib.rs").exists();
    if found() {
        return Ok(library);
    }
    let ask = "the sources of core (rustup component add rust-src)".to_owned();
    if !is_there("rustup") {
        return Err(Failure::Missing(ask));
    }
    match deadline.run(Command::new("rustup").args(["component", "add", "rust-src"])) {
        Ok(()) if found() => Ok(library),
        Ok(()) => Err(Failure::Missing(ask)),
        Err(error) => Err(Failure::Missing(format!("{ask}: {error:#}"))),
    }
}

/// bpf-linker on the compiler's own LLVM, built into the target directory: one that is
/// somewhere else may have another LLVM, and then cannot read what the compiler writes.
fn linker(root: &Path, sysroot: &Path, deadline: Deadline) -> Result<PathBuf, Failure> {
    let tools = root.join("target/tools");
    let program = tools.join("bin/bpf-linker");
    if program.exists() {
        return Ok(program);
    }
    let libraries = sysroot.join("lib");
    let llvm = fs::read_dir(&libraries)
        .with_context(|| format!("cannot list {}", libraries.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libLLVM.so.")
        })
        .ok_or_else(|| Failure::Missing("the compiler's own libLLVM".to_owned()))?;
    let prefix = root.join("target/tools/llvm");
    let link = prefix.join("lib/libLLVM.so");
    fs::create_dir_all(prefix.join("lib")).context("cannot make a folder for LLVM")?;
    if !link.exists() {
        std::os::unix::fs::symlink(&llvm, &link).context("cannot link LLVM")?;
    }
    let mut install = Command::new("cargo");
    install
        .args(["install", "bpf-linker", "--version", LINKER, "--locked"])
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(&tools)
        .env("LLVM_PREFIX", &prefix)
        .env(
            "RUSTFLAGS",
            format!("-C link-arg=-Wl,-rpath,{}", libraries.display()),
        );
    match deadline.run(&mut install) {
        Ok(()) => Ok(program),
        Err(error) => Err(Failure::Missing(format!(
            "bpf-linker {LINKER} (cargo install bpf-linker): {error:#}"
        ))),
    }
}

/// Takes out what only a debugger needs; BTF stays.
fn strip(sysroot: &Path, from: &Path, to: &Path, deadline: Deadline) -> Result<(), Failure> {
    let host = deadline.text_of(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let objcopy = sysroot
        .join("lib/rustlib")
        .join(host.trim())
        .join("bin/rust-objcopy");
    let mut command = Command::new(objcopy);
    let object = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let names = mangled(&object).into_iter().filter_map(|name| {
        // `_RNv…Cs<hash>_14virtscope_ebpf…`: what is behind the hash is the same everywhere.
        let (_, plain) = name.split_once("Cs")?.1.split_once('_')?;
        Some(format!("{name} virtscope_{plain}\n"))
    });
    // In a file: there are hundreds.
    let list = to.with_extension("names");
    fs::write(&list, names.collect::<String>())
        .with_context(|| format!("cannot write {}", list.display()))?;
    command
        .arg("--strip-debug")
        .arg(format!("--redefine-syms={}", list.display()))
        .args([from, to])
        .env("LD_LIBRARY_PATH", sysroot.join("lib"));
    Ok(deadline.run(&mut command)?)
}

/// The mangled names in an object. They hold a hash of where their crate lies, which is
/// the only thing in it that differs from folder to folder.
fn mangled(object: &[u8]) -> BTreeSet<String> {
    let words = object.split(|byte| *byte == 0);
    let names = words.filter(|word| word.starts_with(b"_R"));
    names
        .filter_map(|name| String::from_utf8(name.to_vec()).ok())
        .collect()
}
