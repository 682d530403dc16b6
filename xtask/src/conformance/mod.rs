//! `cargo xtask conformance`: which requirement of virtio 1.4 is shown by which
//! test. The requirements stand in a list, the tests cite them, and the page in
//! the book is made from both.

mod citations;
mod page;
mod requirements;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;

use crate::test::root;
use citations::Citation;
use requirements::{Requirement, Requirements};

/// The list, below the workspace's folder.
const LIST: &str = "docs/conformance/requirements.toml";
/// The page made from it.
const PAGE: &str = "docs/conformance.md";
/// Folders of the workspace without tests of the driver or the device. The
/// chores' own tests hold citations that are examples.
const WITHOUT_TESTS: [&str; 3] = ["docs", "target", "xtask"];

#[derive(Args, Debug)]
pub(crate) struct ConformanceArgs {
    /// Change nothing; fail if anything is missing, unknown or out of date.
    #[arg(long)]
    check: bool,

    /// Change nothing; list the requirements that no test shows.
    #[arg(long, conflicts_with = "check")]
    missing: bool,
}

/// Makes the page, or says what is wrong; whether all is well.
pub(crate) fn conformance(args: &ConformanceArgs) -> anyhow::Result<bool> {
    let root = root()?;
    if args.check {
        check(&root)?;
        return Ok(true);
    }
    let findings = Findings::gather(&root)?;
    let missing = findings.missing().count();
    if args.missing {
        print!("{}", page::missing(&findings));
    } else {
        let path = root.join(PAGE);
        fs::write(&path, page::page(&findings))
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{PAGE} is made");
    }
    let due = findings.requirements.iter().filter(|one| one.is_due());
    println!("{missing} of {} requirements without a test", due.count());
    for problem in &findings.problems {
        println!("{problem}");
    }
    Ok(findings.problems.is_empty())
}

/// Checks that every requirement has a test or a reason, that every citation is
/// of a requirement, and that the page is up to date.
///
/// # Errors
/// One of these is not so; names all that is wrong.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let findings = Findings::gather(root)?;
    let committed = fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    let wrong = findings.wrong(&committed);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The list, and what the tests say to it.
struct Findings {
    requirements: Requirements,
    /// Each with its file, below the workspace's folder; sorted.
    citations: Vec<(String, Citation)>,
    /// Citations that say nothing.
    problems: Vec<String>,
}

impl Findings {
    fn gather(root: &Path) -> anyhow::Result<Self> {
        let list = fs::read_to_string(root.join(LIST)).context(LIST)?;
        let mut findings = Self::new(Requirements::parse(&list).context(LIST)?);
        let mut files = Vec::new();
        for folder in subfolders(root)? {
            rust_files(&folder, &mut files)?;
        }
        files.sort();
        for path in files {
            let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            let name = path.strip_prefix(root).unwrap_or(&path);
            findings.read(&name.to_string_lossy(), &text)?;
        }
        Ok(findings)
    }

    fn new(requirements: Requirements) -> Self {
        Self {
            requirements,
            citations: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Takes in the citations of one file.
    fn read(&mut self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = Path::new(file);
        let is_test_code = path.components().any(|part| part.as_os_str() == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs");
        let (citations, problems) =
            citations::read(text, is_test_code).with_context(|| file.to_owned())?;
        for problem in problems {
            let said = format!("{file}:{}: {}", problem.line, problem.what);
            self.problems.push(said);
        }
        let known: BTreeSet<&str> = self
            .requirements
            .iter()
            .map(|one| one.id.as_str())
            .collect();
        for citation in citations {
            if known.contains(citation.id.as_str()) {
                self.citations.push((file.to_owned(), citation));
            } else {
                let Citation { id, line, .. } = citation;
                let said = format!("{file}:{line}: {id:?} is not in {LIST}");
                self.problems.push(said);
            }
        }
        Ok(())
    }

    fn citations_of(&self, id: &str) -> impl Iterator<Item = (&str, &Citation)> {
        let of_it = self.citations.iter().filter(move |(_, one)| one.id == id);
        of_it.map(|(file, citation)| (file.as_str(), citation))
    }

    fn is_shown(&self, requirement: &Requirement) -> bool {
        self.citations_of(&requirement.id).next().is_some()
    }

    fn is_missing(&self, requirement: &Requirement) -> bool {
        requirement.is_due() && !self.is_shown(requirement)
    }

    fn missing(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.iter().filter(|one| self.is_missing(one))
    }

    /// Everything the check complains about.
    fn wrong(&self, committed_page: &str) -> Vec<String> {
        let missing = self.missing().map(|one| {
            let Requirement { id, text, .. } = one;
            format!("{id} has neither a test nor a reason: {text}")
        });
        let mut wrong: Vec<String> = self.problems.iter().cloned().chain(missing).collect();
        for one in self.requirements.iter() {
            if one.not_applicable.is_some() && self.is_shown(one) {
                let said = format!(
                    "{} does not apply, says the list, yet a test shows it",
                    one.id
                );
                wrong.push(said);
            }
        }
        if page::page(self) != committed_page {
            wrong.push(format!(
                "{PAGE} is out of date: run `cargo xtask conformance` and commit it"
            ));
        }
        wrong
    }
}

/// The folders of the workspace that can hold tests.
fn subfolders(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_hidden = name.starts_with('.');
        if entry.file_type()?.is_dir() && !is_hidden && !WITHOUT_TESTS.contains(&name.as_str()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// All Rust files below `folder`, but not what a build has left.
fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() && entry.file_name() != "target" {
            rust_files(&path, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
