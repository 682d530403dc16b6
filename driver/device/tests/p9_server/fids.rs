//! Fids and walks, against a model that only knows names.

use std::collections::HashMap;
use std::fs;

use proptest::prelude::*;
use virtscope_device::p9::Access;

use crate::client::{Client, Errno, NO_FID};

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir_all(tree.path().join("a/b")).expect("directories");
    fs::write(tree.path().join("a/b/f"), b"").expect("a file");
    fs::write(tree.path().join("f"), b"").expect("a file");
    tree
}

#[test]
fn a_walk_that_fails_later_tells_how_far_it_came() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    assert_eq!(client.walk(0, 1, &["x", "a"]), Err(Errno::NOENT));
    let partial = client.walk(0, 1, &["a", "b", "x", "y"]).expect("partly");
    assert_eq!(partial.len(), 2);
    assert_eq!(client.getattr(1).map(drop), Err(Errno::BADF), "not set");
    let partial = client.walk(0, 0, &["a", "x"]).expect("partly");
    assert_eq!(partial.len(), 1);
    client.walk(0, 1, &["f"]).expect("fid 0 is still the root");
}

#[test]
fn a_walk_goes_through_sixteen_names_at_most() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    let there_and_back = ["a", ".."].repeat(8);
    assert_eq!(client.walk(0, 1, &there_and_back).map(|q| q.len()), Ok(16));
    assert_eq!(client.walk(0, 2, &["a"; 17]), Err(Errno::INVAL));
    assert_eq!(client.getattr(2).map(drop), Err(Errno::BADF));
}

#[test]
fn a_fid_in_use_cannot_be_given_again() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    client.walk(0, 1, &["a"]).expect("there");
    assert_eq!(client.walk(0, 1, &["f"]), Err(Errno::INVAL));
    assert_eq!(client.walk(0, NO_FID, &[]), Err(Errno::INVAL));
    assert_eq!(client.walk(7, 8, &[]), Err(Errno::BADF));
    client.walk(1, 1, &["b"]).expect("onto itself is fine");
    client.walk(1, 2, &["f"]).expect("and it went there");
    client.clunk(1).expect("in use");
    assert_eq!(client.clunk(1), Err(Errno::BADF));
    client.walk(0, 1, &[]).expect("free again");
}

#[derive(Clone, Debug)]
enum Step {
    Walk(u32, u32, Vec<&'static str>),
    Clunk(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(vec!["a", "b", "f", "..", "missing"]);
    prop_oneof![
        4 => (0..4_u32, 0..4_u32, prop::collection::vec(name, 0..5))
            .prop_map(|(fid, newfid, names)| Step::Walk(fid, newfid, names)),
        1 => (1..4_u32).prop_map(Step::Clunk),
    ]
}

/// Where a name leads; `None` if nowhere.
fn model_step(path: &[&'static str], name: &'static str) -> Result<Vec<&'static str>, Errno> {
    if path.last() == Some(&"f") {
        return Err(Errno::NOTDIR);
    }
    if name == ".." {
        return Ok(path[..path.len().saturating_sub(1)].to_vec());
    }
    let next = [path, &[name]].concat();
    match next.join("/").as_str() {
        "a" | "a/b" | "a/b/f" | "f" => Ok(next),
        _ => Err(Errno::NOENT),
    }
}

type Model = HashMap<u32, Vec<&'static str>>;

/// How many qids the walk gives, and what it does to the fids.
fn model_walk(
    fids: &mut Model,
    fid: u32,
    newfid: u32,
    names: &[&'static str],
) -> Result<usize, Errno> {
    let mut path = fids.get(&fid).ok_or(Errno::BADF)?.clone();
    for (done, name) in names.iter().enumerate() {
        match model_step(&path, name) {
            Ok(next) => path = next,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => return Ok(done),
        }
    }
    if fid != newfid && fids.contains_key(&newfid) {
        return Err(Errno::INVAL);
    }
    fids.insert(newfid, path);
    Ok(names.len())
}

proptest! {
    #[test]
    fn walks_agree_with_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let tree = tree();
        let client = Client::new(tree.path(), Access::ReadOnly);
        let mut fids: Model = HashMap::from([(0, vec![])]);
        for step in steps {
            match step {
                Step::Walk(fid, newfid, names) => {
                    let expected = model_walk(&mut fids, fid, newfid, &names);
                    let actual = client.walk(fid, newfid, &names).map(|qids| qids.len());
                    prop_assert_eq!(actual, expected);
                }
                Step::Clunk(fid) => {
                    let expected = fids.remove(&fid).map(drop).ok_or(Errno::BADF);
                    prop_assert_eq!(client.clunk(fid), expected);
                }
            }
            for fid in 0..4 {
                let inode = client.getattr(fid).map(|mut body| {
                    body.u64();
                    body.qid().path
                });
                let expected = fids.get(&fid).ok_or(Errno::BADF).map(|path| {
                    use std::os::unix::fs::MetadataExt;
                    let path = tree.path().join(path.join("/"));
                    fs::symlink_metadata(path).expect("the model's files exist").ino()
                });
                prop_assert_eq!(inode, expected);
            }
        }
    }
}
