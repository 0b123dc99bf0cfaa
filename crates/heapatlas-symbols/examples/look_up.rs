//! Looks up many addresses of one file and tells what it costs:
//! `cargo run --release -p heapatlas-symbols --example look_up -- FILE COUNT [CACHE]`.
#![allow(clippy::print_stdout)]

use std::time::Instant;
use std::{env, error, fs};

use heapatlas_model::{AllocationProfile, CodeLocation, Module, ModuleId, ProfileFormat};
use heapatlas_symbols::{Level, Options, resolve};
use object::{Object, ObjectSection};

fn main() -> Result<(), Box<dyn error::Error>> {
    let mut arguments = env::args().skip(1);
    let path = arguments.next().ok_or("which file?")?;
    let count: u64 = arguments.next().ok_or("how many addresses?")?.parse()?;
    let cache = arguments.next().map(Into::into);
    let level = match env::var("LEVEL").as_deref() {
        Ok("names") => Level::Names,
        Ok("lines") => Level::Lines,
        _ => Level::Full,
    };
    let mut profile = profile(path, count)?;
    let options = Options {
        cache,
        level,
        ..Options::default()
    };
    let (before, start) = (cpu_ms()?, Instant::now());
    let warnings = resolve(&mut profile, &options);
    let (cpu, elapsed) = (cpu_ms()? - before, start.elapsed().as_millis());
    let frames: usize = profile.frames.iter().map(Vec::len).sum();
    let named = profile
        .frames
        .iter()
        .filter(|frames| !frames.is_empty())
        .count();
    println!(
        "{count} addresses, {named} named, {frames} frames, {} warnings",
        warnings.len()
    );
    println!("{elapsed} ms, {cpu} ms CPU, peak {} kB", status("VmHWM")?);
    Ok(())
}

/// Addresses all over `.text`, in no order.
fn profile(path: String, count: u64) -> Result<AllocationProfile, Box<dyn error::Error>> {
    // Reads no more than it is asked for, so as not to raise the peak.
    let file = object::ReadCache::new(fs::File::open(&path)?);
    let object = object::File::parse(&file)?;
    let text = object.section_by_name(".text").ok_or("no .text")?;
    let build_id = object.build_id()?.unwrap_or_default().to_owned();
    let mut random = 1_u64;
    let address = |_| {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        text.address() + (random >> 20) % text.size()
    };
    let place = |address| CodeLocation {
        address,
        module: Some(ModuleId(0)),
    };
    let locations = (0..count).map(address).map(place).collect();
    Ok(AllocationProfile {
        modules: vec![Module {
            path,
            build_id,
            ..Module::default()
        }],
        locations,
        ..AllocationProfile::new(ProfileFormat::Heaptrace)
    })
}

/// CPU time of this process, in milliseconds.
fn cpu_ms() -> Result<u64, Box<dyn error::Error>> {
    let stat = fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: u64 = stat.split(' ').next().ok_or("no time")?.parse()?;
    Ok(nanoseconds / 1_000_000)
}

fn status(field: &str) -> Result<u64, Box<dyn error::Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with(field))
        .ok_or("no such field")?;
    Ok(line.split_whitespace().nth(1).ok_or("no value")?.parse()?)
}
