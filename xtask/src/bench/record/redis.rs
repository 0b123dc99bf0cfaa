//! Clients of the Redis server that is measured. They are not measured themselves.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use tempfile::TempDir;

use crate::steps;

/// Valgrind needs some seconds until the server listens.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Requests of many kinds, then the order to shut down.
pub struct RedisLoad {
    /// Not below cargo's target folder: a socket's path may not be long.
    folder: TempDir,
    requests: u32,
}

impl RedisLoad {
    pub fn new(requests: u32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(RedisLoad { folder, requests })
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// # Errors
    /// When the server does not listen within a minute, or ends or hangs before its work is done.
    pub fn run(&self) -> anyhow::Result<()> {
        self.wait_for_server()?;
        let worked = steps::output_of(&mut self.benchmark());
        let ended = steps::output_of(self.cli().args(["shutdown", "nosave"]));
        worked.and(ended).map(drop)
    }

    fn wait_for_server(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        while !steps::succeeds(self.cli().arg("ping")) {
            if start.elapsed() > START_LIMIT {
                bail!("redis-server does not listen");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn benchmark(&self) -> Command {
        let mut command = Command::new("timeout");
        command.args(["600", "redis-benchmark", "-q", "-s"]);
        command.arg(self.socket());
        let requests = self.requests.to_string();
        command.args(["-n", &requests, "-r", "100000", "-P", "8", "-d", "64"]);
        command.args(["-t", "set,get,lpush,lpop,sadd,hset"]);
        command
    }

    fn cli(&self) -> Command {
        let mut command = Command::new("redis-cli");
        command.arg("-s").arg(self.socket());
        command
    }
}
