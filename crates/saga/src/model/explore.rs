//! Looks at every state of a model, breadth first, so that a violation comes with one of the shortest stories to it.

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
}

/// One thing that can happen.
pub(super) struct Move<S, L> {
    pub(super) label: L,
    /// A fault or an outsider's whim, which progress may not count on.
    pub(super) fault: bool,
    pub(super) to: S,
}

/// What exploring came to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// No state is wrong, from each one the end can be reached without faults, and from each one a lone new executor
    /// reaches it whatever the participants answer.
    Holds { states: usize, moves: usize },
    /// Something is wrong.
    Broken { violation: Violation, trace: Vec<String> },
}

/// Explores all that is reachable.
pub(super) fn explore<M: Model>(model: &M) -> Verdict {
    let mut space = Space::new(model);
    let verdict = space.search().or_else(|| space.search_stuck()).or_else(|| space.search_lone());
    match verdict {
        Some((violation, state)) => Verdict::Broken { violation, trace: space.trace(state) },
        None => Verdict::Holds { states: space.states.len(), moves: space.count },
    }
}

type Wrong = Option<(Violation, usize)>;

struct Space<'m, M: Model> {
    model: &'m M,
    states: Vec<Rc<M::State>>,
    ids: HashMap<Rc<M::State>, usize>,
    parents: Vec<usize>,
    count: usize,
    /// Moves that are no faults, backwards: (to, from).
    back: Vec<(u32, u32)>,
}

impl<'m, M: Model> Space<'m, M> {
    fn new(model: &'m M) -> Self {
        let mut space = Self {
            model,
            states: Vec::new(),
            ids: HashMap::new(),
            parents: Vec::new(),
            count: 0,
            back: Vec::new(),
        };
        space.insert(model.initial(), 0);
        space
    }

    fn insert(&mut self, state: M::State, parent: usize) -> usize {
        if let Some(&id) = self.ids.get(&state) {
            return id;
        }
        let (id, state) = (self.states.len(), Rc::new(state));
        self.states.push(Rc::clone(&state));
        self.ids.insert(state, id);
        self.parents.push(parent);
        id
    }

    /// Visits all states and judges each one.
    fn search(&mut self) -> Wrong {
        let mut from = 0;
        while let Some(state) = self.states.get(from).cloned() {
            if let Some(violation) = self.model.violation(&state) {
                return Some((violation, from));
            }
            for Move { fault, to, .. } in self.model.moves(&state) {
                let to = self.insert(to, from);
                self.count += 1;
                if !fault {
                    self.back.push((u32::try_from(to).unwrap(), u32::try_from(from).unwrap()));
                }
            }
            from += 1;
        }
        None
    }

    /// A state from which no settled one is reached without further faults.
    fn search_stuck(&mut self) -> Wrong {
        self.back.sort_unstable();
        let mut comes_home: Vec<bool> =
            self.states.iter().map(|state| self.model.is_settled(state)).collect();
        let settled = (0..comes_home.len()).filter(|&state| comes_home[state]);
        let mut queue: VecDeque<u32> = settled.map(|state| u32::try_from(state).unwrap()).collect();
        while let Some(to) = queue.pop_front() {
            let first = self.back.partition_point(|edge| edge.0 < to);
            for &(_, from) in self.back[first..].iter().take_while(|edge| edge.0 == to) {
                if !std::mem::replace(&mut comes_home[usize::try_from(from).unwrap()], true) {
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
        let stuck = self.states.iter().position(|state| {
            let abandoned = self.model.abandoned(state);
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
        while state != 0 {
            let parent = self.parents[state];
            let moves = self.model.moves(&self.states[parent]);
            let step = moves.into_iter().find(|step| step.to == *self.states[state]);
            trace.extend(step.map(|step| format!("{:?}", step.label)));
            state = parent;
        }
        trace.reverse();
        trace
    }
}
