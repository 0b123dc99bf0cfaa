//! temp
use std::collections::HashMap;
use heapatlas_capture::*;
use heapatlas_trace::{Decoder, Event};
use heapatlas_trace::payload::*;
#[derive(Default)]
struct Count { decoders: HashMap<u64, Decoder>, allocs: u64, frees: u64, bytes: u64, nodes: u64, raw: u64, threads: u64, modules: usize }
impl Sink for Count {
    fn image(&mut self, pid: u32) -> std::io::Result<()> { eprintln!("image {pid} after {} allocs", self.allocs); Ok(()) }
    fn thread(&mut self, t: ThreadInfo<'_>) -> std::io::Result<()> { self.threads += 1; eprintln!("thread {} {} {:?}", t.thread, t.os_thread_id, String::from_utf8_lossy(t.name)); Ok(()) }
    fn modules(&mut self, p: &[u8]) -> std::io::Result<()> { self.modules += p.len(); Ok(()) }
    fn events(&mut self, _: EventsHeader, s: &[Segment<'_>]) -> std::io::Result<()> {
        for s in s {
            self.raw += s.bytes.len() as u64;
            if std::env::var_os("NODECODE").is_some() { continue; }
            let d = self.decoders.entry(s.thread).or_default();
            if let Some(t) = s.base_tick { d.start(t); }
            let mut b = s.bytes;
            while let Some(e) = d.next(&mut b).expect("whole") {
                match e {
                    Event::Allocation { size_bytes, .. } => { self.allocs += 1; self.bytes += size_bytes; }
                    Event::ReallocationEnds { size_bytes, .. } => { self.allocs += 1; self.frees += 1; self.bytes += size_bytes; }
                    Event::Free { .. } => self.frees += 1,
                    Event::Node { .. } => self.nodes += 1,
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
fn main() {
    let mut a = std::env::args_os().skip(1);
    let check = std::env::var("CHECK").ok().and_then(|c| c.parse().ok()).unwrap_or(0);
    let o = Options { program: a.next().unwrap(), arguments: a.collect(), check_interval: check };
    let mut c = Count::default();
    let l = launch(&o).unwrap();
    let out = l.run(&mut c).unwrap();
    eprintln!("{out:?}");
    eprintln!("allocs {} frees {} bytes {} nodes {} raw {} threads {} modules {}", c.allocs, c.frees, c.bytes, c.nodes, c.raw, c.threads, c.modules);
}
