//! Looks at every state of a model, breadth first, so that a violation comes with one of the shortest traces to it.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::rc::Rc;

use super::Violation;

/// Something that can be explored.
pub(super) trait Model {
    /// Everything that counts.
    type State: Clone + Eq + Hash;
    /// What happened, for people.
    type Label: Debug;

    /// Before anything happened.
    fn initial(&self) -> Self::State;
    /// All that can happen next.
    fn moves(&self, state: &Self::State) -> Vec<Move<Self::State, Self::Label>>;
    /// What is wrong with a state in itself.
    fn violation(&self, state: &Self::State) -> Option<Violation>;
    /// Whether everything has come to its end.
    fn is_settled(&self, state: &Self::State) -> bool;
    /// The state after all executors crashed, with one new one to come; `None` where there is nothing to recover.
    fn abandoned(&self, state: &Self::State) -> Option<Self::State>;

    /// A trace in words, one line per move.
    fn in_words(&self, trace: &[Taken<Self::State, Self::Label>]) -> Vec<String> {
        trace.iter().map(|taken| format!("{:?}", taken.label)).collect()
    }
}

/// One thing that can happen.
pub(super) struct Move<S, L> {
    pub(super) label: L,
    /// A fault or an outsider's whim, which progress may not count on.
    pub(super) fault: bool,
    pub(super) to: S,
}

/// One move of a trace.
pub(super) struct Taken<S, L> {
    pub(super) from: Rc<S>,
    pub(super) label: L,
    pub(super) to: Rc<S>,
}

/// What exploring came to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// No state is wrong, from each one the end can be reached without faults, and from each one a lone new executor
    /// reaches it whatever the participants answer.
    Holds { states: usize, moves: usize },
    /// Something is wrong.
    Broken { violation: Violation, trace: Vec<String> },
    /// There are more states than the limit allows. None of those visited is wrong in itself; whether the end can be
    /// reached was not asked.
    NotExhausted,
}

/// Explores all that is reachable, if that is no more than so many states.
pub(super) fn explore<M: Model>(model: &M, limit: usize) -> Verdict {
    let mut space = Space::new(model);
    let wrong = match space.search(limit) {
        Search::Wrong(violation, state) => Some((violation, state)),
        Search::NotExhausted => return Verdict::NotExhausted,
        Search::Exhausted => space.search_stuck().or_else(|| space.search_lone()),
    };
    match wrong {
        Some((violation, state)) => Verdict::Broken { violation, trace: space.trace(state) },
        None => Verdict::Holds { states: space.visited.len(), moves: space.count },
    }
}

type Wrong = Option<(Violation, usize)>;

enum Search {
    Exhausted,
    NotExhausted,
    Wrong(Violation, usize),
}

struct Visited<S> {
    state: Rc<S>,
    /// The place of the state from which it was reached first; the initial state names itself.
    parent: usize,
}

struct Space<'m, M: Model> {
    model: &'m M,
    /// In the order in which they were reached: the initial one first.
    visited: Vec<Visited<M::State>>,
    ids: HashMap<Rc<M::State>, usize>,
    count: usize,
    /// Moves that are no faults, backwards: (to, from).
    back: Vec<(usize, usize)>,
}

impl<'m, M: Model> Space<'m, M> {
    fn new(model: &'m M) -> Self {
        let mut space =
            Self { model, visited: Vec::new(), ids: HashMap::new(), count: 0, back: Vec::new() };
        space.insert(model.initial(), 0);
        space
    }

    fn insert(&mut self, state: M::State, parent: usize) -> usize {
        if let Some(&id) = self.ids.get(&state) {
            return id;
        }
        let (id, state) = (self.visited.len(), Rc::new(state));
        self.visited.push(Visited { state: Rc::clone(&state), parent });
        self.ids.insert(state, id);
        id
    }

    /// Visits all states and judges each one. Beyond the limit it judges those it has, and looks for no more.
    fn search(&mut self, limit: usize) -> Search {
        let mut from = 0;
        while let Some(visited) = self.visited.get(from) {
            let state = Rc::clone(&visited.state);
            if let Some(violation) = self.model.violation(&state) {
                return Search::Wrong(violation, from);
            }
            if self.visited.len() > limit {
                from += 1;
                continue;
            }
            for Move { fault, to, .. } in self.model.moves(&state) {
                let to = self.insert(to, from);
                self.count += 1;
                if !fault {
                    self.back.push((to, from));
                }
            }
            from += 1;
        }
        if self.visited.len() > limit { Search::NotExhausted } else { Search::Exhausted }
    }

    /// A state from which no settled one is reached without further faults.
    fn search_stuck(&mut self) -> Wrong {
        self.back.sort_unstable();
        let settled = self.visited.iter().map(|visited| self.model.is_settled(&visited.state));
        let mut comes_home: Vec<bool> = settled.collect();
        let settled = comes_home.iter().enumerate().filter(|(_, settled)| **settled);
        let mut queue: VecDeque<usize> = settled.map(|(state, _)| state).collect();
        while let Some(to) = queue.pop_front() {
            let first = self.back.partition_point(|edge| edge.0 < to);
            let back = self.back.iter().skip(first).take_while(|edge| edge.0 == to);
            for &(_, from) in back {
                if let Some(comes_home) = comes_home.get_mut(from)
                    && !std::mem::replace(comes_home, true)
                {
                    queue.push_back(from);
                }
            }
        }
        let stuck = comes_home.iter().position(|comes_home| !comes_home)?;
        Some((Violation::Stuck, stuck))
    }

    /// A state after which a lone executor, without faults, may fail to bring things to an end.
    fn search_lone(&self) -> Wrong {
        let mut seen = HashMap::new();
        let stuck = self.visited.iter().position(|visited| {
            let abandoned = self.model.abandoned(&visited.state);
            abandoned.is_some_and(|state| !self.always_settles(state, &mut seen))
        })?;
        Some((Violation::LoneExecutorStuck, stuck))
    }

    /// Whether every faultless run settles. `seen` holds what is known; a state under examination counts as "no", so
    /// that going in circles is no way home.
    fn always_settles(&self, state: M::State, seen: &mut HashMap<M::State, bool>) -> bool {
        if let Some(&settles) = seen.get(&state) {
            return settles;
        }
        seen.insert(state.clone(), false);
        let settles = self.model.violation(&state).is_none()
            && (self.model.is_settled(&state) || {
                let mut moves = self.model.moves(&state);
                moves.retain(|next| !next.fault);
                !moves.is_empty()
                    && moves.into_iter().all(|next| self.always_settles(next.to, seen))
            });
        seen.insert(state, settles);
        settles
    }

    fn trace(&self, mut state: usize) -> Vec<String> {
        let mut trace = Vec::new();
        while state != 0
            && let Some(Visited { state: to, parent }) = self.visited.get(state)
            && let Some(Visited { state: from, .. }) = self.visited.get(*parent)
        {
            let mut moves = self.model.moves(from).into_iter();
            let taken = moves.find(|next| next.to == **to);
            trace.extend(taken.map(|Move { label, .. }| Taken {
                from: Rc::clone(from),
                label,
                to: Rc::clone(to),
            }));
            state = *parent;
        }
        trace.reverse();
        self.model.in_words(&trace)
    }
}
