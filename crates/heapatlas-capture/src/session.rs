//! Recordings of one process, one after the other: turned on, gathered, turned off.
//!
//! The switch in the shared memory is all that the measured process sees of this, see
//! `heapatlas_trace::shared`.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

use heapatlas_trace::payload::{EventsHeader, Segment};
use heapatlas_trace::shared::{MODE_COUNTING, MODE_EXACT, MODE_IDLE, MODE_SAMPLED};
use heapatlas_trace::{Encoder, MAX_EVENT_BYTES};

use crate::clock;
use crate::control::{Command, Connection, Request, reply};
use crate::counts;
use crate::gather::{Counters, Gatherer, Main, Sink, counters};
use crate::overhead::Governor;
use crate::recordings::{Asker, Begun, Ended, How, Wanted};
use crate::region::Region;

/// How long events wait at most before they are gathered. What a killed launcher loses is less than this and
/// the time of one gathering.
const PAUSE: Duration = Duration::from_millis(80);
/// How long an idle launcher sleeps; whatever happens wakes it.
const IDLE_PAUSE: Duration = Duration::from_secs(1);

/// Keeps recordings.
pub trait Recordings {
    /// A recording of a process begins.
    ///
    /// # Errors
    /// When it cannot be kept. It does not begin then.
    fn begin(&mut self, pid: u32, begun: &Begun) -> io::Result<()>;

    /// Where what is gathered goes; asked for between `begin` and `end` only.
    fn sink(&mut self) -> &mut dyn Sink;

    /// The recording ends. Gives the file that it is in, if any.
    ///
    /// # Errors
    /// When it cannot be kept. What was written before stays.
    fn end(&mut self, ended: &Ended) -> io::Result<Option<PathBuf>>;

    /// The program has ended before these processes, which are recorded, too. Told once.
    fn waits_for(&mut self, pids: &[u32]);

    /// The recording could not be kept any more; the program runs on without.
    fn fail(&mut self, error: io::Error) -> io::Error;
}

/// The recordings of one process.
pub(crate) struct Session {
    region: Arc<Region>,
    pid: u32,
    /// How the program ended, once it has.
    status: Option<ExitStatus>,
    follows_forks: bool,
    by_signal: Wanted,
    ticks_per_second: u64,
    active: Option<Active>,
    /// Why the recording that began with the program could not be kept.
    failed: Option<io::Error>,
    /// How often the interval of samples was set; its low bits are in the mode.
    intervals_set: u8,
}

/// The recording that is on.
struct Active {
    begun: Begun,
    gatherer: Gatherer,
    started: Instant,
    ends_at: Option<Instant>,
    /// Sums of the header when it began.
    before: Counters,
    /// Marks that are to be written.
    marks: Vec<(u64, String)>,
    governor: Option<Governor>,
    /// Whose end is its end, and who is told of it.
    owner: Option<Arc<Connection>>,
}

impl Session {
    pub fn new(
        region: Arc<Region>,
        by_signal: Wanted,
        follows_forks: bool,
        ticks_per_second: u64,
    ) -> Self {
        Self {
            region,
            pid: 0,
            status: None,
            follows_forks,
            by_signal,
            ticks_per_second,
            active: None,
            failed: None,
            intervals_set: 0,
        }
    }

    pub fn set_pid(&mut self, pid: u32) {
        self.pid = pid;
    }

    /// What the system says of the program.
    pub fn set_status(&mut self, status: Option<ExitStatus>) {
        self.status = status;
    }

    /// The processes that are recorded and still there, or may be recorded yet.
    pub fn running(&mut self) -> Vec<u32> {
        let follows_forks = self.follows_forks;
        let active = self.active.as_mut();
        active.map_or_else(Vec::new, |active| active.gatherer.running(follows_forks))
    }

    fn main(&self) -> Main {
        Main {
            pid: self.pid,
            status: self.status.map(ExitStatusExt::into_raw),
        }
    }

    /// Turns the recording on that begins with the program; [`Self::begin_first`] has it kept.
    pub fn turn_on(&mut self, wanted: Wanted) {
        let begun = self.begun(wanted.how, Asker::Launch, None);
        self.activate(wanted, begun, None);
    }

