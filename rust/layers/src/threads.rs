//! One job for many items, on a few threads.
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Result;

fn take<'a, T>(next: &AtomicUsize, items: &'a [T]) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Relaxed);
    items.get(index).map(|item| (index, item))
}

/// The answers of `job` in the order of `items`; the first error if there is any.
pub fn in_threads<T: Sync, R: Send>(
    items: &[T],
    job: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let threads = threads().min(items.len());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, item)) = take(&next, items) {
                    let answer = job(item);
                    let failed = answer.is_err();
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((index, answer));
                    if failed {
                        next.store(items.len(), Relaxed);
                        return;
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, answer)| answer).collect()
}

pub fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(1, 4)
}

/// Items that the caller does before it starts a thread: a small tree is done by then.
const ALONE: usize = 16;

/// Like `in_threads` for items that are only found on the way: what `job` puts into the vector is done as well, in any
/// order. Each thread has a value of its own from `begin`; all of them are the answer.
pub fn spread<T: Send, S: Send>(
    items: Vec<T>,
    begin: impl Fn() -> S + Sync,
    job: impl Fn(&mut S, T, &mut Vec<T>) -> Result<()> + Sync,
) -> Result<Vec<S>> {
    let mut own = begin();
    let mut left = items;
    for _ in 0..ALONE {
        let Some(item) = left.pop() else {
            return Ok(vec![own]);
        };
        job(&mut own, item, &mut left)?;
    }
    let queue = Queue {
        state: Mutex::new(State {
            left,
            busy: 0,
            failed: None,
        }),
        changed: Condvar::new(),
    };
    let mut answers = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads())
            .map(|_| {
                scope.spawn(|| {
                    let mut own = begin();
                    queue.work(&mut own, &job);
                    own
                })
            })
            .collect();
        queue.work(&mut own, &job);
        let others = others.into_iter().map(|other| match other.join() {
            Ok(own) => own,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        others.collect::<Vec<_>>()
    });
    match queue.lock().failed.take() {
        Some(error) => Err(error),
        None => {
            answers.push(own);
            Ok(answers)
        }
    }
}

struct State<T> {
    left: Vec<T>,
    /// Threads that may still find more.
    busy: usize,
    failed: Option<crate::error::Error>,
}

struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// A job that panics must not leave the others waiting for it.
struct Busy<'a, T>(&'a Queue<T>);

impl<T> Drop for Busy<'_, T> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(item) = state.left.pop() {
                state.busy += 1;
                return Some(item);
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work<S>(&self, own: &mut S, job: &impl Fn(&mut S, T, &mut Vec<T>) -> Result<()>) {
        let mut more = Vec::new();
        while let Some(item) = self.next() {
            let busy = Busy(self);
            let answer = job(own, item, &mut more);
            let mut state = self.lock();
            state.left.append(&mut more);
            if let Err(error) = answer {
                state.failed.get_or_insert(error);
            }
            drop(state);
            drop(busy);
        }
    }
}
