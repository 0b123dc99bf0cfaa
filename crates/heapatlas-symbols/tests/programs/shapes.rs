use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

trait Shape {
    fn area(&self) -> f64;
}

struct Grid<T, const N: usize> {
    cells: Vec<[T; N]>,
}

impl<T: Copy + Into<f64>, const N: usize> Shape for Grid<T, N> {
    fn area(&self) -> f64 {
        self.cells.iter().flatten().map(|&cell| cell.into()).sum()
    }
}

fn describe(shape: &dyn Shape, name: impl Display) -> String {
    format!("{name} of {}", shape.area())
}

fn words(text: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word.to_owned()).or_insert(0) += 1;
    }
    counts
}

fn main() {
    let count = std::env::args().count();
    let shapes: Vec<Box<dyn Shape>> = vec![
        Box::new(Grid::<f32, 3> { cells: vec![[1.5; 3]; count] }),
        Box::new(Grid::<u8, 5> { cells: vec![[2; 5]; count * 2] }),
    ];
    for (at, shape) in shapes.iter().enumerate() {
        println!("{}", describe(shape.as_ref(), at));
    }
    let sorted: BTreeMap<_, _> = words("a b a c b a").into_iter().collect();
    println!("{sorted:?}");
    std::thread::spawn(move || println!("{}", sorted.len())).join().unwrap();
}
