//! Runs one model to its end and says what came of it.

use std::fmt::{self, Display};
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path, Property};

/// No run is to visit more, repeated visits included. The largest makes half as many; one that
/// reaches this was given too large a configuration, and is reported as unfinished rather than left
/// to fill memory.
const STATES_MAX: usize = 40_000_000;

/// A law that did not hold, and a way there of which no step can be left out.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The law, in the words of its property.
    pub law: &'static str,
    /// What happened, one step a line.
    pub steps: Vec<String>,
}

/// What one run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Distinct states visited.
    pub states: usize,
    pub seconds: f64,
    /// True when nothing was left to visit, or a law was found broken.
    pub finished: bool,
    pub broken: Option<Counterexample>,
    /// What was to happen at least once and never did: a model in which nothing happens holds too.
    pub unreached: Vec<&'static str>,
}

impl Report {
    /// Every law held in every state, and everything that was to be reached was.
    pub fn holds(&self) -> bool {
        self.finished && self.broken.is_none() && self.unreached.is_empty()
    }

    /// This very law was found broken.
    pub fn caught_by(&self, law: &str) -> bool {
        self.broken.as_ref().is_some_and(|found| found.law == law)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9} states {:>6.2} s  ", self.states, self.seconds)?;
        match &self.broken {
            Some(found) => write!(f, "caught by {}", found.law),
            None if !self.finished => write!(f, "unfinished"),
            None if !self.unreached.is_empty() => write!(f, "never: {}", self.unreached.join("; ")),
            None => write!(f, "holds"),
        }
    }
}

/// Visits every state of `model`, breadth first, until a law breaks.
///
/// One thread, so that a counterexample is short, and the same every time. The visitor goes on for a
/// while after it has found one and keeps the last, so what it need not do is left out of it.
pub fn explore<M>(model: M) -> Report
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + fmt::Debug + Send + Sync,
    M::Action: Display + Clone + PartialEq + fmt::Debug + Send + Sync,
{
    let properties = model.properties();

    let started = Instant::now();
    let checker = model
        .checker()
        .threads(1)
        .target_state_count(STATES_MAX)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let seconds = started.elapsed().as_secs_f64();

    let found = checker.discoveries();
    let mut broken: Option<Counterexample> = None;
    let mut unreached = Vec::new();
    for property in properties {
        let name = property.name;
        match (&property.expectation, found.get(name)) {
            (Expectation::Always, Some(path)) => {
                let actions = shortened(checker.model(), &property, path);
                let steps: Vec<String> = actions.iter().map(ToString::to_string).collect();
                if broken
                    .as_ref()
                    .is_none_or(|earlier| steps.len() < earlier.steps.len())
                {
                    broken = Some(Counterexample { law: name, steps });
                }
            }
            (Expectation::Sometimes, None) => unreached.push(name),
            _ => {}
        }
    }
    Report {
        states: checker.unique_state_count(),
        seconds,
        finished: broken.is_some() || checker.state_count() < STATES_MAX,
        broken,
        unreached,
    }
}

/// What is left of the way when every step is gone that the law breaks without.
fn shortened<M: Model>(
    model: &M,
    law: &Property<M>,
    way: &Path<M::State, M::Action>,
) -> Vec<M::Action>
where
    M::State: Clone + PartialEq,
    M::Action: Clone + PartialEq,
{
    let start = &way.clone().into_states()[0];
    let mut steps = way.clone().into_actions();
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if let Some(length) = steps_to_failure(model, law, start.clone(), &fewer) {
            fewer.truncate(length);
            at = length;
            steps = fewer;
        }
    }
    steps
}

/// After how many of these steps the law is broken; nothing if it is not, or a step is not possible.
fn steps_to_failure<M: Model>(
    model: &M,
    law: &Property<M>,
    start: M::State,
    steps: &[M::Action],
) -> Option<usize>
where
    M::Action: Clone + PartialEq,
{
    let mut state = start;
    for (done, step) in steps.iter().enumerate() {
        if !(law.condition)(model, &state) {
            return Some(done);
        }
        let mut possible = Vec::new();
        model.actions(&state, &mut possible);
        if !possible.contains(step) {
            return None;
        }
        state = model.next_state(&state, step.clone())?;
    }
    (!(law.condition)(model, &state)).then_some(steps.len())
}
