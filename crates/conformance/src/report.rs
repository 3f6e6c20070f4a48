//! The result of a run.

use crate::subject::Failure;
use std::fmt;

/// The rules that were checked, and those that could not be.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Each rule that was checked, by name, in the order of the run. The error says what was seen instead.
    pub rules: Vec<(String, Result<(), String>)>,
    /// What was not checked, and why: rules for which the participant has no action, and actions without payload.
    pub skipped: Vec<(String, String)>,
}

impl Report {
    /// Says whether every rule that was checked holds, and at least one was checked.
    pub fn passed(&self) -> bool {
        !self.rules.is_empty() && self.rules.iter().all(|(_, result)| result.is_ok())
    }

    /// The names of the rules that do not hold.
    pub fn broken(&self) -> Vec<&str> {
        let broken = self.rules.iter().filter(|(_, result)| result.is_err());
        broken.map(|(name, _)| name.as_str()).collect()
    }

    pub(crate) fn add(&mut self, name: &str, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.rules.push((name.to_owned(), Ok(()))),
            Err(Failure::Broken(what)) => self.rules.push((name.to_owned(), Err(what))),
            Err(Failure::NotChecked(why)) => self.skipped.push((name.to_owned(), why)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, result) in &self.rules {
            match result {
                Ok(()) => writeln!(f, "ok       {name}")?,
                Err(what) => writeln!(f, "BROKEN   {name}: {what}")?,
            }
        }
        for (name, why) in &self.skipped {
            writeln!(f, "skipped  {name}: {why}")?;
        }
        let (all, broken) = (self.rules.len(), self.broken().len());
        write!(f, "{all} rules checked, {broken} broken, {} skipped", self.skipped.len())
    }
}