    /// The recording that was turned on before the program began is kept from here on.
    pub fn begin_first(&mut self, recordings: &mut dyn Recordings) {
        if let Some(active) = &self.active
            && let Err(error) = recordings.begin(self.pid, &active.begun)
        {
            self.give_up(error, recordings);
        }
    }

    /// How long the launcher may sleep.
    pub fn pause(&self) -> Duration {
        match &self.active {
            Some(Active {
                ends_at: Some(end), ..
            }) => end.saturating_duration_since(Instant::now()).min(PAUSE),
            Some(_) => PAUSE,
            None => IDLE_PAUSE,
        }
    }

    /// Turns a recording on if there is none, else off.
    pub fn toggle(&mut self, recordings: &mut dyn Recordings) {
        if self.active.is_some() {
            self.stop(false, recordings);
        } else if self
            .begin(self.by_signal, Asker::Signal, None, None, recordings)
            .is_err()
        {
            // `recordings` have said why.
        }
    }

    /// Hands on what threads have committed, and ends the recording when its time is over. Gives how many bytes
    /// that were.
    pub fn gather(&mut self, recordings: &mut dyn Recordings) -> usize {
        let is_over = |active: &Active| active.ends_at.is_some_and(|end| end <= Instant::now());
        if self.active.as_ref().is_some_and(is_over) {
            self.stop(false, recordings);
        }
        self.govern();
        let bytes = self.pass(recordings);
        if self.is_kept() && recordings.sink().is_full() {
            self.stop(true, recordings);
        }
        bytes
    }

    /// Ends what is on, since the program has ended.
    ///
    /// # Errors
    /// When the recording that began with the program could not be kept.
    pub fn finish(&mut self, recordings: &mut dyn Recordings) -> io::Result<()> {
        self.stop(false, recordings);
        self.failed.take().map_or(Ok(()), Err)
    }

    fn begin(
        &mut self,
        wanted: Wanted,
        asker: Asker,
        output: Option<PathBuf>,
        owner: Option<Arc<Connection>>,
        recordings: &mut dyn Recordings,
    ) -> Result<(), String> {
        let begun = self.begun(wanted.how, asker, output);
        if let Err(error) = recordings.begin(self.pid, &begun) {
            return Err(recordings.fail(error).to_string());
        }
        self.activate(wanted, begun, owner);
        Ok(())
    }

    fn begun(&self, how: How, asker: Asker, output: Option<PathBuf>) -> Begun {
        Begun {
            how,
            asker,
            output,
            start_tick: clock::ticks(),
            ticks_per_second: self.ticks_per_second,
        }
    }

    /// From here on the program records. Its threads see another number of a recording and begin anew.
    fn activate(&mut self, wanted: Wanted, begun: Begun, owner: Option<Arc<Connection>>) {
        let switch = self.region.switch();
        let recording = switch.recording.load(Relaxed) + 1;
        if wanted.how == How::Counting {
            counts::reset(&self.region);
        }
        switch.recording.store(recording, Relaxed);
        let started = Instant::now();
        self.active = Some(Active {
            begun,
            gatherer: Gatherer::new(&self.region, recording),
            started,
            ends_at: wanted.duration.map(|duration| started + duration),
            before: counters(&self.region),
            marks: Vec::new(),
            governor: None,
            owner,
        });
        self.region.header().launcher_reads.store(1, Release);
        match wanted.how {
            How::Exact | How::Aggregate => self.set_mode(MODE_EXACT),
            How::Counting => self.set_mode(MODE_COUNTING),
            How::Sampled {
                interval_bytes,
                overhead,
            } => {
                self.set_interval(interval_bytes);
                if let Some(active) = &mut self.active {
                    let region = &self.region;
                    active.governor = overhead.map(|share| {
                        Governor::new(share, interval_bytes, region, self.ticks_per_second)
                    });
                }
            }
        }
    }

    fn set_mode(&self, mode: u8) {
        self.region.switch().mode.store(mode, Release);
    }

