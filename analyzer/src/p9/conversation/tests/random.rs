//! Random sessions: whatever is said of a file is true.

use proptest::prelude::*;

use super::model::Ask;
use super::session::Session;
use crate::p9::Fid;

/// Random numbers, one after the other; zeros at the end.
#[derive(Debug)]
struct Dice {
    numbers: std::vec::IntoIter<u16>,
}

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.numbers.next().unwrap_or(0)) % bound.max(1)
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == bound - 1
    }

    fn name(&mut self) -> String {
        ["a", "b", "c"][self.below(3)].to_owned()
    }
}

fn dice() -> impl Strategy<Value = Dice> {
    prop::collection::vec(any::<u16>(), 0..700).prop_map(|numbers| Dice {
        numbers: numbers.into_iter(),
    })
}

const FIDS: u32 = 7;

/// Something that the client may ask now.
fn something(session: &Session, dice: &mut Dice, trees: usize) -> Ask {
    let changing = session.changing();
    let usable: Vec<u32> = session.fids.difference(&changing).copied().collect();
    let free: Vec<u32> = (0..FIDS)
        .filter(|fid| !session.fids.contains(fid) && !changing.contains(fid))
        .collect();
    let tree = ["", "other"][dice.below(trees)];
    if usable.is_empty() {
        return match free.first() {
            Some(fid) => Ask::Attach { fid: *fid, tree },
            None => Ask::Flush { tag: 1 },
        };
    }
    let fid = usable[dice.below(usable.len())];
    let other = usable[dice.below(usable.len())];
    let newfid = if free.is_empty() || dice.one_in(8) {
        fid
    } else {
        free[dice.below(free.len())]
    };
    let others = session.flying.iter();
    let flushable: Vec<u16> = others
        .filter(|flying| !matches!(flying.ask, Ask::Flush { .. }))
        .map(|flying| flying.tag)
        .collect();
    match dice.below(16) {
        0..4 => {
            let names = (0..dice.below(4)).map(|_| match dice.one_in(6) {
                true => "..".to_owned(),
                false => dice.name(),
            });
            let names = names.collect();
            Ask::Walk { fid, newfid, names }
        }
        4 | 5 => Ask::Create {
            fid,
            name: dice.name(),
        },
        6..9 => Ask::Mkdir {
            fid,
            name: dice.name(),
        },
        9 => Ask::Rename {
            fid,
            dir: other,
            name: dice.name(),
        },
        10 | 11 => Ask::RenameAt {
            from: fid,
            old: dice.name(),
            to: other,
            new: dice.name(),
        },
        12 => Ask::Unlink {
            fid,
            name: dice.name(),
        },
        13 if dice.one_in(2) => Ask::Remove { fid },
        13 => Ask::Clunk { fid },
        14 if newfid != fid => Ask::Attach { fid: newfid, tree },
        _ if !flushable.is_empty() && dice.one_in(2) => Ask::Flush {
            tag: flushable[dice.below(flushable.len())],
        },
        _ => Ask::Getattr { fid },
    }
}

fn begin(session: &mut Session) {
    let at = session.ask(Ask::Version, true);
    session.serve(at, false, false);
    session.deliver(at, true);
}

/// Lets a session go on until the dice are used up. `heard` says how many records of
/// a hundred are not missed.
fn run(session: &mut Session, dice: &mut Dice, together: usize, trees: usize, heard: usize) {
    while dice.numbers.len() > 0 {
        let hear = dice.below(100) < heard;
        match dice.below(3) {
            0 if session.flying.len() < together => {
                let ask = something(session, dice, trees);
                session.ask(ask, hear);
            }
            1 if !session.flying.is_empty() => {
                let at = dice.below(session.flying.len());
                let (cancel, secretly) = (dice.one_in(2), dice.one_in(2));
                session.serve(at, cancel, secretly);
            }
            2 => {
                let ready: Vec<usize> = (0..session.flying.len())
                    .filter(|at| session.is_ready(*at))
                    .collect();
                if !ready.is_empty() {
                    session.deliver(ready[dice.below(ready.len())], hear);
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 96,
        ..ProptestConfig::default()
    })]

    /// With one request at a time and nothing missed, everything is known.
    #[test]
    fn one_at_a_time_all_is_known(mut dice in dice()) {
        let mut session = Session::new();
        begin(&mut session);
        while dice.numbers.len() > 0 {
            let ask = something(&session, &mut dice, 1);
            let at = session.ask(ask, true);
            session.serve(at, false, false);
            session.deliver(at, true);
            session.assert_complete();
        }
        prop_assert_eq!(&session.wrong, &[]);
    }

    /// Answered in any order, given up and answered all the same: what is said is true.
    #[test]
    fn all_at_once_nothing_is_guessed(mut dice in dice(), trees in 1..3usize) {
        let mut session = Session::new();
        begin(&mut session);
        run(&mut session, &mut dice, 5, trees, 100);
        prop_assert_eq!(&session.wrong, &[]);
    }

    /// The same where records are missed.
    #[test]
    fn with_losses_nothing_is_guessed(mut dice in dice(), trees in 1..3usize) {
        let mut session = Session::new();
        begin(&mut session);
        run(&mut session, &mut dice, 4, trees, 97);
    }

    /// The same where listening begins in the middle.
    #[test]
    fn from_the_middle_nothing_is_guessed(mut dice in dice(), mut later in dice()) {
        let mut session = Session::new();
        begin(&mut session);
        run(&mut session, &mut dice, 3, 2, 100);
        // What was heard until now is forgotten.
        session.flying.clear();
        session.fids = session.server.fids.keys().copied().collect();
        session.heard = super::super::Conversation::new(&session.budget);
        run(&mut session, &mut later, 4, 2, 99);
        prop_assert!(session.heard.view().dialect_guessed);
    }

    /// What is not needed any more is given back.
    #[test]
    fn nothing_is_left_behind(mut dice in dice()) {
        let mut session = Session::new();
        let before = session.budget.left();
        begin(&mut session);
        run(&mut session, &mut dice, 5, 2, 98);
        session.heard.reset();
        prop_assert_eq!(session.budget.left(), before);
        prop_assert_eq!(session.heard.view().fids, 0);
        let Session { heard, budget, .. } = session;
        drop(heard);
        prop_assert_eq!(budget.left(), before);
    }

    /// With no room at all nothing is known, and nothing goes wrong.
    #[test]
    fn without_room_nothing_is_known(mut dice in dice()) {
        let mut session = Session::new();
        session.budget = crate::budget::Budget::of(700);
        session.heard = super::super::Conversation::new(&session.budget);
        begin(&mut session);
        run(&mut session, &mut dice, 5, 2, 100);
        prop_assert!(session.budget.left() <= 700);
        let _ = session.heard.path(Fid(0));
    }
}
