//! Any bytes: no panic, no endless loop, no memory out of proportion. What is accepted fits together. The
//! checksums are put right first, so that changes reach what is behind them.

#![no_main]

use heapatlas_formats::trace::{self, ReadOptions};
use heapatlas_model::{AllocationProfile, Amount, StackId};
use heapatlas_trace::crc32;
use heapatlas_trace::file::{BLOCK_HEADER_BYTES, BlockHeader, HEADER_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&with_right_checksums(bytes));
});

fn check(bytes: &[u8]) {
    let part = ReadOptions { from_ns: Some(1000), to_ns: Some(1 << 40), thread: None };
    for options in [ReadOptions::default(), part] {
        if let Ok((profile, warnings)) = trace::read(bytes, &options) {
            check_profile(&profile);
            // A file with sums in place of events may claim any; then the reader says so.
            if !warnings.iter().any(|warning| warning.message.starts_with("the sums ")) {
                check_sums(&profile);
            }
        }
    }
    let _ = trace::code_maps(bytes);
}

/// Sums of bytes may wrap; blocks may not.
fn check_sums(profile: &AllocationProfile) {
    let blocks = |amounts: &mut dyn Iterator<Item = Amount>| amounts.map(|a| a.blocks).sum::<u64>();
    let stacks = || profile.figures.iter();
    assert_eq!(blocks(&mut stacks().map(|figures| figures.total)), profile.total.blocks);
    assert_eq!(blocks(&mut stacks().map(|figures| figures.peak)), profile.peak.blocks);
    assert_eq!(blocks(&mut stacks().map(|figures| figures.live_at_end)), profile.live_at_end.blocks);
    assert_eq!(blocks(&mut profile.threads.iter().map(|t| t.total)), profile.total.blocks);
    assert_eq!(blocks(&mut profile.sizes.iter().copied()), profile.total.blocks);
    assert_eq!(blocks(&mut profile.lifetimes.iter().copied()), profile.frees);
    assert!(profile.frees + profile.live_at_end.blocks <= profile.total.blocks);
}

fn check_profile(profile: &AllocationProfile) {
    assert_eq!(profile.figures.len(), profile.stacks.len());
    assert!(profile.timeline.is_sorted_by_key(|point| point.time_ns));
    for stack in (0..profile.stacks.len()).map(StackId::from_index) {
        for location in profile.stacks.walk(stack) {
            let module = profile.locations[location.index()].module;
            assert!(module.is_none_or(|module| module.index() < profile.modules.len()));
        }
    }
}

fn with_right_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    let mut offset = HEADER_BYTES;
    while let Some(header) = file.get(offset..).and_then(|rest| rest.first_chunk()) {
        let payload = offset + BLOCK_HEADER_BYTES;
        let Some(header) = BlockHeader::from_bytes(header) else { break };
        let end = payload + header.stored_bytes as usize;
        let Some(stored) = file.get(payload..end) else { break };
        let header = BlockHeader { crc32: crc32(stored), ..header };
        file[offset..payload].copy_from_slice(&header.to_bytes());
        offset = end;
    }
    file
}