    /// Threads see another mode and draw their next samples anew.
    fn set_interval(&mut self, interval_bytes: u64) {
        let switch = self.region.switch();
        switch.sample_interval.store(interval_bytes, Relaxed);
        self.intervals_set = self.intervals_set.wrapping_add(1);
        self.set_mode(MODE_SAMPLED | self.intervals_set);
    }

    fn govern(&mut self) {
        let pid = self.pid;
        let next = self.active.as_mut().and_then(|active| {
            let governor = active.governor.as_mut()?;
            governor.next_interval(&self.region, pid)
        });
        if let Some(interval_bytes) = next {
            self.set_interval(interval_bytes);
        }
    }

    /// Turns the recording off, gathers what is left of it, and has it ended.
    fn stop(&mut self, was_full: bool, recordings: &mut dyn Recordings) {
        self.set_mode(MODE_IDLE);
        // What threads were about to commit when they were told comes with the second pass; what comes later still
        // belongs to no recording.
        while self.pass(recordings) > 0 {}
        let Some(mut active) = self.active.take() else {
            return;
        };
        self.let_go();
        let ended = self.ended(&active, was_full);
        let kept = self.keep(&mut active, &ended, recordings);
        if let Some(owner) = &active.owner {
            owner.say(&reply::ended(&active.begun, &ended, &kept));
        }
        if let Err(error) = kept {
            let error = recordings.fail(error);
            self.note_failure(&active, error);
        }
    }

    fn keep(
        &self,
        active: &mut Active,
        ended: &Ended,
        recordings: &mut dyn Recordings,
    ) -> io::Result<Option<PathBuf>> {
        if active.begun.how != How::Counting {
            let (now, main, sink) = (active.now(), self.main(), recordings.sink());
            active.gatherer.finish(&self.region, now, main, sink)?;
            if active.begun.asker != Asker::Launch {
                active.gatherer.ensure_image(now, main, sink)?;
            }
        }
        recordings.end(ended)
    }

    fn ended(&self, active: &Active, was_full: bool) -> Ended {
        Ended {
            status: self.status,
            tick: clock::ticks(),
            elapsed_ns: active.started.elapsed().as_nanos() as u64,
            counters: counters(&self.region).since(active.before),
            was_full,
            intervals_bytes: active.governor.as_ref().map(Governor::intervals_bytes),
            counts: (active.begun.how == How::Counting).then(|| counts::read(&self.region)),
        }
    }

    /// Nobody shall wait for us any more.
    fn let_go(&self) {
        self.region.header().launcher_reads.store(0, Release);
        self.region.tell_freed();
    }

    fn pass(&mut self, recordings: &mut dyn Recordings) -> usize {
        if !self.is_kept() {
            return 0;
        }
        let main = self.main();
        let Some(active) = self.active.as_mut() else {
            return 0;
        };
        // A thread that has waited too long has the others not wait.
        self.region.header().launcher_reads.store(1, Release);
        let (now, sink) = (active.now(), recordings.sink());
        let passed = active
            .gatherer
            .pass(&self.region, now, main, sink)
            .and_then(|bytes| {
                active.write_marks(&self.region, now, sink)?;
                Ok(bytes)
            });
        passed.unwrap_or_else(|error| {
            self.give_up(error, recordings);
            0
        })
    }

    /// Whether a recording is on that consists of events.
    fn is_kept(&self) -> bool {
        let active = self.active.as_ref();
        active.is_some_and(|active| active.begun.how != How::Counting)
    }

    /// Ends a recording that cannot be kept. The program goes on.
    fn give_up(&mut self, error: io::Error, recordings: &mut dyn Recordings) {
        self.set_mode(MODE_IDLE);
        self.let_go();
        let Some(active) = self.active.take() else {
            return;
        };
        let error = recordings.fail(error);
        if let Some(owner) = &active.owner {
            owner.say(&reply::error(&error.to_string()));
        }
        self.note_failure(&active, error);
    }

    fn note_failure(&mut self, active: &Active, error: io::Error) {
        if active.begun.asker == Asker::Launch {
            self.failed = Some(error);
        }
    }

