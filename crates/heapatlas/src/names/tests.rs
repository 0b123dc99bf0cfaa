use super::*;

#[test]
fn this_test_has_a_name() {
    let mut resolver = Resolver::new();
    let frames = resolver.frames(this_test_has_a_name as fn() as usize as u64 + 8);
    println!("{frames:?}");
    let name = frames.last().unwrap().function.as_deref().unwrap();
    assert!(name.contains("this_test_has_a_name"), "{name}");
}
