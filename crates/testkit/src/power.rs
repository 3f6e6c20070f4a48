//! A Redis that loses what it had written and not flushed yet, as the power's going off does.

use embedded::Redis;
use std::fs::{self, OpenOptions};
use std::path::PathBuf;

/// Bytes that a Redis has written to its append-only file, flushed or not.
pub fn written(redis: &Redis) -> u64 {
    fs::metadata(append_only_file(redis)).expect("a file").len()
}

/// Kills a Redis, and leaves only so many bytes of its append-only file. Most places are in the middle of a command.
pub async fn power_cut(redis: &Redis, left: u64) {
    redis.kill().await.expect("a Redis that can be killed");
    let file = OpenOptions::new().write(true).open(append_only_file(redis));
    file.and_then(|file| file.set_len(left)).expect("a shorter file");
}

/// The file that it appends its writes to.
fn append_only_file(redis: &Redis) -> PathBuf {
    let mut folders = vec![redis.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder of a Redis") {
            let path = entry.expect("what is in it").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(".incr.aof") {
                return path;
            }
        }
    }
    unreachable!("a Redis that writes nothing down")
}