    /// Does what somebody at the socket asks for.
    pub fn answer(&mut self, request: &Request, recordings: &mut dyn Recordings) {
        let connection = &request.connection;
        match &request.command {
            Command::Status => connection.say(&self.status()),
            Command::Start {
                wanted,
                is_attached,
                output,
            } => {
                let owner = is_attached.then(|| Arc::clone(connection));
                connection.say(&self.start(*wanted, output.clone(), owner, recordings));
            }
            Command::Stop => self.stop_for(connection, recordings),
            Command::Mark(text) => connection.say(&self.mark(text)),
            Command::Gone => {
                let is_owner = |active: &Active| {
                    let owner = active.owner.as_ref();
                    owner.is_some_and(|owner| Arc::ptr_eq(owner, connection))
                };
                if self.active.as_ref().is_some_and(is_owner) {
                    self.stop(false, recordings);
                }
            }
            Command::Unknown(problem) => connection.say(&reply::error(problem)),
        }
    }

    fn status(&self) -> String {
        let active = self.active.as_ref();
        let counts = active
            .filter(|active| active.begun.how == How::Counting)
            .map(|_| counts::read(&self.region));
        let recording = active.map(|active| (&active.begun, active.started.elapsed()));
        let interval = self.region.switch().sample_interval.load(Relaxed);
        reply::status(self.pid, recording, interval, counts.as_ref())
    }

    fn start(
        &mut self,
        wanted: Wanted,
        output: Option<PathBuf>,
        owner: Option<Arc<Connection>>,
        recordings: &mut dyn Recordings,
    ) -> String {
        if let Some(active) = &self.active {
            return reply::busy(&active.begun);
        }
        match self.begin(wanted, Asker::Socket, output, owner, recordings) {
            Ok(()) => reply::started(self.pid, wanted.how),
            Err(problem) => reply::error(&problem),
        }
    }

    /// The one who asks is told how it ended, and so is its owner if that is another one.
    fn stop_for(&mut self, connection: &Arc<Connection>, recordings: &mut dyn Recordings) {
        let Some(active) = &mut self.active else {
            return connection.say(&reply::error("nothing is being recorded"));
        };
        let owner = active.owner.replace(Arc::clone(connection));
        let begun = active.begun.clone();
        self.stop(false, recordings);
        if let Some(owner) = owner.filter(|owner| !Arc::ptr_eq(owner, connection)) {
            owner.say(&reply::stopped_by_another(&begun));
        }
    }

    fn mark(&mut self, text: &str) -> String {
        match &mut self.active {
            Some(active) if active.begun.how == How::Counting => {
                reply::error("a recording that counts has no marks")
            }
            Some(active) => {
                active.marks.push((clock::ticks(), text.to_owned()));
                reply::ok()
            }
            None => reply::error("nothing is being recorded"),
        }
    }
}

impl Active {
    fn now(&self) -> EventsHeader {
        EventsHeader {
            tick: clock::ticks(),
            elapsed_ns: self.started.elapsed().as_nanos() as u64,
            resident_bytes: 0,
        }
    }

    /// Marks are events of a thread that does nothing else, in each image. They come late, as events may.
    fn write_marks(
        &mut self,
        region: &Region,
        header: EventsHeader,
        sink: &mut dyn Sink,
    ) -> io::Result<()> {
        let images = self.gatherer.images();
        if images.is_empty() {
            return Ok(());
        }
        for (tick, text) in self.marks.drain(..) {
            let thread = region.header().next_thread.fetch_add(1, Relaxed);
            let mut encoder = Encoder::new();
            encoder.start(tick);
            let mut bytes = [0; MAX_EVENT_BYTES];
            let length = encoder.mark(&mut bytes, tick, text.as_bytes());
            let segment = Segment {
                thread: u64::from(thread),
                base_tick: Some(tick),
                bytes: &bytes[..length],
                is_exclusive: true,
            };
            for &image in &images {
                sink.events(image, header, &[segment])?;
            }
        }
        Ok(())
    }
}
