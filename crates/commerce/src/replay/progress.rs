//! How far a replay is: a bar for who watches a terminal, a line now and then for a log.

use super::orders::{Placed, Told};
use crate::output::{grouped, is_watched, note};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::{AtomicU64, Ordering};

/// A line at every so many hundredths of the work.
const LINE_EVERY: u64 = 10;

/// The progress of a replay.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    all: u64,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Progress {
    pub(super) fn new(all: usize) -> Self {
        let all = u64::try_from(all).unwrap_or(u64::MAX);
        let template = "{bar:40} {human_pos}/{human_len} orders, {per_sec}, {eta} left {msg}";
        let bar = is_watched().then(|| {
            let style = ProgressStyle::with_template(template);
            ProgressBar::new(all).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, all, done: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    pub(super) fn order(&self, placed: &Placed) {
        if let Told::Failed { reason, .. } = &placed.told {
            let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some(bar) = &self.bar {
                bar.set_message(format!("({failed} failed, last: {reason})"));
            }
        }
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None => self.line(done),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }

    fn line(&self, done: u64) {
        let part = |done: u64| done * 100 / self.all.max(1) / LINE_EVERY;
        if part(done) > part(done - 1) {
            let failed = self.failed.load(Ordering::Relaxed);
            note(format_args!(
                "{} of {} orders answered, {failed} failed",
                grouped(done),
                grouped(self.all)
            ));
        }
    }
}
